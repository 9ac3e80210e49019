"""How calls from several threads share the cores of a CPU."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from forks import in_child
from tiny_engine import TinyEngine, TinyWeights, random_frames, tiny_model

from runtime import Detector, EngineError
from runtime.backends import onnxruntime
from runtime.backends.shared_cores import SharedCores

LONG = 20.0


class Work:
    """A run that notes who makes it, and waits until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.sizes: list[int] = []
        self.threads: set[str] = set()
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def run(self, frames: Any) -> Any:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.sizes.append(len(frames))
            self.threads.add(threading.current_thread().name)
        assert self.let_go.wait(LONG)
        with self._lock:
            self._now -= 1
        return frames, frames


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8, "caller") as pool:
        yield pool


def in_flight(cores: SharedCores) -> int:
    return cores._here + cores._given


def test_few_calls_run_where_they_come_from_and_the_others_by_workers(
    callers: ThreadPoolExecutor,
) -> None:
    first, then = Work(), Work()
    cores = SharedCores(first.run, then.run, few=2, workers=3)
    calls: list[Future[Any]] = []
    for count in range(1, 8):
        calls.append(callers.submit(cores.run, np.zeros(count, np.uint8)))
        until(lambda due=count: in_flight(cores) == due)  # type: ignore[misc]
    until(lambda: first.sizes == [1, 2])
    time.sleep(0.05)  # whoever else may run does so now
    assert first.sizes == [1, 2]
    assert not then.sizes  # the cores are taken
    first.let_go.set()
    until(lambda: sorted(then.sizes) == [3, 4, 5])
    # A call that comes now does not overtake those that wait.
    calls.append(callers.submit(cores.run, np.zeros(8, np.uint8)))
    until(lambda: in_flight(cores) == 6)
    time.sleep(0.05)
    assert first.sizes == [1, 2]
    then.let_go.set()
    assert [len(call.result(LONG)[0]) for call in calls] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert sorted(then.sizes) == [3, 4, 5, 6, 7, 8]
    assert then.most == 3
    assert all(name.startswith("caller") for name in first.threads)
    assert all(name.startswith("zoo-cpu") for name in then.threads)
    assert cores.run(np.zeros(9, np.uint8))
    assert first.sizes == [1, 2, 9]
    cores.close()


def test_calls_are_run_in_the_order_in_which_they_came(callers: ThreadPoolExecutor) -> None:
    work = Work()
    cores = SharedCores(work.run, work.run, few=1, workers=1)
    for count in range(1, 9):
        callers.submit(cores.run, np.zeros(count, np.uint8))
        until(lambda due=count: in_flight(cores) == due)  # type: ignore[misc]
    work.let_go.set()
    until(lambda: len(work.sizes) == 8)
    assert work.sizes == list(range(1, 9))
    assert work.most == 1
    cores.close()


def test_no_call_overtakes_one_that_is_just_being_given(
    callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    work.let_go.set()
    cores = SharedCores(work.run, work.run, few=0, workers=1)
    submit, begun = cores._workers.submit, threading.Event()

    def slow(*given: Any) -> Any:
        if not begun.is_set():
            begun.set()
            time.sleep(0.1)
        return submit(*given)

    monkeypatch.setattr(cores._workers, "submit", slow)
    one = callers.submit(cores.run, np.zeros(1, np.uint8))
    assert begun.wait(LONG)
    callers.submit(cores.run, np.zeros(2, np.uint8)).result(LONG)
    one.result(LONG)
    assert work.sizes == [1, 2]
    cores.close()


def test_an_error_reaches_its_caller_and_is_not_counted_on(callers: ThreadPoolExecutor) -> None:
    hold = threading.Event()

    def alone(frames: Any) -> Any:
        assert hold.wait(LONG)
        raise ValueError("alone")

    def crowded(frames: Any) -> Any:
        raise KeyError("crowded")

    cores = SharedCores(alone, crowded, few=1, workers=1)
    first = callers.submit(cores.run, np.zeros(1, np.uint8))
    until(lambda: cores._here == 1)
    second = callers.submit(cores.run, np.zeros(1, np.uint8))
    until(lambda: cores._given == 1)
    hold.set()
    with pytest.raises(ValueError, match="alone"):
        first.result(LONG)
    with pytest.raises(KeyError, match="crowded"):
        second.result(LONG)
    assert in_flight(cores) == 0
    cores.close()


def test_closing_ends_the_workers(callers: ThreadPoolExecutor) -> None:
    work = Work()
    cores = SharedCores(work.run, work.run, few=0, workers=2)
    calls = [callers.submit(cores.run, np.zeros(1, np.uint8)) for _ in range(3)]
    until(lambda: len(work.sizes) == 2)
    closing = callers.submit(cores.close)
    time.sleep(0.05)
    assert not closing.done()
    work.let_go.set()
    closing.result(LONG)
    for call in calls:
        call.result(LONG)
    assert not [t for t in threading.enumerate() if t.name in work.threads]


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Threads of every session that is opened."""
    opened: list[int | None] = []
    plain = onnxruntime._open_session

    def opening(path: Path, provider: Any, device: int, threads: int | None) -> Any:
        opened.append(threads)
        return plain(path, provider, device, threads)

    monkeypatch.setattr(onnxruntime, "_open_session", opening)
    return opened


@pytest.mark.parametrize(
    ("cores", "threads", "size", "opened", "few", "workers"),
    [
        (2, None, 0, [None, 1], 1, 2),
        (16, None, 0, [None, 1], 8, 16),
        (1, None, 0, [None], 1, 1),
        # Weights beyond the caches: not read by two calls at once, nor held twice.
        (2, None, 16_000_001, [None], 1, 1),
        (16, None, 16_000_001, [None], 4, 4),
        # As the caller says.
        (2, 1, 0, [1], 2, 2),
        (2, 2, 0, [2], 1, 1),
        (16, 4, 0, [4], 4, 4),
    ],
)
def test_who_runs_how_many_calls(
    tiny_engine: TinyEngine,
    monkeypatch: pytest.MonkeyPatch,
    sessions: list[int | None],
    cores: int,
    threads: int | None,
    size: int,
    opened: list[int | None],
    few: int,
    workers: int,
) -> None:
    monkeypatch.setattr(onnxruntime, "count_cores", lambda: cores)
    if size:
        monkeypatch.setattr(onnxruntime, "_LARGE_BYTES", tiny_engine.path.stat().st_size - 1)
    backend = onnxruntime.OnnxRuntimeBackend(tiny_engine.path, threads=threads)
    assert sessions == opened
    shared: Any = backend._cores
    assert (shared._few, shared._workers._max_workers) == (few, workers)
    assert backend.max_batch == (8 if size else 4)
    backend.close()


def test_calls_at_once_get_the_scores_of_one_alone(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "count_cores", lambda: 2)
    with Detector(tiny_engine.path) as detector, ThreadPoolExecutor(8) as pool:
        shared: Any = detector._backend._cores  # type: ignore[attr-defined]
        plain, by_workers = shared._crowded, []

        def crowded(frames: Any) -> Any:
            by_workers.append(len(frames))
            return plain(frames)

        monkeypatch.setattr(shared, "_crowded", crowded)
        monkeypatch.setattr(shared, "_few", 0)
        frames = [random_frames(count, seed=count) for count in (1, 2, 3, 4, 5, 8, 21, 34)]
        due = [tiny_engine.reference(each) for each in frames]

        def work(index: int) -> float:
            index %= len(frames)
            found = detector.infer(frames[index])
            return max(float(np.abs(f - d).max()) for f, d in zip(found, due[index], strict=True))

        assert max(pool.map(work, range(200))) < 1e-5
        assert sum(by_workers) == 25 * sum(len(each) for each in frames)


# Forks.


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told_and_frees_nothing(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime would wait, as it frees a session, for threads that only the parent has."""
    monkeypatch.setattr(onnxruntime, "count_cores", lambda: 2)
    frames = random_frames(9)
    detectors = [Detector(tiny_engine.path)]
    due = detectors[0].score(frames)
    busy, stop = threading.Event(), threading.Event()

    def score() -> None:
        while not stop.is_set():
            detectors[0].score(frames)
            busy.set()

    threads = [threading.Thread(target=score) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert busy.wait(LONG)

    def ask() -> bool:
        with pytest.raises(EngineError, match="before this process was forked") as caught:
            detectors[0].score(frames)
        return "open it in the child" in caught.value.todo

    def close() -> bool:
        detectors[0].close()
        return True

    def drop() -> bool:
        detectors.clear()
        gc.collect()
        return True

    def open_another() -> bool:
        with Detector(tiny_engine.path) as own:
            return np.array_equal(own.score(frames), due)

    try:
        assert in_child(ask)
        assert in_child(close)
    finally:
        stop.set()
        for thread in threads:
            thread.join(LONG)
    time.sleep(0.3)  # what hangs is to free a session whose threads have gone to sleep
    assert in_child(drop)
    assert in_child(open_another)
    np.testing.assert_array_equal(detectors[0].score(frames), due)
    detectors[0].close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_free_what_its_parent_has_dropped(tmp_path: Path) -> None:
    """A file that is refused leaves a session to the garbage collector, whoever runs it."""
    path = tmp_path / "net.onnx"
    onnx.save(tiny_model(TinyWeights.seeded(), outputs=("logit",)), path)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(EngineError, match="'fake' is due") as caught:
            Detector(path)
        kept: list[Any] = [caught.value]
        kept.append(kept)
        del kept, caught
        time.sleep(0.3)  # what hangs is to free a session whose threads have gone to sleep
        assert in_child(lambda: gc.collect() > 0)
    finally:
        gc.enable()
