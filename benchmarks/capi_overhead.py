"""What a call through the C library costs more than Python's own ``score``.

    python -m benchmarks.capi_overhead ENGINE

Both are measured in processes of their own, in turn, with one CPU thread: each round gives
the median time of a call of either, and their difference. The timed region is one call of
``zoo_detector_score``, or of ``Detector.score``, on frames that lie in host memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.stats import summarise
from runtime import Detector
from runtime.errors import MissingPackageError, ZooError
from runtime.terminal import tell

#: The bar: microseconds that a call from C may cost more.
MOST_US = 50.0


@dataclass(frozen=True)
class Overhead:
    """Times of one engine at one batch size, in microseconds.

    Attributes:
        engine: file name.
        batch: frames a call.
        calls: of each program in a round, after as many that are not counted.
        c, python: median time of a call, by round.
        overhead: median over the rounds of C's time less Python's in the same round.
        low, high: least and greatest of these differences.
    """

    engine: str
    batch: int
    calls: int
    c: list[float]
    python: list[float]
    overhead: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the bar is kept; a machine that is busy elsewhere may not be able to tell."""
        if self.high <= MOST_US:
            return "kept"
        return "missed" if self.low > MOST_US else "undecided"


def measure_overhead(
    engine: Path, library: Path, *, batch: int = 1, calls: int = 300, rounds: int = 7
) -> Overhead:
    """Measure one engine.

    Args:
        engine: path of a ``.onnx`` or ``.plan``.
        library: folder that `runtime.capi.build.build` filled.
        batch: frames a call.
        calls, rounds: see `Overhead`.

    Raises:
        ZooError: there is no C compiler, or a program failed; the message holds its words.
    """
    from zoo.noise import seeded_frames

    with Detector(engine) as detector:
        how = detector.info.preprocessing
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "frames.rgb")
        seeded_frames(batch, how.height, how.width, 0).tofile(raw)
        arguments = [str(engine), str(raw), str(batch), str(calls)]
        programs = {
            "c": [str(_compile(library, Path(folder)))],
            "python": [sys.executable, "-m", "benchmarks.capi_overhead", "--worker"],
        }
        medians: dict[str, list[float]] = {name: [] for name in programs}
        for number in range(rounds):
            # Who goes first changes, so that neither always meets the warmer machine.
            for name in sorted(programs, reverse=bool(number % 2)):
                medians[name].append(_median_us([*programs[name], *arguments]))
    more = [c - p for c, p in zip(medians["c"], medians["python"], strict=True)]
    return Overhead(
        engine.name, batch, calls, **medians,
        overhead=float(np.median(more)), low=min(more), high=max(more),
    )  # fmt: skip


def _compile(library: Path, folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise MissingPackageError("gcc", "measuring the C library", "capi")
    program = folder / "capi_overhead"
    source = Path(__file__).with_suffix(".c")
    flags = ["-std=gnu11", "-O2", f"-I{library}", f"-L{library}", "-lzoo_detector"]
    _run([compiler, str(source), *flags, f"-Wl,-rpath,{library}", "-o", str(program)])
    return program


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ZooError(f"{Path(command[0]).name} failed", done.stderr.strip())
    return done.stdout


def _median_us(command: Sequence[str]) -> float:
    return 1e6 * summarise([float(line) for line in _run(command).split()]).p50


def _work(engine: str, raw: str, batch: str, calls: str) -> None:
    """The Python program: what capi_overhead.c does."""
    with Detector(engine, threads=1) as detector:
        how = detector.info.preprocessing
        frames = np.fromfile(raw, np.uint8).reshape(int(batch), how.height, how.width, 3)
        seconds = []
        for _ in range(2 * int(calls)):
            start = perf_counter()
            detector.score(frames)
            seconds.append(perf_counter() - start)
    tell("\n".join(f"{s:.9f}" for s in seconds[int(calls) :]))


def main() -> int:
    """Print the results as JSON; 1 where a bar is missed, 2 on an error."""
    if sys.argv[1:2] == ["--worker"]:
        _work(*sys.argv[2:])
        return 0
    from benchmarks.environment import describe_machine
    from runtime.capi.build import build

    parser = argparse.ArgumentParser(prog="python -m benchmarks.capi_overhead")
    parser.add_argument("engines", nargs="+", type=Path, metavar="ENGINE")
    engines: list[Path] = parser.parse_args().engines
    try:
        with tempfile.TemporaryDirectory() as library:
            build(library)
            results = [measure_overhead(engine.absolute(), Path(library)) for engine in engines]
    except ZooError as error:
        tell(error, error=True)
        return 2
    engines_said = [{**asdict(result), "verdict": result.verdict} for result in results]
    tell(json.dumps({"machine": describe_machine(), "most_us": MOST_US, "engines": engines_said}))
    return int(any(result.verdict == "missed" for result in results))


if __name__ == "__main__":
    sys.exit(main())
