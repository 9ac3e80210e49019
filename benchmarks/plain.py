"""The framework's plain export, made in a process of its own so that no framework stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.peers.peer import OriginalNetwork, PeerMissingError
from runtime.engine_info import EngineInfo
from runtime.errors import ZooError


def make_plain(info: EngineInfo, path: Path) -> None:
    """Write the plain ONNX of the network in an engine.

    Raises:
        PeerMissingError: with the reason why there is none.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.plain", str(path)],
        input=info.to_json(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not path.is_file():
        words = [line for line in done.stderr.splitlines() if line.strip()] or ["no word of why"]
        raise PeerMissingError(f"the framework's plain export could not be made: {words[-1]}")


def main() -> None:
    """``python -m benchmarks.plain PATH < SIDECAR``."""
    import onnx

    from export.convert import to_plain_onnx

    info = EngineInfo.from_json(sys.stdin.read(), "standard input")
    try:
        original = OriginalNetwork(info).load()
        onnx.save(to_plain_onnx(original), sys.argv[1])
    except ZooError as error:
        raise SystemExit(f"{error.what}: {error.why}") from None


if __name__ == "__main__":
    main()
