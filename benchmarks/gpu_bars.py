"""The bars on a GPU: the runtime held against the bare calls that it is made of.

    python -m benchmarks.gpu_bars engines/gpu/meso4.plan

prints JSON: one entry a bar, see `benchmarks.bars.Bar`. Exits 2 where the plan cannot run
here. Host times are taken around work that ends with a wait; both sides run in turn.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.bare_plan import BarePlan
from benchmarks.bars import Bar
from benchmarks.phases import DeviceFrames, DeviceResults
from benchmarks.stats import ratio_of_rounds
from runtime import Detector
from runtime.errors import EngineError, ZooError
from runtime.terminal import tell
from zoo.noise import seeded_frames

#: Images of the throughput bars.
BATCH = 256
#: Batches that a throughput call enqueues before it waits, and that one call of `score` gets.
BATCHES = 8
ROUNDS = 9
#: Of the bare plan's throughput, from device memory.
DEVICE_SHARE = 0.95
#: Of the throughput of a page-locked copy of the same bytes, from host memory.
HOST_SHARE = 0.8
#: Times the replay of a graph, for one image.
LATENCY = 1.2
#: The same plan on the same frames: what differs is in the last digits of half precision.
_APART = 1e-3


def measure_bars(
    plan: Path, *, device: int = 0, batch: int = BATCH, seconds: float = 0.5
) -> list[Bar]:
    """Measure all bars of a plan.

    Args:
        plan: a ``.plan`` whose profile takes 1 and ``batch``.
        device: index of the GPU.
        batch: images of the throughput bars.
        seconds: of each side in each of `ROUNDS` rounds, at least.

    Raises:
        EngineError: the plan does not run here; or the two sides score differently, so that
            there is nothing to compare.
    """
    with Detector(plan, device=device) as detector:
        how = detector.info.preprocessing
        frames = seeded_frames(batch, how.height, how.width, 0)
        name = f"{detector.info.title}, {detector.title}"
        with BarePlan(plan, frames, device) as bare:
            _check_same(detector, bare, frames)
            bars = _from_device(detector, bare, frames, device, name, seconds)
            bars += _from_host(detector, bare, frames, name, seconds)
        with BarePlan(plan, frames[:1], device) as bare:
            _check_same(detector, bare, frames[:1])
            bars += _latency(detector, bare, frames[:1], name, seconds)
    return bars


def _from_device(
    detector: Detector,
    bare: BarePlan,
    frames: np.ndarray,
    device: int,
    name: str,
    seconds: float,
) -> list[Bar]:
    """`score_device` against a loop of ``execute_async_v3``, neither waiting in between."""
    given, out = DeviceFrames(frames, device), DeviceResults(len(frames), device)

    def ours() -> None:
        for _ in range(BATCHES):
            detector.score_device(given, out, stream=bare.stream.handle)
        bare.wait()

    def theirs() -> None:
        for _ in range(BATCHES):
            bare.compute()
        bare.wait()

    times = _in_turn(bare, {"ours": ours, "theirs": theirs}, seconds)
    what = f"{name}, batch {len(frames)} from device memory, against execute_async_v3 alone"
    return [_share(what, times["ours"], times["theirs"], DEVICE_SHARE)]


def _from_host(
    detector: Detector, bare: BarePlan, frames: np.ndarray, name: str, seconds: float
) -> list[Bar]:
    """`score` of many batches against a page-locked copy of the same bytes."""
    ordinary = np.concatenate([frames] * BATCHES)
    pinned = detector.pinned_frames(len(ordinary))
    pinned[:] = ordinary

    def copies() -> None:
        for _ in range(BATCHES):
            bare.copy_in()
        bare.wait()

    times = _in_turn(
        bare,
        {
            "pinned": lambda: detector.score(pinned),
            "ordinary": lambda: detector.score(ordinary),
            "copies": copies,
        },
        seconds,
    )
    return [
        _share(
            f"{name}, {BATCHES} batches of {len(frames)} from {words} memory, against a "
            "page-locked copy of the same bytes",
            times[side],
            times["copies"],
            HOST_SHARE,
        )
        for side, words in (("pinned", "page-locked"), ("ordinary", "ordinary host"))
    ]


def _latency(
    detector: Detector, bare: BarePlan, frame: np.ndarray, name: str, seconds: float
) -> list[Bar]:
    """`score` of one image against the replay of a graph of its copies and its network."""
    for _ in range(3):  # a graph is captured when a size comes back
        detector.score(frame)

    def replay() -> None:
        bare.replay()
        bare.wait()

    calls = {"ours": lambda: detector.score(frame), "theirs": replay}
    times = _in_turn(bare, calls, seconds)
    ratio = ratio_of_rounds(times["theirs"], times["ours"])
    what = f"{name}, batch 1 from host memory, against the replay of its CUDA graph"
    spread = f"{ratio.low:.2f} to {ratio.high:.2f}"
    return [Bar(what, LATENCY, ratio.median, "x", "less", spread)]


def _share(name: str, ours: list[list[float]], theirs: list[list[float]], limit: float) -> Bar:
    ratio = ratio_of_rounds(ours, theirs)
    return Bar(name, limit, ratio.median, "x", "more", f"{ratio.low:.2f} to {ratio.high:.2f}")


def _in_turn(
    bare: BarePlan, calls: Mapping[str, Callable[[], object]], seconds: float
) -> dict[str, list[list[float]]]:
    """Seconds of each call, by side and round; the sides change places from round to round."""
    times: dict[str, list[list[float]]] = {name: [] for name in calls}
    names = list(calls)
    with bare.device.current():
        for name in names:  # clocks, memory and kernels settle
            _run(calls[name], seconds)
        for number in range(ROUNDS):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                times[name].append(_run(calls[name], seconds))
    return times


def _run(call: Callable[[], object], seconds: float) -> list[float]:
    found: list[float] = []
    end = perf_counter() + seconds
    while not found or perf_counter() < end:
        start = perf_counter()
        call()
        found.append(perf_counter() - start)
    return found


def _check_same(detector: Detector, bare: BarePlan, frames: np.ndarray) -> None:
    with bare.device.current():
        bare.replay()
        bare.wait()
    apart = float(np.abs(bare.fake() - detector.score(frames)).max())
    if not apart <= _APART:
        raise EngineError(
            f"{detector.path} scores differently without the runtime",
            f"P(fake) is {apart:.2g} apart in a batch of {len(frames)}",
            "this is a bug: please report it",
        )


def main() -> int:
    """``python -m benchmarks.gpu_bars PLAN``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_bars")
    parser.add_argument("plan", type=Path)
    parser.add_argument("--device", type=int, default=0, help="GPU, as CUDA counts")
    asked = parser.parse_args()
    try:
        bars = measure_bars(asked.plan, device=asked.device)
    except ZooError as error:
        tell(error, error=True)
        return 2
    tell(json.dumps([bar.to_dict() for bar in bars]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
