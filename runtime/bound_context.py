"""A TensorRT context that is told only what has changed."""

from __future__ import annotations

from runtime.cuda import DeviceBuffer
from runtime.engine_info import FAKE_NAME, INPUT_NAME, LOGIT_NAME
from runtime.tensorrt_api import Context


class BoundContext:
    """Remembers a context's batch size, scratch memory and addresses."""

    def __init__(self, context: Context, frame_shape: tuple[int, int, int]) -> None:
        self._context = context
        self._frame_shape = frame_shape
        self._count = 0
        self._scratch_size = 0
        self._scratch: tuple[int, int] | None = None
        self._addresses: tuple[int, int, int] | None = None

    def resize(self, count: int) -> int:
        """Set the batch size.

        Returns:
            Bytes of scratch memory that it needs; to be given by `give_scratch`.
        """
        if count != self._count:
            self._count = 0  # should a call in between fail, all is set anew
            self._context.set_input_shape(INPUT_NAME, (count, *self._frame_shape))
            self._scratch_size, self._scratch = self._context.scratch_size(), None
            self._count = count
        return self._scratch_size

    def give_scratch(self, buffer: DeviceBuffer) -> None:
        """Set the scratch memory."""
        if self._scratch != (buffer.handle, buffer.size):
            self._context.set_scratch(buffer.handle, buffer.size)
            self._scratch = buffer.handle, buffer.size

    def bind(self, frames: int, logit: int, fake: int) -> None:
        """Set the addresses of the tensors."""
        if self._addresses != (frames, logit, fake):
            self._addresses = None
            self._context.set_tensor_address(INPUT_NAME, frames)
            self._context.set_tensor_address(LOGIT_NAME, logit)
            self._context.set_tensor_address(FAKE_NAME, fake)
            self._addresses = frames, logit, fake

    def execute(self, stream: int) -> None:
        """Enqueue."""
        self._context.execute(stream)
