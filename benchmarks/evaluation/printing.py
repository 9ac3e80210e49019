"""What ``zoo evaluate`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from benchmarks.evaluation.metrics import Metrics
from benchmarks.evaluation.ranking import rank, rank_engines
from benchmarks.evaluation.report import figure
from benchmarks.evaluation.run import Begin, Evaluation
from benchmarks.evaluation.scoring import Advance
from runtime.terminal import literal, make_console
from runtime.text import printable

_out = make_console()
_MOST_TOLD = 5


@contextmanager
def progress(quiet: bool) -> Iterator[Begin]:
    """A bar for each dataset, with the time left, on standard error."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(
        *columns, console=make_console(error=True), transient=True, disable=quiet
    ) as bars:

        def begin(name: str, count: int) -> Advance:
            task = bars.add_task(printable(name), total=count)
            return lambda done: bars.advance(task, done)

        yield begin


def print_evaluations(evaluations: Sequence[Evaluation], files: Sequence[Path]) -> None:
    """Tables: one classification report each, or the ranking first where there are several."""
    if len(evaluations) > 1:
        _print_ranking(evaluations)
    for one in rank(evaluations):
        _print_one(one)
    for path in files:
        if path.suffix in (".html", ".json") or path.name.endswith("-worst.jpg"):
            _out.print(f"wrote {literal(path)}", soft_wrap=True)


def _by_logit(m: Metrics) -> str:
    """The AUC of the log-odds, where ties of P(fake) make it another one."""
    other = figure(m.auc_by_logit)
    return "" if other == figure(m.auc) else f" ({other} by log-odds, without ties)"


def _print_ranking(evaluations: Sequence[Evaluation]) -> None:
    # What is the same in every row takes no room from the others' names.
    names = {"engine": [e.engine for e in evaluations], "dataset": [e.dataset for e in evaluations]}
    shown = [key for key, values in names.items() if len(set(values)) > 1] or ["engine"]
    for key, values in names.items():
        if key not in shown:
            _out.print(f"{key}: [bold]{literal(values[0])}[/bold]", soft_wrap=True)
    table = _table("", *shown, *_FIGURES)
    for place, one in enumerate(rank(evaluations), 1):
        cells = (literal(getattr(one, key)) for key in shown)
        table.add_row(str(place), *cells, *_row(one))
    _out.print(table)
    if means := rank_engines(evaluations):
        table = _table("", "engine", "mean AUC", "mean accuracy", "datasets")
        for place, mean in enumerate(means, 1):
            table.add_row(str(place), literal(mean.engine), figure(mean.auc),
                          figure(mean.accuracy), str(mean.datasets))  # fmt: skip
        _out.print(table)


_FIGURES = ("images", "accuracy", "AUC", "EER", "videos")


def _row(one: Evaluation) -> list[str]:
    m = one.metrics
    videos = "-" if m.videos is None else figure(m.videos.accuracy)
    return [str(m.images), figure(m.accuracy), figure(m.auc), figure(m.equal_error_rate), videos]


def _print_one(one: Evaluation) -> None:
    m = one.metrics
    _out.print(
        f"\n[bold]{literal(one.engine)}[/bold] on {literal(one.dataset)}:"
        f" {m.images} images ({m.fake} fake, {m.real} real)",
        soft_wrap=True,
    )
    if not one.info.weights.trained:
        _out.print("  [red]the weights are untrained: these figures mean nothing[/red]")
    table = _table("", "precision", "recall", "F1", "images")
    for name in ("real", "fake"):
        line = m.report[name]
        table.add_row(name, *(figure(line[k]) for k in ("precision", "recall", "f1-score")),
                      str(int(line["support"])))  # fmt: skip
    _out.print(table)
    (real_right, real_wrong), (fake_wrong, fake_right) = m.confusion
    lines = {
        "accuracy": f"{figure(m.accuracy)} at threshold {m.threshold:g}",
        "verdicts": f"real: {real_right} right, {real_wrong} called fake;"
        f" fake: {fake_right} right, {fake_wrong} called real",
        "AUC": f"{figure(m.auc)}{_by_logit(m)}, average precision"
        f" {figure(m.average_precision)}, equal error rate {figure(m.equal_error_rate)}",
        "Brier": figure(m.brier),
    }
    if m.best_threshold is not None:
        lines["best"] = (
            f"threshold {m.best_threshold:.4f}: accuracy {figure(m.best_accuracy)}"
            " (Youden's J, chosen on these images)"
        )
    if m.videos is not None:
        lines["videos"] = (
            f"{m.videos.videos} by mean P(fake): accuracy {figure(m.videos.accuracy)},"
            f" AUC {figure(m.videos.auc)}"
        )
    if m.undefined:
        lines["undefined"] = f"{', '.join(m.undefined)}: {next(iter(m.undefined.values()))}"
    for key, text in lines.items():
        _out.print(f"{key:<10} {text}", soft_wrap=True)
    failures = one.scored.failures
    if failures:
        _out.print(f"[yellow]left out  [/yellow] {len(failures)} images that cannot be read:")
        for failure in failures[:_MOST_TOLD]:
            _out.print(f"  {literal(failure.name)}: {literal(failure.why)}", soft_wrap=True)
        if len(failures) > _MOST_TOLD:
            _out.print(f"  and {len(failures) - _MOST_TOLD} more: see --json or --out")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        left = column in ("", "engine", "dataset")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    return table
