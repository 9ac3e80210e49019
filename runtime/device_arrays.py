"""Arrays that another library keeps on the GPU: torch, CuPy, PyCUDA, anything alike."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from runtime.errors import FramesError, MissingPackageError

# DLDeviceType of dlpack.h
_DLPACK_DEVICES = {2, 13}  # CUDA, CUDA managed


@dataclass(frozen=True)
class DeviceArray:
    """C-contiguous memory of another's on a device.

    Attributes:
        address: on the device.
        shape, dtype: of its elements.
        device: index of the GPU, where its protocol says so.
        stream: handle of the stream that writes it, where it says so and has not put that
            in order itself.
        writable: whether results may be put there.
        owner: what keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: int | None
    stream: int | None
    writable: bool
    owner: object

    @property
    def bytes(self) -> int:
        """Size of the whole."""
        return prod(self.shape) * self.dtype.itemsize


def is_device_array(value: object) -> bool:
    """Whether an object offers memory on a GPU (a NumPy array or a CPU tensor does not)."""
    if isinstance(value, np.ndarray):
        return False
    try:
        offers_dlpack = hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__")
        if offers_dlpack and int(value.__dlpack_device__()[0]) in _DLPACK_DEVICES:  # type: ignore[attr-defined]
            return True
        # torch has this on CPU tensors too, and raises when it is read there.
        return hasattr(value, "__cuda_array_interface__")
    except (TypeError, RuntimeError, BufferError):
        return False


def view_frames(
    value: Any, stream: int, frame_shape: tuple[int, int, int], device: int
) -> DeviceArray:
    """Look at frames on a device.

    Args:
        value: see `view`.
        stream: handle of the stream that is going to read them.
        frame_shape: (height, width, 3) that is due.
        device: index of the GPU that is due.

    Raises:
        FramesError: another dtype, shape or device, N = 0, or not contiguous.
    """
    if not is_device_array(value):
        raise FramesError(
            f"frames are a {type(value).__name__} that is not on a GPU",
            "an array with DLPack or __cuda_array_interface__ is due",
            "score() takes NumPy arrays",
        )
    seen = view(value, stream, "frames")
    height, width, _ = frame_shape
    due = f"uint8 [N, {height}, {width}, 3] RGB on GPU {device} is due"
    if seen.dtype != np.uint8:
        raise FramesError(
            f"frames have dtype {seen.dtype}",
            f"{due}; scaling is inside the engine",
            "give the pixels as they are, 0..255",
        )
    if len(seen.shape) != 4 or seen.shape[1:] != frame_shape or seen.shape[0] == 0:
        raise FramesError(f"frames have shape {seen.shape}", due)
    if seen.device not in (None, device):
        raise FramesError(f"frames are on GPU {seen.device}", due)
    return seen


def view_result(value: Any, stream: int, count: int, device: int, what: str) -> DeviceArray:
    """Look at an array on a device that gets one float for each of ``count`` frames.

    Raises:
        FramesError: not float32 [count] on that device, contiguous and writable.
    """
    due = f"a writable float32 [{count}] on GPU {device} is due"
    if not is_device_array(value):
        raise FramesError(f"{what} is a {type(value).__name__} that is not on a GPU", due)
    seen = view(value, stream, what)
    if seen.dtype != np.float32 or seen.shape != (count,):
        raise FramesError(f"{what} is {seen.dtype} {list(seen.shape)}", due)
    if seen.device not in (None, device):
        raise FramesError(f"{what} is on GPU {seen.device}", due)
    if not seen.writable:
        raise FramesError(f"{what} is read-only", due)
    return seen


def view(value: Any, stream: int, what: str) -> DeviceArray:
    """Look at a device array. Nothing is copied, and the host waits for nothing.

    Args:
        value: with ``__dlpack__`` or ``__cuda_array_interface__``; DLPack first, for its
            owner then lets ``stream`` wait for what it has enqueued itself.
        stream: handle of the stream that is going to use it.
        what: its name in errors.

    Raises:
        FramesError: its elements are not one after the other.
    """
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        return _from_dlpack(value, stream, what)
    return _from_interface(value, what)


def _from_dlpack(value: Any, stream: int, what: str) -> DeviceArray:
    try:
        from cuda.core.utils import StridedMemoryView
    except ImportError:
        raise MissingPackageError("cuda-core", "taking arrays on the GPU", "rtx") from None
    seen = StridedMemoryView.from_dlpack(value, stream_ptr=stream)
    shape = tuple(seen.shape)
    if seen.strides is not None:
        _check_contiguous(shape, tuple(seen.strides), 1, what)
    return DeviceArray(
        int(seen.ptr),
        shape,
        np.dtype(seen.dtype),
        int(seen.device_id),
        None,
        not seen.readonly,
        seen,
    )


def _from_interface(value: Any, what: str) -> DeviceArray:
    told = value.__cuda_array_interface__
    shape, dtype = tuple(told["shape"]), np.dtype(told["typestr"])
    if told.get("mask") is not None:
        raise FramesError(f"{what} are masked", "an array without a mask is due")
    if told.get("strides") is not None:
        _check_contiguous(shape, tuple(told["strides"]), dtype.itemsize, what)
    address, readonly = told["data"]
    return DeviceArray(int(address), shape, dtype, None, told.get("stream"), not readonly, value)


def _check_contiguous(
    shape: tuple[int, ...], strides: tuple[int, ...], step: int, what: str
) -> None:
    """Strides in units of which the last axis has ``step``."""
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            raise FramesError(
                f"{what} on the GPU are not contiguous",
                f"shape {shape} with strides {strides}",
                "give contiguous ones: they are used where they are, not copied",
            )
        step *= size
