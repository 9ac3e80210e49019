"""How fast the project itself is: ``python -m benchmarks.speed``.

Writes ``benchmarks/results/speed.json``: figures with their limits, and where they were
measured. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.all_networks import RESULTS, choose_weights, export_engine
from benchmarks.bars import Bar, ratio_bar
from benchmarks.bench import run_bench
from benchmarks.environment import describe_machine, summary_line
from benchmarks.peers import ENGINE
from benchmarks.report import live_progress, print_bars
from benchmarks.request import BenchRequest
from benchmarks.result import BenchResult, write_files
from runtime.terminal import make_console
from zoo.catalog import find_card

STARTS = 11
EXPORTS = 3

#: Opens a Detector, judges batches of 32, and says the most it ever had resident.
_RESIDENT = """
import sys
from runtime import Detector
from zoo.noise import seeded_frames
frames = seeded_frames(32, 256, 256, 7)
with Detector(sys.argv[1]) as detector:
    for _ in range(20):
        detector.score(frames)
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def measure_speed(
    folder: Path, progress: Callable[[str], None], bench: Callable[[BenchRequest], BenchResult]
) -> tuple[list[Bar], BenchResult]:
    """All figures.

    Args:
        folder: for engines, removed by the caller.
        progress: called with what begins.
        bench: runs a benchmark.
    """
    card = find_card("meso4")
    weights = choose_weights(card)
    progress("zoo export meso4 --fp16")
    bars = [_export(folder, weights), _import(progress), _help(progress)]
    engine = export_engine(card, folder, weights=weights)
    progress("resident memory")
    bars.append(_resident(engine))
    result = bench(
        BenchRequest(engine, (1, 32), duration=15.0, compare=("keras", "onnxruntime", "session"))
    )
    data = json.loads(result.to_json())
    bars += _overhead(result)
    for batch in (1, 32):
        for peer, words in (
            ("onnxruntime", "ONNX Runtime on tf2onnx's plain graph"),
            ("keras", "Keras predict_on_batch"),
        ):
            name = f"Detector on Meso4, batch {batch}, against {words}"
            bars.append(ratio_bar(name, data, batch, [peer], 1.0))
    return bars, result


def _seconds(command: list[str]) -> float:
    start = perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return perf_counter() - start


def _export(folder: Path, weights: str) -> Bar:
    command = [sys.executable, "-m", "zoo.cli", "export", "meso4", "--fp16", "--weights", weights]
    # The first one brings everything from the disk into memory.
    times = [_seconds([*command, "--out", str(folder / "export")]) for _ in range(EXPORTS + 1)][1:]
    name = f"zoo export meso4 --fp16 ({weights} weights), TensorFlow's import and certificate in"
    return Bar(name, 10.0, statistics.median(times), "s", spread=_range(times))


def _import(progress: Callable[[str], None]) -> Bar:
    progress("from runtime import Detector")
    lines = ("import numpy", "from runtime import Detector")
    commands = [[sys.executable, "-c", line] for line in lines]
    for command in commands:
        _seconds(command)
    # In turn, so that what slows the machine for a while slows both.
    more = [-1000 * (_seconds(commands[0]) - _seconds(commands[1])) for _ in range(STARTS)]
    name = "from runtime import Detector, more than import numpy"
    return Bar(name, 60.0, statistics.median(more), "ms", spread=_range(more))


def _help(progress: Callable[[str], None]) -> Bar:
    progress("zoo --help")
    zoo = Path(sys.executable).parent / "zoo"
    command = [str(zoo)] if zoo.is_file() else [sys.executable, "-m", "zoo.cli"]
    times = [1000 * _seconds([*command, "--help"]) for _ in range(STARTS + 1)][1:]
    return Bar("zoo --help", 300.0, statistics.median(times), "ms", spread=_range(times))


def _resident(engine: Path) -> Bar:
    done = subprocess.run(
        [sys.executable, "-c", _RESIDENT, str(engine)], check=True, capture_output=True, text=True
    )
    most = int(done.stdout) * 1024 / 1e6
    return Bar("a Detector process on Meso4 at batch 32, most ever resident", 250.0, most, "MB")


def _overhead(result: BenchResult) -> list[Bar]:
    """What `Detector.score` adds to a bare ``session.run`` of the same engine."""
    found = {(f.peer, f.batch): f for f in result.figures}
    bars = []
    for batch, limit, unit in ((1, 0.2, "ms"), (32, 5.0, "%")):
        name = f"Detector.score more than session.run, batch {batch}"
        ours, bare = found.get((ENGINE, batch)), found.get(("session", batch))
        if ours is None or bare is None or bare.times_as_fast is None:
            bars.append(Bar(name, limit, None, unit))
            continue
        # Rounds give bare over ours; of ours the share that is not bare.
        ratio = bare.times_as_fast
        more = [_more(value, ours.latency.p50, unit) for value in ratio.rounds]
        spread = f"{min(more):.3g} to {max(more):.3g}"
        measured = _more(ratio.median, ours.latency.p50, unit)
        bars.append(Bar(name, limit, measured, unit, spread=spread))
    return bars


def _more(ratio: float, seconds: float, unit: str) -> float:
    return 100 * (1 / ratio - 1) if unit == "%" else 1000 * seconds * (1 - ratio)


def _range(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def main() -> None:
    """Measure, print, and write ``results/speed.json``."""
    console = make_console(error=True)
    environment = describe_machine()
    console.print(summary_line(environment))

    def bench(request: BenchRequest) -> BenchResult:
        with live_progress(quiet=False) as progress:
            return run_bench(request, progress)

    with tempfile.TemporaryDirectory() as folder:
        bars, result = measure_speed(Path(folder), lambda what: console.print(f"  {what}"), bench)
    if result.interrupted:
        raise SystemExit(130)
    data: dict[str, Any] = {
        "environment": environment,
        "bars": [bar.to_dict() for bar in bars],
        "bench": json.loads(result.to_json()),
    }
    (path,) = write_files(RESULTS, "speed", {".json": json.dumps(data, indent=1) + "\n"})
    print_bars(bars)
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()
