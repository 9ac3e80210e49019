"""The framework's plain export, made in a process of its own so that no framework stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import OriginalNetwork, PeerMissingError
from export.exporting import OPSET
from runtime.engine_info import EngineInfo
from runtime.errors import ZooError
from zoo.originals import Original


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

    info = EngineInfo.from_json(sys.stdin.read(), "standard input")
    try:
        original = OriginalNetwork(info).load()
        onnx.save(_plain(original), sys.argv[1])
    except ZooError as error:
        raise SystemExit(f"{error.what}: {error.why}") from None


def _plain(original: Original) -> Any:
    """As the exporter's documentation tells everybody to do it, whatever memory it takes."""
    from export.convert import to_plain_onnx

    if original.card.framework == "torch":
        return to_plain_onnx(original)
    import tensorflow as tf
    import tf2onnx

    how, model = original.preprocessing, original.module
    signature = tf.TensorSpec((None, how.height, how.width, 3), tf.float32, name="input")
    function = tf.function(lambda x: model(x, training=False))
    return tf2onnx.convert.from_function(function, [signature], opset=OPSET)[0]


if __name__ == "__main__":
    main()
