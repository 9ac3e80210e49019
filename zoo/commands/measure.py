"""How right and how fast an engine is: `zoo evaluate`, `zoo bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.backend_names import BackendName
from zoo.commands.options import JSON, find_device, runs_on, several_engines


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@several_engines("A .onnx or .plan; several are ranked.")
@runs_on
@click.option("--fake-dir", type=click.Path(path_type=Path), help="All images in it are fake.")
@click.option("--real-dir", type=click.Path(path_type=Path), help="All images in it are real.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Labels: columns file,label.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for a report and scores.")
@click.option("--contact-sheet", is_flag=True, help="Into --out also the worst mistakes as faces.")
@JSON
def evaluate(
    paths: tuple[Path, ...],
    engines: tuple[Path, ...],
    backend: BackendName,
    device: int | None,
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

    request = EvaluationRequest(
        paths,
        engines,
        fake_dir,
        real_dir,
        table,
        out,
        contact_sheet,
        backend=backend,
        device=find_device(engines, backend, device),
    )
    with progress(quiet=as_json) as begin:
        found, files = run_evaluation(request, begin)
    if as_json:
        printing.print_json(to_json(found))
    else:
        print_evaluations(found, files)


@click.command()
@click.option("--engine", "-e", type=click.Path(path_type=Path), help="A .onnx or .plan.")
@runs_on
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
@JSON
def bench(engine: Path | None, backend: BackendName, device: int | None, **options: Any) -> None:
    """Measure an engine: throughput, latency, what it is bound by, against its peers."""
    from benchmarks.command import bench as run

    gpu = find_device([] if engine is None else [engine], backend, device)
    if code := run(engine=engine, backend=backend, device=gpu, **options):
        raise SystemExit(code)
