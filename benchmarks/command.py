"""`zoo bench` from its options to its exit code."""

from __future__ import annotations

from pathlib import Path

from benchmarks import report
from benchmarks.baseline import check_comparable, compare_with_baseline, read_baseline
from benchmarks.bench import run_bench
from benchmarks.peers import parse_peers
from benchmarks.peers.peer import Source
from benchmarks.request import BenchRequest, parse_batches
from benchmarks.result import BenchResult, write_files
from runtime.backend_names import BackendName
from runtime.errors import MissingPackageError, ZooError


def bench(
    *,
    engine: Path | None,
    backend: BackendName,
    device: int,
    batch: str | None,
    source: Source,
    duration: float,
    threads: int | None,
    compare: str | None,
    baseline: Path | None,
    fail_below: float | None,
    out: Path | None,
    all_networks: bool,
    network: tuple[str, ...],
    as_json: bool,
) -> int:
    """Measure, print, write, compare; the options are those of the command.

    Returns:
        The exit code: 0; 1 where throughput fell below the baseline; 130 where the run was
        broken off.

    Raises:
        ZooError: see `benchmarks.bench.run_bench` and `benchmarks.baseline.read_baseline`.
    """
    batches = None if batch is None else parse_batches(batch)
    request = BenchRequest(
        engine or Path(), batches, source, duration, threads, out=out, device=device
    )
    if fail_below is not None and baseline is None:
        raise ZooError("--fail-below is a share of an earlier run", "", "--baseline old.json")
    if out is not None or all_networks:
        _check_plotting()
    if all_networks:
        from benchmarks.all_networks import bench_all, check_nothing_else

        named = None if backend == "auto" else backend
        check_nothing_else(
            engine=engine, backend=named, compare=compare, baseline=baseline, json=as_json
        )
        with report.live_progress(quiet=False) as progress:
            whole = bench_all(
                request,
                progress,
                lambda result: report.print_result(result, False),
                report.print_files,
                network,
            )
        return 0 if whole else 130
    if network:
        raise ZooError("--network chooses among --all", "", "zoo bench --all --network meso4")
    if engine is None:
        raise ZooError("nothing is named that is to be measured", "", "--engine E, or --all")
    peers = () if compare is None else parse_peers(compare)
    request = BenchRequest(engine, batches, source, duration, threads, peers, out, backend, device)
    old = None if baseline is None else read_baseline(baseline, fail_below)
    with report.live_progress(quiet=as_json) as progress:
        result = run_bench(
            request,
            progress,
            lambda record: None if old is None else check_comparable(record, batches, old),
        )
    # Printed before it is written: a disk that is full by now takes no figures with it.
    report.print_result(result, as_json)
    if out is not None:
        files = write_result(result, out, f"{engine.stem}.bench")
        if not as_json:
            report.print_files(files)
    if result.interrupted:
        return 130
    if old is None:
        return 0
    comparison = compare_with_baseline(result, old, fail_below)
    report.print_baseline(comparison)
    return 0 if comparison.passed else 1


def write_result(result: BenchResult, folder: Path, stem: str) -> list[Path]:
    """Write ``STEM.json``, ``.csv``, ``.png`` and ``.html``; no picture of nothing."""
    from benchmarks.html import draw_page
    from benchmarks.plot import draw_plot

    picture = draw_plot(result) if result.figures else None
    contents: dict[str, str | bytes] = {".json": result.to_json(), ".csv": result.to_csv()}
    if picture is not None:
        contents[".png"] = picture
    contents[".html"] = draw_page(result, picture)
    return write_files(folder, stem, contents)


def _check_plotting() -> None:
    """Before minutes are spent on figures that cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingPackageError("matplotlib", "the plot", "bench") from None
