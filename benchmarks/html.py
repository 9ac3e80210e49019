"""One page with the table, the plot and where it was measured; it needs no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from benchmarks.result import BenchResult, Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto;
       padding: 0 1rem; color: #222; background: #fff; }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
img { width: 100%; height: auto }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child, .words td, .words th { text-align: left }
.words td, .words th { white-space: normal }
tr.engine { font-weight: 600 } .warning { color: #9a3b00 }
"""

_LEGEND = (
    "images/s: images over the time of all calls. p50 to mean: time of a single call. varies: "
    "standard deviation over mean. resident MB: memory of the program's process. engine is: how "
    "many times as fast the engine is, median of the ratios of each round, 95 % interval."
)


def draw_page(result: BenchResult, picture: bytes | None) -> str:
    """The page.

    Args:
        result: what was measured.
        picture: PNG of the plot, ``None`` leaves it out.
    """
    engine = result.engine
    title = f"{engine.title} {engine.precision.upper()}: {engine.file}"
    parts = [f"<h1>{escape(title)}</h1>"]
    if not engine.trained:
        parts.append("<p class=warning>Untrained weights: the speed is real, verdicts are not.</p>")
    if picture is not None:
        data = base64.b64encode(picture).decode()
        words = "Throughput and latency over batch size"
        parts.append(f'<img alt="{words}" src="data:image/png;base64,{data}">')
    head: tuple[str, ...] = (
        "program",
        "batch",
        "images/s",
        "p50 ms",
        "p90 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
    )
    head += ("mean ms", "varies", "calls", "resident MB", "GPU MB", "engine is")
    on_gpu = any(f.device_bytes for f in result.figures)
    shown = [i for i, name in enumerate(head) if on_gpu or name != "GPU MB"]
    cells = [[row[i] for i in shown] for row in map(_row, result.figures)]
    parts.append("<h2>Figures</h2>" + _table([head[i] for i in shown], cells))
    parts.append(f"<p>{_LEGEND}</p>")
    bound = [(f"batch {f.batch}", f.bound, *_rates(f)) for f in result.figures if f.bound]
    phased = [f for f in result.figures if f.phases is not None]
    if bound:
        parts.append("<h2>Bound by</h2>" + _table(("", "", "achieved", ""), bound, "words"))
    if phased:
        rows = [_phases(f) for f in phased]
        names = ("batch", "enqueue ms", "host to device ms", "compute ms", "device to host ms")
        parts.append("<h2>On the GPU</h2>" + _table(names, rows))
    scopes = [(p.title, p.scope, f"{p.start_seconds:.1f} s") for p in result.peers]
    parts.append(
        "<h2>What is timed</h2>" + _table(("program", "timed region", "to start"), scopes, "words")
    )
    if result.missing:
        rows = list(result.missing.items())
        parts.append("<h2>Not measured</h2>" + _table(("peer", "reason"), rows, "words"))
    notes = [*result.warnings, *([result.stopped] if result.stopped else [])]
    if result.interrupted:
        notes.append("broken off: these are the figures that there were")
    if notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in notes)
        parts.append(f"<h2>Notes</h2><ul class=warning>{items}</ul>")
    parts.append("<h2>Where and how</h2>" + _table(("", ""), _facts(result), "words"))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _row(figure: Figure) -> tuple[str, ...]:
    latency = figure.latency
    times = (latency.p50, latency.p90, latency.p95, latency.p99, latency.max, latency.mean)
    ratio = figure.times_as_fast
    return (
        figure.peer,
        str(figure.batch),
        f"{figure.images_per_s:,.1f}",
        *(f"{1000 * seconds:.3g}" for seconds in times),
        f"{latency.variation:.0%}",
        str(figure.calls),
        f"{figure.resident_bytes / 1e6:,.0f}",
        "" if figure.device_bytes is None else f"{figure.device_bytes / 1e6:,.0f}",
        "" if ratio is None else f"{ratio.median:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})",
    )


def _rates(figure: Figure) -> tuple[str, str]:
    if figure.operations_per_s is None or figure.bytes_per_s is None:
        return "", ""
    return (
        f"{figure.operations_per_s / 1e9:,.1f} G operations/s",
        f"{figure.bytes_per_s / 1e9:,.1f} GB/s",
    )


def _phases(figure: Figure) -> tuple[str, ...]:
    phases = figure.phases
    assert phases is not None
    parts = (phases.enqueue, phases.host_to_device, phases.compute, phases.device_to_host)
    return (str(figure.batch), *(f"{1000 * seconds:.3g}" for seconds in parts))


def _facts(result: BenchResult) -> list[tuple[str, str]]:
    """Environment and settings, flat."""
    facts = [("weights", result.engine.weights), ("sha256", result.engine.sha256)]
    for name, value in {**result.environment, **result.settings}.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list):
            value = "; ".join(", ".join(f"{k} {v}" for k, v in item.items()) for item in value)
        facts.append((name.replace("_", " "), "none" if value in (None, "") else str(value)))
    for gpu in result.gpus_after:
        facts.append(("GPU afterwards", ", ".join(f"{k} {v}" for k, v in gpu.items())))
    if result.ceiling is not None:
        ceiling = result.ceiling
        for rate, unit, what in (
            (ceiling.bytes_per_s, "GB/s", ceiling.copy),
            (ceiling.operations_per_s, "G operations/s", ceiling.product),
        ):
            facts.append(("ceiling", what if rate is None else f"{rate / 1e9:,.1f} {unit}, {what}"))
    return facts


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    top = f"<tr>{cells}</tr>" if any(head) else ""
    body = ""
    for row in rows:
        mark = " class=engine" if row[0] == "detector" else ""
        body += f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    return f'<div class=wide><table class="{kind}">{top}{body}</table></div>'
