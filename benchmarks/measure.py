"""Time a call: warm up until stable, then every call counts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

#: A warm-up ends when the median of a window of calls is this close to the one before it.
STABLE = 0.1
#: A window of warm-up calls takes at least this long, in seconds, and at least one call.
_WINDOW = 0.1
#: It is given up after this many windows and this long: the clock of a machine that others
#: use never settles.
_MOST_WINDOWS = 20
_LONGEST = 3.0

Clock = Callable[[], float]


@dataclass(frozen=True)
class WarmUp:
    """Calls before the measurement, the seconds they took, and whether times had settled."""

    calls: int
    seconds: float
    stable: bool


@dataclass(frozen=True)
class Run:
    """A measurement.

    Attributes:
        seconds: of each call, in order.
        warm_up: what came before.
    """

    seconds: tuple[float, ...]
    warm_up: WarmUp


def measure(
    call: Callable[[], object], *, duration: float, repetitions: int, clock: Clock = perf_counter
) -> Run:
    """Time single calls, one behind the other.

    Args:
        call: does the whole of what is to be timed, and returns when it is done.
        duration: seconds that the timed calls take together at least.
        repetitions: number of timed calls at least.
        clock: gives seconds.

    Returns:
        All times. The interpreter's garbage collector stays on, and no outlier is thrown
        away: users meet them too.

    Raises:
        ValueError: duration or repetitions is not positive.
    """
    if not (duration > 0 and math.isfinite(duration)) or repetitions < 1:
        raise ValueError(f"cannot measure for {duration} s and {repetitions} calls")
    warm_up = _warm_up(call, clock)
    times: list[float] = []
    total = 0.0
    while total < duration or len(times) < repetitions:
        start = clock()
        call()
        taken = clock() - start
        times.append(taken)
        total += taken
    return Run(tuple(times), warm_up)


def _warm_up(call: Callable[[], object], clock: Clock) -> WarmUp:
    calls, start = 0, clock()
    call()  # the first one allocates, compiles, and says nothing about the next
    calls += 1
    before: float | None = None
    for _ in range(_MOST_WINDOWS):
        window: list[float] = []
        window_start = clock()
        while not window or clock() - window_start < _WINDOW:
            call_start = clock()
            call()
            window.append(clock() - call_start)
        calls += len(window)
        now = statistics.median(window)
        if before is not None and abs(now - before) <= STABLE * min(now, before):
            return WarmUp(calls, clock() - start, True)
        before = now
        if clock() - start > _LONGEST:
            break
    return WarmUp(calls, clock() - start, False)
