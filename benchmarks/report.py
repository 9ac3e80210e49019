"""What ``zoo bench`` shows: progress while it measures, and a table at 80 columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.bars import Bar
from benchmarks.baseline import BaselineComparison
from benchmarks.environment import summary_line
from benchmarks.peers import ENGINE
from benchmarks.result import BenchResult, Figure
from benchmarks.rounds import Progress as Report
from benchmarks.rounds import Step
from runtime.terminal import literal
from zoo.printing import err, out, print_json


@contextmanager
def live_progress(quiet: bool) -> Iterator[Report]:
    """Show what is being measured, and each batch size when it is done."""
    if quiet:
        yield lambda step: None
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=err,
    )
    task = bar.add_task("starting", total=None)
    figures: list[Figure] = []

    def report(step: Step) -> None:
        words = step.doing if step.batch is None else f"batch {step.batch}: {step.doing}"
        bar.update(task, description=words, completed=step.done, total=step.total or None)
        if step.finished:
            figures.extend(step.finished)
            live.update(Group(_figures(figures), bar))

    with Live(bar, console=err, transient=True, refresh_per_second=8) as live:
        yield report


def print_result(result: BenchResult, as_json: bool) -> None:
    """The table, what the engine is bound by, and what else has to be known."""
    if as_json:
        print_json(json.loads(result.to_json()))
        return
    engine = result.engine
    out.print(f"[bold]{literal(engine.title)}[/bold] {engine.precision.upper()}, "
              f"{literal(engine.file)}, weights {literal(engine.weights)}"
              + ("" if engine.trained else "  [yellow]UNTRAINED[/yellow]"))  # fmt: skip
    out.print(f"[dim]{literal(summary_line(result.environment))}[/dim]")
    out.print()
    out.print(_figures(result.figures))
    out.print(f"[dim]{_legend(result.figures)}[/dim]")
    _print_ratios(result)
    _print_phases(result)
    out.print()
    _print_bounds(result)
    out.print("\n[bold]timed[/bold] (single calls, one behind the other; every call counts)")
    scopes: dict[str, list[str]] = {}
    for peer in result.peers:
        scopes.setdefault(peer.scope, []).append(f"{peer.name} [dim]{literal(peer.title)}[/dim]")
    for scope, peers in scopes.items():
        _print_indented(2, literal(scope))
        for words in peers:
            _print_indented(4, words)
    for name, reason in result.missing.items():
        out.print(f"[yellow]missing[/yellow] {name}: {literal(reason)}")
    if result.stopped:
        out.print(f"[bold]stopped[/bold] {literal(result.stopped)}")
    for warning in result.warnings:
        out.print(f"[yellow]warning[/yellow] {literal(warning)}")
    if result.interrupted:
        out.print("[yellow]broken off[/yellow]: these are the figures that there were")


def print_files(files: Sequence[Path]) -> None:
    """The files of a run; a path is never broken, so that it can be copied."""
    for file in files:
        out.print(f"wrote {literal(file)}", soft_wrap=True)


def _print_indented(columns: int, markup: str) -> None:
    """What does not fit into a line goes on in the next one, as far to the right."""
    out.print(Padding(markup, (0, 0, 0, columns)))


def print_baseline(comparison: BaselineComparison) -> None:
    """Throughput before and now, on standard error where JSON goes to standard output."""
    table = _plain_table("batch", "before", "now", "now/before", "")
    for change in comparison.changes:
        low = comparison.fail_below is not None and change.ratio < comparison.fail_below
        mark = "[red]FELL[/red]" if low else "[green]passed[/green]"
        table.add_row(
            str(change.batch),
            f"{change.before:,.1f}/s",
            f"{change.now:,.1f}/s",
            f"{change.ratio:.2f}",
            "" if comparison.fail_below is None else mark,
        )
    err.print("\n[bold]against the earlier run[/bold]")
    err.print(table)
    for difference in comparison.differences:
        err.print(f"[yellow]not the same[/yellow]: {literal(difference)}")


def _plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 0, 0, 1))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _figures(figures: Sequence[Figure]) -> Table:
    on_gpu = any(figure.device_bytes for figure in figures)
    table = _plain_table(
        "batch", "images/s", "p50 ms", "p90", "p95", "p99", "max", "mean", "cv",
        "GPU MB" if on_gpu else "MB",
    )  # fmt: skip
    batch = None
    for figure in figures:
        if figure.batch != batch:
            batch = figure.batch
            table.add_row(f"[bold]{batch}[/bold]")
        latency = figure.latency
        times = (latency.p50, latency.p90, latency.p95, latency.p99, latency.max, latency.mean)
        memory = figure.device_bytes if on_gpu else figure.resident_bytes
        table.add_row(
            f" {figure.peer}",
            _short(figure.images_per_s),
            *(_short(1000 * seconds) for seconds in times),
            f"[yellow]{latency.variation:.0%}[/yellow]"
            if latency.unstable
            else f"{latency.variation:.0%}",
            "" if memory is None else f"{memory / 1e6:.0f}",
            style="bold cyan" if figure.peer == ENGINE else "",
        )
    return table


def _legend(figures: Sequence[Figure]) -> str:
    on_gpu = any(figure.device_bytes for figure in figures)
    memory = "GPU MB: device memory" if on_gpu else "MB: resident memory"
    return (
        "images/s: over the time of all calls; p50 to mean: ms of a call; cv: standard\n"
        f"deviation / mean; {memory} of the program's process"
    )


def _print_ratios(result: BenchResult) -> None:
    compared = [f for f in result.figures if f.times_as_fast is not None]
    if not compared:
        return
    table = _plain_table("peer", "batch", "times as fast", "interval", "")
    for figure in compared:
        ratio = figure.times_as_fast
        assert ratio is not None
        words = "no difference seen" if ratio.undecided else ""
        table.add_row(
            figure.peer,
            str(figure.batch),
            f"{ratio.median:.2f}",
            f"{ratio.low:.2f} to {ratio.high:.2f}",
            f"[dim]{words}[/dim]",
        )
    rounds = result.settings["rounds"]
    out.print(f"\n[bold]the engine against its peers[/bold] (median of {rounds} rounds' ratios)")
    out.print(table)


def _print_bounds(result: BenchResult) -> None:
    ceiling = result.ceiling
    if ceiling is not None:
        moved, computed = (
            "not measured" if rate is None else f"{rate / 1e9:,.1f} G{unit}/s"
            for rate, unit in ((ceiling.bytes_per_s, "B"), (ceiling.operations_per_s, "op"))
        )
        out.print(f"[bold]bound by[/bold] (this machine: copy {moved}, matrix product {computed})")
    for figure in result.of(ENGINE):
        if not figure.bound:
            continue
        _print_indented(2, f"batch {figure.batch}: {figure.bound}")
        if figure.operations_per_s is not None and figure.bytes_per_s is not None:
            rates = figure.operations_per_s / 1e9, figure.bytes_per_s / 1e9
            _print_indented(4, f"[dim]achieved {rates[0]:,.1f} Gop/s, {rates[1]:,.1f} GB/s[/dim]")


def _print_phases(result: BenchResult) -> None:
    phased = [f for f in result.of(ENGINE) if f.phases is not None]
    if not phased:
        return
    table = _plain_table("batch", "enqueue", "host->device", "compute", "device->host")
    for figure in phased:
        phases = figure.phases
        assert phases is not None
        parts = (phases.enqueue, phases.host_to_device, phases.compute, phases.device_to_host)
        table.add_row(str(figure.batch), *(_short(1000 * seconds) for seconds in parts))
    out.print("\n[bold]on the GPU[/bold] (ms, CUDA events, each part alone)")
    out.print(table)


def _short(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def print_bars(bars: Sequence[Bar]) -> None:
    """Limits, what was measured, and whether they are kept."""
    table = _plain_table("", "limit", "measured", "spread", "met")
    table.columns[0].no_wrap = False
    for bar in bars:
        sign = "<=" if bar.better == "less" else ">="
        measured = "not measured" if bar.measured is None else f"{bar.measured:.3g} {bar.unit}"
        met = "[green]yes[/green]" if bar.met else "[red]NO[/red]"
        table.add_row(bar.name, f"{sign} {bar.limit:g} {bar.unit}", measured, bar.spread, met)
    out.print(table)
