"""Percentiles, ratios and the timing loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_engine import TinyEngine

from benchmarks.bound import bound_by
from benchmarks.ceiling import Ceiling, measure_ceiling
from benchmarks.measure import measure
from benchmarks.phases import Phases
from benchmarks.stats import ratio_of_rounds, summarise
from benchmarks.work import count_work


def test_percentiles_are_those_computed_by_hand() -> None:
    latency = summarise([4.0, 1.0, 5.0, 2.0, 3.0])
    assert (latency.p50, latency.max, latency.mean) == (3.0, 5.0, 3.0)
    # Between the ranks 0..4: 0.9 * 4 = 3.6, so six tenths of the way from 4 to 5.
    assert latency.p90 == pytest.approx(4.6)
    assert latency.p95 == pytest.approx(4.8)
    assert latency.p99 == pytest.approx(4.96)
    # Squares of the distances: 4 1 0 1 4, mean 2.
    assert latency.variation == pytest.approx(math.sqrt(2) / 3)
    hundred = summarise([float(n) for n in range(1, 101)])
    assert hundred.p50 == pytest.approx(50.5)
    assert hundred.p99 == pytest.approx(99.01)


def test_variation_decides_what_is_unstable() -> None:
    assert not summarise([1.0, 1.1, 0.9]).unstable
    assert summarise([1.0, 1.0, 2.0]).unstable


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no call"):
        summarise([])


class _Virtual:
    """A clock that only calls move forward."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds, self.now, self.calls = seconds, 0.0, 0

    def clock(self) -> float:
        return self.now

    def call(self) -> None:
        self.now += self._seconds(self.calls)
        self.calls += 1


def test_every_call_after_the_warm_up_counts() -> None:
    world = _Virtual(lambda n: 0.5 if n < 3 else 0.01)
    run = measure(world.call, duration=1.0, repetitions=5, clock=world.clock)
    assert run.warm_up.stable
    assert run.warm_up.calls + len(run.seconds) == world.calls
    # Neither the slow first calls nor any other is missing or counted twice.
    assert run.warm_up.seconds + sum(run.seconds) == pytest.approx(world.now)
    assert max(run.seconds) == pytest.approx(0.01)


def test_an_outlier_is_kept() -> None:
    world = _Virtual(lambda n: 2.0 if n == 100 else 0.01)
    run = measure(world.call, duration=4.0, repetitions=1, clock=world.clock)
    assert max(run.seconds) == pytest.approx(2.0)
    assert sum(run.seconds) >= 4.0 - 1e-9


@pytest.mark.parametrize(("duration", "repetitions", "due"), [(1.0, 3, 100), (0.001, 50, 50)])
def test_both_duration_and_repetitions_are_reached(
    duration: float, repetitions: int, due: int
) -> None:
    world = _Virtual(lambda n: 0.01)
    run = measure(world.call, duration=duration, repetitions=repetitions, clock=world.clock)
    assert len(run.seconds) == pytest.approx(due, abs=1)


def test_a_call_that_never_settles_is_measured_and_marked() -> None:
    world = _Virtual(lambda n: 0.05 * (1.5 ** (n % 7)) * (1 + n / 10))
    run = measure(world.call, duration=0.1, repetitions=2, clock=world.clock)
    assert not run.warm_up.stable


@pytest.mark.parametrize(("duration", "repetitions"), [(0, 1), (-1, 1), (math.nan, 1), (1, 0)])
def test_no_time_is_refused(duration: float, repetitions: int) -> None:
    with pytest.raises(ValueError, match="cannot measure"):
        measure(lambda: None, duration=duration, repetitions=repetitions)


def _two_programs(seed: int, slower: float) -> tuple[list[list[float]], list[list[float]]]:
    """Seven rounds of a machine whose speed drifts, and of two programs on it."""
    rng = np.random.default_rng(seed)
    ours, theirs = [], []
    for _ in range(7):
        drift = rng.uniform(0.5, 2.0)
        for rounds, factor in ((ours, 1.0), (theirs, slower)):
            level = drift * factor * rng.normal(1.0, 0.02)
            rounds.append((level * rng.lognormal(0.0, 0.1, 40)).tolist())
    return ours, theirs


def test_a_program_against_itself_gives_an_interval_that_holds_one() -> None:
    ratios = [ratio_of_rounds(*_two_programs(seed, 1.0)) for seed in range(100)]
    # 95 % intervals of few rounds: most of them hold what is true, and none is far off.
    assert sum(ratio.undecided for ratio in ratios) >= 90
    assert all(0.93 < ratio.median < 1.07 for ratio in ratios)


def test_drift_does_not_hide_a_slower_program() -> None:
    for seed in range(20):
        ratio = ratio_of_rounds(*_two_programs(seed, 1.2))
        assert not ratio.undecided
        assert ratio.low < ratio.median < ratio.high
        assert ratio.median == pytest.approx(1.2, rel=0.06)


def test_a_ratio_is_the_median_of_its_rounds() -> None:
    ratio = ratio_of_rounds([[1.0], [2.0, 2.0, 9.0], [4.0]], [[3.0], [4.0], [4.0]])
    assert ratio.rounds == (3.0, 2.0, 1.0)
    assert ratio.median == 2.0
    # Without noise there is nothing to be unsure of.
    steady = ratio_of_rounds([[1.0] * 5] * 4, [[2.0] * 5] * 4)
    assert (steady.low, steady.median, steady.high) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="rounds"):
        ratio_of_rounds([[1.0]], [])


def test_work_is_counted_as_by_hand(tiny_engine: TinyEngine) -> None:
    work = count_work(tiny_engine.path)
    # A 3 x 3 convolution from 3 to 4 channels on 8 x 8 pixels, and a product 4 x 1.
    assert work.operations == 2 * (4 * 64 * 27 + 4)
    convolution, pool, product = 4 * (3 * 64 + 4 * 64), 4 * (4 * 64 + 4), 4 * (4 + 1)
    assert work.image_bytes == convolution + pool + product
    floats = 1 + 4 * 27 + 4 + 4 + 1
    assert work.weight_bytes == 4 * floats + 8 * 3
    assert work.of_batch(8) == (
        8 * work.operations,
        8 * work.image_bytes + work.weight_bytes,
    )


_CEILING = Ceiling(100.0, 1000.0, "", "")


@pytest.mark.parametrize(
    ("operations", "moved", "phases", "said"),
    [
        (800.0, 10.0, None, "arithmetic: 80% of a matrix product's rate"),
        (100.0, 90.0, None, "memory: "),
        (100.0, 10.0, None, "neither"),
        (800.0, 10.0, Phases(2e-3, 1e-3, 1e-3, 1e-4), "the host: enqueueing takes 2 ms"),
        (800.0, 10.0, Phases(1e-4, 5e-3, 1e-3, 1e-4), "the copy host to device: 5 ms"),
        (800.0, 10.0, Phases(1e-4, 1e-3, 5e-3, 1e-4), "arithmetic"),
        (None, None, None, "not known"),
    ],
)
def test_what_a_run_is_bound_by(
    operations: float | None, moved: float | None, phases: Phases | None, said: str
) -> None:
    assert said in bound_by(operations, moved, _CEILING, phases)


def test_frames_on_the_device_need_no_copy() -> None:
    phases = Phases(1e-4, 5e-3, 1e-3, 1e-4)
    assert bound_by(800.0, 10.0, _CEILING, phases, from_host=False).startswith("arithmetic")


def test_the_machine_has_a_ceiling() -> None:
    ceiling = measure_ceiling("cpu", False, 1)
    assert ceiling.bytes_per_s is not None
    assert ceiling.operations_per_s is not None
    assert ceiling.bytes_per_s > 1e8
    assert ceiling.operations_per_s > 1e8


def test_a_ceiling_that_cannot_be_measured_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('no such luck')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ceiling = measure_ceiling("cpu", False, 1)
    assert ceiling.bytes_per_s is None
    assert "no such luck" in ceiling.copy
