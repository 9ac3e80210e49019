"""The bars on a GPU: what is measured is right, and a runtime that dawdles misses them."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.machine import Machine, make_machine

from benchmarks import bare_plan, gpu_bars
from benchmarks.gpu_bars import measure_bars
from runtime import Detector, EngineError
from runtime.tensorrt_api import Flavour

SHARES = [0.95, 0.8, 0.8]
#: Seconds that dwarf what the fakes do meanwhile; some are called once a batch.
PAUSE = {"score_device": 0.1, "score": 0.4, "compute": 0.1, "copy_in": 0.1, "replay": 0.4}


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_bars, "ROUNDS", 2)


def measure(machine: Machine) -> list[Any]:
    bars = measure_bars(machine.plan, batch=16, seconds=0.0)
    gc.collect()
    assert machine.cuda.faults == []
    assert machine.cuda.used == 0
    assert machine.cuda.host_memory == machine.cuda.executables == machine.cuda.graphs == {}
    return bars


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("flavour", list(Flavour))
def test_every_bar_is_measured_and_nothing_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flavour: Flavour
) -> None:
    machine = make_machine(monkeypatch, tmp_path, seed=1, flavour=flavour)
    bars = measure(machine)
    assert [(bar.limit, bar.better) for bar in bars] == [
        *((share, "more") for share in SHARES),
        (1.2, "less"),
    ]
    assert all(bar.measured > 0 and bar.spread for bar in bars)
    assert all("A fake" in bar.name for bar in bars)
    # The bare side replays a graph of its own, captured once for each batch size.
    captures = machine.names().count("cuStreamBeginCapture")
    assert captures == (3 if flavour is Flavour.TENSORRT else 0)


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize(
    ("method", "missed"), [("score_device", [0]), ("score", [1, 2, 3])], ids=["device", "host"]
)
def test_a_slow_runtime_misses_its_bars(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, missed: list[int]
) -> None:
    machine = make_machine(monkeypatch, tmp_path, seed=1)
    plain = getattr(Detector, method)

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(PAUSE[method])
        return plain(*arguments, **options)

    monkeypatch.setattr(Detector, method, slow)
    bars = measure(machine)
    assert not any(bars[index].met for index in missed)


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("method", ["compute", "copy_in", "replay"])
def test_slow_bare_calls_would_meet_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
) -> None:
    """The ratio is the right way round."""
    machine = make_machine(monkeypatch, tmp_path, seed=1)
    plain = getattr(bare_plan.BarePlan, method)

    def slow(self: Any) -> None:
        time.sleep(PAUSE[method])
        plain(self)

    monkeypatch.setattr(bare_plan.BarePlan, method, slow)
    bars = measure(machine)
    index = {"compute": [0], "copy_in": [1, 2], "replay": [3]}[method]
    assert all(bars[i].met for i in index)


def test_two_sides_that_score_differently_are_not_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = make_machine(monkeypatch, tmp_path, seed=1)
    monkeypatch.setattr(
        bare_plan.BarePlan, "fake", lambda self: np.full(self._count, 0.5, np.float32)
    )
    with pytest.raises(EngineError, match="scores differently without the runtime"):
        measure_bars(machine.plan, batch=16, seconds=0.0)
