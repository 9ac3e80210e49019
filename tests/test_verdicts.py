"""What is said of many faces: the interval holds what it claims, and doubt is called doubt."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.mean_interval import RESAMPLES, _by_second, _correlation, mean_interval, student
from runtime.verdicts import FaceVerdict, Summary, summarise, tracks_of

#: Faces a second, as ``zoo detect`` looks at a clip of 30 frames a second.
RATE = 3


def seen(
    fake: Sequence[float], times: Sequence[float] | None = None, track: int | None = 0
) -> list[FaceVerdict]:
    times = [i / RATE for i in range(len(fake))] if times is None else times
    return [
        FaceVerdict((0, 0, 9, 9), 0.9, "fake" if p >= 0.5 else "real", p, 0.0, time, track)
        for p, time in zip(fake, times, strict=True)
    ]


def in_an_image(*fake: float) -> list[FaceVerdict]:
    return [FaceVerdict((0, 0, 9, 9), 0.9, "real", p, 0.0) for p in fake]


def clips(number: int, seconds: int, memory: float, level: float = 0.7) -> NDArray[np.float64]:
    """P(fake) of many clips, [number, RATE * seconds]: a logit that drifts around ``level``.

    Args:
        memory: seconds in which the correlation falls to 1/e (an Ornstein-Uhlenbeck
            process). On the forged clip of one speaker, a face each 0.1 s, it falls to
            0.57 in 0.3 s and to 0.14 in 0.9 s: about 0.5 s.
    """
    rng = np.random.default_rng(seconds)
    keeps = np.exp(-1 / RATE / memory)
    steps = rng.normal(size=(RATE * seconds, number))
    drift = steps.copy()
    for i in range(1, len(steps)):
        drift[i] = keeps * drift[i - 1] + np.sqrt(1 - keeps**2) * steps[i]
    return 1 / (1 + np.exp(-(level + 1.5 * drift.T)))


def true_mean(level: float = 0.7) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return float(weights @ (1 / (1 + np.exp(-(level + 1.5 * nodes)))) / weights.sum())


def covered(intervals: Sequence[tuple[float, float] | None], truth: float) -> float:
    assert all(found is not None for found in intervals)
    return float(np.mean([low <= truth <= high for low, high in intervals]))  # type: ignore[misc]


def by_faces(values: NDArray[np.float64]) -> tuple[float, float]:
    """The bootstrap that takes faces for independent."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("seconds", [10, 30])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(seconds: int) -> None:
    scores, truth = clips(200, seconds, memory=0.5), true_mean()
    times = [i / RATE for i in range(RATE * seconds)]
    own = [mean_interval(list(p), times, [0] * len(times)) for p in scores]
    assert covered(own, truth) >= 0.9
    assert covered([by_faces(p) for p in scores], truth) < 0.8, "or these scores test nothing"


def test_two_people_in_the_same_seconds_are_held_too() -> None:
    """One forged, one not: the mean over both, and doubt about which the next second shows."""
    one, other = clips(150, 10, 0.5, level=1.5), clips(150, 10, 0.5, level=-1.5)[::-1]
    times = [i / RATE for i in range(10 * RATE)]
    truth = (true_mean(1.5) + true_mean(-1.5)) / 2
    found = [
        mean_interval([*p, *q], [*times, *times], [0] * len(times) + [1] * len(times))
        for p, q in zip(one, other, strict=True)
    ]
    assert covered(found, truth) >= 0.9


def test_more_frames_of_the_same_seconds_are_no_more_evidence() -> None:
    few = summarise(seen([0.3, 0.8, 0.6, 0.9], [0, 1, 2, 3]), 0.5)
    often = [i + k / 20 for i in range(4) for k in range(20)]
    many = summarise(seen([p for p in (0.3, 0.8, 0.6, 0.9) for _ in range(20)], often), 0.5)
    assert many.faces == 20 * few.faces
    assert (many.low, many.high) == pytest.approx((few.low, few.high), abs=0.01)


def test_seconds_count_from_a_tracks_first_face() -> None:
    """Two faces 0.2 s apart lie in one second, whatever the clock shows."""
    assert summarise(seen([0.2, 0.9], [1.9, 2.1]), 0.5).low is None
    assert summarise(seen([0.2, 0.9], [1.9, 2.9]), 0.5).low is not None


def test_tracks_are_resampled_before_their_seconds() -> None:
    """Of two people who differ and each stay the same, the mean is as unsure as they differ."""
    people = [*seen([0.9] * 30, track=0), *seen([0.1] * 30, track=1)]
    found = summarise(people, 0.5)
    assert found.label == "uncertain"
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 0.1
    assert found.high >= 0.9
    assert [t.verdict.label for t in tracks_of(people, 0.5)] == ["fake", "real"]


@pytest.mark.parametrize(
    ("fake", "label"),
    [([0.9, 0.95, 0.9, 0.97], "fake"), ([0.1, 0.05, 0.1, 0.02], "real"),
     ([0.9, 0.2, 0.8, 0.4], "uncertain"), ([0.55, 0.5, 0.6, 0.3], "uncertain")],
)  # fmt: skip
def test_a_verdict_is_certain_where_its_interval_is_on_one_side(
    fake: list[float], label: str
) -> None:
    found = summarise(seen(fake, [0, 1, 2, 3]), 0.5)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < found.mean < found.high <= 1
    assert found.label == label
    assert (found.low < 0.5 <= found.high) == (label == "uncertain")
    assert found == summarise(seen(fake, [0, 1, 2, 3]), 0.5), "the same each time"


def test_the_ends_of_the_interval_are_inside_it_above_and_outside_below() -> None:
    faces = seen([0.9, 0.2, 0.8, 0.4], [0, 1, 2, 3])
    found = summarise(faces, 0.5)
    assert found.low is not None
    assert found.high is not None
    assert summarise(faces, found.low).label == "fake"
    assert summarise(faces, found.high).label == "uncertain"


def test_the_track_with_the_most_faces_comes_first() -> None:
    people = [*seen([0.9] * 2, track=0), *seen([0.1] * 5, track=1)]
    assert [t.track for t in tracks_of(people, 0.5)] == [1, 0]


def test_faces_that_are_all_the_same_have_exactly_their_mean() -> None:
    for fake in np.linspace(0.05, 0.95, 19):
        found = summarise(seen([float(fake)] * 31), 0.5)
        assert (found.low, found.high) == (found.mean, found.mean)


def test_seconds_of_no_correlation_are_taken_for_such() -> None:
    """Of n values about their own mean the plain estimate is 1/n too small."""
    rng = np.random.default_rng(0)
    times = np.arange(8.0)
    found = [_correlation(_by_second(rng.normal(size=8), times, [0] * 8)) for _ in range(500)]
    assert abs(np.mean(found)) < 0.05


def test_a_correlation_beyond_reason_is_bounded() -> None:
    rising = mean_interval(np.linspace(0.3, 0.7, 300).tolist(), range(300), [0] * 300)
    assert rising is not None
    assert 0.4 < rising[0] < rising[1] < 0.6
    flickering = mean_interval([0.2, 0.8] * 10, range(20), [0] * 20)
    assert flickering is not None
    assert flickering[1] - flickering[0] > 0.24, "no surer than of independent seconds"


def test_the_threshold_itself_is_fake() -> None:
    same = summarise(seen([0.3] * 9), 0.3)
    assert (same.label, same.low, same.high) == ("fake", same.mean, same.mean)
    assert summarise(seen([0.3] * 9), 0.31).label == "real"


def test_without_an_interval_the_mean_tells() -> None:
    one = summarise(seen([0.5]), 0.5)
    assert one == Summary("fake", 1, 0.5, 0.5, 1.0, None, None)
    short = summarise(seen([0.2, 0.9, 0.7], [0.0, 0.3, 0.6]), 0.5)
    assert (short.label, short.low, short.high) == ("fake", None, None)


def test_the_faces_of_an_image_are_no_sample_of_others() -> None:
    found = summarise(in_an_image(0.2, 0.9, 0.7, 0.4), 0.5)
    assert (found.label, found.faces, found.share) == ("fake", 4, 0.5)
    assert found.mean == pytest.approx(0.55)
    assert found.median == pytest.approx(0.55)
    assert (found.low, found.high) == (None, None)
    assert summarise(in_an_image(0.3, 0.2), 0.5).label == "real"


def test_a_crowd_of_passers_by_has_an_interval() -> None:
    """Each is there for less than a second: the tracks alone tell how they differ."""
    times = [i / 2 for i in range(12)]
    found = mean_interval([0.2, 0.4] * 6, times, list(range(12)))
    assert found is not None
    assert 0.1 < found[0] < 0.3 < found[1] < 0.5


def test_an_hour_of_one_face_takes_no_time_and_little_memory() -> None:
    rng = np.random.default_rng(0)
    seconds = 3600
    start = time.perf_counter()
    tracemalloc.start()
    try:
        found = mean_interval(rng.beta(8, 4, seconds).tolist(), range(seconds), [0] * seconds)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 3
    assert peak < 28_000_000, "all resamples at once take more"
    assert found is not None
    assert 0.655 < found[0] < found[1] < 0.68


def test_students_quantile_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 5, 7, 9, 12, 20, 29, 45, 100, 1000, 100_000):
        due = stats.t.ppf(0.975, freedom)
        assert due * 0.9999 <= student(freedom) <= due * 1.01
