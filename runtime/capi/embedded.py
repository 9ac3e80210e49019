"""What runs inside ``libzoo_detector.so``: the table of detectors and the calls on it.

Every function here is reached from C, in any thread, with the interpreter's lock held.
The lock is given up where the engine runs, which is the backend's doing.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from runtime.backend_names import BackendName
from runtime.detector import Detector
from runtime.errors import EngineError, FramesError, MissingPackageError, ZooError


class NoSuchDetectorError(ZooError):
    """A handle was never given out, or its detector is closed."""


class BufferTooSmallError(ZooError):
    """The caller's buffer does not hold the answer."""


class UnsupportedError(ZooError):
    """What runs the engine cannot do what was asked."""


class DeviceMemory:
    """Memory of the caller's on the GPU, as the CUDA array interface shows it.

    It names no stream: the caller says in the call which one the memory belongs to.
    """

    def __init__(self, address: int, shape: tuple[int, ...], kind: str) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": kind,
            "data": (address, False),
            "strides": None,
            "version": 3,
        }


@dataclass(frozen=True)
class Opened:
    """A detector, and what is asked of it at every call."""

    detector: Detector
    height: int
    width: int
    frame_bytes: int
    on_gpu: bool

    @classmethod
    def of(cls, detector: Detector) -> Opened:
        """Ask the detector once for what stays as it is."""
        how = detector.info.preprocessing
        frame_bytes = how.height * how.width * 3
        return cls(detector, how.height, how.width, frame_bytes, detector.takes_device_arrays)

    def check(self, bytes_: int, count: int) -> None:
        """Refuse a buffer that does not hold `count` frames.

        Raises:
            FramesError: no frames, or another size in bytes.
        """
        if count == 0:
            raise FramesError("there are no frames: count = 0", "one frame at least is due")
        if bytes_ != count * self.frame_bytes:
            raise FramesError(
                f"frames have {bytes_} bytes",
                f"{count} x {self.height} x {self.width} x 3 = {count * self.frame_bytes} "
                "bytes are due: uint8 RGB, rows without padding",
                "resize images to the engine's frame; zoo_detector_format tells its size",
            )


class DetectorTable:
    """Detectors by handle. A handle is a number that is never given out again."""

    def __init__(self) -> None:
        self._opened: dict[int, Opened] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def open(self, engine: str, threads: int, backend: str = "auto", device: int = 0) -> int:
        """Open an engine and give its handle.

        Args:
            engine, backend, device: as for `Detector`.
            threads: the same, 0 for its choice.

        Raises:
            EngineError: as `Detector` does.
        """
        # A name that is none is refused where it is looked up, with those that are.
        name = cast("BackendName", backend)
        opened = Opened.of(Detector(engine, backend=name, threads=threads or None, device=device))
        with self._lock:
            handle = next(self._numbers)
            self._opened[handle] = opened
        return handle

    def get(self, handle: int) -> Opened:
        """The detector of a handle.

        Raises:
            NoSuchDetectorError: there is none.
        """
        opened = self._opened.get(handle)  # one operation on a dict needs no lock
        if opened is None:
            raise NoSuchDetectorError(
                f"there is no detector {handle}", "it was closed, or never opened"
            )
        return opened

    def close(self, handle: int) -> None:
        """Close a detector once the calls on it have ended.

        Raises:
            NoSuchDetectorError: there is none; of two closes at once, one gets this.
        """
        with self._lock:
            opened = self.get(handle)
            del self._opened[handle]
        opened.detector.close()

    def __len__(self) -> int:
        return len(self._opened)


def attach(ffi: Any, lib: Any) -> DetectorTable:
    """Answer the library's calls.

    Args:
        ffi, lib: of the cffi module that the library is.

    Returns:
        the table that the calls work on.
    """
    table = DetectorTable()
    # Most special first; whatever is not listed is a bug.
    codes: list[tuple[type[BaseException], int]] = [
        (NoSuchDetectorError, lib.ZOO_E_DETECTOR),
        (BufferTooSmallError, lib.ZOO_E_BUFFER),
        (UnsupportedError, lib.ZOO_E_UNSUPPORTED),
        (FramesError, lib.ZOO_E_FRAMES),
        (MissingPackageError, lib.ZOO_E_START),
        (ZooError, lib.ZOO_E_ENGINE),
    ]

    def answers(call: Callable[..., None]) -> None:
        def guarded(*args: Any) -> int:
            try:
                call(*args)
            except BaseException as error:
                code = next((c for kind, c in codes if isinstance(error, kind)), None)
                text = str(error) if code is not None else _bug(error)
                lib.zoo_set_error(text.encode("utf-8", "replace"))
                return int(lib.ZOO_E_INTERNAL) if code is None else code
            return 0

        ffi.def_extern(name=f"zoo_python_{call.__name__}", error=lib.ZOO_E_INTERNAL)(guarded)

    @answers
    def open(engine: Any, backend: Any, device: int, threads: int, handle: Any) -> None:
        path, name = os.fsdecode(ffi.string(engine)), os.fsdecode(ffi.string(backend))
        handle[0] = table.open(path, threads, name, device)

    @answers
    def format(handle: int, height: Any, width: Any, threshold: Any) -> None:
        opened = table.get(handle)
        height[0], width[0] = opened.height, opened.width
        threshold[0] = opened.detector.info.threshold

    @answers
    def info(handle: int, buffer: Any, size: int, needed: Any) -> None:
        detector = table.get(handle).detector
        facts = {**json.loads(detector.info.to_json()), "runs_on": detector.title}
        text = json.dumps(facts).encode() + b"\0"
        needed[0] = len(text)
        if buffer == ffi.NULL:
            return
        if size < len(text):
            raise BufferTooSmallError(
                f"the buffer has {size} bytes", f"the text and its final zero need {len(text)}"
            )
        ffi.memmove(buffer, text, len(text))

    @answers
    def score(handle: int, frames: Any, bytes_: int, count: int, logit: Any, fake: Any) -> None:
        opened = table.get(handle)
        opened.check(bytes_, count)
        pixels = np.frombuffer(ffi.buffer(frames, bytes_), np.uint8)
        with _closing_named(table, handle):
            logits, fakes = opened.detector.infer(
                pixels.reshape(count, opened.height, opened.width, 3)
            )
        ffi.memmove(logit, logits, logits.nbytes)
        ffi.memmove(fake, fakes, fakes.nbytes)

    @answers
    def score_device(
        handle: int, frames: Any, bytes_: int, count: int, stream: Any, logit: Any, fake: Any
    ) -> None:
        opened = table.get(handle)
        if not opened.on_gpu:
            raise UnsupportedError(
                f"{opened.detector.path.name} is run by {opened.detector.title}",
                "it takes no frames from the memory of a GPU",
                "use zoo_detector_score, or open a .plan",
            )
        opened.check(bytes_, count)
        pixels, queue, logits, fakes = (
            int(ffi.cast("uintptr_t", pointer)) for pointer in (frames, stream, logit, fake)
        )
        with _closing_named(table, handle):
            opened.detector.score_device(
                DeviceMemory(pixels, (count, opened.height, opened.width, 3), "|u1"),
                DeviceMemory(fakes, (count,), "<f4"),
                logit=DeviceMemory(logits, (count,), "<f4"),
                stream=queue,
            )

    @answers
    def close(handle: int) -> None:
        table.close(handle)

    return table


@contextmanager
def _closing_named(table: DetectorTable, handle: int) -> Iterator[None]:
    """Another thread may close a detector after this one looked it up: say that, then."""
    try:
        yield
    except EngineError:
        table.get(handle)
        raise


def _bug(error: BaseException) -> str:
    """A traceback with its end first: the caller's buffer may cut the rest."""
    last = "".join(traceback.format_exception_only(error)).strip()
    return f"{last}\n{''.join(traceback.format_tb(error.__traceback__))}"
