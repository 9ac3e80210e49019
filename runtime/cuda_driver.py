"""What the NVIDIA driver says of this machine, asked without any CUDA package.

TensorRT asked to work without a driver fails with a null pointer and no reason,
so everything that needs a GPU asks here first.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

#: The driver's own library: part of the driver, not of the CUDA toolkit.
LIBRARY = "libcuda.so.1"

# CUdevice_attribute of cuda.h
_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76


@dataclass(frozen=True)
class Device:
    """One GPU: its index as CUDA counts, name, compute capability (``8.9``), bytes of memory."""

    index: int
    name: str
    compute_capability: str
    memory: int


@dataclass(frozen=True)
class Driver:
    """The driver's answer.

    Attributes:
        devices: GPUs that this process may use (after ``CUDA_VISIBLE_DEVICES``).
        cuda_version: the newest CUDA the driver runs, as ``13.0``; ``None`` without one.
        reason: why there is no device; empty where there is one.
    """

    devices: tuple[Device, ...]
    cuda_version: str | None
    reason: str


class _DriverError(Exception):
    """A call of the driver API failed; the message is for people."""


def query_driver() -> Driver:
    """Ask the driver for its version and devices. Never raises for a machine without a GPU.

    It initialises the driver in this process (``cuInit``) but creates no context and
    takes no device memory.
    """
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        return Driver((), None, f"there is no NVIDIA driver on this machine ({error})")
    version: str | None = None
    try:
        number = ctypes.c_int()
        _call(cuda, "cuDriverGetVersion", ctypes.byref(number))
        version = f"{number.value // 1000}.{number.value % 1000 // 10}"
        _call(cuda, "cuInit", ctypes.c_uint(0))
        count = ctypes.c_int()
        _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
        devices = tuple(_device(cuda, index) for index in range(count.value))
    except _DriverError as error:
        return Driver((), version, f"the NVIDIA driver gives no GPU: {error}")
    return Driver(devices, version, "" if devices else "the NVIDIA driver sees no GPU")


def _device(cuda: ctypes.CDLL, index: int) -> Device:
    handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _call(cuda, "cuDeviceGet", ctypes.byref(handle), ctypes.c_int(index))
    _call(cuda, "cuDeviceGetName", name, ctypes.c_int(len(name)), handle)
    for value, attribute in (
        (major, _COMPUTE_CAPABILITY_MAJOR),
        (minor, _COMPUTE_CAPABILITY_MINOR),
    ):
        _call(cuda, "cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), handle)
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), handle)
    return Device(
        index, name.value.decode(errors="replace"), f"{major.value}.{minor.value}", memory.value
    )


def _call(cuda: ctypes.CDLL, function: str, *arguments: object) -> None:
    try:
        code = getattr(cuda, function)(*arguments)
    except AttributeError:
        raise _DriverError(f"{LIBRARY} has no {function}") from None
    if code:
        text = ctypes.c_char_p()
        known = cuda.cuGetErrorString(ctypes.c_int(code), ctypes.byref(text)) == 0 and text.value
        words = text.value.decode() if known and text.value else "unknown error"
        raise _DriverError(f"{function}: {words} (CUDA error {code})")
