"""One TensorRT context with its streams and memory: runs one batch at a time.

The host fills page-locked memory, a copy stream brings it to the device, a compute stream
runs the engine and brings the floats back. There are two sets of memory, so that while one
batch is computed the next is on its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import prod

import numpy as np
from numpy.typing import NDArray

from runtime.batch_io import PIECE, BatchIo, MemoryUse
from runtime.bound_context import BoundContext
from runtime.cuda import (
    ALIGNMENT,
    DEFAULT_STREAMS,
    Device,
    DeviceBuffer,
    Event,
    Stream,
    align,
    copy_on_device,
)
from runtime.cuda_graphs import GraphCache
from runtime.device_arrays import DeviceArray
from runtime.errors import EngineError
from runtime.score_checks import Scores
from runtime.tensorrt_api import Engine


class BatchRunner:
    """Runs batches of an engine, one at a time; the device must be current in each call.

    Args:
        device: where the engine is.
        engine: one that is open.
        frame_shape: (height, width, 3).
        max_batch: the largest batch of its profile.
        graphs: replay small batches as CUDA graphs.
    """

    def __init__(
        self,
        device: Device,
        engine: Engine,
        frame_shape: tuple[int, int, int],
        max_batch: int,
        *,
        graphs: bool,
    ) -> None:
        self._device = device
        self._context = BoundContext(engine.create_context(), frame_shape)
        self._copying, self._computing = Stream(device), Stream(device)
        #: Behind the last work for which the host did not wait, on whatever stream.
        self._lent = Event(device)
        self._order = Event(device)
        self._sets = [BatchIo(device, prod(frame_shape), max_batch) for _ in range(2)]
        self._scratch: DeviceBuffer | None = None
        self._graphs: GraphCache | None = None
        if graphs:
            self._graphs = GraphCache(device, engine, frame_shape, self._set_up)

    @property
    def memory(self) -> MemoryUse:
        """Taken now."""
        total = MemoryUse(scratch=self._scratch.size if self._scratch is not None else 0)
        for io in self._sets:
            total += io.memory
        return total

    def infer(self, frames: NDArray[np.uint8]) -> Scores:
        """Run one batch [N, H, W, 3] from host memory and wait for (logit, fake)."""
        self._take_back()
        io = self._sets[0]
        self._reserve(io, len(frames))
        if self._graphs is not None and frames.nbytes <= PIECE:
            scores = self._graphs.infer(io, frames, self._computing)
            if scores is not None:
                return scores
        self._launch(io, frames)
        return self._finish(io, len(frames))

    def infer_each(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[Scores]:
        """Run batches one behind the other, the next one's copy beside this one's compute."""
        self._take_back()
        running: list[tuple[BatchIo, int]] = []
        for number, frames in enumerate(batches):
            io = self._sets[number % 2]
            if len(running) == 2:
                # The set's last batch has to be over before its memory is filled again.
                yield self._finish(*running.pop(0))
            self._reserve(io, len(frames))
            self._launch(io, frames)
            running.append((io, len(frames)))
        for io, count in running:
            yield self._finish(io, count)

    def enqueue(
        self, frames: DeviceArray, logit: int | None, fake: int | None, stream: int
    ) -> None:
        """Run one batch of frames that are on the device, without waiting.

        Args:
            frames: uint8 [N, H, W, 3].
            logit, fake: addresses where the results go, float32 [N]; ``None`` leaves them
                in memory of our own.
            stream: handle; this goes behind its present work and before its later work.
        """
        self._enqueue(frames, logit, fake, stream)

    def infer_on_device(self, frames: DeviceArray, stream: int) -> Scores:
        """Like `enqueue`, with the results brought to the host and waited for."""
        count = frames.shape[0]
        io, used = self._enqueue(frames, None, None, stream)
        io.fetch(count, used)
        io.ready.record(used)
        return self._finish(io, count)

    def settle(self) -> None:
        """Wait until nothing runs, whatever came of it."""
        for running in (self._copying, self._computing, self._lent):
            with suppress(EngineError):
                running.synchronize()

    def close(self) -> None:
        """Wait for what runs, and give back everything."""
        self.settle()
        if self._graphs is not None:
            self._graphs.clear()
            self._graphs = None  # it refers to this runner: the engine would wait for the GC
        for io in self._sets:
            io.close()
        if self._scratch is not None:
            self._scratch.close()
        for resource in (self._copying, self._computing, self._lent, self._order):
            resource.close()

    def _take_back(self) -> None:
        """Let our streams wait for what was enqueued on somebody else's."""
        self._lent.hold(self._copying.handle)
        self._lent.hold(self._computing.handle)

    def _launch(self, io: BatchIo, frames: NDArray[np.uint8]) -> None:
        count, computing = len(frames), self._computing.handle
        io.upload(frames, self._copying.handle)
        io.copied.record(self._copying.handle)
        io.copied.hold(computing)
        self._set_up(self._context, count)
        self._context.bind(*io.addresses)
        self._context.execute(computing)
        io.fetch(count, computing)
        io.ready.record(computing)

    def _finish(self, io: BatchIo, count: int) -> Scores:
        io.ready.synchronize()
        return io.scores(count)

    def _enqueue(
        self, frames: DeviceArray, logit: int | None, fake: int | None, stream: int
    ) -> tuple[BatchIo, int]:
        """The set that was used, and the stream on which its results appear."""
        count, io = frames.shape[0], self._sets[0]
        # A default stream would make TensorRT wait for the whole device: the work goes to a
        # stream of ours, tied to that one at both ends.
        stands_in = stream in DEFAULT_STREAMS
        used = self._computing.handle if stands_in else stream
        if stands_in:
            self._order.record(stream)
            self._order.hold(used)
        if frames.stream is not None:
            self._order.record(frames.stream)
            self._order.hold(used)
        self._lent.hold(used)
        misplaced = frames.address % ALIGNMENT != 0
        self._reserve(io, count, with_frames=misplaced)
        source, *own = io.addresses
        if misplaced:
            copy_on_device(source, frames.address, frames.bytes, used)
        else:
            source = frames.address
        wanted = (logit, fake)
        targets = [
            place if address is None or address % ALIGNMENT else address
            for address, place in zip(wanted, own, strict=True)
        ]
        self._set_up(self._context, count)
        self._context.bind(source, targets[0], targets[1])
        self._context.execute(used)
        for address, target in zip(wanted, targets, strict=True):
            if address is not None and address != target:
                copy_on_device(address, target, 4 * count, used)
        self._lent.record(used)
        if stands_in:
            self._lent.hold(stream)
        return io, used

    def _set_up(self, context: BoundContext, count: int) -> None:
        """Set a context's batch size, and give it scratch memory enough."""
        size = context.resize(count)
        if size > (self._scratch.size if self._scratch is not None else 0):
            self._forget_addresses()
            if self._scratch is not None:
                self._scratch.close()
                self._scratch = None
            purpose = f"the activations of {count} images"
            self._scratch = DeviceBuffer(self._device, align(size), purpose)
        if self._scratch is not None:
            context.give_scratch(self._scratch)

    def _reserve(self, io: BatchIo, count: int, *, with_frames: bool = True) -> None:
        if not io.holds(count, with_frames=with_frames):
            self._forget_addresses()
            io.reserve(count, with_frames=with_frames)

    def _forget_addresses(self) -> None:
        """Memory is going to be given back: nothing may run in it, no graph name it."""
        self.settle()
        if self._graphs is not None:
            self._graphs.clear()
