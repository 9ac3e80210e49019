"""Real plans for tests on a real GPU, built there once a run by each TensorRT there is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The helpers of tests/ are modules of their own: a folder below has to be told.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def unusable(flavour: str) -> str | None:
    """Why a TensorRT makes no plans for this machine's first GPU; ``None`` where it does."""
    from runtime.cuda_driver import query_driver
    from runtime.tensorrt_api import Flavour, available, load

    (found,) = (each for each in available() if each.flavour.value == flavour)
    if found.version is None:
        return f"{flavour}: {found.reason}"
    if flavour == "tensorrt_rtx":
        device = query_driver().devices[0]
        listed = load(Flavour.TENSORRT_RTX).trt.ComputeCapability.__members__
        if "SM" + device.compute_capability.replace(".", "") not in listed:
            return f"{flavour} {found.version} lists no {device.compute_capability}, {device.name}"
    return None


@pytest.fixture(scope="session", params=["tensorrt", "tensorrt_rtx"])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``meso4.onnx``, ``.fp16.onnx``, ``.plan`` and ``.json`` of random weights.

    Seeded weights are conditioned: their outputs are neither saturated nor constant.
    """
    from export.pipeline import ExportRequest, export_network
    from runtime.batch import BatchProfile
    from zoo.catalog import find_card

    if why := unusable(request.param):
        pytest.skip(why)
    out = tmp_path_factory.mktemp("engines")
    export_network(
        ExportRequest(
            find_card("meso4"),
            "random",
            out=out,
            name="meso4",
            fp16=True,
            builder=request.param,
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
