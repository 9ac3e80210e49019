"""A machine with fake GPUs: driver, CUDA and TensorRT, and a plan that runs there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.cuda import FakeCuda
from fakes.tensorrt import make_module, make_plan
from runtime import Detector, cuda, plan_checks, tensorrt_api
from runtime.cuda_driver import Device, Driver
from runtime.engine_info import (
    Artefact,
    Builder,
    EngineInfo,
    Preprocessing,
    WeightsInfo,
    file_sha256,
    sidecar_path,
)
from runtime.errors import MissingPackageError
from runtime.tensorrt_api import Api, Flavour

HEIGHT, WIDTH = 6, 10  # 180 bytes a frame: slices of a batch do not lie at multiples of 256
VERSIONS = {Flavour.TENSORRT: "11.4.0.106", Flavour.TENSORRT_RTX: "1.7.1.116"}
DEVICES = (
    Device(0, "NVIDIA Fake 1", "8.9", 1 << 28),
    Device(1, "NVIDIA Fake 2", "12.0", 1 << 28),
)


@dataclass
class Machine:
    """What the code under test meets."""

    cuda: FakeCuda
    module: Any
    plan: Path

    def detector(self, **options: Any) -> Detector:
        return Detector(self.plan, **options)

    def names(self) -> list[str]:
        """Functions of the driver called so far."""
        return [name for name, _ in self.cuda.calls]


def make_machine(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    seed: int | None = None,
    flavour: Flavour = Flavour.TENSORRT,
    profile: tuple[int, int, int] = (1, 4, 16),
    memory: int = 1 << 28,
) -> Machine:
    """Put fakes in place of the driver, CUDA and TensorRT."""
    fake = FakeCuda(seed, memory)
    module = make_module(fake, VERSIONS[flavour], rtx=flavour is Flavour.TENSORRT_RTX)
    api = Api(flavour, module)
    driver = Driver(DEVICES, "13.0", "")
    monkeypatch.setattr(cuda, "bindings", lambda: fake)
    monkeypatch.setattr(plan_checks, "load", lambda wanted: {flavour: api}[wanted])
    monkeypatch.setattr(plan_checks, "query_driver", lambda: driver)
    monkeypatch.setattr(tensorrt_api, "query_driver", lambda: driver)
    return Machine(fake, module, write_plan(folder, flavour=flavour, profile=profile))


def write_plan(
    folder: Path,
    *,
    flavour: Flavour = Flavour.TENSORRT,
    profile: tuple[int, int, int] = (1, 4, 16),
    content: bytes | None = None,
) -> Path:
    """``fake.plan`` with its sidecar."""
    plan = folder / "fake.plan"
    plan.write_bytes(make_plan(HEIGHT, WIDTH, profile) if content is None else content)
    info = EngineInfo(
        network="meso4",
        title="A fake",
        weights=WeightsInfo("df", trained=True),
        preprocessing=Preprocessing(HEIGHT, WIDTH, "nearest"),
        artefacts={
            plan.name: Artefact("plan", "fp16", plan.stat().st_size, file_sha256(plan)),
        },
        builder=Builder(
            flavour.value,
            VERSIONS[flavour],
            ["8.9"] if flavour is Flavour.TENSORRT else [],
            *profile,
        ),
    )
    sidecar_path(plan).write_text(info.to_json())
    return plan


def change_sidecar(plan: Path, **changes: Any) -> None:
    """Write a plan's sidecar anew; changes of ``builder`` are a dict of its fields."""
    path = sidecar_path(plan)
    info = EngineInfo.from_json(path.read_text(), str(path))
    if isinstance(changes.get("builder"), dict):
        assert info.builder is not None
        changes["builder"] = replace(info.builder, **changes["builder"])
    path.write_text(replace(info, **changes).to_json())


def frames(count: int, seed: int = 0) -> np.ndarray:
    """Random uint8 [count, HEIGHT, WIDTH, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


def not_installed(wanted: Flavour) -> Api:
    """In place of `load`."""
    raise MissingPackageError("tensorrt-cu13", "TensorRT", "tensorrt")
