"""`zoo bench`: an engine and its peers over batch sizes, in turn and over several rounds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Literal

from benchmarks.ceiling import measure_ceiling
from benchmarks.environment import describe_machine, processor_use, read_gpus
from benchmarks.peers import ENGINE, ENGINE_KIND, PEERS, unfit
from benchmarks.peers.peer import Job, PeerMissingError
from benchmarks.plain import make_plain
from benchmarks.request import BenchRequest
from benchmarks.result import BenchResult, EngineRecord, PeerRecord, check_folder
from benchmarks.rounds import REPETITIONS, ROUNDS, Progress, Run, Step, measure_batch, unsteady
from benchmarks.work import count_work, find_graph
from benchmarks.workers import OutOfMemoryError, Worker
from runtime.backend_names import choose_backend
from runtime.cuda_driver import query_driver
from runtime.engine_info import EngineInfo, file_sha256
from runtime.errors import EngineError, ZooError
from zoo.catalog import find_card

#: The sweep ends after two batch sizes in a row that bring less than this more throughput.
GROWTH = 1.05
#: Largest batch of a sweep where the engine has no profile.
LARGEST = 1024
#: P(fake) of peers in the engine's precision must agree to this; else they run another network.
_APART = 2e-2
#: Above this share of the processor others' work shows in the figures.
_BUSY = 0.2


def run_bench(
    request: BenchRequest,
    progress: Progress = lambda step: None,
    opened: Callable[[EngineRecord], None] = lambda record: None,
) -> BenchResult:
    """Measure an engine and the peers it is to be compared with.

    A keyboard interrupt ends the run; what was measured is returned (`interrupted`).

    Args:
        request: what is to be measured.
        progress: called with each step.
        opened: called with the engine before anything is measured; what it raises ends the
            run.

    Raises:
        ZooError: the engine is not there, not ours, or does not take such batches; neither
            it nor the first batch fits in memory; the output folder cannot be written to.
        KeyboardInterrupt: nothing had been measured yet.
    """
    if request.out is not None:
        check_folder(request.out)
    _check_gpu(request)
    progress(Step("looking at the machine"))
    environment = describe_machine()
    environment["others_use"] = processor_use()
    run = Run(request, progress)
    if environment["others_use"] > _BUSY:
        run.warnings.append(
            f"other programs took {environment['others_use']:.0%} of the processor before the "
            "run: all figures suffer"
        )
    interrupted = False
    with ExitStack() as stack:
        progress(Step("opening the engine"))
        job = Job(
            ENGINE,
            ENGINE_KIND.opener,
            str(request.engine),
            threads=request.threads,
            source=request.source,
            backend=request.backend,
            gpu=request.device,
        )
        try:
            engine = stack.enter_context(Worker(job))
            ours = engine.scores()
        except OutOfMemoryError as error:
            raise EngineError(
                f"{request.engine} does not fit in memory", str(error), "end other programs"
            ) from None
        record = _describe(request.engine, engine.info)
        _check_batches(request.batches, request.engine, engine.info)
        opened(record)
        run.workers[ENGINE] = engine
        try:
            _open_peers(run, engine, ours, stack)
            _measure_ceiling(run, record)
            for batch in _sizes(run, engine.info, record.kind):
                if not measure_batch(run, batch):
                    break
        except KeyboardInterrupt:
            if not run.figures:
                raise
            interrupted = True
    return BenchResult(
        record,
        environment,
        {
            "from": request.source,
            "duration_s": request.duration,
            "rounds": ROUNDS,
            "repetitions": REPETITIONS,
            "threads": request.threads,
            "backend": choose_backend(request.engine, request.backend),
            "device": request.device,
            "frames": "seeded noise, zoo.noise.seeded_frames",
        },
        tuple(run.records),
        run.missing,
        tuple(run.figures),
        run.ceiling,
        run.work,
        (*run.warnings, *unsteady(run.figures)),
        run.stopped,
        interrupted,
        [asdict(gpu) for gpu in read_gpus()],
    )


def _check_gpu(request: BenchRequest) -> None:
    """Refuse a GPU that is not there: the processes see the one that is named, or none."""
    if request.device == 0:
        return
    driver = query_driver()
    if request.device not in [found.index for found in driver.devices]:
        there = ", ".join(f"{found.index} ({found.name})" for found in driver.devices)
        raise EngineError(
            f"there is no GPU {request.device} for {request.engine}",
            f"there is {there}" if there else driver.reason,
            "name one that is there" if there else "leave --device out",
        )


def _describe(path: Path, info: EngineInfo) -> EngineRecord:
    artefact = info.artefacts.get(path.name)
    half = ".fp16." in path.name if artefact is None else artefact.precision == "fp16"
    how = info.preprocessing
    return EngineRecord(
        path.name,
        file_sha256(path),
        "plan" if path.suffix == ".plan" else "onnx",
        "fp16" if half else "fp32",
        info.network,
        info.title,
        info.weights.name,
        info.weights.trained,
        (how.height, how.width),
    )


def _check_batches(batches: tuple[int, ...] | None, path: Path, info: EngineInfo) -> None:
    if batches is None or path.suffix != ".plan" or info.builder is None:
        return
    least, most = info.builder.min_batch, info.builder.max_batch
    for batch in batches:
        if not least <= batch <= most:
            raise EngineError(
                f"{path.name} takes no batch of {batch}",
                f"its profile is {least} to {most} images",
                f"--batch within it, or zoo export {info.network} --batch MIN:OPT:MAX",
            )


def _open_peers(run: Run, engine: Worker, ours: Sequence[float], stack: ExitStack) -> None:
    """Start a process for each peer; one that cannot be had is named with the reason."""
    request, info = run.request, engine.info
    device: Literal["cpu", "cuda"] = "cuda" if request.on_gpu else "cpu"
    run.records.append(PeerRecord(ENGINE, engine.title, engine.scope, engine.start_seconds))
    plain: Path | None = None
    no_plain = ""
    for name in request.compare:
        kind = PEERS[name]
        reason = unfit(name, find_card(info.network).framework, device)
        if reason is not None:
            run.missing[name] = reason
            continue
        try:
            if kind.plain and plain is None:
                if no_plain:
                    raise PeerMissingError(no_plain)
                run.progress(Step("the framework's plain export"))
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                try:
                    make_plain(info, Path(folder, "plain.onnx"))
                except PeerMissingError as error:
                    no_plain = str(error)
                    raise
                plain = Path(folder, "plain.onnx")
            run.progress(Step(f"starting {name}"))
            job = Job(
                name,
                kind.opener,
                str(request.engine),
                info.to_json(),
                str(plain) if plain is not None else None,
                request.threads,
                request.source,
                kind.device or device,
                request.backend,
                request.device,
            )
            worker = stack.enter_context(Worker(job))
            theirs = worker.scores()
        except (PeerMissingError, OutOfMemoryError) as error:
            run.missing[name] = str(error)
            continue
        except ZooError as error:
            run.missing[name] = f"{error.what}: {error.why}" if error.why else error.what
            continue
        apart = max((abs(a - b) for a, b in zip(ours, theirs, strict=False)), default=None)
        if apart is not None and apart > _APART:
            run.warnings.append(f"{name} computes something else: P(fake) is {apart:.2g} apart")
        run.workers[name] = worker
        run.records.append(
            PeerRecord(name, worker.title, worker.scope, worker.start_seconds, apart)
        )


def _measure_ceiling(run: Run, record: EngineRecord) -> None:
    run.progress(Step("what this machine can do at most"))
    half = record.precision == "fp16"
    device: Literal["cpu", "cuda"] = "cuda" if run.request.on_gpu else "cpu"
    run.ceiling = measure_ceiling(device, half, run.request.threads, run.request.device)
    graph = find_graph(run.request.engine, run.workers[ENGINE].info)
    run.work = None if graph is None else count_work(graph)


def _sizes(run: Run, info: EngineInfo, kind: str) -> Iterator[int]:
    """The batch sizes asked for, or powers of two until throughput stops growing."""
    if run.request.batches is not None:
        yield from run.request.batches
        return
    builder = info.builder if kind == "plan" else None
    least, most = (builder.min_batch, builder.max_batch) if builder else (1, LARGEST)
    best, flat = 0.0, 0
    for power in count():
        batch = least << power
        if batch > most:
            limit = "the profile's largest batch" if builder else "the largest batch of a sweep"
            run.stopped = f"the sweep ended at batch {batch // 2}: {limit} is {most}"
            return
        yield batch
        throughput = next(f for f in reversed(run.figures) if f.peer == ENGINE).images_per_s
        flat = flat + 1 if throughput < GROWTH * best else 0
        best = max(best, throughput)
        if flat == 2:
            run.stopped = f"throughput stopped growing before batch {batch}"
            return
