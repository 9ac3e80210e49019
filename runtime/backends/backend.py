"""What a backend is, and which one opens a file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from runtime.backend_names import BackendName, choose_backend
from runtime.engine_info import EngineInfo
from runtime.errors import EngineError
from runtime.score_checks import Scores
from runtime.text import printable

if TYPE_CHECKING:
    from runtime.batch_io import MemoryUse
    from runtime.device_arrays import DeviceArray

#: Above what any machine has; each thread takes memory, and more than can be made is a crash.
MOST_THREADS = 1024
MOST_DEVICES = 1023


class Backend(Protocol):
    """One opened engine. Calls may come from several threads at once."""

    info: EngineInfo
    #: For people: what runs, and where, as ``ONNX Runtime 1.31 (CPU)``.
    title: str
    #: Images that one call of `infer` takes at most.
    max_batch: int

    def infer(self, frames: NDArray[np.uint8]) -> Scores:
        """Run one batch.

        Args:
            frames: uint8 [N, H, W, 3], C-contiguous, 1 <= N <= `max_batch`.

        Returns:
            (logit, fake), both float32 [N], owned by the caller.
        """
        ...

    def infer_many(self, frames: NDArray[np.uint8]) -> Scores:
        """Like `infer`, for any N >= 1 and any strides: split into batches, never padded."""
        ...

    def close(self) -> None:
        """Give back every resource; nothing is called afterwards."""
        ...


@runtime_checkable
class DeviceBackend(Backend, Protocol):
    """A backend whose frames and results may stay on its GPU."""

    #: Of the GPU, as CUDA counts.
    device_index: int

    def infer_device(self, frames: DeviceArray, stream: int) -> Scores:
        """`infer_many` for frames on the GPU; waits for the results.

        Args:
            frames: uint8 [N, H, W, 3] on this backend's device.
            stream: handle of the CUDA stream behind whose present work this goes.
        """
        ...

    def enqueue(
        self, frames: DeviceArray, logit: int | None, fake: int | None, stream: int
    ) -> None:
        """Like `infer_device`, with the results left on the GPU and not waited for.

        Args:
            frames: uint8 [N, H, W, 3] on this backend's device.
            logit, fake: addresses of float32 [N] for the results that are wanted.
            stream: behind whose present work this goes, and before its later work.
        """
        ...

    def pinned_frames(self, count: int) -> NDArray[np.uint8]:
        """Room for frames [count, H, W, 3] in page-locked host memory."""
        ...

    def memory_use(self) -> MemoryUse:
        """Bytes taken on the GPU, and of page-locked memory."""
        ...


def open_backend(
    path: Path, *, backend: BackendName = "auto", threads: int | None = None, device: int = 0
) -> Backend:
    """Open an engine file.

    Args:
        path: ``.onnx`` or ``.plan``.
        backend: what is to run it.
        threads: CPU threads of one call (ONNX Runtime), 1 to `MOST_THREADS`.
        device: index of the GPU, where the backend uses one, 0 to `MOST_DEVICES`.

    Raises:
        EngineError: the file is missing, damaged, without our contract, or does not fit
            this machine or the backend asked for. Nothing else is tried instead.
    """
    _check_whole(threads, "threads", 1, MOST_THREADS)
    _check_whole(device, "device", 0, MOST_DEVICES)
    with suppress(OSError, ValueError):  # a name that cannot be one is told on opening it
        if path.is_dir():
            raise EngineError(
                f"{printable(path)} is a directory",
                "an engine file is due",
                "name the .onnx or .plan",
            )
        if not path.exists():
            raise EngineError(
                f"{printable(path)} does not exist", "", "zoo export NAME --fp16 makes engines"
            )
    backend = choose_backend(path, backend)
    if backend == "tensorrt":
        from runtime.backends.tensorrt import TensorRTBackend

        return TensorRTBackend(path, device=device)
    from runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, threads=threads, provider=backend, device=device)


def _check_whole(value: int | None, name: str, least: int, most: int) -> None:
    if value is None:
        return
    # A bool is an int to Python, and True threads a typing error.
    if type(value) is not int or not least <= value <= most:
        raise EngineError(
            f"{name} is {printable(repr(value))}",
            f"a whole number from {least} to {most} is due",
            f"leave {name} out",
        )
