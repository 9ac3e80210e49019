"""What must hold before a plan is given to TensorRT, each with its own words.

TensorRT's answers to a damaged plan, to one of another version or for another GPU are an
error code or a crash, so a plan is opened only after its sidecar's facts were checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from runtime.cuda_driver import Device, query_driver
from runtime.engine_file import EngineFile, check_artefact, take_engine
from runtime.engine_info import Artefact, Builder, EngineInfo, sidecar_path
from runtime.errors import EngineError, ZooError
from runtime.files import Snapshot
from runtime.tensorrt_api import Api, Flavour, load
from runtime.text import printable

#: What TensorRT-RTX builds for where no target is named: this and later.
RTX_OLDEST_DEVICE = (8, 0)


@dataclass(frozen=True)
class CheckedPlan:
    """A plan that fits: its bytes and sidecar, the library that runs it and its GPU."""

    content: Snapshot
    info: EngineInfo
    builder: Builder
    api: Api
    device: Device


def check_plan(path: Path, device: int = 0) -> CheckedPlan:
    """Check a plan against its sidecar, the library installed and the GPU, in this order.

    What can be said of the file is said first, on any machine; a machine without a GPU is
    named as such before a package that is missing, for that would not help it.

    Args:
        path: the ``.plan``.
        device: index of the GPU, as CUDA counts.

    Raises:
        EngineError: no sidecar, or it knows no builder; the file is not the one it speaks
            of; the library is of another version; there is no GPU (naming the ``.onnx``
            that runs without), none of that index, or one the plan was not built for.
        MissingPackageError: the plan's flavour of TensorRT is not installed.
    """
    file = take_engine(path)
    try:
        return _checked(file, device)
    except BaseException:
        file.content.close()
        raise


def _checked(file: EngineFile, device: int) -> CheckedPlan:
    path = file.path
    info = file.info or file.sidecar
    if info is None:
        raise EngineError(
            f"{path} cannot be opened without its sidecar",
            f"{sidecar_path(path)} is not there; it says what built the plan and for which GPU",
            "put the .json that zoo export wrote beside the plan",
        )
    artefact = check_artefact(file.content, info)
    builder = info.builder
    if builder is None:
        raise EngineError(
            f"{sidecar_path(path)} does not say what built {path.name}",
            "its field 'builder' is empty",
            f"export the engine again: {export_command(info, artefact)}",
        )
    rebuild = export_command(info, artefact, builder)
    api: Api | None = None
    not_loaded: ZooError | None = None
    try:
        api = load(Flavour(builder.flavour))
    except ZooError as error:
        not_loaded = error
    if api is not None and api.version != builder.version:
        raise EngineError(
            f"{path} was built by another version of {builder.flavour}",
            f"{printable(builder.version)} built it, {api.version} is installed, and a plan runs "
            "only in the version that built it",
            f"build it again: {rebuild}",
        )
    found = _device(path, info, device)
    if api is None:
        assert not_loaded is not None
        raise not_loaded
    if not runs_on(builder, found):
        built_for = printable(", ".join(builder.target)) or "8.0 and later"
        raise EngineError(
            f"{path} was not built for this GPU",
            f"it was built for compute capability {built_for}; device {found.index} "
            f"({found.name}) has {found.compute_capability}",
            f"build it again on this machine: {rebuild}",
        )
    return CheckedPlan(file.content, info, builder, api, found)


def runs_on(builder: Builder, device: Device) -> bool:
    """Whether a plan was built for a device's compute capability."""
    if builder.target:
        return device.compute_capability in builder.target
    major, minor = (int(part) for part in device.compute_capability.split("."))
    return (major, minor) >= RTX_OLDEST_DEVICE


def export_command(info: EngineInfo, artefact: Artefact, builder: Builder | None = None) -> str:
    """The command that makes an engine again, as it was."""
    weights = info.weights
    if not weights.trained:
        words = ["zoo export", info.network, "--weights random"]
        words += [f"--seed {weights.seed}"] if weights.seed else []
    elif weights.name == "custom":
        words = ["zoo export", info.network, f"--weights {weights.file or 'FILE'}"]
    else:
        words = ["zoo export", info.network, f"--weights {weights.name}"]
    words += ["--fp16"] * (artefact.precision == "fp16")
    if builder is not None:
        words.append(f"--builder {builder.flavour}")
        words.append(f"--batch {builder.min_batch}:{builder.opt_batch}:{builder.max_batch}")
    return printable(" ".join(words))


def _device(path: Path, info: EngineInfo, index: int) -> Device:
    """The GPU of an index.

    Raises:
        EngineError: there is none; where an ``.onnx`` lies beside the plan, its name is in
            the way out.
    """
    driver = query_driver()
    for device in driver.devices:
        if device.index == index:
            return device
    beside = [
        n
        for n, a in info.artefacts.items()
        if a.kind == "onnx" and os.path.exists(path.parent / n)  # noqa: PTH110  Path's raises of a name too long
    ]
    # The plainest one: FP32 is faster than FP16 on a CPU.
    beside.sort(key=lambda name: info.artefacts[name].precision != "fp32")
    instead = (
        f'Detector("{printable(path.parent / beside[0])}") runs on this CPU'
        if beside
        else (f"zoo export {printable(info.network)} makes a .onnx, which runs on any machine")
    )
    if driver.devices:
        known = ", ".join(f"{d.index} ({d.name})" for d in driver.devices)
        raise EngineError(
            f"there is no GPU {index} for {path}", f"there is {known}", "name one that is there"
        )
    raise EngineError(f"{path} needs an NVIDIA GPU", driver.reason, instead)
