"""The command ``zoo``: one thin function a command.

Exit codes: 0 done; 1 a check failed (a certificate, a hash); 2 the user must do
something (the three lines say what happened, why, and what to do). A bug keeps its
traceback.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.errors import ZooError
from zoo import __version__

if TYPE_CHECKING:
    from runtime.faces import FaceFinder

# Everything else is imported by the command that needs it: `zoo --help` and
# `zoo list` work without TensorFlow, torch or TensorRT, and start at once.

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
_ENGINE = click.option(
    "--engine", "-e", required=True, type=click.Path(path_type=Path), help="A .onnx or .plan."
)


class _Group(click.Group):
    """Turns a `ZooError` into three lines and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ZooError as error:
            from zoo.printing import print_error

            print_error(error)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zoo")
@click.option("--verbose", "-v", is_flag=True, help="Log what is done and why.")
def main(verbose: bool) -> None:
    """Face-forgery detectors: to ONNX and a verified FP16 TensorRT engine, and run.

    \b
    zoo list                                  what there is
    zoo export meso4 --fp16                   make and verify an engine
    zoo detect face.jpg --engine meso4.onnx   judge a face
    """
    if verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)


@main.command("list")
@_JSON
def list_networks(as_json: bool) -> None:
    """The networks of the zoo."""
    from zoo import printing
    from zoo.catalog import CARDS

    printing.print_cards(CARDS, as_json)


@main.command()
@click.argument("network")
@_JSON
def show(network: str, as_json: bool) -> None:
    """All that is known of one network and its weights."""
    from zoo import printing
    from zoo.catalog import find_card

    printing.print_card(find_card(network), as_json)


@main.command()
@click.argument("network")
@click.option("--fp16", is_flag=True, help="Half precision: .fp16.onnx, and the plan from it.")
@click.option("--weights", help="A name of `zoo show`, a file, or 'random' (seeded, untrained).")
@click.option("--seed", default=0, show_default=True, help="Of random weights.")
@click.option(
    "--fake-index", type=click.IntRange(0, 1), help="Which of two outputs is 'fake', if not known."
)
@click.option(
    "--batch", default="1:32:256", show_default=True, metavar="MIN:OPT:MAX", help="Plan's profile."
)
@click.option(
    "--builder",
    type=click.Choice(["auto", "tensorrt", "tensorrt_rtx", "none"]),
    default="auto",
    show_default=True,
    help="TensorRT where a GPU is, else TensorRT-RTX; 'none' for ONNX alone.",
)
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder or tar to certify on, besides."
)
@click.option(
    "--out", default=".", show_default=True, type=click.Path(path_type=Path), help="Folder."
)
@click.option("--name", help="Stem of the files' names.")
@click.option("--dry-run", is_flag=True, help="Print the steps and files, do nothing.")
@_JSON
def export(
    network: str,
    fp16: bool,
    weights: str | None,
    seed: int,
    fake_index: int | None,
    batch: str,
    builder: Any,
    images: Path | None,
    out: Path,
    name: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take a network to ONNX and TensorRT, and prove that nothing was lost."""
    from export.pipeline import ExportRequest, export_network
    from runtime.batch import BatchProfile
    from zoo import printing
    from zoo.catalog import find_card

    request = ExportRequest(
        find_card(network),
        weights,
        seed=seed,
        fake_index=fake_index,
        out=out,
        name=name,
        fp16=fp16,
        builder=builder,
        batch=BatchProfile.parse(batch),
        images=images,
    )
    if dry_run:
        printing.print_plan_of_export(request, as_json)
        return
    with printing.steps(quiet=as_json) as report:
        result = export_network(request, report, report.progress)
    printing.print_export(result, as_json)
    if not result.certificate.passed:
        raise SystemExit(1)


@main.command()
@click.argument("engine", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder or tar of face crops.")
@click.option(
    "--goldens",
    type=click.Path(path_type=Path),
    help="CSV of the original's own output by image, instead of running the original.",
)
@click.option("--column", help="Of the CSV; by default the stem of the weights file.")
@click.option("--weights", help="The weights file, for an engine made from a file of yours.")
@_JSON
def verify(
    engine: Path,
    images: Path | None,
    goldens: Path | None,
    column: str | None,
    weights: str | None,
    as_json: bool,
) -> None:
    """Prove that an engine on disk still says what the original says."""
    from export.verify import verify_engine
    from zoo import printing

    with printing.steps(quiet=as_json) as report:
        certificate = verify_engine(
            engine, images=images, goldens=goldens, column=column, weights=weights, report=report
        )
    printing.print_certificate(certificate, as_json)
    if not certificate.passed:
        raise SystemExit(1)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_ENGINE
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
    help="Copies with boxes and scores drawn.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.jsonl",
    help="Keep results here, and do not repeat those that are in it.",
)
@_JSON
def detect(
    paths: tuple[Path, ...],
    faces: str,
    finder: str,
    every: int | None,
    frames: int | None,
    keyframes: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Judge the faces in images, videos, folders and globs.

    Exit code 0 when all was judged (a picture without a face too), 2 when some could not be.
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
    request = DetectRequest(paths, finder=name, faces=which, sampling=sampling, **asked)
    with DetectRun(request, _open_finder) as run:
        failed = print_run(run, as_json)
    if failed:
        raise SystemExit(2)


def _open_finder(name: str) -> FaceFinder:
    """A face finder, its files found, fetched or made."""
    if name == "mtcnn":
        from export.mtcnn import mtcnn_folder
        from runtime.faces import Mtcnn

        return Mtcnn(mtcnn_folder())
    from runtime.faces import YuNet
    from weights.store import locate

    return YuNet(locate("face_detection_yunet_2023mar.onnx").path)


@main.group()
def weights() -> None:
    """Published weights: where they are, fetch them, check them."""


@weights.command("list")
@_JSON
def weights_list(as_json: bool) -> None:
    """Every file of the manifest and where it was found."""
    from weights.store import list_files
    from zoo import printing

    printing.print_weights(list_files(), as_json)


@weights.command("fetch")
@click.argument("names", nargs=-1, required=True)
def weights_fetch(names: tuple[str, ...]) -> None:
    """Download files (or all weights of a network) and verify them."""
    from weights.store import fetch
    from zoo.catalog import CARDS

    by_network = {card.name: [w.file for w in card.weights] for card in CARDS}
    for name in names:
        for file in by_network.get(name, [name]):
            click.echo(f"{fetch(file).path}")


@weights.command("check")
@_JSON
def weights_check(as_json: bool) -> None:
    """Verify size and sha256 of every file that is there."""
    from weights.store import check
    from zoo import printing

    files = check()
    printing.print_weights(files, as_json)
    if any(file.status == "damaged" for file in files):
        raise SystemExit(1)


@main.command()
@_JSON
def doctor(as_json: bool) -> None:
    """What this machine can build and run, and why not."""
    from zoo import printing
    from zoo.doctor import examine

    printing.print_doctor(examine(), as_json)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print shell completion: eval "$(zoo completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "one of click's own"
    click.echo(kind(main, {}, "zoo", "_ZOO_COMPLETE").source())


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--engine",
    "-e",
    "engines",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="A .onnx or .plan; several are ranked.",
)
@click.option("--fake-dir", type=click.Path(path_type=Path), help="All images in it are fake.")
@click.option("--real-dir", type=click.Path(path_type=Path), help="All images in it are real.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Labels: columns file,label.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for a report and scores.")
@click.option("--contact-sheet", is_flag=True, help="Into --out also the worst mistakes as faces.")
@_JSON
def evaluate(
    paths: tuple[Path, ...],
    engines: tuple[Path, ...],
    fake_dir: Path | None,
    real_dir: Path | None,
    table: Path | None,
    out: Path | None,
    contact_sheet: bool,
    as_json: bool,
) -> None:
    """Accuracy, AUC and more on labelled face crops: folders or tars, each a dataset.

    The folders of a dataset name its classes: df and real, forged and real, DeepFake and
    Real, fake and real.
    """
    from benchmarks.evaluation.printing import print_evaluations, progress
    from benchmarks.evaluation.report import as_json as to_json
    from benchmarks.evaluation.run import EvaluationRequest, run_evaluation
    from zoo import printing

    request = EvaluationRequest(paths, engines, fake_dir, real_dir, table, out, contact_sheet)
    with progress(quiet=as_json) as begin:
        found, files = run_evaluation(request, begin)
    if as_json:
        printing.print_json(to_json(found))
    else:
        print_evaluations(found, files)


@main.command()
@click.option("--engine", "-e", type=click.Path(path_type=Path), help="A .onnx or .plan.")
@click.option("--batch", metavar="N,N,...", help="Sizes; else a sweep while throughput grows.")
@click.option(
    "--from",
    "source",
    type=click.Choice(["host", "device"]),
    default="host",
    show_default=True,
    help="Where frames are: in host memory, or already on the GPU.",
)
@click.option(
    "--duration", default=5.0, show_default=True, help="Seconds a peer and batch size, at least."
)
@click.option("--threads", type=int, help="CPU threads of every peer.")
@click.option("--compare", metavar="PEER,...", help="What else runs the network; 'all'.")
@click.option("--baseline", type=click.Path(path_type=Path), help="JSON of an earlier run.")
@click.option("--fail-below", type=float, help="Exit 1 below this share of its throughput.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for JSON, CSV, PNG, HTML.")
@click.option("--all", "all_networks", is_flag=True, help="Every network, every peer.")
@click.option("--network", multiple=True, help="With --all: this one only; may be repeated.")
@_JSON
def bench(**options: Any) -> None:
    """Measure an engine: throughput, latency, what it is bound by, against its peers."""
    from benchmarks.command import bench as run

    if code := run(**options):
        raise SystemExit(code)


@main.command()
@click.argument("image", type=click.Path(path_type=Path))
@_ENGINE
@click.option(
    "--out", default="heat.png", show_default=True, type=click.Path(path_type=Path), help="Picture."
)
@click.option(
    "--method",
    type=click.Choice(["occlusion", "gradcam"]),
    default="occlusion",
    show_default=True,
    help="Ask the engine itself, or the original for its gradients.",
)
@click.option("--weights", help="For gradcam: the weights file, of an engine made from yours.")
def explain(image: Path, engine: Path, out: Path, method: Any, weights: str | None) -> None:
    """Draw which parts of a face crop speak for "fake", and which for "real"."""
    from runtime import Detector
    from zoo.explain.heat_map import explain as find_heat
    from zoo.explain.picture import save_heat_map

    with Detector(engine) as detector:
        heat_map = find_heat(detector, image, method, weights=weights)
        untrained = "" if detector.info.weights.trained else ", UNTRAINED weights"
    save_heat_map(heat_map, f"{image.name}, {engine.name}{untrained}", out)
    click.echo(f"{out}: P(fake) {heat_map.fake:.4f}")


@main.command()
@click.option(
    "--engine",
    "-e",
    "engines",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="A .onnx or .plan; the page lets choose among several.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="By default a free one from 7860 on.")
def demo(engines: tuple[Path, ...], host: str, port: int | None) -> None:
    """Serve a page: drop a picture or a clip, see faces, scores and a heat map."""
    from contextlib import ExitStack
    from threading import Event

    from runtime import Detector
    from zoo.demo.page import engine_names, serve

    with ExitStack() as stack:
        opened = [stack.enter_context(Detector(path)) for path in engines]
        detectors = dict(zip(engine_names(engines), opened, strict=True))
        finder = _open_finder("yunet")
        address = stack.enter_context(serve(detectors, finder, host=host, port=port))
        click.echo(f"serving at {address} (Ctrl-C ends it)")
        Event().wait()


if __name__ == "__main__":
    main()
