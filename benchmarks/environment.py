"""Where something was measured: machine, versions, commit."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from runtime.backends.shared_cores import count_cores
from runtime.engine_info import file_sha256
from runtime.errors import MissingPackageError
from zoo import __version__

#: Packages whose version decides about speed.
_PACKAGES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorflow",
    "keras",
    "tf2onnx",
    "torch",
    "torchvision",
    "openvino",
    "tensorrt-cu13",
    "tensorrt-rtx-cu13",
    "cuda-bindings",
    "av",
)
_GPU_FIELDS = {
    "name": "name",
    "driver": "driver_version",
    "memory_mib": "memory.total",
    "used_mib": "memory.used",
    "temperature_c": "temperature.gpu",
    "power_w": "power.draw",
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
}


def describe_file(path: Path) -> dict[str, Any]:
    """A file or folder that was measured on, by its name; a file by its bytes too."""
    return {"file": path.name, "sha256": file_sha256(path) if path.is_file() else None}


def describe_machine() -> dict[str, Any]:
    """CPU, memory, GPUs, system, versions, commit and time, as JSON data."""
    psutil = import_psutil()
    commit, changed = _commit()
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": count_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        # What others did on the machine at the time; 0 is quiet.
        "load_before": round(os.getloadavg()[0], 2),
        "gpus": [asdict(gpu) for gpu in read_gpus()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions(),
        "deepfake_zoo": __version__,
        "commit": commit,
        "uncommitted_changes": changed,
    }


def processor_use(seconds: float = 0.5) -> float:
    """Share of all processors that is in use while this program waits, 0 to 1.

    Says more than the load, which still counts what ended a minute ago.
    """
    return float(import_psutil().cpu_percent(seconds)) / 100


def import_psutil() -> Any:
    """The package that tells memory and processes of any system.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import psutil
    except ImportError:
        raise MissingPackageError("psutil", "measuring", "bench") from None
    return psutil


@dataclass(frozen=True)
class GpuState:
    """What the driver says of a GPU now: read, never set.

    Attributes:
        name, driver: of the GPU and the driver.
        memory_mib, used_mib: device memory, and how much of it all programs use.
        temperature_c, power_w: ``None`` where the GPU does not say.
        sm_mhz, memory_mhz: clocks.
    """

    name: str
    driver: str
    memory_mib: float | None = None
    used_mib: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    sm_mhz: float | None = None
    memory_mhz: float | None = None


def read_gpus() -> list[GpuState]:
    """State of each GPU; empty without NVIDIA's tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = f"--query-gpu={','.join(_GPU_FIELDS.values())}"
    try:
        answer = subprocess.run(
            [tool, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []  # the tool is there and the driver is not
    return [_parse_gpu(line) for line in answer.stdout.splitlines() if line.strip()]


def _parse_gpu(line: str) -> GpuState:
    name, driver, *numbers = (part.strip() for part in line.split(","))
    values: list[float | None] = []
    for number in numbers:
        try:
            values.append(float(number))
        except ValueError:  # "[N/A]"
            values.append(None)
    return GpuState(name, driver, *values)


def seeing_gpu(index: int) -> dict[str, str]:
    """The environment of a process for which one GPU is its first and only one.

    Every library then uses that GPU, however each of them would have to be told.

    Args:
        index: as CUDA counts in this process; 0 leaves the environment as it is.
    """
    environment = dict(os.environ)
    if index:
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        names = [name.strip() for name in visible.split(",")] if visible is not None else None
        environment["CUDA_VISIBLE_DEVICES"] = str(index) if names is None else names[index]
    return environment


def versions() -> dict[str, str]:
    """Installed packages that matter, by name."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def summary_line(machine: dict[str, Any]) -> str:
    """One line for people: processor, cores, GPU."""
    cores = f"{machine['cores']} cores" if machine["cores"] != 1 else "1 core"
    gpus = [gpu["name"] for gpu in machine["gpus"]]
    return ", ".join([f"{machine['cpu']}, {cores}", *gpus])


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return f"{value.strip()} ({_simd()})"
    return platform.processor() or platform.machine()


def _simd() -> str:
    """The widest vector instructions, as NumPy found them: models are often hidden."""
    show: Any = np.show_config(mode="dicts")
    found = show.get("SIMD Extensions", {}).get("found", [])
    return str(found[-1]) if found else platform.machine()


def _commit() -> tuple[str | None, bool | None]:
    """Of the checkout: its commit and whether tracked files differ from it."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None, None
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(changed)
