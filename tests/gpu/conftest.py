"""Real plans for tests on a real GPU, built there once a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The helpers of tests/ are modules of their own: a folder below has to be told.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``meso4.onnx``, ``.fp16.onnx``, ``.plan`` and ``.json`` of random weights.

    Seeded weights are conditioned: their outputs are neither saturated nor constant.
    """
    from export.pipeline import ExportRequest, export_network
    from runtime.batch import BatchProfile
    from zoo.catalog import find_card

    out = tmp_path_factory.mktemp("engines")
    export_network(
        ExportRequest(
            find_card("meso4"),
            "random",
            out=out,
            name="meso4",
            fp16=True,
            batch=BatchProfile(1, 32, 256),
        )
    )
    return out


@pytest.fixture
def plan(engines: Path) -> Path:
    """The plan. Do not change it."""
    return engines / "meso4.plan"


@pytest.fixture
def detector(plan: Path) -> Iterator[Any]:
    """Opened on the plan."""
    from runtime import Detector

    with Detector(plan) as opened:
        yield opened
