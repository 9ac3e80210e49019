"""What this machine can build and run, and why not."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata, util


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: the ability.
        ok: whether it is there.
        found: versions, or the reason.
        todo: what to type where it is missing.
    """

    what: str
    ok: bool
    found: str
    todo: str = ""


def examine() -> list[Finding]:
    """Look at the machine without importing a framework."""
    return [
        Finding("python", True, f"{platform.python_version()} on {platform.machine()}"),
        _packages("run .onnx", ["onnxruntime"], ""),
        _packages("export Keras networks", ["tensorflow", "tf2onnx", "h5py", "onnxslim"], "keras"),
        _packages(
            "export PyTorch networks", ["torch", "torchvision", "onnxscript", "onnxslim"], "torch"
        ),
        _driver(),
        *_builders(),
        _plans(),
        _weights(),
    ]


def _packages(what: str, modules: list[str], extra: str) -> Finding:
    missing = [module for module in modules if util.find_spec(module) is None]
    if missing:
        return Finding(
            what, False, f"missing: {', '.join(missing)}", f"pip install 'deepfake-zoo[{extra}]'"
        )
    return Finding(what, True, ", ".join(f"{m} {_version(m)}" for m in modules))


def _version(module: str) -> str:
    for name in metadata.packages_distributions().get(module, [module]):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "?"


def _driver() -> Finding:
    from runtime.cuda_driver import query_driver

    driver = query_driver()
    if not driver.devices:
        return Finding("NVIDIA GPU", False, driver.reason, "engines in .onnx run on the CPU")
    names = ", ".join(
        f"{d.name} (compute capability {d.compute_capability}, {d.memory / 2**30:.0f} GiB)"
        for d in driver.devices
    )
    return Finding("NVIDIA GPU", True, f"{names}; driver for CUDA {driver.cuda_version}")


def _builders() -> list[Finding]:
    from runtime.tensorrt_api import available

    extras = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}
    found = []
    for library in available():
        flavour = str(library.flavour.value)
        note = "; builds need a GPU" if flavour == "tensorrt" else "; builds need no GPU"
        if library.version is not None:
            found.append(Finding(f"build with {flavour}", True, library.version + note))
        else:
            todo = f"pip install 'deepfake-zoo[{extras[flavour]}]'"
            found.append(Finding(f"build with {flavour}", False, library.reason, todo))
    return found


def _plans() -> Finding:
    from runtime.cuda_driver import query_driver

    driver = query_driver()
    if not driver.devices:
        return Finding("run .plan", False, "needs an NVIDIA GPU", "run the .onnx beside the plan")
    if util.find_spec("cuda") is None:
        return Finding("run .plan", False, "missing: cuda", "pip install 'deepfake-zoo[rtx]'")
    return Finding("run .plan", True, "on the GPU above")


def _weights() -> Finding:
    from weights.store import list_files

    files = list_files()
    here = [file.name for file in files if file.status in ("ok", "present")]
    if not here:
        return Finding("published weights", False, "none here", "zoo weights fetch meso4")
    return Finding("published weights", True, f"{len(here)} of {len(files)} files are here")
