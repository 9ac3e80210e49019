"""Whole runs on engines that behave as told, each in its worker process."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import peers as fakes
from quiet import on_a_quiet_machine

from benchmarks import bench as bench_module
from benchmarks.bench import run_bench
from benchmarks.ceiling import Ceiling
from benchmarks.peers import ENGINE, PEERS, PeerKind
from benchmarks.peers.peer import Job, PeerMissingError
from benchmarks.peers.trtexec import open_peer as open_trtexec
from benchmarks.request import BenchRequest, parse_batches
from benchmarks.result import BenchResult, Figure
from benchmarks.rounds import ROUNDS, Run, Step
from benchmarks.stats import summarise
from benchmarks.workers import OutOfMemoryError, Worker
from runtime.engine_info import Builder
from runtime.errors import EngineError, ZooError


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to stand for the engine; workers find the fakes, and measure no ceiling."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    ceiling = Ceiling(1e10, 1e11, "copy", "product")
    monkeypatch.setattr(bench_module, "measure_ceiling", lambda *_: ceiling)
    monkeypatch.setattr(bench_module, "find_graph", lambda *_: None)
    path = tmp_path / "fake.onnx"
    path.write_bytes(b"fake")
    return path


def _fake(name: str) -> PeerKind:
    return PeerKind(f"fakes.peers:{name}")


def _run(
    monkeypatch: pytest.MonkeyPatch,
    request: BenchRequest,
    *,
    engine: str = "sleeping",
    peers: dict[str, str] | None = None,
) -> BenchResult:
    monkeypatch.setattr(bench_module, "ENGINE_KIND", _fake(engine))
    for name, kind in (peers or {}).items():
        monkeypatch.setitem(PEERS, name, _fake(kind))
    return run_bench(request)


@pytest.mark.parametrize(
    ("visible", "index", "seen"),
    [
        (None, 0, None),
        (None, 2, "2"),
        ("5,3", 0, "5,3"),
        ("5, 3", 1, "3"),
        ("GPU-aa,GPU-bb", 1, "GPU-bb"),
    ],
)
def test_a_peer_sees_the_one_gpu_that_was_named(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, index: int, seen: str | None
) -> None:
    """Its process counts from 0, as every library in it does."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with Worker(Job("told", "fakes.peers:shows_gpus", "", gpu=index)) as worker:
        assert worker.title == f"{seen}"


@on_a_quiet_machine
def test_a_known_sleep_is_measured(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = BenchRequest(engine, (4,), duration=1.5, compare=("same",))
    result = _run(monkeypatch, request, peers={"same": "sleeping"})
    ours, same = result.figures
    for figure in (ours, same):
        assert figure.latency.p50 == pytest.approx(fakes.SLEEP, rel=0.05)
        assert figure.calls >= 25
        assert figure.seconds >= 1.5
    assert ours.images_per_s == pytest.approx(4 / ours.latency.mean)
    assert same.times_as_fast is not None
    assert len(same.times_as_fast.rounds) == ROUNDS
    assert same.times_as_fast.median == pytest.approx(1.0, abs=0.05)
    assert result.peers[0].name == ENGINE
    assert result.settings["frames"].startswith("seeded noise")


@on_a_quiet_machine
def test_a_program_against_itself_holds_one(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = BenchRequest(engine, (1,), duration=1.0, compare=("same",))
    result = _run(monkeypatch, request, engine="jittering", peers={"same": "jittering"})
    ratio = result.figures[1].times_as_fast
    assert ratio is not None
    assert ratio.low <= 1.0 <= ratio.high
    assert ratio.low < ratio.high


def test_peers_run_in_turn_each_in_its_own_process(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "ENGINE_KIND", _fake("shows_process"))
    names = ("a", "b", "c")
    for name in names:
        monkeypatch.setitem(PEERS, name, _fake("shows_process"))
    steps: list[str] = []
    request = BenchRequest(engine, (1,), duration=0.05, threads=3, compare=names)
    result = run_bench(request, lambda step: steps.append(step.doing))
    told = [peer.title.split(" threads ") for peer in result.peers]
    assert len({process for process, _ in told} | {str(os.getpid())}) == 5
    assert {threads for _, threads in told} == {"3"}
    rounds = [
        [step.partition(",")[0] for step in steps if step.endswith(f"round {number}/{ROUNDS}")]
        for number in range(1, ROUNDS + 1)
    ]
    assert all(sorted(order) == [*names, ENGINE] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1  # no peer always follows the same one


def test_an_unstable_engine_raises_the_warning(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = BenchRequest(engine, (1,), duration=0.3)
    result = _run(monkeypatch, request, engine="unstable")
    assert any("times vary" in w and "detector at 1" in w for w in result.warnings)


@on_a_quiet_machine
def test_a_steady_engine_raises_none(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _run(monkeypatch, BenchRequest(engine, (1,), duration=0.3))
    assert not any("vary" in warning for warning in result.warnings)


def test_a_peer_that_is_not_there_is_named(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = BenchRequest(engine, (1,), duration=0.2, compare=("gone", "torch", "trtexec"))
    result = _run(monkeypatch, request, peers={"gone": "missing"})
    assert result.missing["gone"] == "it is not installed on this machine"
    assert "published in keras" in result.missing["torch"]
    assert "GPU" in result.missing["trtexec"]
    assert [p.name for p in result.peers] == [ENGINE]


def test_a_peer_that_computes_something_else_is_told(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = BenchRequest(engine, (1,), duration=0.2, compare=("other",))
    result = _run(monkeypatch, request, peers={"other": "other_scores"})
    assert any("other computes something else" in warning for warning in result.warnings)
    assert result.peers[1].apart == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("hungry", "a batch of 8 does not fit in memory: RuntimeError: Failed to allocate"),
        ("killed", "a batch of 8 does not fit in memory: the system ended its process"),
        ("broken", "batch 8 failed: RuntimeError: the flux capacitor is empty"),
    ],
)
def test_a_sweep_stops_where_a_batch_does_not_fit(
    engine: Path, monkeypatch: pytest.MonkeyPatch, kind: str, said: str
) -> None:
    result = _run(monkeypatch, BenchRequest(engine, duration=0.1), engine=kind)
    assert [f.batch for f in result.figures] == [1, 2, 4]
    assert said in result.stopped


def test_a_peer_that_fails_leaves_the_others(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = BenchRequest(engine, (4, 8), duration=0.1, compare=("hungry", "same"))
    result = _run(monkeypatch, request, peers={"hungry": "hungry", "same": "sleeping"})
    found = [(f.peer, f.batch) for f in result.figures]
    assert ("same", 8) in found
    assert ("hungry", 4) in found
    assert ("hungry", 8) not in found
    assert any("hungry: a batch of 8 does not fit" in warning for warning in result.warnings)


def test_a_sweep_stops_when_throughput_does(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _run(monkeypatch, BenchRequest(engine, duration=0.1), engine="by_image")
    assert [f.batch for f in result.figures] == [1, 2, 4]
    assert "stopped growing" in result.stopped


@pytest.mark.parametrize(
    ("rates", "batches", "said"),
    [
        # Two in a row that bring less than a twentieth more than the best.
        ((100, 104, 104.9, 999), [1, 2, 4], "stopped growing before batch 4"),
        ((100, 106, 107, 120, 121, 122), [1, 2, 4, 8, 16, 32], "stopped growing before batch 32"),
        ((100, 60, 106, 107, 108), [1, 2, 4, 8, 16], "stopped growing before batch 16"),
        (tuple(100 * 2**n for n in range(11)), [2**n for n in range(11)], "at batch 1024"),
    ],
)
def test_how_long_a_sweep_goes_on(rates: tuple[float, ...], batches: list[int], said: str) -> None:
    run, seen = Run(BenchRequest(Path("a.onnx")), lambda step: None), []
    for batch in bench_module._sizes(run, fakes.INFO, "onnx"):
        rate = float(rates[len(seen)])
        seen.append(batch)
        run.figures.append(Figure(ENGINE, batch, rate, summarise([1.0]), 1, 1.0, True, 1))
    assert seen == batches
    assert said in run.stopped


def test_a_profile_ends_a_sweep_between_powers_of_two() -> None:
    run, seen = Run(BenchRequest(Path("a.plan")), lambda step: None), []
    info = replace(fakes.INFO, builder=Builder("tensorrt", "10.16", [], 1, 4, 6))
    for batch in bench_module._sizes(run, info, "plan"):
        seen.append(batch)
        run.figures.append(Figure(ENGINE, batch, 2.0**batch, summarise([1.0]), 1, 1.0, True, 1))
    assert seen == [1, 2, 4]
    assert run.stopped == "the sweep ended at batch 4: the profile's largest batch is 6"


def test_a_sweep_stays_within_the_profile(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = engine.rename(engine.with_suffix(".plan"))
    result = _run(monkeypatch, BenchRequest(plan, duration=0.1), engine="sleeping_plan")
    assert [f.batch for f in result.figures] == [2, 4, 8]
    assert "the profile's largest batch is 8" in result.stopped


@pytest.mark.parametrize("batch", [1, 9])
def test_a_batch_outside_the_profile_is_refused(
    engine: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    plan = engine.rename(engine.with_suffix(".plan"))
    with pytest.raises(EngineError, match=rf"no batch of {batch}\n.*2 to 8"):
        _run(monkeypatch, BenchRequest(plan, (4, batch)), engine="sleeping_plan")


def test_a_batch_larger_than_memory_is_not_tried(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _run(monkeypatch, BenchRequest(engine, (1, 10**10), duration=0.1))
    assert [f.batch for f in result.figures] == [1]
    assert "10000000000 frames need about" in result.stopped


def test_a_first_batch_larger_than_memory_is_an_error(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match="a batch of 10000000000 does not fit in memory"):
        _run(monkeypatch, BenchRequest(engine, (10**10,), duration=0.1))


def test_an_engine_larger_than_memory_is_an_error(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match=r"fake\.onnx does not fit in memory"):
        _run(monkeypatch, BenchRequest(engine, (1,)), engine="too_large")


def test_parts_that_cannot_be_timed_cost_no_figures(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = BenchRequest(engine, (1, 2), duration=0.05)
    result = _run(monkeypatch, request, engine="no_room_for_phases")
    assert [f.batch for f in result.figures] == [1, 2]
    assert any(
        "parts of a batch of 2 could not be timed: MemoryError: too little device memory" in w
        for w in result.warnings
    )


@pytest.mark.parametrize(("use", "warned"), [(0.0, False), (0.19, False), (0.6, True)])
def test_a_busy_machine_is_told(
    engine: Path, monkeypatch: pytest.MonkeyPatch, use: float, warned: bool
) -> None:
    monkeypatch.setattr(bench_module, "processor_use", lambda: use)
    result = _run(monkeypatch, BenchRequest(engine, (1,), duration=0.05))
    assert result.environment["others_use"] == use
    assert any("other programs took 60%" in w for w in result.warnings) is warned


@pytest.mark.parametrize("round_", [2, 4])
def test_what_was_measured_before_control_c_is_kept(
    engine: Path, monkeypatch: pytest.MonkeyPatch, round_: int
) -> None:
    monkeypatch.setattr(bench_module, "ENGINE_KIND", _fake("sleeping"))

    def progress(step: Step) -> None:
        if step.batch == 2 and f"round {round_}/" in step.doing:
            # While the answer of the worker is waited for: a round takes half a second.
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    result = run_bench(BenchRequest(engine, (1, 2, 4), duration=1.5), progress)
    assert result.interrupted
    whole, part = result.figures
    assert (whole.batch, part.batch) == (1, 2)
    assert part.calls < whole.calls
    assert part.latency.p50 == pytest.approx(fakes.SLEEP, rel=0.2)


def test_control_c_before_anything_was_measured_ends_it(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "ENGINE_KIND", _fake("sleeping"))

    def progress(step: Step) -> None:
        if step.doing.startswith("what this machine"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_bench(BenchRequest(engine, (1,)), progress)


def test_what_libraries_print_does_not_disturb_the_answers(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Worker(Job("chatty", "fakes.peers:chatty", str(engine))) as worker:
        assert worker.title == "a fake"
        assert worker.scores() == [0.5, 0.5]
        measured = worker.measure(1, duration=0.01, repetitions=3)
    assert len(measured.run.seconds) >= 3
    assert measured.resident_bytes > 1e6
    assert measured.peak_bytes is not None
    assert measured.peak_bytes >= measured.resident_bytes


def test_a_worker_leaves_no_process(engine: Path) -> None:
    worker = Worker(Job("killed", "fakes.peers:killed", str(engine)))
    with pytest.raises(OutOfMemoryError):
        worker.measure(8, duration=0.01, repetitions=1)
    worker.close()
    running = Worker(Job("sleeping", "fakes.peers:sleeping", str(engine)))
    running.close()
    for closed in (worker, running):
        assert closed._process.poll() is not None


def test_trtexec_is_asked_for_the_same_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("trtexec", "", "meso4.plan", fakes.INFO.to_json())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerMissingError, match="not on the PATH"):
        open_trtexec(job)
    tool = tmp_path / "trtexec"
    tool.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case "$word" in --exportTimes=*) file="${word#*=}";; esac; done\n'
        f'echo "$@" > {tmp_path}/asked\n'
        """echo '[{"latencyMs": 2.5, "computeMs": 1.5}, {"latencyMs": 3.5}]' > "$file"\n"""
    )
    tool.chmod(0o755)
    peer = open_trtexec(job)
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    run = peer.measure(frames, duration=1, repetitions=5)
    assert run.seconds == (0.0025, 0.0035)
    asked = (tmp_path / "asked").read_text()
    assert "--loadEngine=meso4.plan" in asked
    assert "--shapes=frames:2x8x8x3" in asked
    tool.write_text("#!/bin/sh\necho '[E] cannot deserialize'\nexit 1\n")
    with pytest.raises(EngineError, match="cannot deserialize"):
        peer.measure(frames, duration=1, repetitions=5)


def test_batches_are_read() -> None:
    assert parse_batches("4,1, 2,4") == (1, 2, 4)
    for text in ("", "0", "1,-2", "a", "1.5"):
        with pytest.raises(ZooError, match="no batch sizes"):
            parse_batches(text)
