"""What ``make run`` does: the main job once, on real input where there is some."""

from __future__ import annotations

import sys
from pathlib import Path

from runtime.errors import WeightsError
from runtime.terminal import make_console

_OUT = Path("engines")


def main() -> int:
    """Export, verify and run meso4; 0 when all of it worked."""
    from export.pipeline import ExportRequest, export_network
    from export.samples import find_golden_images
    from runtime import Detector
    from weights.store import locate
    from zoo import printing
    from zoo.catalog import find_card

    console = make_console(soft_wrap=True)
    card = find_card("meso4")
    weights = None
    try:
        locate(card.weights[0].file)
    except WeightsError as error:
        # Said in one line, with where to get them; the job goes on without.
        console.print(f"[yellow]no published weights:[/yellow] {' '.join(str(error).split())}")
        console.print("going on with seeded random weights, marked untrained\n")
        weights = "random"

    console.print(f"[bold]zoo export meso4 --fp16 --out {_OUT}[/bold]")
    request = ExportRequest(card, weights, out=_OUT, name="meso4", fp16=True)
    with printing.steps(quiet=False) as report:
        result = export_network(request, report, report.progress)
    printing.print_export(result, as_json=False)
    if not result.certificate.passed:
        return 1

    engine = _OUT / "meso4.fp16.onnx"
    faces = find_golden_images()
    if faces:
        console.print(f"\n[bold]zoo detect df/*.jpg real/*.jpg --engine {engine}[/bold]")
        with Detector(engine) as detector:
            printing.print_verdicts(detector, faces)
    else:
        console.print("\nno face images here to judge: give some of yours to `zoo detect`")

    console.print("\n[bold]next:[/bold]")
    for command, meaning in (
        (f"zoo detect FACE.jpg --engine {_OUT}/meso4.onnx", "judge a face crop"),
        ("zoo list", "the other networks and weights"),
        (f"zoo verify {_OUT}/meso4.onnx --images DIR", "certify on your own faces"),
        ("zoo doctor", "what this machine can build and run"),
    ):
        console.print(f"  .venv/bin/{command}\n      {meaning}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
