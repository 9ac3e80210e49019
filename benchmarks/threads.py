"""Many threads on one Detector, and the C library beside Python: ``python -m benchmarks.threads``.

Writes ``benchmarks/results/runtime.json``: throughput of eight threads that share a
Detector as a ratio of one thread's, round by round in turn, and what a call through the C
library costs more than Python's ``score``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.all_networks import RESULTS, choose_weights, export_engine
from benchmarks.capi_overhead import measure_overhead
from benchmarks.environment import describe_machine
from benchmarks.least_engine import write_least_engine
from benchmarks.result import write_files
from benchmarks.stats import ratio_of_rounds
from runtime import Detector
from runtime.capi.build import build
from runtime.terminal import tell
from zoo.catalog import find_card
from zoo.noise import seeded_frames

THREADS = 8
ROUNDS = 11

#: Network, frames a call, and calls in a round: a service judges what comes, one by one; a
#: folder comes in batches. ResNet18's weights leave the caches, Meso4's do not.
CASES = (("meso4", 1, 320), ("meso4", 8, 80), ("resnet18", 8, 16))


def measure_threads(
    engine: Path, batch: int, calls: int, *, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Images a second of one thread and of `THREADS`, in turn, on one Detector.

    Args:
        engine: a ``.onnx`` or ``.plan``.
        batch: frames a call.
        calls: of one thread, and of all threads together, in a round.
        rounds: of both; who goes first changes.

    Returns:
        Both throughputs' medians, the ratio of rounds with its interval, and whether all
        scores were the same to the last bit.
    """
    with Detector(engine) as detector, ThreadPoolExecutor(THREADS) as pool:
        how = detector.info.preprocessing
        frames = seeded_frames(batch, how.height, how.width, 3)
        due = detector.score(frames)
        times: dict[int, list[list[float]]] = {1: [], THREADS: []}
        same = _score(detector, frames, due, calls)  # warms up
        for number in range(rounds):
            for threads in sorted(times, reverse=bool(number % 2)):
                start = perf_counter()
                work = [
                    pool.submit(_score, detector, frames, due, calls // threads)
                    for _ in range(threads)
                ]
                found = [each.result() for each in work]
                times[threads].append([(perf_counter() - start) / (calls * batch)])
                same &= all(found)
        info = detector.info
    ratio = ratio_of_rounds(times[THREADS], times[1])
    return {
        "network": info.network,
        "title": info.title,
        "weights": info.weights.name,
        "threads": THREADS,
        "batch": batch,
        "calls": calls,
        "images_per_second_one": round(1 / float(np.median(times[1])), 1),
        "images_per_second_many": round(1 / float(np.median(times[THREADS])), 1),
        "ratio": asdict(ratio),
        "same_scores": same,
    }


def _score(
    detector: Detector, frames: NDArray[np.uint8], due: NDArray[np.float32], calls: int
) -> bool:
    return all(np.array_equal(detector.score(frames), due) for _ in range(calls))


def main() -> int:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        engines: dict[str, Path] = {}
        threads = []
        for name, batch, calls in CASES:
            if name not in engines:
                card = find_card(name)
                engines[name] = export_engine(card, folder, weights=choose_weights(card))
            threads.append(measure_threads(engines[name], batch, calls))
            ratio = threads[-1]["ratio"]
            tell(f"{name}, batch {batch}: {ratio['median']:.3f} times one thread's")
        library = build(folder / "capi").parent
        # A bar of microseconds is lost in Meso4's milliseconds; it is seen on this one.
        least = write_least_engine(folder / "least.onnx")
        overhead = [asdict(measure_overhead(one, library)) for one in (least, engines["meso4"])]
    data = {
        "command": "python -m benchmarks.threads",
        "environment": describe_machine(),
        "threads": threads,
        "capi": overhead,
    }
    text = json.dumps(data, indent=1, default=str) + "\n"
    for one in overhead:
        tell(f"{one['engine']} from C: {one['overhead']:.1f} us more a call than from Python")
    for path in write_files(RESULTS, "runtime", {".json": text}):
        tell(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
