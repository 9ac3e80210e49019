"""CUDA through NVIDIA's own bindings: memory, streams, events and graphs of one device.

Every call's return code is checked. Everything lives in the device's primary context, the
one that the CUDA runtime, torch, CuPy and TensorRT use too, so that pointers are theirs as
well as ours. What is made here is freed with its last reference, or before that by `close`.
"""

from __future__ import annotations

import functools
import importlib
import operator
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import EngineError, EngineRunError, MissingPackageError

#: Handles that stand for a default stream: the legacy one (as 0 does), and each thread's.
DEFAULT_STREAMS = frozenset({1, 2})
LEGACY_STREAM = 1

#: TensorRT reads and writes tensors at multiples of this many bytes.
ALIGNMENT = 256


@functools.cache
def bindings() -> Any:
    """The module ``cuda.bindings.driver``.

    Raises:
        MissingPackageError: cuda-bindings is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ModuleNotFoundError:
        raise MissingPackageError("cuda-bindings", "running a plan", "rtx") from None


def call(function: str, *arguments: Any) -> Any:
    """Call a function of the driver API.

    Returns:
        What it gives besides its return code: ``None``, a value, or a tuple.

    Raises:
        EngineError: with the name of the CUDA error.
    """
    driver = bindings()
    code, *values = getattr(driver, function)(*arguments)
    if code != driver.CUresult.CUDA_SUCCESS:
        raise CudaError(function, code.name)
    return values[0] if len(values) == 1 else tuple(values) or None


class CudaError(EngineRunError):
    """A call of the driver API failed.

    Attributes:
        name: of the error, as ``CUDA_ERROR_OUT_OF_MEMORY``.
    """

    def __init__(self, function: str, name: str) -> None:
        super().__init__(f"CUDA answered {function} with {name}")
        self.name = name


class Device:
    """One GPU and its primary context.

    Args:
        index: as CUDA counts, after ``CUDA_VISIBLE_DEVICES``.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        call("cuInit", 0)
        self._device = call("cuDeviceGet", index)
        self._context = call("cuDevicePrimaryCtxRetain", self._device)
        self._release = weakref.finalize(self, _release_context, os.getpid(), self._device)
        self._release.atexit = False  # the driver is gone by then, and the memory with it

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this device the calling thread's, and put back what was."""
        call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            call("cuCtxPopCurrent")

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes of the device, whoever took the rest."""
        with self.current():
            free, total = call("cuMemGetInfo")
        return int(free), int(total)


class _Resource:
    """Something of a device's that is freed once."""

    def __init__(self, device: Device, handle: int, free: str) -> None:
        self.handle = handle
        # The finalizer keeps the device, whose context must outlive what is in it.
        self._free = weakref.finalize(self, _free_resource, os.getpid(), device, free, handle)
        self._free.atexit = False

    def close(self) -> None:
        """Free it now. Whatever runs on the device must no longer use it."""
        self._free()


class DeviceBuffer(_Resource):
    """Bytes on the device, aligned as TensorRT wants.

    Raises:
        EngineError: out of device memory: how much was wanted and how much is free.
    """

    def __init__(self, device: Device, size: int, purpose: str) -> None:
        self.size = size
        with device.current():
            try:
                handle = call("cuMemAlloc", size)
            except CudaError as error:
                if error.name != "CUDA_ERROR_OUT_OF_MEMORY":
                    raise
                raise out_of_memory(device, size, purpose) from None
        super().__init__(device, int(handle), "cuMemFree")


class PinnedBuffer(_Resource):
    """Page-locked host memory, which the device reads and writes without the CPU.

    Raises:
        EngineError: the system gives no more of it.
    """

    def __init__(self, device: Device, size: int) -> None:
        self.size = size
        portable = bindings().CU_MEMHOSTALLOC_PORTABLE
        with device.current():
            try:
                handle = call("cuMemHostAlloc", size, portable)
            except CudaError as error:
                if error.name != "CUDA_ERROR_OUT_OF_MEMORY":
                    raise
                raise EngineError(
                    f"there is too little page-locked memory for {size} bytes",
                    error.what,
                    "give smaller batches",
                ) from None
        super().__init__(device, int(handle), "cuMemFreeHost")
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (self.handle, False),
            "version": 3,
        }

    def array(self) -> NDArray[np.uint8]:
        """The bytes as an array [size] that keeps this buffer alive."""
        return np.asarray(self)


class Stream(_Resource):
    """A queue of work on the device, independent of the default stream."""

    def __init__(self, device: Device) -> None:
        flag = bindings().CUstream_flags.CU_STREAM_NON_BLOCKING
        with device.current():
            handle = call("cuStreamCreate", int(flag))
        super().__init__(device, int(handle), "cuStreamDestroy")

    def synchronize(self) -> None:
        """Wait until all that was enqueued so far is done."""
        call("cuStreamSynchronize", self.handle)


class Event(_Resource):
    """A mark in a stream. One never recorded counts as passed."""

    def __init__(self, device: Device) -> None:
        flag = bindings().CUevent_flags.CU_EVENT_DISABLE_TIMING
        with device.current():
            handle = call("cuEventCreate", int(flag))
        super().__init__(device, int(handle), "cuEventDestroy")

    def record(self, stream: int) -> None:
        """Put the mark behind what is in a stream."""
        call("cuEventRecord", self.handle, stream)

    def hold(self, stream: int) -> None:
        """Let later work of a stream wait for the mark. The host does not wait."""
        call("cuStreamWaitEvent", stream, self.handle, 0)

    def synchronize(self) -> None:
        """Let the calling thread wait for the mark."""
        call("cuEventSynchronize", self.handle)


class Graph(_Resource):
    """Work captured from a stream, launched as a whole."""

    def __init__(self, device: Device, captured: Any) -> None:
        try:
            handle = call("cuGraphInstantiate", captured, 0)
        finally:
            call("cuGraphDestroy", captured)
        super().__init__(device, int(handle), "cuGraphExecDestroy")

    def launch(self, stream: int) -> None:
        """Enqueue all of it."""
        call("cuGraphLaunch", self.handle, stream)


@contextmanager
def capture(device: Device, stream: Stream) -> Iterator[list[Graph]]:
    """Capture what the block enqueues on a stream, instead of running it.

    The device must be current. The mode is thread-local: other threads may go on using CUDA
    meanwhile, and theirs is not captured.

    Yields:
        A list that holds the graph once the block has ended.
    """
    made: list[Graph] = []
    mode = bindings().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    call("cuStreamBeginCapture", stream.handle, mode)
    try:
        yield made
    except BaseException:
        # The stream has to leave the capture mode; a graph may or may not come of it.
        code, captured = bindings().cuStreamEndCapture(stream.handle)
        if code == bindings().CUresult.CUDA_SUCCESS:
            call("cuGraphDestroy", captured)
        raise
    made.append(Graph(device, call("cuStreamEndCapture", stream.handle)))


def copy_to_device(target: int, source: int, size: int, stream: int) -> None:
    """Enqueue a copy of ``size`` bytes from host memory to the device."""
    call("cuMemcpyHtoDAsync", target, source, size, stream)


def copy_to_host(target: int, source: int, size: int, stream: int) -> None:
    """Enqueue a copy of ``size`` bytes from the device to host memory."""
    call("cuMemcpyDtoHAsync", target, source, size, stream)


def copy_on_device(target: int, source: int, size: int, stream: int) -> None:
    """Enqueue a copy of ``size`` bytes within the device."""
    call("cuMemcpyDtoDAsync", target, source, size, stream)


def align(size: int) -> int:
    """The next multiple of `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def out_of_memory(device: Device, wanted: int, purpose: str) -> EngineError:
    """The error for a GPU that has not enough memory."""
    free, total = device.memory()
    return EngineError(
        f"GPU {device.index} has too little memory for {purpose}",
        f"{_mebibytes(wanted)} wanted, {_mebibytes(free)} of {_mebibytes(total)} free",
        "give smaller batches, or close what else uses this GPU",
    )


def stream_handle(stream: Any) -> int:
    """The handle of a stream.

    Args:
        stream: a handle, or a stream of cuda.core, CuPy (``__cuda_stream__``), torch
            (``cuda_stream``) or PyCUDA (``handle``); ``None`` is the legacy default stream,
            on which these libraries work unless told otherwise.

    Raises:
        TypeError: it is none of these.
    """
    if stream is None:
        return LEGACY_STREAM
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for name in ("cuda_stream", "handle"):
        stream = getattr(stream, name, stream)
    if isinstance(stream, bool) or not hasattr(stream, "__index__"):
        raise TypeError(f"a CUDA stream or its handle is due, not a {type(stream).__name__}")
    return operator.index(stream) or LEGACY_STREAM  # 0 and 1 are the same one


def _mebibytes(size: int) -> str:
    return f"{size} bytes" if size < 1 << 20 else f"{size / (1 << 20):.1f} MiB"


def _release_context(process: int, device: Any) -> None:
    if os.getpid() == process:  # a forked child has no CUDA to give back
        bindings().cuDevicePrimaryCtxRelease(device)


def _free_resource(process: int, device: Device, function: str, handle: int) -> None:
    # An error here was first met, and raised, by the call that caused it.
    if os.getpid() == process:
        driver = bindings()
        driver.cuCtxPushCurrent(device._context)
        getattr(driver, function)(handle)
        driver.cuCtxPopCurrent()
