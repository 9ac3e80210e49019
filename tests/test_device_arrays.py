"""Arrays that another library keeps on the GPU, as frames and as results."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes.cuda import Stream
from fakes.device_arrays import CPU, CudaArray, DLPackArray
from fakes.machine import HEIGHT, WIDTH, Machine, frames, make_machine
from fakes.tensorrt import logits, sigmoid

from runtime import Detector, EngineError, FramesError
from runtime.cuda import stream_handle
from runtime.device_arrays import is_device_array

SEEDS = [None, *range(12)]
USERS = 0x77  # handle of a stream of the user's


class Gpu:
    """A machine, and what a library that shares its device would do there."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.fake = machine, machine.cuda
        self.fake.streams[USERS] = Stream()
        self._taken: list[int] = []

    def room(self, size: int, offset: int = 0) -> int:
        """Address of device memory, ``offset`` bytes behind a multiple of 256."""
        self._taken.append(self.fake.allocate(size + offset))
        return self._taken[-1] + offset

    def write(self, address: int, values: np.ndarray, stream: int) -> None:
        """Enqueue the writing of an array, as a kernel of the user's would do it."""
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(-1).copy()
        target = self.fake.bytes_at(address, raw.size)
        self.fake.enqueue(stream, lambda: target.__setitem__(slice(None), raw))

    def read(self, address: int, count: int, stream: int) -> np.ndarray:
        """Enqueue the reading of floats; run everything; what was read."""
        found = np.full(count, np.nan, np.float32)

        def run() -> None:
            found[:] = self.fake.bytes_at(address, 4 * count).view(np.float32)

        self.fake.enqueue(stream, run)
        self.fake.drain()
        return found

    def release(self) -> None:
        del self.fake.streams[USERS]
        for address in self._taken:
            self.fake.used -= self.fake.device_memory.pop(address).size


@pytest.fixture
def gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Gpu, Detector]]]:
    """Makes a GPU with a seed, and a detector on it."""
    opened: list[tuple[Gpu, Detector]] = []

    def make(seed: int | None = None, **options: Any) -> tuple[Gpu, Detector]:
        machine = make_machine(monkeypatch, tmp_path, seed=seed, **options)
        opened.append((Gpu(machine), machine.detector()))
        return opened[-1]

    yield make
    for one, detector in opened:
        detector.close()
        one.release()
        gc.collect()
        assert one.fake.faults == []
        assert (one.fake.used, len(one.fake.streams), one.fake.events) == (0, 2, {})


def kinds(address: int, count: int) -> list[Any]:
    """The same frames as each protocol offers them."""
    shape = (count, HEIGHT, WIDTH, 3)
    return [CudaArray(address, shape, np.uint8), DLPackArray(address, shape, np.uint8)]


@pytest.mark.parametrize("stream", [None, 0, 1, 2, USERS])
@pytest.mark.parametrize("seed", SEEDS)
def test_results_are_in_order_with_the_users_stream(
    gpu: Any, seed: int | None, stream: int | None
) -> None:
    """Frames are written before, and results read after, without any other wait."""
    one, detector = gpu(seed)
    handle = {None: 1, 0: 1}.get(stream, stream)
    for turn, count in enumerate([3, 16, 3, 50]):
        given = frames(count, seed=turn)
        address = one.room(given.nbytes)
        for array in kinds(address, count):
            out, logit = one.room(4 * count), one.room(4 * count)
            one.write(address, given, handle)
            detector.score_device(
                array,
                DLPackArray(out, (count,), np.float32),
                logit=CudaArray(logit, (count,), np.float32),
                stream=stream,
            )
            np.testing.assert_array_equal(one.read(logit, count, handle), logits(given))
            np.testing.assert_array_equal(one.read(out, count, handle), sigmoid(logits(given)))


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_brought_to_the_host(gpu: Any, seed: int | None) -> None:
    one, detector = gpu(seed)
    for stream in (None, USERS):
        for count in (3, 40, 1):
            given = frames(count)
            address = one.room(given.nbytes)
            for array in kinds(address, count):
                one.write(address, given, stream or 1)
                logit, fake = detector.infer(array, stream=stream)
                np.testing.assert_array_equal(logit, logits(given))
                np.testing.assert_array_equal(fake, sigmoid(logits(given)))
                one.write(address, np.zeros_like(given), stream or 1)


@pytest.mark.parametrize("host", [[2], [16], [40], []], ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_work_takes_turns(gpu: Any, seed: int | None, host: list[int]) -> None:
    """Work on the user's stream is still to come when the next is from host or another stream."""
    one, detector = gpu(seed)
    for count in [16, 40, *host, *host, *host]:  # memory is there, and a graph where one is
        detector.infer(frames(count))
    outs = []
    for turn in range(12):
        given = frames(16, seed=turn)
        address, out = one.room(given.nbytes, offset=4), one.room(64)
        stream = USERS if host or turn % 2 else 1
        one.write(address, given, stream)
        array = CudaArray(address, given.shape, np.uint8)
        detector.score_device(array, CudaArray(out, (16,), np.float32), stream=stream)
        outs.append((out, sigmoid(logits(given)), stream))
        for count in host:
            given = frames(count, seed=100 + turn)
            np.testing.assert_array_equal(detector.infer(given)[0], logits(given))
    for out, due, stream in outs:
        np.testing.assert_array_equal(one.read(out, 16, stream), due)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_producers_stream_is_waited_for(gpu: Any, seed: int | None) -> None:
    """``__cuda_array_interface__`` version 3 names the stream that writes the array."""
    one, detector = gpu(seed)
    given = frames(5)
    address, out = one.room(given.nbytes), one.room(20)
    one.write(address, given, USERS)
    array = CudaArray(address, given.shape, np.uint8, stream=USERS)
    detector.score_device(array, CudaArray(out, (5,), np.float32))
    np.testing.assert_array_equal(one.read(out, 5, 1), sigmoid(logits(given)))


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_grows_while_the_users_stream_still_runs(gpu: Any, seed: int | None) -> None:
    one, detector = gpu(seed)
    outs = []
    for count in (1, 2, 4, 8, 16):
        given = frames(count)
        address, out = one.room(given.nbytes), one.room(4 * count)
        one.write(address, given, USERS)
        array = CudaArray(address, given.shape, np.uint8)
        detector.score_device(array, CudaArray(out, (count,), np.float32), stream=USERS)
        outs.append((out, sigmoid(logits(given))))
    for out, due in outs:
        np.testing.assert_array_equal(one.read(out, len(due), USERS), due)


def test_a_dlpack_owner_is_told_our_stream(gpu: Any) -> None:
    one, detector = gpu()
    address, out = one.room(frames(2).nbytes), one.room(8)
    for stream, told in ((None, 1), (0, 1), (USERS, USERS)):
        array = DLPackArray(address, (2, HEIGHT, WIDTH, 3), np.uint8)
        result = DLPackArray(out, (2,), np.float32)
        detector.score_device(array, result, stream=stream)
        assert array.streams == result.streams == [told]
        gc.collect()
        assert array.released == result.released == 1


def test_nothing_is_copied_and_nobody_waits(gpu: Any) -> None:
    one, detector = gpu(None)
    array = CudaArray(one.room(16 * 180), (16, HEIGHT, WIDTH, 3), np.uint8)
    out = CudaArray(one.room(64), (16,), np.float32)
    logit = CudaArray(one.room(64), (16,), np.float32)
    detector.score_device(array, out, stream=USERS)
    one.fake.calls.clear()
    for _ in range(3):
        detector.score_device(array, out, logit=logit, stream=USERS)
    names = {name for name, _ in one.fake.calls}
    assert names == {"cuCtxPushCurrent", "cuCtxPopCurrent", "cuStreamWaitEvent", "cuEventRecord"}
    assert detector.device_memory < 16 * 180 + 16 * 512 + 4096 + 1024  # no room for frames


def test_what_lies_between_multiples_of_256_is_copied_on_the_device(gpu: Any) -> None:
    one, detector = gpu(3)
    given = frames(7)
    address, out = one.room(given.nbytes, offset=12), one.room(28, offset=4)
    one.write(address, given, USERS)
    array = CudaArray(address, given.shape, np.uint8)
    detector.score_device(array, CudaArray(out, (7,), np.float32), stream=USERS)
    np.testing.assert_array_equal(one.read(out, 7, USERS), sigmoid(logits(given)))
    copies = [a[2] for name, a in one.fake.calls if name.startswith("cuMemcpy")]
    assert copies == [given.nbytes, 28]


SHAPE = (2, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (lambda a: CudaArray(a, SHAPE, np.float32), "frames have dtype float32"),
        (lambda a: CudaArray(a, (2, 3, HEIGHT, WIDTH), np.uint8), r"frames have shape \(2, 3,"),
        (lambda a: CudaArray(a, (0, *SHAPE[1:]), np.uint8), r"frames have shape \(0,"),
        (lambda a: CudaArray(a, SHAPE, np.uint8, strides=(180, 1, 6, 60)), "not contiguous"),
        (lambda a: DLPackArray(a, SHAPE, np.uint8, index=1), "frames are on GPU 1"),
        (lambda a: DLPackArray(a, SHAPE, np.int8), "frames have dtype int8"),
        (lambda a: DLPackArray(a, SHAPE, np.uint8, device=CPU), "DLPackArray that is not on a GPU"),
        (lambda a: frames(2), "ndarray that is not on a GPU"),
    ],
)
def test_frames_that_do_not_fit(gpu: Any, array: Any, words: str) -> None:
    one, detector = gpu()
    address, out = one.room(4 * 360), one.room(8)
    with pytest.raises(FramesError, match=words):
        detector.score_device(array(address), CudaArray(out, (2,), np.float32))
    assert "cuEventRecord" not in one.machine.names()


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (lambda a: CudaArray(a, (2,), np.float16), r"out is float16 \[2\]"),
        (lambda a: CudaArray(a, (3,), np.float32), r"out is float32 \[3\]"),
        (lambda a: CudaArray(a, (2,), np.float32, strides=(8,)), "out on the GPU are not cont"),
        (lambda a: CudaArray(a, (2,), np.float32, readonly=True), "out is read-only"),
        (lambda a: DLPackArray(a, (2,), np.float32, index=1), "out is on GPU 1"),
        (lambda a: np.empty(2, np.float32), "out is a ndarray that is not on a GPU"),
    ],
)
def test_results_that_do_not_fit(gpu: Any, out: Any, words: str) -> None:
    one, detector = gpu()
    array = CudaArray(one.room(360), SHAPE, np.uint8)
    with pytest.raises(FramesError, match=words):
        detector.score_device(array, out(one.room(64)))


def test_contiguous_strides_are_fine(gpu: Any) -> None:
    one, detector = gpu(0)
    given = frames(1)
    address = one.room(180)
    one.write(address, given, 1)
    # A batch axis of one may have any stride.
    array = CudaArray(address, given.shape, np.uint8, strides=(7, 30, 3, 1))
    np.testing.assert_array_equal(detector.score(array), sigmoid(logits(given)))


def test_a_profile_that_cannot_be_met(gpu: Any) -> None:
    one, detector = gpu(0, profile=(5, 5, 5))
    array = CudaArray(one.room(7 * 180), (7, HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(EngineError, match="5 to 5, and 7 is no sum"):
        detector.score(array)


def test_a_cpu_takes_none_of_it(tiny_engine: Any) -> None:
    with Detector(tiny_engine.path) as detector:
        assert detector.device_memory == 0
        for act in (
            lambda: detector.score(CudaArray(4096, (1, 8, 8, 3), np.uint8)),
            lambda: detector.score_device(CudaArray(4096, (1, 8, 8, 3), np.uint8), None),
            lambda: detector.pinned_frames(1),
        ):
            with pytest.raises(FramesError, match="takes no arrays on the GPU"):
                act()


def test_what_is_a_device_array() -> None:
    assert is_device_array(CudaArray(0, (1,), np.uint8))
    assert is_device_array(DLPackArray(0, (1,), np.uint8))
    assert not is_device_array(DLPackArray(0, (1,), np.uint8, device=CPU))
    assert not is_device_array(np.zeros(1))
    assert not is_device_array([1])


@pytest.mark.parametrize(
    ("stream", "handle"),
    [
        (None, 1),
        (0, 1),
        (5, 5),
        (SimpleNamespace(cuda_stream=7), 7),
        (SimpleNamespace(cuda_stream=0), 1),
        (SimpleNamespace(handle=8), 8),
        (SimpleNamespace(__cuda_stream__=lambda: (0, 9)), 9),
    ],
)
def test_streams_of_other_libraries(stream: Any, handle: int) -> None:
    assert stream_handle(stream) == handle


@pytest.mark.parametrize("stream", ["5", 5.0, True, object()])
def test_no_stream(stream: Any) -> None:
    with pytest.raises(TypeError, match="a CUDA stream or its handle is due"):
        stream_handle(stream)
