"""Throughput and latency over batch size, the peers as curves."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.environment import summary_line
from benchmarks.peers import ENGINE
from benchmarks.result import BenchResult
from runtime.errors import MissingPackageError
from runtime.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, which a colour-blind reader tells apart; the engine's first.
_COLOURS = (
    "#D55E00",
    "#0072B2",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999999",
)
#: Markers besides, for a print in grey and for more curves than colours.
_MARKERS = "osD^vPX*"
_DOTS_PER_INCH = 150
_LEAST_SPAN = 8.0
#: Height of a line of small print, as a share of the picture's.
_LINE = 0.026
_LINE_LENGTH = 160


def draw_plot(result: BenchResult) -> bytes:
    """The picture as PNG, 16:9.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingPackageError("matplotlib", "the plot", "bench") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    style: Any = {"font.size": 13, "axes.titlesize": 14, "axes.titleweight": "bold"}
    style["text.parse_math"] = False  # a name may hold a dollar sign
    with plt.rc_context(style):
        figure, (left, right) = plt.subplots(1, 2, figsize=(12.8, 7.2))
        names = [p.name for p in result.peers if result.of(p.name)]
        for index, name in enumerate(names):
            _draw(left, right, result, name, index)
        engine = result.engine
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            sizes = sorted({f.batch for f in result.figures})
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_on()
            axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(_plain))
            axes.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
            _widen(axes)
            axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.set_xlabel("batch size (images a call)")
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        left.set_title("Throughput, higher is better")
        left.set_ylabel("images/s")
        right.set_title("Latency (p50, band to p99), lower is better")
        right.set_ylabel("milliseconds a call")
        precision = engine.precision.upper()
        untrained = "" if engine.trained else " (untrained)"
        title = printable(f"{engine.title} {precision}{untrained}: {engine.file}")
        figure.text(0.5, 0.955, title, ha="center", fontsize=18, weight="bold")
        machine = summary_line(result.environment)
        figure.text(
            0.5,
            0.92,
            f"{machine}; frames from {result.source} memory",
            ha="center",
            color="#555555",
        )
        handles, labels = left.get_legend_handles_labels()
        scopes = _scopes(result, names)
        foot = 0.015 + _LINE * len(scopes)
        figure.text(
            0.5, 0.012, "\n".join(scopes), ha="center", fontsize=10.5, color="#555555", va="bottom"
        )
        figure.legend(
            handles,
            labels,
            loc="lower center",
            bbox_to_anchor=(0.5, foot),
            ncols=min(2, len(labels)),
            frameon=False,
            fontsize=12,
        )
        rows = -(-len(labels) // 2)
        figure.tight_layout(rect=(0, 0.02 + foot + 0.034 * rows, 1, 0.91))
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=_DOTS_PER_INCH)
        plt.close(figure)
    return picture.getvalue()


def _scopes(result: BenchResult, names: Sequence[str]) -> list[str]:
    """What is timed of which curves, in lines; only once where it is the same of all."""
    curves: dict[str, list[str]] = {}
    for peer in result.peers:
        if peer.name in names:
            curves.setdefault(peer.scope, []).append(peer.name)
    words = [
        f"{'timed' if len(curves) == 1 else ', '.join(of)}: {scope}" for scope, of in curves.items()
    ]
    return [line for text in words for line in textwrap.wrap(text, _LINE_LENGTH)]


def _draw(left: Axes, right: Axes, result: BenchResult, name: str, index: int) -> None:
    figures = sorted(result.of(name), key=lambda f: f.batch)
    sizes = [f.batch for f in figures]
    title = next(p.title for p in result.peers if p.name == name)
    style: dict[str, Any] = {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": "-" if index < len(_COLOURS) else "--",
        "linewidth": 3.0 if name == ENGINE else 1.6,
        "markersize": 8 if name == ENGINE else 6,
        "zorder": 3 if name == ENGINE else 2,
    }
    left.plot(sizes, [f.images_per_s for f in figures], label=title, **style)
    middle = [1000 * f.latency.p50 for f in figures]
    right.plot(sizes, middle, **style)
    if name == ENGINE:  # bands of all of them would hide each other
        high = [1000 * f.latency.p99 for f in figures]
        right.fill_between(sizes, middle, high, color=style["color"], alpha=0.15, linewidth=0)


def _widen(axes: Axes) -> None:
    """Show at least a factor of `_LEAST_SPAN`: less would make much of small differences."""
    low, high = axes.get_ylim()
    if high / low < _LEAST_SPAN:
        middle, half = (low * high) ** 0.5, _LEAST_SPAN**0.5
        axes.set_ylim(middle / half, middle * half)


def _plain(value: float, _: object) -> str:
    """Digits without a power of ten."""
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"
