"""What the commands print: tables that read well at 80 columns, or JSON for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from runtime.errors import ImageError, ZooError
from runtime.terminal import literal, make_console, tell
from zoo.assumptions import assumptions, frame_in_words, pixels_in_words
from zoo.catalog import find_card
from zoo.originals.original import RANDOM
from zoo.recipe import recipe_of_engine

if TYPE_CHECKING:
    from export.certificate import Certificate
    from export.pipeline import ExportRequest, ExportResult
    from runtime import Detector
    from weights.store import FileStatus
    from zoo.card import ModelCard
    from zoo.doctor import Finding
    from zoo.recipe import Recipe

#: Of an engine's file name, with what is said behind it.
_ENDING = re.compile(r"\.((?:fp16\.)?(?:onnx|plan)(?: .*)?)$")

#: Characters of a line of an error.
_MOST_TOLD = 1000

out = make_console()
err = make_console(error=True)


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    tell(json.dumps(data, indent=2, default=str))


def print_error(error: ZooError) -> None:
    """Three lines: what happened, why, and what to do.

    A library's words may have lines of their own; they stand below the first. A file may
    have put a whole page into one of them, which would push the way out off the screen.
    """
    err.print(f"[red]error:[/red] {literal(_cut(error.what))}", soft_wrap=True)
    if error.why:
        err.print(f"  [dim]why:[/dim] {_below(error.why)}", soft_wrap=True)
    if error.todo:
        err.print(f"   [dim]do:[/dim] {_below(error.todo)}", soft_wrap=True)


def _below(text: str) -> str:
    return f"\n{'':7}".join(map(literal, _cut(text).splitlines()))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TOLD else f"{text[:_MOST_TOLD]}..."


class Steps:
    """Shows steps as they begin and end. Called as ``steps(title, seconds)``, see `steps`."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._title = ""

    def __call__(self, title: str, seconds: float | None) -> None:
        """A step begins (``seconds`` is None) or has ended."""
        self._title = title
        if seconds is None:
            self._show(f"{title} ...")
        else:
            err.print(f"  {title:<32} {seconds:6.1f} s")

    def progress(self, fraction: float, phase: str) -> None:
        """How much of the step at work is done, 0 to 1."""
        self._show(f"{self._title} {fraction:4.0%}  {literal(phase)}")


class _NoSteps(Steps):
    def __init__(self) -> None:
        super().__init__(lambda text: None)

    def __call__(self, title: str, seconds: float | None) -> None:
        pass


@contextmanager
def steps(quiet: bool) -> Iterator[Steps]:
    """Show steps as they begin and end; on a terminal with a spinner."""
    if quiet:
        yield _NoSteps()
        return
    with err.status("") as status:
        yield Steps(status.update)


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def print_cards(cards: Sequence[ModelCard], as_json: bool) -> None:
    """``zoo list``."""
    if as_json:
        print_json([asdict(card) for card in cards])
        return
    table = _table(
        "network", "framework", "input", "parameters", "weights", right=("parameters", "input")
    )
    for card in cards:
        how = card.preprocessing
        names = ", ".join([*(w.name for w in card.weights), "random"])
        table.add_row(
            card.name, card.framework, f"{how.height}x{how.width}", f"{card.parameters:,}", names
        )
    out.print(table)


def print_card(card: ModelCard, as_json: bool) -> None:
    """``zoo show``."""
    if as_json:
        print_json(asdict(card))
        return
    head = card.head
    says = f"says '{head.says}'" if head.says else f"output {head.fake_index} is 'fake'"
    if not head.known:
        says = "class order unknown: --fake-index (of one output: --says)"
    rows = {
        "network": f"{card.title} ({card.name})",
        "framework": card.framework,
        "parameters": f"{card.parameters:,} ({card.trainable:,} trainable)",
        "input": frame_in_words(card.preprocessing),
        "normalised": pixels_in_words(card.normalisation),
        "output": f"{head.kind}, {says}",
        "paper": card.paper,
        "source": f"{card.source} ({card.licence})",
    }
    table = _table("", "")
    table.show_header = False
    for key, value in rows.items():
        table.add_row(f"[bold]{key}[/bold]", literal(value))
    out.print(table)
    out.print()
    weights = _table("weights", "file", "trained on", "its authors report")
    for own in card.weights:
        weights.add_row(own.name, own.file, own.trained_on, own.reported)
    weights.add_row("random", "-", "nothing: seeded, untrained", "")
    out.print(weights)


def print_plan_of_export(request: ExportRequest, as_json: bool) -> None:
    """``zoo export --dry-run``."""
    from export.steps import look_ahead, steps_of

    recipe = look_ahead(request)
    own = request.card.find_weights(request.weights or "") or request.weights in (None, RANDOM)
    meant = {"--says", "--fake-index"} & set(request.said.flags)
    unread = "" if own else " ".join(meant) or "no flag"
    steps = [str(step) for step in steps_of(request)]
    files = [str(request.out / name) for name in request.files]
    if as_json:
        assumed = [line._asdict() for line in assumptions(recipe, unread)]
        print_json({"steps": steps, "files": files, "assumed": assumed})
        return
    out.print("would assume:")
    print_assumptions(recipe, unread)
    out.print("would do:")
    for number, step in enumerate(steps, 1):
        out.print(f"  {number}. {step}")
    out.print("would write:")
    for file in files:
        out.print(f"  {literal(file)}", soft_wrap=True)


def print_export(result: ExportResult, as_json: bool) -> None:
    """``zoo export``."""
    info = result.info
    if as_json:
        print_json(
            {
                "files": [str(f) for f in result.files],
                "rewrites": {r.name: r.count for r in result.rewrites},
                "seconds": result.seconds,
                "sidecar": json.loads(info.to_json()),
            }
        )
        return
    weights = info.weights
    out.print()
    trained = "" if weights.trained else "  [yellow]UNTRAINED: its verdicts mean nothing[/yellow]"
    custom = weights.name == "custom" and weights.file is not None
    named = literal(weights.file if custom else weights.name)
    out.print(f"[bold]{literal(info.title)}[/bold], weights {named}{trained}", soft_wrap=True)
    if custom:  # what was read off it, and where it is not the card's network
        out.print(f"weights {literal(weights.source)}", soft_wrap=True)
    print_assumptions(recipe_of_engine(find_card(info.network), info))
    if result.rewrites:
        done = ", ".join(f"{r.name.replace('_', ' ')} x{r.count}" for r in result.rewrites)
        out.print(f"rewrites: {done}")
    if info.builder is not None:
        builder = info.builder
        target = ", ".join(builder.target) or "its default GPUs"
        out.print(
            f"plan: {builder.flavour} {literal(builder.version)} for {literal(target)}, "
            f"batch {builder.min_batch}:{builder.opt_batch}:{builder.max_batch}"
        )
    kept: dict[str, list[str]] = {}
    for name, reason in info.kept_fp32.items():
        kept.setdefault(reason, []).append(name)
    for reason, names in kept.items():
        out.print(f"FP32 in the FP16 graph: {literal(', '.join(names))} ({literal(reason)})")
    out.print()
    print_certificate(result.certificate, False)
    if result.files:
        out.print()
        for file in result.files:
            out.print(f"wrote {literal(file)}  [dim]{_size(file)}[/dim]", soft_wrap=True)
    else:
        out.print("[red]nothing was written[/red]: the certificate failed")


def print_assumptions(recipe: Recipe, unread: str = "") -> None:
    """How pixels go in and what comes out, and who said so; see `assumptions`."""
    for line in assumptions(recipe, unread):
        out.print(
            f"{line.what:<7} {literal(line.is_)}  [dim]({literal(line.by)})[/dim]", soft_wrap=True
        )


def _size(path: Path) -> str:
    size = float(path.stat().st_size)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def print_certificate(certificate: Certificate, as_json: bool) -> None:
    """The certificate as a table: what was compared, how far apart, and whether it passed."""
    if as_json:
        print_json(certificate.to_dict())
        return
    table = _table(
        "against", "engine", "max |dP|", "p99", "mean", "|dlogit|", "flips", "",
        right=("max |dP|", "p99", "mean", "|dlogit|", "flips"),
    )  # fmt: skip
    for c in certificate.comparisons:
        table.add_row(
            "original" if c.to_original else literal(_short(c.reference)),
            literal(_short(c.engine)),
            *(f"{value:.1e}" for value in (c.max_p, c.p99_p, c.mean_p, c.max_logit)),
            f"{c.flips}/{c.images}",
            _mark(c.passed),
        )
    out.print(f"certificate on {literal(certificate.samples)}")
    out.print(table)
    if any(c.kind == "fp16 rounded" for c in certificate.comparisons):
        out.print("(rounded: as a GPU computes it, every result rounded to half precision)")
    for b in certificate.batches:
        sizes = ", ".join(map(str, b.sizes))
        out.print(
            f"batches of {sizes} in {literal(_short(b.engine))}: same, permuted and identical "
            f"rows agree to {b.max_p:.0e}  {_mark(b.passed)}"
        )
    for name, reason in certificate.unchecked.items():
        out.print(f"[yellow]unchecked[/yellow] {literal(name)}: {literal(reason)}")
    for failure in certificate.failures:
        out.print(f"[red]failed[/red] {literal(failure)}")


def _short(engine: str) -> str:
    """An engine's file name without its stem, which all of them share: ``fp16.onnx``.

    The stem may hold dots; behind the name may stand what ran it.
    """
    ending = _ENDING.search(engine)
    return ending.group(1) if ending else engine


def _mark(passed: bool) -> str:
    return "[green]passed[/green]" if passed else "[red]FAILED[/red]"


def print_verdicts(detector: Detector, images: Sequence[Path]) -> None:
    """Of the first look: one line an image."""
    if not detector.info.weights.trained:
        err.print("[yellow]untrained weights:[/yellow] these verdicts mean nothing")
    out.print("[bold]verdict  P(fake)   logit  image[/bold]")
    for image in images:
        try:
            (verdict,) = detector.classify(image)
        except ImageError as error:
            print_error(error)
            continue
        colour = "red" if verdict.label == "fake" else "green"
        out.print(
            f"[{colour}]{verdict.label:<7}[/{colour}]  {verdict.fake:7.4f}  {verdict.logit:+6.2f}"
            f"  {literal(image)}",
            soft_wrap=True,
        )


def print_weights(files: Sequence[FileStatus], as_json: bool) -> None:
    """``zoo weights list`` and ``check``."""
    if as_json:
        print_json([asdict(file) for file in files])
        return
    table = _table("file", "size", "licence", "status", right=("size",))
    colours = {"ok": "green", "damaged": "red"}
    for file in files:
        colour = colours.get(file.status, "dim")
        where = f" ({literal(file.origin)})" if file.origin else ""
        table.add_row(
            file.name,
            f"{file.bytes / 1e6:,.1f} MB",
            file.licence,
            f"[{colour}]{file.status}[/{colour}]{where}",
        )
    out.print(table)


def print_doctor(findings: Sequence[Finding], as_json: bool) -> None:
    """``zoo doctor``."""
    if as_json:
        print_json([asdict(finding) for finding in findings])
        return
    table = _table("", "what", "found")
    for finding in findings:
        mark = "[green]yes[/green]" if finding.ok else "[yellow]no[/yellow]"
        text = literal(finding.found) + (
            f"\n[dim]{literal(finding.todo)}[/dim]" if finding.todo else ""
        )
        table.add_row(mark, finding.what, text)
    out.print(table)
