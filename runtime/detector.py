"""The Detector: one opened engine, any number of images, from any thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from runtime.backend_names import BackendName
from runtime.backends import DeviceBackend, open_backend
from runtime.cuda import stream_handle
from runtime.device_arrays import is_device_array, view_frames, view_result
from runtime.engine_info import EngineInfo
from runtime.errors import EngineError, FramesError
from runtime.frames import EncodedImage, ImageLike, to_frame
from runtime.inherited import never_free_in_children
from runtime.score_checks import check_values
from runtime.text import printable


@dataclass(frozen=True)
class Verdict:
    """What the engine says of one image.

    Attributes:
        label: "fake" where `fake` reaches the engine's threshold, else "real".
        fake: P(fake), 0..1.
        logit: log-odds of fake; finer than `fake` where that is close to 0 or 1.
        source: the path, where the image came from one.
    """

    label: Literal["fake", "real"]
    fake: float
    logit: float
    source: str | None = None


class Detector:
    """Runs an engine that ``zoo export`` made.

    Args:
        engine: path of a ``.onnx`` or ``.plan`` file. It is read once, those bytes are
            checked against the sidecar beside it, and the engine is opened from them.
        backend: what runs it. ``auto`` is ONNX Runtime on the CPU for a ``.onnx`` and
            TensorRT for a ``.plan``; a ``.onnx`` is also run by ``onnxruntime-cuda`` and
            ``onnxruntime-tensorrt``.
        threads: CPU threads of one call, 1..1024; the backend's own choice by default.
            Nothing on a GPU.
        device: index of the GPU, as CUDA counts. Nothing on a CPU.

    Raises:
        EngineError: the file is missing, damaged, of another version or for another
            machine. There is no silent fallback to another engine.

    Methods may be called from several threads at once. `close` waits for calls that
    run, and calls after it fail. So do calls in a forked child: open it there. A child of
    `os.fork` that ends as programs do (``sys.exit``) hangs or crashes in plain ONNX Runtime,
    which waits for threads that a fork does not copy. Where a Detector was ever open it ends
    well, on Linux: what libraries left for the C library's ``exit`` before the fork is left
    out there, see `runtime.inherited`. ONNX Runtime sessions of your own, opened before the
    fork, still hang: end such a child by ``os._exit``, as `multiprocessing` does.
    """

    def __init__(
        self,
        engine: str | os.PathLike[str],
        *,
        backend: BackendName = "auto",
        threads: int | None = None,
        device: int = 0,
    ) -> None:
        self.path = Path(engine)
        self._backend = open_backend(self.path, backend=backend, threads=threads, device=device)
        how = self._backend.info.preprocessing
        self._frame_shape = (how.height, how.width, 3)
        never_free_in_children(self._backend)
        self._process = os.getpid()
        self._running = 0
        self._closed = False
        self._freed = False
        self._idle = threading.Condition()

    @property
    def info(self) -> EngineInfo:
        """The sidecar: network, weights, preprocessing, certificate."""
        return self._backend.info

    @property
    def title(self) -> str:
        """What runs the engine, for people."""
        return self._backend.title

    @property
    def takes_device_arrays(self) -> bool:
        """Whether frames may lie on the GPU, and results stay there: where a plan runs."""
        return isinstance(self._backend, DeviceBackend)

    def score(self, frames: Any, *, stream: Any = None) -> NDArray[np.float32]:
        """P(fake) of each frame.

        Args:
            frames: uint8 [N, H, W, 3], RGB, N >= 1, of the engine's frame size. A batch
                larger than the engine takes is split; nothing is ever padded. A NumPy
                array, or where a plan runs also an array on its GPU with DLPack or
                ``__cuda_array_interface__`` (torch, CuPy, PyCUDA): that is read in place,
                unless its address is no multiple of 256, for which it is first copied on
                the GPU.
            stream: for frames on the GPU, the CUDA stream that writes them: a handle, or a
                stream of torch, CuPy, PyCUDA or cuda.core. The default stream if not given.

        Returns:
            float32 [N], 0..1, in host memory; the call waits for it.

        Raises:
            FramesError: another dtype, shape or size, or N = 0; or they are on a GPU that
                this engine does not use.
            EngineError: the detector is closed, N is no sum of the batches that the engine
                takes, or there is too little device memory (for fewer it may do).
            EngineRunError: the engine failed while it ran, or gave back what are not N
                scores in 0..1 with finite log-odds.
        """
        return self.infer(frames, stream=stream)[1]

    def infer(
        self, frames: Any, *, stream: Any = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Like `score`, with the log-odds: (logit, fake), both float32 [N]."""
        if is_device_array(frames):
            handle = stream_handle(stream)
            with self._in_use():
                gpu = self._gpu()
                seen = view_frames(frames, handle, self._frame_shape, gpu.device_index)
                scores = gpu.infer_device(seen, handle)
        else:
            frames = self._checked(frames)
            with self._in_use():
                if len(frames) <= self._backend.max_batch:
                    scores = self._backend.infer(np.ascontiguousarray(frames))
                else:
                    scores = self._backend.infer_many(frames)
        check_values(self.path, *scores)
        return scores

    def score_device(self, frames: Any, out: Any, *, logit: Any = None, stream: Any = None) -> None:
        """P(fake) of frames on the GPU, left on the GPU and not waited for.

        The work goes behind what the stream has to do at the time, and before what it is
        given later. Until it is done, ``frames`` and ``out`` must not be freed. Nothing is
        copied but frames or results whose address is no multiple of 256 (on the GPU). The
        host waits only where a batch is larger than any before it and memory is taken anew,
        or while as many threads as there are execution contexts enqueue already.

        Args:
            frames: uint8 [N, H, W, 3] on the engine's GPU, as in `score`.
            out: float32 [N] on that GPU; gets P(fake), 0..1.
            logit: float32 [N] on that GPU; gets the log-odds, where wanted. Neither is
                looked at here, as `score` does: that would wait for them.
            stream: the CUDA stream, as in `score`.

        Raises:
            FramesError, EngineError: as `score`; or the engine runs on a CPU.
        """
        handle = stream_handle(stream)
        with self._in_use():
            gpu = self._gpu()
            seen = view_frames(frames, handle, self._frame_shape, gpu.device_index)
            count = seen.shape[0]
            fake = view_result(out, handle, count, gpu.device_index, "out")
            if logit is not None:
                logit = view_result(logit, handle, count, gpu.device_index, "logit")
            gpu.enqueue(seen, None if logit is None else logit.address, fake.address, handle)

    def pinned_frames(self, count: int) -> NDArray[np.uint8]:
        """Room for frames that need not be copied on their way to the GPU.

        Returns:
            uint8 [count, H, W, 3] in page-locked memory, its content arbitrary. It and
            slices of it go to the GPU at the full speed of the bus. It outlives the
            detector, and is freed with its last reference.

        Raises:
            FramesError: the engine runs on a CPU.
            EngineError: the detector is closed, or there is no more such memory.
        """
        if count < 1:
            raise FramesError(f"there is no array of {count} frames", "one or more are due")
        with self._in_use():
            return self._gpu().pinned_frames(count)

    @property
    def device_memory(self) -> int:
        """Bytes taken on the GPU by weights, activations, frames and results; 0 on a CPU."""
        with self._in_use():
            backend = self._backend
            return backend.memory_use().device if isinstance(backend, DeviceBackend) else 0

    def classify(self, images: Iterable[ImageLike] | ImageLike) -> list[Verdict]:
        """A verdict for each image, through the resize that the network was trained with.

        Args:
            images: paths, PIL images, uint8 arrays (RGB [H, W, 3] or grey [H, W]) or the
                bytes of files (`runtime.frames.EncodedImage`), in any mixture; or one of
                them.

        Raises:
            ImageError: one of them is no image; nothing is judged then.
            EngineError: as `score`.
        """
        one = isinstance(images, str | os.PathLike | EncodedImage | np.ndarray)
        one = one or hasattr(images, "convert")
        many = [images] if one else images
        return list(self.classify_each(cast("Iterable[ImageLike]", many)))

    def classify_each(self, images: Iterable[ImageLike]) -> Iterator[Verdict]:
        """Like `classify`, one by one and in bounded memory."""
        threshold = self.info.threshold
        source = iter(images)
        while chunk := list(islice(source, 32)):
            frames = np.stack([to_frame(image, self.info.preprocessing) for image in chunk])
            for image, logit, fake in zip(chunk, *self.infer(frames), strict=True):
                source_path = os.fspath(image) if isinstance(image, str | os.PathLike) else None
                # Python floats: NumPy would round the threshold to float32 first, and the
                # label could contradict the number beside it.
                logit, fake = float(logit), float(fake)
                yield Verdict("fake" if fake >= threshold else "real", fake, logit, source_path)

    def close(self) -> None:
        """Free the engine. Waits for calls that run; may be called twice.

        A forked child frees nothing: the engine is its parent's.
        """
        if os.getpid() != self._process:
            return  # threads that were scoring are not here, and would be waited for
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: self._running == 0)
            # A flag of its own: a wait that was interrupted can be taken up by another close.
            if not self._freed:
                self._freed = True
                self._backend.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        weights = self.info.weights
        state = "closed" if self._closed else self.title
        untrained = "" if weights.trained else ", UNTRAINED"
        what = printable(f"{self.info.network}/{weights.name}{untrained} {self.path.name}")
        return f"<Detector {what}: {state}>"

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        if os.getpid() != self._process:
            raise EngineError(
                f"the detector of {self.path} was opened before this process was forked",
                "neither CUDA nor ONNX Runtime's threads survive a fork",
                "open it in the child, or start the child with multiprocessing's 'spawn'",
            )
        with self._idle:
            if self._closed:
                raise EngineError(f"the detector of {self.path} is closed", "", "open it again")
            self._running += 1
        try:
            yield
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def _gpu(self) -> DeviceBackend:
        if not isinstance(self._backend, DeviceBackend):
            raise FramesError(
                f"{self.path} takes no arrays on the GPU",
                f"it is run by {self.title}",
                "give NumPy arrays, or open a .plan",
            )
        return self._backend

    def _checked(self, frames: Any) -> NDArray[np.uint8]:
        height, width, _ = self._frame_shape
        due = f"uint8 [N, {height}, {width}, 3] RGB is due"
        if not isinstance(frames, np.ndarray):
            raise FramesError(f"frames are a {type(frames).__name__}", f"a NumPy array, {due}")
        if frames.dtype != np.uint8:
            raise FramesError(
                f"frames have dtype {frames.dtype}",
                f"{due}; scaling is inside the engine",
                "give the pixels as they are, 0..255",
            )
        if frames.ndim != 4 or frames.shape[1:] != self._frame_shape:
            raise FramesError(
                f"frames have shape {frames.shape}",
                due,
                "classify() resizes images as the network was trained; score() does not",
            )
        if len(frames) == 0:
            raise FramesError("there are no frames: N = 0", due)
        return frames
