"""Memory of one batch on its way through the GPU, and the count of all that is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.cuda import (
    Device,
    DeviceBuffer,
    Event,
    PinnedBuffer,
    align,
    copy_to_device,
    copy_to_host,
)
from runtime.errors import EngineError
from runtime.score_checks import Scores

#: Frames are staged in pieces of this many bytes, each on its way while the next is staged.
PIECE = 4 << 20


@dataclass(frozen=True)
class MemoryUse:
    """Bytes taken so far.

    Attributes:
        weights: of the engine, on the device.
        scratch: given to TensorRT for its activations, on the device.
        tensors: frames and results, on the device.
        pinned: page-locked host memory.
    """

    weights: int = 0
    scratch: int = 0
    tensors: int = 0
    pinned: int = 0

    @property
    def device(self) -> int:
        """All on the device."""
        return self.weights + self.scratch + self.tensors

    def __add__(self, other: MemoryUse) -> MemoryUse:
        return MemoryUse(
            self.weights + other.weights,
            self.scratch + other.scratch,
            self.tensors + other.tensors,
            self.pinned + other.pinned,
        )


class _Pair:
    """The same bytes on the device and in page-locked host memory."""

    def __init__(self, device: Device, size: int, purpose: str) -> None:
        self.on_device = DeviceBuffer(device, size, purpose)
        try:
            self.on_host = PinnedBuffer(device, size)
        except BaseException:
            self.on_device.close()
            raise
        self.size = size

    def close(self) -> None:
        self.on_device.close()
        self.on_host.close()


class BatchIo:
    """Frames and results of one batch.

    Attributes:
        copied: the frames are on the device.
        ready: the results are on the host.
    """

    def __init__(self, device: Device, frame_bytes: int, max_batch: int) -> None:
        self._device = device
        self._frame_bytes = frame_bytes
        self._max_batch = max_batch
        self._frames: _Pair | None = None
        self._results: _Pair | None = None
        self._fake_offset = 0
        self.copied, self.ready = Event(device), Event(device)

    @property
    def memory(self) -> MemoryUse:
        """Taken now."""
        size = sum(pair.size for pair in (self._frames, self._results) if pair is not None)
        return MemoryUse(tensors=size, pinned=size)

    def holds(self, count: int, *, with_frames: bool = True) -> bool:
        """Whether there is memory for the results, and the frames, of ``count`` images."""
        frames = self._frames.size if self._frames is not None else 0
        enough = not with_frames or frames >= count * self._frame_bytes
        return enough and self._results is not None and self._fake_offset >= 4 * count

    def reserve(self, count: int, *, with_frames: bool = True) -> None:
        """Take memory for ``count`` images, where there is too little. Nothing may be running.

        For the next power of two where there is room, so that batches which grow by and by
        take memory anew a few times only.

        Raises:
            EngineError: there is too little memory. Smaller batches may still fit.
        """
        generous = min(1 << (count - 1).bit_length(), self._max_batch)
        if not self.holds(count, with_frames=False):
            if self._results is not None:
                self._results.close()
                self._results = None
            # Logits lie in front, P(fake) behind them: both are fetched in one copy.
            self._results = self._take(generous, count, lambda n: 2 * align(4 * n))
            self._fake_offset = self._results.size // 2
        if not self.holds(count, with_frames=with_frames):
            if self._frames is not None:
                self._frames.close()
                self._frames = None
            self._frames = self._take(generous, count, lambda n: n * self._frame_bytes)

    def _take(self, generous: int, count: int, size: Callable[[int], int]) -> _Pair:
        try:
            return _Pair(self._device, size(generous), f"a batch of {generous} images")
        except EngineError:
            if generous == count:
                raise
            return _Pair(self._device, size(count), f"a batch of {count} images")

    def close(self) -> None:
        """Give back everything."""
        for pair in (self._results, self._frames):
            if pair is not None:
                pair.close()
        self._results = self._frames = None
        self.copied.close()
        self.ready.close()

    @property
    def addresses(self) -> tuple[int, int, int]:
        """Of frames, logit and fake on the device; 0 for frames that have no memory."""
        assert self._results is not None
        results = self._results.on_device.handle
        frames = self._frames.on_device.handle if self._frames is not None else 0
        return frames, results, results + self._fake_offset

    def stage(self, frames: NDArray[np.uint8]) -> None:
        """Put frames into page-locked memory."""
        assert self._frames is not None
        self._frames.on_host.array()[: frames.size] = frames.reshape(-1)

    def upload_staged(self, count: int, stream: int) -> None:
        """Enqueue the copy of staged frames to the device."""
        assert self._frames is not None
        size = count * self._frame_bytes
        copy_to_device(self._frames.on_device.handle, self._frames.on_host.handle, size, stream)

    def upload(self, frames: NDArray[np.uint8], stream: int) -> None:
        """Bring frames to the device. Page-locked ones go from where they are."""
        assert self._frames is not None
        target = self._frames.on_device.handle
        if is_pinned(frames):
            copy_to_device(target, frames.ctypes.data, frames.nbytes, stream)
            return
        flat, staged = frames.reshape(-1), self._frames.on_host.array()
        for start in range(0, flat.size, PIECE):
            piece = flat[start : start + PIECE]
            staged[start : start + piece.size] = piece
            source = self._frames.on_host.handle + start
            copy_to_device(target + start, source, piece.size, stream)

    def fetch(self, count: int, stream: int) -> None:
        """Enqueue the copy of the results of ``count`` images to the host."""
        assert self._results is not None
        size = self._fake_offset + 4 * count
        copy_to_host(self._results.on_host.handle, self._results.on_device.handle, size, stream)

    def scores(self, count: int) -> Scores:
        """What was fetched, in arrays of the caller's own."""
        assert self._results is not None
        floats = self._results.on_host.array().view(np.float32)
        start = self._fake_offset // 4
        return floats[:count].copy(), floats[start : start + count].copy()

    def spoil(self) -> None:
        """Overwrite what was fetched, so that results which never come are seen."""
        assert self._results is not None
        self._results.on_host.array()[:] = 0xFF  # as float32: NaN


def is_pinned(frames: NDArray[np.uint8]) -> bool:
    """Whether an array lies in the page-locked memory of a `PinnedBuffer`."""
    owner: object = frames
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner, PinnedBuffer)
