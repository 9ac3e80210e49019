"""Where the time of a batch goes on a GPU, by CUDA events around each part."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from runtime import Detector
from runtime.cuda import (
    Device,
    DeviceBuffer,
    Stream,
    call,
    copy_to_device,
    copy_to_host,
)

#: Batches that are timed, after as many that are not.
_REPETITIONS = 20


@dataclass(frozen=True)
class Phases:
    """Medians, in seconds, of one batch's parts, each measured alone.

    Attributes:
        enqueue: of the host, to give the batch to the GPU.
        host_to_device: frames from page-locked memory.
        compute: the network, from frames on the device to results on the device.
        device_to_host: the results.
    """

    enqueue: float
    host_to_device: float
    compute: float
    device_to_host: float


class DeviceFrames:
    """uint8 frames in device memory, for whoever reads ``__cuda_array_interface__``."""

    def __init__(self, frames: NDArray[np.uint8], device: int = 0) -> None:
        self._buffer = _to_device(Device(device), frames, "frames")
        self.__cuda_array_interface__ = _interface(self._buffer, frames.shape, "|u1")


class DeviceResults:
    """Room for ``count`` float32 in device memory, to be shown like `DeviceFrames`."""

    def __init__(self, count: int, device: int = 0) -> None:
        self._buffer = DeviceBuffer(Device(device), 4 * count, "results")
        self.handle = self._buffer.handle
        self.__cuda_array_interface__ = _interface(self._buffer, (count,), "<f4")


def measure_phases(detector: Detector, frames: NDArray[np.uint8], device: int = 0) -> Phases:
    """Time the parts of one batch.

    Args:
        detector: of an engine that runs on a GPU.
        frames: uint8 [N, H, W, 3].
        device: index of that GPU.
    """
    gpu, count = Device(device), len(frames)
    staged = detector.pinned_frames(count)
    staged[:] = frames
    source = DeviceFrames(frames, device)
    out = DeviceResults(count, device)
    target = DeviceBuffer(gpu, frames.nbytes, "a copy of the frames")
    fetched = np.empty(count, np.float32)
    stream = Stream(gpu)
    parts: dict[str, list[float]] = {"enqueue": [], "up": [], "compute": [], "down": []}
    with gpu.current():
        for number in range(2 * _REPETITIONS):
            kept = number >= _REPETITIONS
            with _Timer(stream) as up:
                copy_to_device(target.handle, staged.ctypes.data, frames.nbytes, stream.handle)
            with _Timer(stream) as compute:
                detector.score_device(source, out, stream=stream.handle)
            with _Timer(stream) as down:
                copy_to_host(fetched.ctypes.data, out.handle, fetched.nbytes, stream.handle)
            if kept:
                parts["enqueue"].append(compute.host)
                for name, timer in (("up", up), ("compute", compute), ("down", down)):
                    parts[name].append(timer.device)
    enqueue, up_, compute_, down_ = (statistics.median(parts[name]) for name in parts)
    return Phases(enqueue, up_, compute_, down_)


class _Timer:
    """Seconds between two marks in a stream, and of the host between them."""

    device: float
    host: float

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._marks = [call("cuEventCreate", 0) for _ in range(2)]

    def __enter__(self) -> _Timer:
        call("cuEventRecord", self._marks[0], self._stream.handle)
        self._start = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.host = perf_counter() - self._start
        call("cuEventRecord", self._marks[1], self._stream.handle)
        call("cuEventSynchronize", self._marks[1])
        self.device = call("cuEventElapsedTime", *self._marks) / 1000
        for mark in self._marks:
            call("cuEventDestroy", mark)


def _interface(buffer: DeviceBuffer, shape: tuple[int, ...], kind: str) -> dict[str, object]:
    return {"shape": shape, "typestr": kind, "data": (buffer.handle, False), "version": 3}


def _to_device(device: Device, array: NDArray[np.uint8], purpose: str) -> DeviceBuffer:
    buffer, stream = DeviceBuffer(device, array.nbytes, purpose), Stream(device)
    with device.current():
        copy_to_device(buffer.handle, array.ctypes.data, array.nbytes, stream.handle)
        stream.synchronize()
    return buffer
