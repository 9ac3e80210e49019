"""``cuda.bindings.driver`` without a GPU: streams that run in any order CUDA allows.

Device memory is host memory. Work is queued on streams and runs later, in an order drawn
from a seed: a wait that is missing shows as wrong numbers under one of the seeds. Each call
is checked against the real bindings (that the function exists, and takes such arguments),
so that this cannot say yes to what they would refuse.
"""

# The functions have CUDA's names.
# ruff: noqa: N802

from __future__ import annotations

import contextlib
import ctypes
import inspect
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cuda.bindings import driver as real
from cuda.pathfinder import DynamicLibNotFoundError

from runtime.cuda_driver import query_driver

R = real.CUresult
CAPTURE = real.CUstreamCaptureMode
GARBAGE = 0xCD
NO_DRIVER = not query_driver().devices

#: No two machines of a test run have a handle in common.
_HANDLES = itertools.count(0x1000)

#: Calls that may not be made while a stream is captured: they would wait for the device.
UNSAFE = {
    *("cuMemAlloc", "cuMemFree", "cuMemHostAlloc", "cuMemFreeHost"),
    *("cuStreamSynchronize", "cuEventSynchronize"),
}


@dataclass
class Op:
    """Work in a stream; `needs` is work of other streams that must come first."""

    run: Callable[[], None]
    needs: Op | None = None
    done: bool = False


@dataclass
class Stream:
    queue: deque[Op] = field(default_factory=deque)
    captured: list[Callable[[], None]] | None = None
    capturer: int = 0
    mode: Any = None
    broken: bool = False


class FakeCuda:
    """Stands for the module ``cuda.bindings.driver``.

    Args:
        seed: of the order in which work of several streams runs; ``None`` runs it as late
            as CUDA allows.
        memory: bytes on the device.

    Attributes:
        calls: (function, arguments), in order.
        faults: what a real GPU would answer with wrong results or a crash.
        hook: called before each call, with its name.
    """

    def __init__(self, seed: int | None = None, memory: int = 1 << 28) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.faults: list[str] = []
        self.hook: Callable[[str], None] = lambda name: None
        self.total, self.used = memory, 0
        self.empty_graphs = False
        self.retained = 0
        self._random = random.Random(seed) if seed is not None else None
        self._favourite = 0
        self._patient = seed is None or seed % 2 == 0
        # A slow device is still at it when the host comes back with more.
        self._pace = (0.15, 0.35, 0.7)[(seed or 0) % 3]
        self._lock = threading.RLock()
        self._local = threading.local()
        self.device_memory: dict[int, np.ndarray] = {}
        self.host_memory: dict[int, np.ndarray] = {}
        self.streams: dict[int, Stream] = {1: Stream(), 2: Stream()}
        self.events: dict[int, Op | None] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self._agreed: set[tuple[Any, ...]] = set()

    # What is not a function of the driver is the real thing.
    def __getattr__(self, name: str) -> Any:
        found = getattr(real, name)
        if not name.startswith("cu"):
            return found
        mine = getattr(type(self), "_" + name)

        def call(*arguments: Any) -> Any:
            self._agree(name, found, arguments)
            self.hook(name)
            with self._lock:
                self.calls.append((name, arguments))
                if not getattr(self._local, "stack", None) and name not in _NO_CONTEXT:
                    return (R.CUDA_ERROR_INVALID_CONTEXT, *[None] * 2)
                if name in UNSAFE and (error := self._break_captures()):
                    return (error, None)
                result = mine(self, *arguments)
                self._advance()
            if isinstance(result, real.CUresult):
                return (result,)
            return result if isinstance(result, tuple) else (R.CUDA_SUCCESS, result)

        return call

    def _agree(self, name: str, found: Any, arguments: tuple[Any, ...]) -> None:
        """The real binding takes such arguments."""
        key = (name, *map(type, arguments))
        if key in self._agreed:
            return
        inspect.signature(found).bind(*arguments)
        if NO_DRIVER:  # it converts its arguments before it looks for the driver
            with contextlib.suppress(DynamicLibNotFoundError):
                found(*arguments)
        self._agreed.add(key)

    # Running what is queued

    def _advance(self) -> None:
        """Run some of the work that may run now."""
        if self._random is None:
            return
        # With an even seed a stream is favoured for a while, and gets far ahead of the others.
        if not self._patient or self._random.random() < 0.2:
            self._favourite = self._random.randrange(1 << 16)
        while self._random.random() < self._pace:
            ready = [
                s
                for s in self.streams.values()
                if s.queue and (s.queue[0].needs is None or s.queue[0].needs.done)
            ]
            if not ready:
                return
            self._run_next(ready[self._favourite % len(ready)])

    def _run_next(self, stream: Stream) -> None:
        op = stream.queue.popleft()
        op.run()
        op.done = True

    def _force(self, op: Op) -> None:
        """Run an op, and what must come before it."""
        stream = next((s for s in self.streams.values() if op in s.queue), None)
        while not op.done and stream is not None:
            if (needs := stream.queue[0].needs) is not None:
                self._force(needs)
            self._run_next(stream)

    def drain(self) -> None:
        """Run everything, as time would."""
        with self._lock:
            for stream in self.streams.values():
                while stream.queue:
                    self._force(stream.queue[-1])

    def enqueue(self, handle: int, run: Callable[[], None], needs: Op | None = None) -> Op:
        """Queue work, or capture it."""
        stream = self.streams[int(handle)]
        op = Op(run, needs)
        if stream.captured is not None:
            stream.captured.append(run)
            return op
        stream.queue.append(op)
        return op

    def capturing(self, handle: int) -> bool:
        return self.streams[int(handle)].captured is not None

    def _break_captures(self) -> Any:
        here = threading.get_ident()
        for stream in self.streams.values():
            if stream.captured is None:
                continue
            if stream.capturer == here or stream.mode == CAPTURE.CU_STREAM_CAPTURE_MODE_GLOBAL:
                stream.broken = True
                return R.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
        return None

    def fault(self, text: str) -> None:
        self.faults.append(text)

    # Memory

    @property
    def free(self) -> int:
        return self.total - self.used

    def is_on_device(self, address: int, size: int) -> bool:
        return _within(self.device_memory, address, size)

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)

    def current(self) -> bool:
        """Whether the calling thread has made the device its own."""
        return bool(getattr(self._local, "stack", None))

    def _allocate(self, where: dict[int, np.ndarray], size: int) -> int:
        room = np.full(size + 256, GARBAGE, np.uint8)
        address = -(-room.ctypes.data // 256) * 256
        where[address] = room[address - room.ctypes.data :][:size]
        return address

    def allocate(self, size: int) -> int:
        """Device memory of somebody else's."""
        self.used += size
        return self._allocate(self.device_memory, size)

    def _copy(self, target: int, source: int, size: int, stream: int) -> Any:
        if int(stream) not in self.streams:
            return R.CUDA_ERROR_INVALID_HANDLE
        kinds = (self.is_on_device(target, size), self.is_on_device(source, size))

        def run() -> None:
            if kinds != (self.is_on_device(target, size), self.is_on_device(source, size)):
                self.fault(f"copy of {size} bytes from or to memory that was freed")
                return
            self.bytes_at(target, size)[:] = self.bytes_at(source, size)

        self.enqueue(stream, run)
        return R.CUDA_SUCCESS

    def _cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> Any:
        if not self.is_on_device(target, size) or self.is_on_device(source, size):
            return R.CUDA_ERROR_INVALID_VALUE
        return self._copy(target, source, size, stream)

    def _cuMemcpyDtoHAsync(self, target: int, source: int, size: int, stream: int) -> Any:
        if self.is_on_device(target, size) or not self.is_on_device(source, size):
            return R.CUDA_ERROR_INVALID_VALUE
        return self._copy(target, source, size, stream)

    def _cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> Any:
        if not self.is_on_device(target, size) or not self.is_on_device(source, size):
            return R.CUDA_ERROR_INVALID_VALUE
        return self._copy(target, source, size, stream)

    def _cuMemAlloc(self, size: int) -> Any:
        if size > self.free:
            return (R.CUDA_ERROR_OUT_OF_MEMORY, None)
        return real.CUdeviceptr(self.allocate(size))

    def _cuMemFree(self, address: int) -> Any:
        if address not in self.device_memory:
            return R.CUDA_ERROR_INVALID_VALUE
        self.used -= self.device_memory.pop(address).size
        return R.CUDA_SUCCESS

    def _cuMemHostAlloc(self, size: int, flags: int) -> Any:
        return self._allocate(self.host_memory, size)

    def _cuMemFreeHost(self, address: int) -> Any:
        found = self.host_memory.pop(address, None)
        return R.CUDA_SUCCESS if found is not None else R.CUDA_ERROR_INVALID_VALUE

    def _cuMemGetInfo(self) -> Any:
        return (R.CUDA_SUCCESS, self.free, self.total)

    # Device and context

    def _cuInit(self, flags: int) -> Any:
        return R.CUDA_SUCCESS

    def _cuDeviceGet(self, index: int) -> Any:
        return real.CUdevice(index)

    def _cuDevicePrimaryCtxRetain(self, device: Any) -> Any:
        self.retained += 1
        return real.CUcontext(0xC0)

    def _cuDevicePrimaryCtxRelease(self, device: Any) -> Any:
        self.retained -= 1
        return R.CUDA_SUCCESS

    def _cuCtxPushCurrent(self, context: Any) -> Any:
        self._local.stack = [*getattr(self._local, "stack", []), context]
        return R.CUDA_SUCCESS

    def _cuCtxPopCurrent(self) -> Any:
        return self._local.stack.pop()

    # Streams and events

    def _cuStreamCreate(self, flags: int) -> Any:
        if flags != 1:
            self.fault("a stream that the default stream would hold up")
        handle = next(_HANDLES)
        self.streams[handle] = Stream()
        return real.CUstream(handle)

    def _cuStreamDestroy(self, handle: int) -> Any:
        if self.streams[handle].queue:
            self.fault("a stream was destroyed with work in it")
        del self.streams[handle]
        return R.CUDA_SUCCESS

    def _cuStreamSynchronize(self, handle: int) -> Any:
        if self.streams[handle].queue:
            self._force(self.streams[handle].queue[-1])
        return R.CUDA_SUCCESS

    def _cuStreamWaitEvent(self, handle: int, event: int, flags: int) -> Any:
        if self.capturing(handle):
            self.streams[handle].broken = True
            return R.CUDA_ERROR_STREAM_CAPTURE_ISOLATION
        self.enqueue(handle, lambda: None, self.events[event])
        return R.CUDA_SUCCESS

    def _cuEventCreate(self, flags: int) -> Any:
        handle = next(_HANDLES)
        self.events[handle] = None
        return real.CUevent(handle)

    def _cuEventDestroy(self, handle: int) -> Any:
        del self.events[handle]
        return R.CUDA_SUCCESS

    def _cuEventRecord(self, handle: int, stream: int) -> Any:
        if stream not in self.streams:
            return R.CUDA_ERROR_INVALID_HANDLE
        self.events[handle] = self.enqueue(stream, lambda: None)
        return R.CUDA_SUCCESS

    def _cuEventSynchronize(self, handle: int) -> Any:
        if (op := self.events[handle]) is not None:
            self._force(op)
        return R.CUDA_SUCCESS

    # Graphs

    def _cuStreamBeginCapture(self, handle: int, mode: Any) -> Any:
        stream = self.streams[handle]
        stream.captured, stream.broken = [], False
        stream.capturer, stream.mode = threading.get_ident(), mode
        return R.CUDA_SUCCESS

    def _cuStreamEndCapture(self, handle: int) -> Any:
        stream = self.streams[handle]
        work, stream.captured = stream.captured, None
        if stream.broken or work is None:
            return (R.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None)
        graph = next(_HANDLES)
        self.graphs[graph] = [] if self.empty_graphs else work
        return real.CUgraph(graph)

    def _cuGraphInstantiate(self, graph: Any, flags: int) -> Any:
        executable = next(_HANDLES)
        self.executables[executable] = self.graphs[int(graph)]
        return real.CUgraphExec(executable)

    def _cuGraphDestroy(self, graph: Any) -> Any:
        del self.graphs[int(graph)]
        return R.CUDA_SUCCESS

    def _cuGraphExecDestroy(self, handle: int) -> Any:
        del self.executables[handle]
        return R.CUDA_SUCCESS

    def _cuGraphLaunch(self, handle: int, stream: int) -> Any:
        for run in self.executables[handle]:
            self.enqueue(stream, run)
        return R.CUDA_SUCCESS


_NO_CONTEXT = {
    *("cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease"),
    "cuCtxPushCurrent",
}


def _within(memory: dict[int, np.ndarray], address: int, size: int) -> bool:
    return any(
        base <= address and address + size <= base + room.size for base, room in memory.items()
    )
