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

from benchmarks.all_networks import RESULTS, choose_weights, export_engine
from benchmarks.capi_overhead import measure_overhead
from benchmarks.environment import describe_machine
from benchmarks.result import write_files
from benchmarks.stats import ratio_of_rounds
from runtime import Detector
from runtime.capi.build import build
from zoo.catalog import find_card
from zoo.noise import seeded_frames

THREADS = 8
ROUNDS = 7
_BATCH = 8
_CALLS = 40


def measure_threads(engine: Path) -> dict[str, Any]:
    """Images a second of one thread and of `THREADS`, in turn, on one Detector.

    Args:
        engine: a ``.onnx`` of 256 x 256 frames.

    Returns:
        Both throughputs' medians, the ratio of rounds with its interval, and whether all
        scores were the same.
    """
    frames = seeded_frames(_BATCH, 256, 256, 3)
    with Detector(engine) as detector:
        due = detector.score(frames)

        def work(calls: int) -> bool:
            return all(np.array_equal(detector.score(frames), due) for _ in range(calls))

        one: list[list[float]] = []
        many: list[list[float]] = []
        same = work(_CALLS)
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in range(ROUNDS):
                start = perf_counter()
                same &= work(_CALLS)
                one.append([(perf_counter() - start) / (_CALLS * _BATCH)])
                start = perf_counter()
                same &= all(pool.map(work, [_CALLS // THREADS] * THREADS))
                many.append([(perf_counter() - start) / (_CALLS * _BATCH)])
    ratio = ratio_of_rounds(many, one)
    return {
        "threads": THREADS,
        "batch": _BATCH,
        "images_per_second_one": round(1 / float(np.median(one)), 1),
        "images_per_second_many": round(1 / float(np.median(many)), 1),
        "ratio": asdict(ratio),
        "same_scores": bool(same),
    }


def main() -> int:
    """Measure and write."""
    card = find_card("meso4")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        engine = export_engine(card, folder, weights=choose_weights(card))
        threads = measure_threads(engine)
        overhead = asdict(measure_overhead(engine, build(folder / "capi").parent))
    data = {
        "command": "python -m benchmarks.threads",
        "environment": describe_machine(),
        "threads": threads,
        "capi": overhead,
    }
    text = json.dumps(data, indent=1, default=str) + "\n"
    print(text)
    for path in write_files(RESULTS, "runtime", {".json": text}):
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
