"""What is made of measured times: percentiles, and ratios with their interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Above this coefficient of variation a median is no longer a fair summary.
HIGH_VARIATION = 0.15

#: Of an interval: the share of resampled ratios that lies inside.
CONFIDENCE = 0.95
_RESAMPLES = 2000


@dataclass(frozen=True)
class Latency:
    """Times of single calls, in seconds; `variation` is standard deviation over mean."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    mean: float
    variation: float

    @property
    def unstable(self) -> bool:
        """Whether the calls differ so much that a warning is due."""
        return self.variation > HIGH_VARIATION


def summarise(seconds: Sequence[float]) -> Latency:
    """Summarise the times of all calls; none is thrown away.

    A percentile between two calls is interpolated linearly.

    Raises:
        ValueError: there is none.
    """
    if not seconds:
        raise ValueError("no call was measured")
    times = np.asarray(seconds, np.float64)
    p50, p90, p95, p99 = (float(p) for p in np.percentile(times, (50, 90, 95, 99)))
    mean = float(times.mean())
    variation = float(times.std() / mean) if mean > 0 else 0.0
    return Latency(p50, p90, p95, p99, float(times.max()), mean, variation)


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as another one something is.

    Attributes:
        median: of `rounds`.
        low, high: interval of the median (`CONFIDENCE`), by bootstrap over rounds and over
            the calls within each.
        rounds: one ratio a round: the other's median time over ours, above 1 where ours is
            faster. Within a round both ran right after each other, so what slowed the
            machine for a while slowed both.
    """

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]

    @property
    def undecided(self) -> bool:
        """Whether the interval holds 1: neither was seen to be the faster."""
        return self.low <= 1.0 <= self.high


def ratio_of_rounds(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], *, seed: int = 0
) -> Ratio:
    """Compare times of two programs that were measured in turn.

    Args:
        ours, theirs: seconds of each call, by round; as many rounds of each.
        seed: of the resampling.

    Raises:
        ValueError: no round, or not as many of each.
    """
    if not ours or len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds against {len(theirs)}")
    rounds = [float(np.median(b) / np.median(a)) for a, b in zip(ours, theirs, strict=True)]
    rng = np.random.default_rng(seed)
    # The medians of resampled calls, [rounds, resamples] of each.
    a = np.stack([_resampled_medians(calls, rng) for calls in ours])
    b = np.stack([_resampled_medians(calls, rng) for calls in theirs])
    which = rng.integers(0, len(rounds), (len(rounds), _RESAMPLES))
    column = np.arange(_RESAMPLES)
    medians = np.median((b / a)[which, column], axis=0)
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(q) for q in np.quantile(medians, (tail, 1 - tail)))
    return Ratio(float(np.median(rounds)), low, high, tuple(rounds))


def _resampled_medians(calls: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of `_RESAMPLES` samples drawn with replacement.

    Drawn directly: the median of n draws lies at a rank whose uniform quantile is that of
    the middle of n sorted uniform numbers, a Beta variate. For thousands of calls this
    spares thousands of draws a resample.
    """
    times = np.sort(np.asarray(calls, np.float64))
    half = (len(times) + 1) / 2
    quantiles = rng.beta(half, half, _RESAMPLES)
    index = np.minimum((quantiles * len(times)).astype(np.int64), len(times) - 1)
    return times[index]
