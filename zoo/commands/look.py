"""What an engine looks at, and a page to try it: `zoo explain`, `zoo demo`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from runtime.backend_names import BackendName
from zoo.commands.options import ENGINE, find_device, open_finder, runs_on, several_engines


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@ENGINE
@runs_on
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
@click.option(
    "--faces",
    type=click.Choice(["all", "largest", "none"]),
    default="all",
    show_default=True,
    help="The most suspicious of all, or the largest; 'none': a face crop as it is.",
)
def explain(
    image: Path,
    engine: Path,
    backend: BackendName,
    device: int | None,
    out: Path,
    method: Any,
    weights: str | None,
    faces: str,
) -> None:
    """Draw which parts of a face speak for "fake", and which for "real"."""
    from runtime import Detector
    from runtime.terminal import tell
    from runtime.text import printable
    from zoo.explain.face import face_of
    from zoo.explain.heat_map import explain as find_heat
    from zoo.explain.picture import save_heat_map

    gpu = find_device([engine], backend, device)
    with Detector(engine, backend=backend, device=gpu) as detector:
        finder = None if faces == "none" else open_finder("yunet")
        crop, what = face_of(image, detector, finder, "largest" if faces == "largest" else "all")
        heat_map = find_heat(detector, crop, method, weights=weights)
        untrained = "" if detector.info.weights.trained else ", UNTRAINED weights"
    save_heat_map(heat_map, f"{image.name}, {engine.name}{untrained}", out)
    tell(f"{printable(out)}: P(fake) {heat_map.fake:.4f} ({what})")


@click.command()
@several_engines("A .onnx or .plan; the page lets choose among several.")
@runs_on
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="By default a free one from 7860 on.")
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="Another name or address of the page, as of a proxy; others are refused.",
)
def demo(
    engines: tuple[Path, ...],
    backend: BackendName,
    device: int | None,
    host: str,
    port: int | None,
    names: tuple[str, ...],
) -> None:
    """Serve a page: drop a picture or a clip, see faces, scores and a heat map."""
    from contextlib import ExitStack
    from threading import Event

    from runtime import Detector
    from runtime.terminal import tell
    from zoo.demo.page import engine_names, serve

    gpu = find_device(engines, backend, device)
    with ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        opened = [
            stack.enter_context(Detector(path, backend=backend, device=gpu)) for path in engines
        ]
        detectors = dict(zip(engine_names(engines), opened, strict=True))
        finder = open_finder("yunet")
        address = stack.enter_context(serve(detectors, finder, host=host, port=port, names=names))
        tell(f"serving at {address} (Ctrl-C ends it)")
        Event().wait()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End this context where a signal would end the process and leave its files behind.

    Ctrl-C is how a user ends it: no failure. What else ends it is told to who asked.
    """

    def end(number: int, frame: Any) -> None:
        for other in numbers:  # what is being closed is not to be broken off
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(0 if number == signal.SIGINT else 128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
