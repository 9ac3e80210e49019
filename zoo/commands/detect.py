"""Verdicts on pictures and videos: `zoo detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.backend_names import BackendName
from zoo.commands.options import ENGINE, JSON, find_device, open_finder, runs_on


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@ENGINE
@runs_on
@click.option(
    "--faces",
    type=click.Choice(["all", "largest", "none"]),
    default="all",
    show_default=True,
    help="Of each picture; 'none': the pictures are face crops as they are.",
)
@click.option("--finder", type=click.Choice(["yunet", "mtcnn"]), default="yunet", show_default=True)
@click.option(
    "--min-face",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    metavar="PIXELS",
    help="Shorter side of a face at least.",
)
@click.option(
    "--sharpness",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="VARIANCE",
    help="Of the Laplacian at least; 30 leaves blurred faces out.",
)
@click.option("--every", type=click.IntRange(min=1), metavar="N", help="Each N-th frame [10].")
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="N frames, evenly spread.")
@click.option("--keyframes", is_flag=True, help="A video's keyframes alone, the fastest.")
@click.option("--jobs", type=click.IntRange(min=1), help="Files at a time [half the cores].")
@click.option(
    "--annotate",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Copies with the verdicts drawn; a video keeps its sound.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.jsonl",
    help="Keep results here, and do not repeat those that are in it.",
)
@JSON
def detect(
    paths: tuple[Path, ...],
    engine: Path,
    backend: BackendName,
    device: int | None,
    faces: str,
    finder: str,
    every: int | None,
    frames: int | None,
    keyframes: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Judge the faces in images, videos, folders and globs.

    A video is "uncertain" where the 95 % interval of its mean P(fake) holds the engine's
    threshold: other seconds of it might say otherwise. One face, or the faces of an image,
    have no such interval; they are "fake" at the threshold or above, else "real".

    Exit code 0 when all was judged (uncertain, or no face, too), 2 when some could not be.
    """
    from runtime.video import Sampling
    from zoo.detect_printing import print_run
    from zoo.detect_run import DetectRequest, DetectRun

    if sum((every is not None, frames is not None, keyframes)) > 1:
        raise click.UsageError("--every, --frames and --keyframes exclude each other")
    sampling = Sampling("every", every or 10)
    if keyframes:
        sampling = Sampling("keyframes")
    elif frames is not None:
        sampling = Sampling("spread", frames)
    which: Any = "largest" if faces == "largest" else "all"
    name = None if faces == "none" else finder
    request = DetectRequest(
        paths,
        engine,
        finder=name,
        faces=which,
        sampling=sampling,
        backend=backend,
        device=find_device([engine], backend, device),
        **asked,
    )
    with DetectRun(request, open_finder) as run:
        failed = print_run(run, as_json)
    if failed:
        raise SystemExit(2)
