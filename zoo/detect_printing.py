"""What ``zoo detect`` prints: a line a verdict, or JSON, and how far it has come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from runtime.errors import ZooError
from runtime.terminal import literal, tell
from zoo.detect_run import DetectRun
from zoo.printing import err, out, print_error

#: Tracks of a video that are shown, and faces that one needs to be shown.
_TRACKS, _FEWEST = 5, 3
#: Of each verdict, in the order of the totals.
_COLOURS = {"fake": "red", "real": "green", "uncertain": "yellow", "no face": "yellow"}


def print_run(run: DetectRun, as_json: bool) -> int:
    """Judge and print all files of a run; how many could not be judged."""
    if not run.info.weights.trained:
        err.print("[yellow]untrained weights:[/yellow] these verdicts mean nothing")
    if not as_json:
        out.print("[bold]verdict    P(fake)    95 %      share  faces  file[/bold]")
    counts = dict.fromkeys((*_COLOURS, "failed"), 0)
    whole = 0
    with _progress(run) as progress:
        for line in run.lines(progress):
            counts[_outcome(line)] += 1
            whole += _outcome(line) == "no face" and line["kind"] == "image"
            if as_json:
                # Only ASCII: names that are no UTF-8 come back as they were.
                tell(json.dumps(line))
            elif line["error"] is not None:
                print_error(ZooError(*line["error"].values()))
            else:
                _print_verdict(line)
    if not as_json:
        total = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        if len(run.inputs) > 1:
            out.print(f"[dim]{len(run.inputs)} files: {total}[/dim]")
    if whole and not as_json:
        err.print(
            f"[dim]no face found in {whole} image{'s' * (whole > 1)}: face crops already? "
            "--faces none judges images as they are[/dim]",
            soft_wrap=True,
        )
    return counts["failed"]


def _outcome(line: dict[str, Any]) -> str:
    if line["error"] is not None:
        return "failed"
    return "no face" if line["overall"] is None else str(line["overall"]["label"])


def _print_verdict(line: dict[str, Any]) -> None:
    name = line["path"]
    overall, faces = line["overall"], line["faces"]
    remarks = []
    if line["whole"]:
        remarks.append("as it is")
    if line["dropped"]:
        remarks.append(f"{len(line['dropped'])} dropped: {_reasons(line['dropped'])}")
    remarks += line["damage"]
    if overall is None:
        _row("no face", "-", "", "", "0", name, remarks)
    elif line["kind"] == "image":
        for number, face in enumerate(faces, 1):
            where = []
            if len(faces) > 1:
                where = [f"face {number} at {face['box'][0]:.0f},{face['box'][1]:.0f}"]
            more = [*where, *(remarks if number == 1 else [])]
            _row(face["label"], f"{face['fake']:.4f}", "", "", "1", name, more)
    else:
        _print_summary(overall, name, remarks)
        shown = [t for t in line["tracks"] if t["verdict"]["faces"] >= _FEWEST]
        if len(line["tracks"]) > 1:
            for track in shown[:_TRACKS]:
                when = f"  track {track['track']}, {track['start']:.1f} to {track['end']:.1f} s"
                _print_summary(track["verdict"], when, [])
            if rest := len(line["tracks"]) - len(shown[:_TRACKS]):
                out.print(
                    f"[dim]{'':45}and {rest} more tracks: --json has them[/dim]", soft_wrap=True
                )


def _print_summary(summary: dict[str, Any], name: str, remarks: list[str]) -> None:
    label = summary["label"]
    span = ""
    if summary["low"] is not None:
        span = f"{summary['low']:.2f}-{summary['high']:.2f}"
    share = f"{summary['share']:.0%}"
    mean = f"{summary['mean']:.4f}"
    _row(label, mean, span, share, str(summary["faces"]), name, remarks)


def _row(
    label: str,
    fake: str,
    span: str,
    share: str,
    faces: str,
    name: str,
    remarks: list[str],
) -> None:
    colour = _COLOURS[label]
    note = f"  [dim]({literal('; '.join(remarks))})[/dim]" if remarks else ""
    out.print(
        f"[{colour}]{label:<9}[/{colour}]  {fake:>7}  {span:>9}  {share:>5}  {faces:>5}  "
        f"{literal(name)}{note}",
        soft_wrap=True,
    )


def _reasons(dropped: list[dict[str, Any]]) -> str:
    """Why faces were dropped, the kinds of reasons each once."""
    kinds: dict[str, None] = {}
    for face in dropped:
        why = face["why"]
        short = "too small" if "pixels" in why else "blurred" if "blurred" in why else why
        kinds[short] = None
    return ", ".join(kinds)


@contextmanager
def _progress(run: DetectRun) -> Iterator[Callable[[Path, float], None]]:
    """A bar with the time that is left, on a terminal's standard error alone."""
    if not err.is_terminal or not run.inputs:
        yield lambda path, part: None
        return
    done: dict[Path, float] = {}
    total = len(run.inputs)
    columns = (
        TextColumn("{task.completed:.0f} of {task.total:.0f} files"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    # Rich would lead standard output through the bar's own, standard error.
    to_file = not sys.stdout.isatty()
    with Progress(*columns, console=err, transient=True, redirect_stdout=not to_file) as bar:
        task = bar.add_task("", total=total)

        def report(path: Path, part: float) -> None:
            done[path] = part
            bar.update(task, completed=sum(list(done.values())))

        yield report
