"""One batch size of a run: all peers in turn, over several rounds."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.bound import bound_by
from benchmarks.ceiling import Ceiling
from benchmarks.peers import ENGINE
from benchmarks.phases import Phases
from benchmarks.request import BenchRequest
from benchmarks.result import Figure, PeerRecord
from benchmarks.stats import ratio_of_rounds, summarise
from benchmarks.work import Work
from benchmarks.workers import Measured, OutOfMemoryError, Worker
from runtime.errors import EngineError

#: Rounds that each batch size is measured in; within one, all peers run once, in turn.
ROUNDS = 5
#: Calls of a peer at a batch size, at least, over all rounds.
REPETITIONS = 25


@dataclass(frozen=True)
class Step:
    """Where a run is: what is done now, and how much of this batch size is over."""

    doing: str
    batch: int | None = None
    done: int = 0
    total: int = 0
    #: Figures of the batch size that has just been finished.
    finished: tuple[Figure, ...] = ()


Progress = Callable[[Step], None]


@dataclass
class Run:
    """A run while it goes on; what is in it is kept when it is broken off."""

    request: BenchRequest
    progress: Progress
    workers: dict[str, Worker] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    records: list[PeerRecord] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ceiling: Ceiling | None = None
    work: Work | None = None
    stopped: str = ""


def measure_batch(run: Run, batch: int) -> bool:
    """All rounds of one batch size; whether larger ones are worth a try."""
    rounds: dict[str, list[Measured]] = {name: [] for name in run.workers}
    names, fits = list(run.workers), True
    duration, repetitions = run.request.duration / ROUNDS, -(-REPETITIONS // ROUNDS)
    done, total = 0, ROUNDS * len(names)
    try:
        for number in range(ROUNDS):
            # In another order each time: no peer always follows the same one.
            random.Random(f"{batch}/{number}").shuffle(names)
            for name in names:
                if name not in rounds:
                    continue
                run.progress(Step(f"{name}, round {number + 1}/{ROUNDS}", batch, done, total))
                done += 1
                try:
                    measured = run.workers[name].measure(
                        batch, duration=duration, repetitions=repetitions
                    )
                except (OutOfMemoryError, EngineError) as error:
                    _give_up(run, name, batch, error)
                    del rounds[name]
                    if name == ENGINE:
                        fits = False
                        break
                    continue
                rounds[name].append(measured)
            if not fits:
                break
        phases = _phases(run, batch) if fits else None
    except KeyboardInterrupt:
        _finish(run, batch, rounds)
        raise
    if fits:
        _finish(run, batch, rounds)
        last = run.figures[-len(rounds)]
        if phases is not None:
            said = bound_by(
                last.operations_per_s,
                last.bytes_per_s,
                run.ceiling,
                phases,
                from_host=run.request.source == "host",
            )
            run.figures[-len(rounds)] = replace(last, phases=phases, bound=said)
        finished = tuple(run.figures[-len(rounds) :])
        run.progress(Step("done", batch, total, total, finished))
    return fits


def _phases(run: Run, batch: int) -> Phases | None:
    """The parts of a batch on a GPU; they need memory of their own, and may not get it."""
    try:
        return run.workers[ENGINE].phases(batch)
    except (OutOfMemoryError, EngineError) as error:
        reason = error.why or error.what if isinstance(error, EngineError) else str(error)
        run.warnings.append(f"the parts of a batch of {batch} could not be timed: {reason}")
        return None


def _give_up(run: Run, name: str, batch: int, error: OutOfMemoryError | EngineError) -> None:
    """A peer that fails leaves the run; the engine ends it."""
    reason = error.why or error.what if isinstance(error, EngineError) else str(error)
    no_memory = isinstance(error, OutOfMemoryError)
    what = f"a batch of {batch} does not fit in memory" if no_memory else f"batch {batch} failed"
    if name == ENGINE:
        if not run.figures:
            if isinstance(error, EngineError):
                raise error
            raise EngineError(what, reason, "a smaller --batch")
        run.stopped = f"{what}: {reason}"
        return
    run.warnings.append(f"{name}: {what}: {reason}")
    run.workers.pop(name).close()


def _finish(run: Run, batch: int, rounds: dict[str, list[Measured]]) -> None:
    """Make figures of the rounds that were measured."""
    ours = [measured.run.seconds for measured in rounds.get(ENGINE, [])]
    for name, measured in rounds.items():
        if not measured:
            continue
        calls = [m.run.seconds for m in measured]
        flat = [seconds for run_ in calls for seconds in run_]
        latency = summarise(flat)
        figure = Figure(
            name,
            batch,
            batch * len(flat) / sum(flat),
            latency,
            len(flat),
            sum(flat),
            all(m.run.warm_up.stable for m in measured),
            measured[-1].resident_bytes,
            measured[-1].peak_bytes,
            measured[-1].device_bytes,
        )
        if name == ENGINE:
            figure = _with_work(run, figure)
        elif ours:
            both = min(len(ours), len(calls))
            figure = replace(figure, times_as_fast=ratio_of_rounds(ours[:both], calls[:both]))
        run.figures.append(figure)


def _with_work(run: Run, figure: Figure) -> Figure:
    if run.work is None:
        return figure
    operations, moved = run.work.of_batch(figure.batch)
    # By the median: a rate that a ceiling, which is a best case, can be held against.
    rates = operations / figure.latency.p50, moved / figure.latency.p50
    said = bound_by(*rates, run.ceiling)
    return replace(figure, operations_per_s=rates[0], bytes_per_s=rates[1], bound=said)


def unsteady(figures: Sequence[Figure]) -> list[str]:
    """Warnings of times that vary, or that had not settled before they were taken."""
    warnings = []
    varied = [figure for figure in figures if figure.latency.unstable]
    if varied:
        most = max(figure.latency.variation for figure in varied)
        warnings.append(
            f"times vary by up to {most:.0%} of their mean ({_places(varied)}); "
            "is the machine busy?"
        )
    cold = [figure for figure in figures if not figure.warm]
    if cold:
        warnings.append(f"times had not settled after warming up ({_places(cold)})")
    return warnings


def _places(figures: Sequence[Figure]) -> str:
    """Which peers, and at which batch sizes."""
    sizes: dict[str, list[str]] = {}
    for figure in figures:
        sizes.setdefault(figure.peer, []).append(str(figure.batch))
    return "; ".join(f"{peer} at {', '.join(batches)}" for peer, batches in sizes.items())
