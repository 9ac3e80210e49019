"""How sure a mean over a video's faces is, though neighbouring frames resemble each other.

Faces of one person in one second are alike: thirty of them tell little more than one. So
whole seconds are resampled, and whole tracks before them (a two-level cluster bootstrap).
Two corrections make the interval cover what it claims where seconds are few:

* Seconds resemble their neighbours too. Of n values with a lag-1 correlation r only
  n (1 - r) / (1 + r) count (Bayley and Hammersley, "The effective number of independent
  observations in an autocorrelated time series", 1946). r is estimated from the seconds;
  that estimate is too small by about 1/n, which is added.
* The interval is widened about the mean from the normal to Student's distribution, with one
  degree of freedom less than there are seconds that count (Hesterberg, "What Teachers Should
  Know About the Bootstrap", The American Statistician 69, 2015, on small samples).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES, CONFIDENCE, SEED = 1000, 0.95, 0
#: Of Student's t: the 97.5 % quantile by degrees of freedom.
_STUDENT = {
    1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 6: 2.44691, 8: 2.30600,
    10: 2.22814, 15: 2.13145, 30: 2.04227, 60: 2.00030, 120: 1.97993, math.inf: 1.95996,
}  # fmt: skip
#: Numbers that a resampling holds at once.
_AT_ONCE = 1_000_000
#: A correlation between seconds above this is not told from 1 by any clip.
_MOST_ALIKE = 0.9


@dataclass(frozen=True)
class _Seconds:
    """One track by its seconds: sum and number of the values in each, float64 [S]."""

    total: NDArray[np.float64]
    count: NDArray[np.float64]


def mean_interval(
    values: Sequence[float], times: Sequence[float], tracks: Sequence[int | None]
) -> tuple[float, float] | None:
    """95 % interval of the mean of values in 0..1; the same values give the same interval.

    It speaks of more footage like this: the same people in other seconds. That the values
    are right it does not say. Measured on scores that forget themselves in half a second,
    as those of a clip with one speaker do, it holds the true mean in 93 % of 4,000 simulated
    clips of 10 s and in 94 % of those of 30 s; the plain bootstrap over faces does in 72 %.

    Args:
        values: N of them, at least one.
        times: of each, in seconds.
        tracks: of each.

    Returns:
        low and high, within 0..1; ``None`` where the values lie within one second of one
        track: nothing tells then how the next second would differ.
    """
    numbers = np.asarray(values, np.float64)
    people = _by_second(numbers, np.asarray(times, np.float64), tracks)
    blocks = sum(len(person.count) for person in people)
    if blocks < 2:
        return None
    mean = float(numbers.mean())
    if numbers.min() == numbers.max():
        return mean, mean
    means = _resampled_means(people)
    tail = 50 * (1 - CONFIDENCE)
    low, high = (float(v) for v in np.percentile(means, [tail, 100 - tail]))
    alike = min(max(_correlation(people), 0.0), _MOST_ALIKE)
    count = max(2.0, blocks * (1 - alike) / (1 + alike))
    wider = student(count - 1) / student(math.inf) * math.sqrt(blocks / (count - 1))
    return (
        max(0.0, mean - wider * max(0.0, mean - low)),
        min(1.0, mean + wider * max(0.0, high - mean)),
    )


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, to one part in a hundred, never too small.

    Args:
        freedom: degrees of it, 1 or more.
    """
    inverse = [1 / known for known in _STUDENT]
    return float(np.interp(1 / freedom, inverse[::-1], list(_STUDENT.values())[::-1]))


def _by_second(
    values: NDArray[np.float64], times: NDArray[np.float64], tracks: Sequence[int | None]
) -> list[_Seconds]:
    """Seconds are counted from a track's first face: else 0.2 s might count as two."""
    own: dict[int | None, list[int]] = {}
    for index, track in enumerate(tracks):
        own.setdefault(track, []).append(index)
    people = []
    for chosen in own.values():
        seconds = np.floor(times[chosen] - times[chosen].min())
        _, second, count = np.unique(seconds, return_inverse=True, return_counts=True)
        total = np.bincount(second, weights=values[chosen])
        people.append(_Seconds(total.astype(np.float64), count.astype(np.float64)))
    return people


def _resampled_means(people: Sequence[_Seconds]) -> NDArray[np.float64]:
    """The mean over all values in each resample: tracks drawn anew, and seconds in each."""
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(len(people), [1 / len(people)] * len(people), RESAMPLES)
    total, count = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for person, times in zip(people, drawn.T, strict=True):
        seconds = len(person.count)
        rows = max(1, _AT_ONCE // seconds)
        for start in range(0, RESAMPLES, rows):
            part = slice(start, start + rows)
            # A track that was drawn twice has its seconds drawn for each of the two.
            weights = rng.multinomial(times[part] * seconds, [1 / seconds] * seconds)
            total[part] += weights @ person.total
            count[part] += weights @ person.count
    means: NDArray[np.float64] = total / count
    return means


def _correlation(people: Sequence[_Seconds]) -> float:
    """Between neighbouring seconds of a track, about the track's own mean; over all tracks."""
    together = spread = 0.0
    for person in people:
        means = person.total / person.count
        apart = means - means.mean()
        squares = float((apart**2).sum())
        together += float((apart[1:] * apart[:-1]).sum()) + squares / len(means)
        spread += squares
    return together / spread if spread > 0 else 0.0
