"""Plots of an evaluation, as PNG files. Colours of Okabe and Ito: safe for colour blindness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluation.metrics import CLASSES, Curves
from benchmarks.evaluation.run import Evaluation
from runtime.errors import MissingPackageError
from runtime.text import printable

# Okabe & Ito, "Color Universal Design" (2008), without the yellow, which is faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", "-.", ":")
_REAL, _FAKE = _COLOURS[0], _COLOURS[1]


def import_pyplot() -> Any:
    """matplotlib's object interface with the file backend, or the way to it."""
    try:
        import matplotlib
        from matplotlib import figure
    except ImportError:
        raise MissingPackageError("matplotlib", "zoo evaluate --out", "evaluate") from None
    matplotlib.use("Agg", force=False)
    return figure


def draw_plots(evaluations: Sequence[Evaluation], folder: Path) -> dict[str, str]:
    """All plots of one dataset's evaluations.

    Args:
        evaluations: of one dataset, one for each engine.
        folder: where to write.

    Returns:
        File names, by what they show.
    """
    stem = evaluations[0].slug.removesuffix(evaluations[0].engine)
    made: dict[str, str] = {}

    def save(kind: str, title: str, draw: Callable[[Any], None], stem: str = stem) -> None:
        figure = import_pyplot().Figure(figsize=(5.2, 4.6), layout="constrained")
        draw(figure.add_subplot())
        name = f"{stem.rstrip('-')}-{kind}.png"
        figure.savefig(folder / name, dpi=120)
        made[title] = name

    if any(e.metrics.curves for e in evaluations):
        save("roc", "ROC", lambda axes: _roc(axes, evaluations))
        save("precision-recall", "precision and recall", lambda axes: _pr(axes, evaluations))
        save("calibration", "calibration", lambda axes: _calibration(axes, evaluations))
    for one in evaluations:
        save("scores", f"scores, {one.engine}", partial(_scores, one=one), one.slug)
        save("confusion", f"verdicts, {one.engine}", partial(_confusion, one=one), one.slug)
    return made


def _with_curves(evaluations: Sequence[Evaluation]) -> list[tuple[Evaluation, Curves, Any]]:
    found = []
    for index, one in enumerate(evaluations):
        if one.metrics.curves is not None:
            style = {
                "color": _COLOURS[index % len(_COLOURS)],
                "linestyle": _DASHES[index % len(_DASHES)],
            }
            found.append((one, one.metrics.curves, style))
    return found


def _roc(axes: Any, evaluations: Sequence[Evaluation]) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for one, curves, style in _with_curves(evaluations):
        axes.plot(
            curves.fpr,
            curves.tpr,
            label=f"{_short(one.engine)}: AUC {one.metrics.auc:.4f}",
            **style,
        )
    _unit(axes, "share of reals called fake", "share of fakes called fake", "ROC", evaluations)
    axes.legend(loc="lower right", frameon=False, fontsize=9)


def _pr(axes: Any, evaluations: Sequence[Evaluation]) -> None:
    metrics = evaluations[0].metrics
    share = metrics.fake / metrics.images
    axes.axhline(share, color="#999999", linewidth=0.8)
    axes.annotate("always 'fake'", (0.02, share), xytext=(0, -11), textcoords="offset points",
                  color="#666666", fontsize=8)  # fmt: skip
    for one, curves, style in _with_curves(evaluations):
        axes.plot(
            curves.recall,
            curves.precision,
            label=f"{_short(one.engine)}: AP {one.metrics.average_precision:.4f}",
            **style,
        )
    _unit(axes, "recall of 'fake'", "precision of 'fake'", "Precision and recall", evaluations)
    axes.legend(loc="lower left", frameon=False, fontsize=9)


def _calibration(axes: Any, evaluations: Sequence[Evaluation]) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for one, curves, style in _with_curves(evaluations):
        axes.plot(
            curves.predicted,
            curves.observed,
            marker="o",
            markersize=4,
            label=f"{_short(one.engine)}: Brier {one.metrics.brier:.4f}",
            **style,
        )
    _unit(axes, "mean P(fake) of a bin", "share of fakes in it", "Calibration", evaluations)
    axes.legend(loc="upper left", frameon=False, fontsize=9)


def _scores(axes: Any, one: Evaluation) -> None:
    labels = np.asarray([image.fake for image in one.scored.images])
    scores = one.scored.fake[one.index]
    bins = np.linspace(0, 1, 41)
    for fake, colour, hatch in ((False, _REAL, None), (True, _FAKE, "///")):
        count = int((labels == fake).sum())
        axes.hist(
            scores[labels == fake], bins, histtype="stepfilled", alpha=0.45, facecolor=colour,
            edgecolor=colour, hatch=hatch, label=f"{CLASSES[fake]} ({count})",
        )  # fmt: skip
    axes.axvline(one.metrics.threshold, color="black", linewidth=1, label="threshold")
    axes.set(xlabel="P(fake)", ylabel="images (logarithmic)", yscale="log", xlim=(0, 1))
    axes.set_ylim(bottom=0.5)  # a single image must show
    axes.set_title(f"Scores of {_short(one.engine)}\n{_short(one.dataset)}", fontsize=10)
    axes.legend(loc="upper center", framealpha=1, edgecolor="none", fontsize=9)


def _confusion(axes: Any, one: Evaluation) -> None:
    counts = np.asarray(one.metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            share = shares[row, column]
            axes.text(
                column, row, f"{counts[row, column]}\n{share:.1%}", ha="center", va="center",
                color="white" if share > 0.5 else "black", fontsize=13,
            )  # fmt: skip
    axes.set_xticks([0, 1], [f"called {name}" for name in CLASSES])
    axes.set_yticks([0, 1], CLASSES)
    axes.set_title(f"Verdicts of {_short(one.engine)}\n{_short(one.dataset)}", fontsize=10)


def _unit(axes: Any, x: str, y: str, title: str, evaluations: Sequence[Evaluation]) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_title(f"{title}\n{_short(evaluations[0].dataset)}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee", linewidth=0.6)


def _short(name: str) -> str:
    """Fits a legend; a dollar sign would be read as mathematics."""
    name = printable(name)
    short = name if len(name) <= 34 else f"{name[:15]}...{name[-16:]}"
    return short.replace("$", r"\$")
