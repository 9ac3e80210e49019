"""A heat map as a picture: the frame, and the frame under its heat, with a scale."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import MissingPackageError, ZooError
from runtime.text import printable
from zoo.explain.heat_map import HeatMap

_UNITS = {"occlusion": "log-odds of fake lost when covered", "gradcam": "Grad-CAM (no unit)"}


def draw_heat_map(heat_map: HeatMap, title: str) -> Any:
    """A matplotlib figure: orange speaks for "fake", blue for "real".

    Args:
        heat_map: what to draw.
        title: first line, the engine for example.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingPackageError("matplotlib", "a heat map", "evaluate") from None
    # Okabe and Ito's blue and vermilion, which the colour-blind tell apart.
    colours = LinearSegmentedColormap.from_list("evidence", ["#0072B2", "#FFFFFF", "#D55E00"])
    figure = Figure(figsize=(8.2, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(heat_map.frame)
    left.set_title("what the network sees", fontsize=10)
    grey = np.repeat(heat_map.frame.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    right.imshow(grey)
    limit = float(np.abs(heat_map.heat).max()) or 1.0
    # Where nothing is said the face shows through.
    opacity = np.clip(np.abs(heat_map.heat) / limit * 1.6, 0.0, 0.75)
    right.imshow(heat_map.heat, cmap=colours, vmin=-limit, vmax=limit, alpha=opacity)
    right.set_title("what it goes by", fontsize=10)
    scale = figure.colorbar(
        _solid(colours, limit), ax=right, fraction=0.046, label=_UNITS[heat_map.method]
    )
    scale.ax.set_title("fake", fontsize=9, color="#D55E00")
    scale.ax.set_xlabel("real", fontsize=9, color="#0072B2")
    for axes in (left, right):
        axes.set_axis_off()
    # A dollar sign would be read as mathematics.
    plain = printable(title).replace("$", r"\$")
    figure.suptitle(f"{plain}\nP(fake) = {heat_map.fake:.4f}", fontsize=11)
    return figure


def save_heat_map(heat_map: HeatMap, title: str, path: Path) -> None:
    """Write the picture; its kind is that of the file name (``.png``, ``.svg``, ``.pdf``).

    Raises:
        ZooError: another kind of file, or it cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise ZooError(f"{path} is no kind of picture that can be written", "", "--out heat.png")
    figure = draw_heat_map(heat_map, title)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            figure.savefig(half, dpi=130, format=kind)
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        raise ZooError(
            f"{path} cannot be written", error.strerror or str(error), "choose another --out"
        ) from None


def _solid(colours: Any, limit: float) -> Any:
    """A scale without the picture's transparency."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(-limit, limit), colours)
