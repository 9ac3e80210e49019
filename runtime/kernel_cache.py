"""TensorRT-RTX's compiled kernels on disk, beside the plan they belong to.

TensorRT-RTX compiles a plan's kernels for the GPU at hand when the plan is run. Kept, they
need not be compiled by the next process. A cache is a help, not a part of the engine: one
that cannot be read or written costs time, and is logged.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from pathlib import Path

from runtime.cuda_driver import Device

logger = logging.getLogger(__name__)


def cache_path(plan: Path, device: Device, version: str) -> Path:
    """Where the kernels of a plan are kept for one kind of GPU and version of the library.

    ``meso4.plan`` -> ``meso4.plan.sm89-nvidia-l4.1.7.1.116.kernels``
    """
    name = re.sub(r"[^a-z0-9]+", "-", device.name.lower()).strip("-")
    kind = "sm" + device.compute_capability.replace(".", "")
    return plan.with_name(f"{plan.name}.{kind}-{name}.{version}.kernels")


def read_cache(path: Path) -> bytes:
    """The kept kernels, or nothing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        logger.warning("the kernel cache %s cannot be read: %s", path, str(error))
        return b""


def write_cache(path: Path, data: bytes) -> None:
    """Keep kernels. Whole or not at all, whoever else writes at the same time."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        logger.warning("the kernel cache %s cannot be written: %s", path, str(error))
