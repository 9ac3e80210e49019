"""The TensorRT backend on fake GPUs that run work of several streams in any allowed order."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.machine import Machine, frames, make_machine
from fakes.tensorrt import SCRATCH, WEIGHTS, logits, sigmoid
from forks import in_child

from runtime import EngineError, FramesError, batch_io, cuda
from runtime.batch import BatchProfile
from runtime.batch_runner import BatchRunner
from runtime.cuda_graphs import MOST_GRAPHS
from runtime.errors import EngineRunError
from runtime.tensorrt_api import Flavour

#: Orders of work to try: as late as allowed, and drawn from seeds.
SEEDS = [None, *range(12)]

Make = Callable[..., Machine]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a machine, and sees at the end that nothing went wrong or stayed behind on it."""
    made: list[Machine] = []

    def one(**options: Any) -> Machine:
        made.append(make_machine(monkeypatch, tmp_path, **options))
        return made[-1]

    yield one
    gc.collect()
    for machine in made:
        assert machine.cuda.faults == []
        assert left(machine) == (0, 0, 2, 0, 0, 0, 0), "something was not freed"


def left(machine: Machine) -> tuple[int, ...]:
    """What is still taken: device and host memory, streams (2 are CUDA's own), and so on."""
    fake = machine.cuda
    graphs = len(fake.graphs) + len(fake.executables)
    host = len(fake.host_memory)
    return fake.used, host, len(fake.streams), len(fake.events), graphs, fake.retained, 0


def check(scores: tuple[np.ndarray, np.ndarray], given: np.ndarray) -> None:
    """(logit, fake) is what the network says of these frames, to the last bit."""
    logit, fake = scores
    np.testing.assert_array_equal(logit, logits(given))
    np.testing.assert_array_equal(fake, sigmoid(logits(given)))
    assert logit.dtype == fake.dtype == np.float32


# Batches


@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize("seed", SEEDS)
def test_scores_of_any_count(make: Make, seed: int | None, flavour: Flavour) -> None:
    """Single batches, graphs, the double-buffered way, and back, memory growing between."""
    machine = make(seed=seed, flavour=flavour)
    with machine.detector() as detector:
        for turn, count in enumerate([1, 1, 1, 3, 16, 3, 100, 3, 3, 17, 33, 2, 100]):
            given = frames(count, seed=turn)
            check(detector.infer(given), given)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_callers_frames_may_change_at_once(make: Make, seed: int | None) -> None:
    with make(seed=seed).detector() as detector:
        given = frames(80)
        for count in (5, 80):
            kept = given[:count].copy()
            scores = detector.infer(given[:count])
            given[:] = 0
            detector.infer(given)
            check(scores, kept)
            given[:] = frames(80)


def test_large_batches_are_staged_in_pieces(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_io, "PIECE", 1000)
    machine = make(seed=1)
    with machine.detector() as detector:
        given = frames(16)
        check(detector.infer(given), given)
    sizes = [a[2] for name, a in machine.cuda.calls if name == "cuMemcpyHtoDAsync"]
    assert sizes == [1000, 1000, 880]


def test_copies_of_the_next_batch_are_enqueued_before_this_one_is_waited_for(make: Make) -> None:
    machine = make()
    with machine.detector() as detector:
        detector.infer(frames(16 * 4))
        machine.cuda.calls.clear()
        detector.infer(frames(16 * 4))
    kinds = {"cuMemcpyHtoDAsync": "H", "cuMemcpyDtoHAsync": "D", "cuEventSynchronize": "w"}
    order = "".join(kinds.get(name, "") for name in machine.names())
    assert order.startswith("HDHDwHDwHDww")
    uploads = {a[3] for name, a in machine.cuda.calls if name == "cuMemcpyHtoDAsync"}
    fetches = {a[3] for name, a in machine.cuda.calls if name == "cuMemcpyDtoHAsync"}
    assert len(uploads) == len(fetches) == 1
    assert uploads != fetches


def test_bytes_go_up_and_floats_come_back(make: Make) -> None:
    machine = make()
    with machine.detector() as detector:
        detector.infer(frames(16))
    up = sum(a[2] for name, a in machine.cuda.calls if name == "cuMemcpyHtoDAsync")
    down = sum(a[2] for name, a in machine.cuda.calls if name == "cuMemcpyDtoHAsync")
    assert up == frames(16).nbytes
    assert down <= 2 * 256


def test_page_locked_frames_are_not_copied(make: Make) -> None:
    machine = make(seed=3)
    with machine.detector() as detector:
        pinned = detector.pinned_frames(40)
        pinned[:] = frames(40)
        detector.infer(frames(40))
        machine.cuda.calls.clear()
        check(detector.infer(pinned), pinned)
        check(detector.infer(pinned[3:9]), pinned[3:9])
    sources = [a[1] for name, a in machine.cuda.calls if name == "cuMemcpyHtoDAsync"]
    start = pinned.ctypes.data
    assert sources == [start + 180 * i for i in (0, 16, 32, 3)]
    del pinned


def test_the_profile_is_kept(make: Make) -> None:
    with make(seed=0, profile=(4, 8, 8)).detector() as detector:
        for count in (4, 7, 8, 9, 13, 17, 100):
            given = frames(count)
            check(detector.infer(given), given)
        for count in (1, 3):
            with pytest.raises(EngineError, match="4 to 8"):
                detector.infer(frames(count))


@pytest.mark.parametrize(
    ("profile", "count", "sizes"),
    [
        ((1, 4, 16), 16, [16]),
        ((1, 4, 16), 17, [16, 1]),
        ((8, 8, 16), 35, [16, 11, 8]),
        ((15, 15, 16), 61, [16, 15, 15, 15]),
        ((15, 15, 16), 46, [16, 15, 15]),
        ((5, 5, 5), 10, [5, 5]),
    ],
)
def test_splitting(profile: tuple[int, int, int], count: int, sizes: list[int]) -> None:
    found = BatchProfile(*profile).split(count)
    assert sum(found) == count
    assert sorted(found) == sorted(sizes)


@pytest.mark.parametrize(("profile", "count"), [((5, 5, 5), 11), ((15, 15, 16), 33)])
def test_what_cannot_be_split(profile: tuple[int, int, int], count: int) -> None:
    with pytest.raises(EngineError, match=f"{profile[0]} to {profile[2]}, and {count} is no sum"):
        BatchProfile(*profile).split(count)


# Missing dependencies are seen: the fake would let them pass otherwise


@pytest.mark.parametrize(
    "broken",
    [
        (cuda.Event, "hold", lambda self, stream: None),
        (cuda.Event, "synchronize", lambda self: None),
        (BatchRunner, "_finish", lambda self, io, count: io.scores(count)),
    ],
    ids=["compute does not wait for the copy", "the host waits for nothing", "no wait at the end"],
)
def test_a_missing_wait_gives_wrong_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: tuple[Any, str, Any]
) -> None:
    wrong = 0
    for seed in SEEDS:
        with monkeypatch.context() as patch:
            machine = make_machine(patch, tmp_path, seed=seed)
            patch.setattr(*broken)
            with machine.detector() as detector:
                given = frames(100)
                try:
                    wrong += not np.array_equal(detector.infer(given)[0], logits(given))
                except EngineRunError:  # what lay in the memory before is no score
                    wrong += 1
            machine.cuda.drain()
            gc.collect()
    assert wrong >= 2


# CUDA graphs


def launches(machine: Machine) -> int:
    return machine.names().count("cuGraphLaunch")


def test_a_batch_size_that_comes_back_is_replayed(make: Make) -> None:
    machine = make(seed=5)
    with machine.detector() as detector:
        seen = []
        for turn in range(5):
            given = frames(2, seed=turn)
            machine.cuda.calls.clear()
            check(detector.infer(given), given)
            seen.append((machine.names().count("cuStreamBeginCapture"), launches(machine)))
        # Plain, captured and checked, then replayed in one launch.
        assert seen == [(0, 0), (1, 1), (0, 1), (0, 1), (0, 1)]
        calls = [n for n in machine.names() if n.startswith(("cuMem", "cuGraph", "cuStream"))]
        assert calls == ["cuStreamWaitEvent", "cuStreamWaitEvent", "cuGraphLaunch"]


def test_graphs_are_captured_thread_locally(make: Make) -> None:
    machine = make()
    with machine.detector() as detector:
        for _ in range(2):
            detector.infer(frames(2))
    ((_, mode),) = [a for name, a in machine.cuda.calls if name == "cuStreamBeginCapture"]
    assert mode.name == "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"


def test_few_graphs_are_kept(make: Make) -> None:
    machine = make(seed=2)
    with machine.detector() as detector:
        for turn in range(3):
            for count in range(1, 17):
                given = frames(count, seed=turn)
                check(detector.infer(given), given)
        assert len(machine.cuda.executables) == MOST_GRAPHS
        assert machine.cuda.graphs == {}


def test_a_graph_is_not_trusted_unseen(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    machine = make(seed=4)
    machine.cuda.empty_graphs = True
    with machine.detector() as detector, caplog.at_level(logging.WARNING):
        for turn in range(4):
            given = frames(2, seed=turn)
            check(detector.infer(given), given)
        assert machine.cuda.executables == {}
    assert launches(machine) == 1
    assert [r.message for r in caplog.records] == [
        "no CUDA graph for batches of 2: it gives other results than a plain run"
    ]


def test_what_cannot_be_captured_runs_plainly(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    machine = make(seed=4)
    context = machine.module.IExecutionContext
    plain = context.execute_async_v3

    def execute_async_v3(self: Any, stream_handle: int) -> bool:
        if machine.cuda.capturing(stream_handle):
            return self._refuse("an operation not permitted when stream is capturing")
        return plain(self, stream_handle)

    context.execute_async_v3 = execute_async_v3
    with machine.detector() as detector, caplog.at_level(logging.WARNING):
        for turn in range(4):
            given = frames(2, seed=turn)
            check(detector.infer(given), given)
    assert launches(machine) == 0
    assert "not permitted when stream is capturing" in caplog.text


def test_rtx_captures_graphs_itself(make: Make) -> None:
    machine = make(flavour=Flavour.TENSORRT_RTX)
    strategies = []
    engine = machine.module.ICudaEngine
    plain = engine.create_execution_context

    def create_execution_context(self: Any, runtime_config: Any) -> Any:
        strategies.append(runtime_config.cuda_graph_strategy.name)
        return plain(self, runtime_config)

    engine.create_execution_context = create_execution_context
    with machine.detector() as detector:
        for _ in range(3):
            detector.infer(frames(2))
    assert strategies == ["WHOLE_GRAPH_CAPTURE"]
    assert "cuStreamBeginCapture" not in machine.names()


# What comes back


@pytest.mark.parametrize("value", [np.nan, 2.0, -0.1, np.inf])
@pytest.mark.parametrize("count", [2, 40])
def test_what_is_no_score_is_an_error_of_the_plan_too(
    make: Make, monkeypatch: pytest.MonkeyPatch, value: float, count: int
) -> None:
    plain = batch_io.BatchIo.scores

    def scores(self: Any, many: int) -> Any:
        logit, fake = plain(self, many)
        fake[-1] = value
        return logit, fake

    with make().detector() as detector:
        detector.infer(frames(count))
        monkeypatch.setattr(batch_io.BatchIo, "scores", scores)
        with pytest.raises(EngineRunError, match=r"fake\.plan gives no score"):
            detector.infer(frames(count))


def test_a_plan_that_does_not_run_is_an_error_of_the_engine(make: Make) -> None:
    machine = make()
    context = machine.module.IExecutionContext
    context.execute_async_v3 = lambda self, stream: self._refuse("an illegal memory access")
    with machine.detector() as detector:
        with pytest.raises(EngineRunError, match="illegal memory access"):
            detector.infer(frames(2))
        with pytest.raises(EngineRunError, match="illegal memory access"):
            detector.infer(frames(40))


def test_views_of_frames_are_copied_by_the_batch(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = np.broadcast_to(frames(1), (40, *frames(1).shape[1:]))
    with make().detector() as detector:
        copied: list[int] = []
        plain = np.ascontiguousarray

        def copying(array: Any) -> Any:
            copied.append(len(array))
            return plain(array)

        monkeypatch.setattr(np, "ascontiguousarray", copying)
        check(detector.infer(given), given)
    assert max(copied) == 16


# Threads


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_threads_share_a_detector(make: Make, seed: int) -> None:
    machine = make(seed=seed)
    with machine.detector() as detector, ThreadPoolExecutor(8) as pool:

        def work(number: int) -> None:
            for turn in range(6):
                given = frames([2, 5, 40][(number + turn) % 3], seed=number * 10 + turn)
                check(detector.infer(given), given)

        list(pool.map(work, range(8)))
        assert len(detector._backend._runners) <= 2  # type: ignore[attr-defined]


def test_two_batches_run_side_by_side(make: Make) -> None:
    machine = make(seed=1)
    both = threading.Barrier(2, timeout=20)
    machine.cuda.hook = lambda name: both.wait() if name == "cuEventSynchronize" else None
    with machine.detector() as detector, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda n: detector.infer(frames(16, seed=n)), range(2)))
        machine.cuda.hook = lambda name: None
    for number, scores in enumerate(results):
        check(scores, frames(16, seed=number))


def test_closing_waits_for_who_scores(make: Make) -> None:
    machine = make(seed=1)
    inside, go = threading.Event(), threading.Event()

    def hook(name: str) -> None:
        if name == "cuEventSynchronize" and not inside.is_set():
            inside.set()
            go.wait(20)

    machine.cuda.hook = hook
    detector = machine.detector()
    with ThreadPoolExecutor(2) as pool:
        scoring = pool.submit(detector.infer, frames(16))
        assert inside.wait(20)
        closing = pool.submit(detector.close)
        time.sleep(0.05)
        assert not closing.done()
        assert len(machine.cuda.streams) > 2  # nothing was given back yet
        go.set()
        check(scoring.result(20), frames(16))
        closing.result(20)
    with pytest.raises(EngineError, match="closed"):
        detector.infer(frames(1))


# Memory and lifecycle


def test_nothing_stays_after_a_thousand_rounds(make: Make) -> None:
    machine = make()
    for _ in range(1000):
        with machine.detector() as detector:
            detector.infer(frames(2))
        machine.cuda.calls.clear()
        assert left(machine) == (0, 0, 2, 0, 0, 0, 0)


def test_memory_is_counted(make: Make) -> None:
    machine = make()
    with machine.detector() as detector:
        assert detector.device_memory == WEIGHTS
        detector.infer(frames(5))
        # Room for 8: frames, results twice at a multiple of 256, and scratch memory for 5.
        assert detector.device_memory == WEIGHTS + 8 * 180 + 512 + 5 * SCRATCH
        assert detector.device_memory == machine.cuda.used
        before = machine.names().count("cuMemAlloc")
        detector.infer(frames(4))
        assert machine.names().count("cuMemAlloc") == before


def test_scratch_memory_where_tensorrt_does_not_say_how_much(make: Make) -> None:
    """It answers 0 to a question that failed; then there is room for the largest batch."""
    machine = make(seed=2)
    context = machine.module.IExecutionContext
    context.update_device_memory_size_for_shapes = lambda self: 0
    with machine.detector() as detector:
        for count in (1, 5, 5, 5, 40):
            check(detector.infer(frames(count)), frames(count))
        given = [a[0] for name, a in machine.cuda.calls if name == "cuMemAlloc"]
        assert 16 * SCRATCH in given


@pytest.mark.parametrize("flavour", list(Flavour))
def test_a_context_is_given_the_scratch_memory_it_asks_for(make: Make, flavour: Flavour) -> None:
    """TensorRT for the batch at hand; TensorRT-RTX, which may change its kernels, for any."""
    machine = make(flavour=flavour)
    with machine.detector() as detector:
        detector.infer(frames(5))
        scratch = detector.device_memory - WEIGHTS - 8 * 180 - 512
    assert scratch == (16 if flavour is Flavour.TENSORRT_RTX else 5) * SCRATCH


def test_out_of_memory_says_so_and_smaller_batches_go_on(make: Make) -> None:
    machine = make(seed=1, memory=1 << 16)
    with machine.detector() as detector:
        hog = machine.cuda.allocate(machine.cuda.free - 9_000)
        with pytest.raises(EngineError) as caught:
            detector.infer(frames(16))
        assert "GPU 0 has too little memory for" in caught.value.what
        assert "wanted" in caught.value.why
        assert "of 65536 bytes free" in caught.value.why
        for _ in range(3):
            check(detector.infer(frames(6)), frames(6))
        check(detector.infer(frames(3)), frames(3))
        machine.cuda._cuMemFree(hog)
        check(detector.infer(frames(16)), frames(16))


def test_a_plan_too_large_for_the_device(make: Make) -> None:
    machine = make(memory=1000)
    with pytest.raises(EngineError) as caught:
        machine.detector()
    assert "no space for weights" in caught.value.why
    assert "0 of 0 MiB of device memory are free" in caught.value.why


def test_a_plan_that_tensorrt_refuses(make: Make) -> None:
    machine = make()
    from fakes.machine import write_plan

    write_plan(machine.plan.parent, content=b"not a plan")
    with pytest.raises(EngineError, match="magicTag") as caught:
        machine.detector()
    assert str(machine.plan) in caught.value.what


def test_a_plan_that_is_not_what_the_sidecar_says(make: Make) -> None:
    machine = make()
    from fakes.machine import change_sidecar

    change_sidecar(machine.plan, builder={"max_batch": 64})
    with pytest.raises(EngineError, match="is not what its sidecar says"):
        machine.detector()


def test_an_error_of_cuda_has_its_name_and_the_next_batch_is_right(make: Make) -> None:
    machine = make()
    with machine.detector() as detector:
        detector.infer(frames(40))
        plain, left_over = type(machine.cuda)._cuMemcpyDtoHAsync, [1]

        def fail(self: Any, *arguments: Any) -> Any:
            if left_over:
                left_over.pop()
                return cuda.bindings().CUresult.CUDA_ERROR_LAUNCH_FAILED
            return plain(self, *arguments)

        type(machine.cuda)._cuMemcpyDtoHAsync = fail  # type: ignore[method-assign]
        try:
            with pytest.raises(
                EngineError, match="cuMemcpyDtoHAsync with CUDA_ERROR_LAUNCH_FAILED"
            ):
                detector.infer(frames(40))
            # Nobody's memory is read any more: the caller may free it.
            assert not any(stream.queue for stream in machine.cuda.streams.values())
            check(detector.infer(frames(40, seed=1)), frames(40, seed=1))
        finally:
            type(machine.cuda)._cuMemcpyDtoHAsync = plain  # type: ignore[method-assign]


def test_the_device_is_current_only_inside(make: Make) -> None:
    machine = make()
    with machine.detector() as detector:
        assert not machine.cuda.current()
        detector.infer(frames(2))
        with pytest.raises(FramesError):
            detector.infer(frames(2)[:, :2])
        assert not machine.cuda.current()
    assert not machine.cuda.current()


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told(make: Make) -> None:
    machine = make(seed=1)
    with machine.detector() as detector:
        check(detector.infer(frames(3)), frames(3))
        calls = len(machine.cuda.calls)

        def child() -> bool:
            words = r"before this process was forked\nneither CUDA nor"
            with pytest.raises(EngineError, match=words):
                detector.infer(frames(3))
            detector.close()
            gc.collect()
            return len(machine.cuda.calls) == calls

        assert in_child(child)
        check(detector.infer(frames(3)), frames(3))


# TensorRT-RTX's kernels


def test_kernels_are_kept_beside_the_plan(make: Make) -> None:
    machine = make(flavour=Flavour.TENSORRT_RTX)
    kept = machine.plan.with_name("fake.plan.sm89-nvidia-fake-1.1.7.1.116.kernels")
    with machine.detector() as detector:
        assert not kept.exists()
        detector.infer(frames(2))
        assert kept.read_bytes() == b"kernels [2]"  # a service may never be closed
        detector.infer(frames(3))
    assert kept.read_bytes() == b"kernels [2, 3]"
    with machine.detector() as detector:
        assert detector._backend._engine.runtime_cache_used  # type: ignore[attr-defined]
        detector.infer(frames(5))
    assert kept.read_bytes() == b"kernels [2, 3, 5]"
    assert [p.name for p in machine.plan.parent.iterdir() if "kernels" in p.name] == [kept.name]


def test_damaged_kernels_are_replaced(make: Make) -> None:
    machine = make(flavour=Flavour.TENSORRT_RTX)
    kept = machine.plan.with_name("fake.plan.sm89-nvidia-fake-1.1.7.1.116.kernels")
    kept.write_bytes(b"rubbish")
    with machine.detector() as detector:
        check(detector.infer(frames(2)), frames(2))
    assert kept.read_bytes() == b"kernels [2]"


def test_kernels_that_cannot_be_kept_do_no_harm(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine = make(flavour=Flavour.TENSORRT_RTX)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("runtime.kernel_cache.tempfile.mkstemp", refuse)
    with machine.detector() as detector:
        check(detector.infer(frames(2)), frames(2))
    assert "cannot be written: read-only" in caplog.text
