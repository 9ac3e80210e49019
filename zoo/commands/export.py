"""Engines made and proved: `zoo export`, `zoo verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.backend_names import BackendName
from zoo.commands.options import JSON, find_device, runs_on
from zoo.commands.said import says

#: Of ``--images``.
LIMIT = click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most N of the images, evenly spread.",
)


@click.command()
@click.argument("network")
@click.option("--fp16", is_flag=True, help="Half precision: .fp16.onnx, and the plan from it.")
@click.option("--weights", help="A name of `zoo show`, a file, or 'random' (seeded, untrained).")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of random weights.",
)
@says
@click.option(
    "--like",
    metavar="NAME",
    help="Of a weights file: trained as the card's weights NAME were (pixels, size, activation).",
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
@click.option("--images", type=click.Path(path_type=Path), help="Folder or tar to certify on.")
@LIMIT
@click.option(
    "--out", default=".", show_default=True, type=click.Path(path_type=Path), help="Folder."
)
@click.option("--name", help="Stem of the files' names.")
@click.option("--dry-run", is_flag=True, help="Print the steps and files, do nothing.")
@JSON
def export(
    network: str,
    fp16: bool,
    weights: str | None,
    seed: int,
    like: str | None,
    batch: str,
    builder: Any,
    images: Path | None,
    limit: int | None,
    out: Path,
    name: str | None,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Take a network to ONNX and TensorRT, and prove that nothing was lost.

    What the card of the network does not know of a checkpoint of yours, or has otherwise,
    is said by flags: --says or --fake-index, --size, --crop, --resize, --scale, --mean and
    --std. What was assumed, and who said it, is printed and stands in the sidecar.
    """
    from export.pipeline import ExportRequest, export_network
    from runtime.batch import BatchProfile
    from zoo import printing
    from zoo.catalog import find_card
    from zoo.recipe import Said

    request = ExportRequest(
        find_card(network),
        weights,
        seed=seed,
        like=like,
        said=Said(**flags),
        out=out,
        name=name,
        fp16=fp16,
        builder=builder,
        batch=BatchProfile.parse(batch),
        images=images,
        limit=limit,
    )
    if dry_run:
        printing.print_plan_of_export(request, as_json)
        return
    with printing.steps(quiet=as_json) as report:
        result = export_network(request, report, report.progress)
    printing.print_export(result, as_json)
    if not result.certificate.passed:
        raise SystemExit(1)


@click.command()
@click.argument("engine", type=click.Path(path_type=Path))
@runs_on
@click.option("--images", type=click.Path(path_type=Path), help="Folder or tar of face crops.")
@LIMIT
@click.option(
    "--goldens",
    type=click.Path(path_type=Path),
    help="CSV of the original's own probabilities by image, instead of running the original:"
    " of one output P of what it says (P(real) where the card says 'real'), of two P(fake).",
)
@click.option("--column", help="Of the CSV; by default the stem of the weights file.")
@click.option("--weights", help="The weights file, for an engine made from a file of yours.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="An .onnx of the same weights, instead of the original: where its framework is not.",
)
@JSON
def verify(
    engine: Path,
    backend: BackendName,
    device: int | None,
    images: Path | None,
    limit: int | None,
    goldens: Path | None,
    column: str | None,
    weights: str | None,
    against: Path | None,
    as_json: bool,
) -> None:
    """Prove that an engine on disk still says what the original says."""
    from export.verify import verify_engine
    from zoo import printing

    if against is not None and (goldens or column or weights):
        raise click.UsageError("--against excludes --goldens, --column and --weights")
    gpu = find_device([engine], backend, device)
    with printing.steps(quiet=as_json) as report:
        certificate = verify_engine(
            engine,
            images=images,
            limit=limit,
            goldens=goldens,
            column=column,
            weights=weights,
            against=against,
            backend=backend,
            device=gpu,
            report=report,
        )
    printing.print_certificate(certificate, as_json)
    if not certificate.passed:
        raise SystemExit(1)
