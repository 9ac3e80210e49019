"""What an evaluation leaves on disk: figures as JSON, scores as CSV, and a page to read."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.evaluation.contact_sheet import draw_contact_sheet
from benchmarks.evaluation.plots import draw_plots
from benchmarks.evaluation.ranking import rank, rank_engines
from benchmarks.evaluation.run import Evaluation
from runtime.csv_cells import csv_cell

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:1100px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #ccc}
table{border-collapse:collapse;margin:1em 0}
th,td{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child,.l{text-align:left}thead th{border-bottom:2px solid #888}
img{width:520px;max-width:100%}small{color:#666}
"""


def write_report(
    evaluations: Sequence[Evaluation], folder: Path, *, contact_sheet: bool
) -> list[str]:
    """Write everything into a folder.

    Returns:
        File names: plots, scores, contact sheets, ``evaluation.json``, ``report.html``.
    """
    names: list[str] = []
    plots: dict[str, dict[str, str]] = {}
    for dataset in dict.fromkeys(e.dataset for e in evaluations):
        own = [e for e in evaluations if e.dataset == dataset]
        plots[dataset] = draw_plots(own, folder)
        names += plots[dataset].values()
    for one in evaluations:
        names.append(f"{one.slug}.csv")
        write_scores(one, folder / names[-1])
        if contact_sheet:
            names.append(f"{one.slug}-worst.jpg")
            draw_contact_sheet(one, folder / names[-1])
    names.append("evaluation.json")
    (folder / names[-1]).write_text(json.dumps(as_json(evaluations), indent=2) + "\n", "utf-8")
    names.append("report.html")
    page = _page(evaluations, plots, folder)
    (folder / names[-1]).write_text(page, "utf-8", errors="backslashreplace")
    return names


def as_json(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """All figures, by rank; what is undefined is null, with the reason under ``undefined``."""
    return {
        "criterion_of_best_threshold": "largest TPR - FPR (Youden's J) on the same images",
        "video_verdict": "mean P(fake) of its images against the threshold",
        "evaluations": [_one_as_json(one) for one in rank(evaluations)],
        "engines_by_mean_auc": [asdict(mean) for mean in rank_engines(evaluations)],
    }


def _one_as_json(one: Evaluation) -> dict[str, Any]:
    figures = asdict(replace(one.metrics, curves=None))
    del figures["curves"]
    return {
        "engine": one.engine,
        "dataset": one.dataset,
        "network": one.info.network,
        "weights": asdict(one.info.weights),
        **figures,
        "left_out": [asdict(failure) for failure in one.scored.failures],
    }


def write_scores(one: Evaluation, path: Path) -> None:
    """Every image's score as CSV: file (see `csv_cell`), label, verdict, fake, logit."""
    # surrogateescape: file names that are not UTF-8 are written as the bytes they are.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "label", "verdict", "fake", "logit"])
        scores, logits = one.scored.fake[one.index], one.scored.logit[one.index]
        for image, score, logit in zip(one.scored.images, scores, logits, strict=True):
            verdict = "fake" if score >= one.metrics.threshold else "real"
            label = "fake" if image.fake else "real"
            # Nine digits tell any two float32 apart.
            table.writerow([csv_cell(image.name), label, verdict, f"{score:.9g}", f"{logit:.9g}"])


def _page(evaluations: Sequence[Evaluation], plots: dict[str, dict[str, str]], folder: Path) -> str:
    parts = ["<h1>Evaluation of forgery detectors</h1>", _ranking(evaluations)]
    for dataset, files in plots.items():
        own = [e for e in evaluations if e.dataset == dataset]
        parts.append(f"<h2>{escape(dataset)}</h2>")
        parts += [_details(one) for one in own]
        for title, name in files.items():
            data = base64.b64encode((folder / name).read_bytes()).decode()
            parts.append(f'<img alt="{escape(title)}" src="data:image/png;base64,{data}">')
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Evaluation</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _ranking(evaluations: Sequence[Evaluation]) -> str:
    rows = [
        [
            e.engine,
            e.dataset,
            f"{e.metrics.images:,}",
            figure(e.metrics.accuracy),
            figure(e.metrics.auc),
            figure(e.metrics.average_precision),
            figure(e.metrics.equal_error_rate),
            figure(e.metrics.brier),
            "" if e.metrics.videos is None else figure(e.metrics.videos.accuracy),
        ]
        for e in rank(evaluations)
    ]
    heads = ["engine", "dataset", "images", "accuracy", "AUC", "average precision",
             "equal error rate", "Brier", "accuracy by video"]  # fmt: skip
    text = _table(heads, rows)
    means = [[m.engine, figure(m.auc), figure(m.accuracy), str(m.datasets)]
             for m in rank_engines(evaluations)]  # fmt: skip
    if means:
        text += _table(["engine", "mean AUC", "mean accuracy", "datasets"], means)
    return text


def _details(one: Evaluation) -> str:
    metrics = one.metrics
    rows = []
    for name in ("real", "fake", "macro avg", "weighted avg"):
        line = metrics.report[name]
        rows.append(
            [name, *(figure(line[k]) for k in ("precision", "recall", "f1-score")),
             f"{int(line['support']):,}"]
        )  # fmt: skip
    notes = [f"threshold {metrics.threshold:g}, accuracy {figure(metrics.accuracy)}"]
    if metrics.auc is not None:
        notes.append(
            f"AUC {figure(metrics.auc)} by P(fake), {figure(metrics.auc_by_logit)} by its"
            " log-odds, which have no ties where P(fake) saturates"
        )
    if metrics.best_threshold is not None:
        notes.append(
            f"best threshold {metrics.best_threshold:.4f} by Youden's J on these very images:"
            f" accuracy {figure(metrics.best_accuracy)}"
        )
    if metrics.videos is not None:
        notes.append(
            f"{metrics.videos.videos} videos, each judged by its mean P(fake):"
            f" accuracy {figure(metrics.videos.accuracy)}, AUC {figure(metrics.videos.auc)}"
        )
    if metrics.undefined:
        notes.append(f"undefined: {', '.join(metrics.undefined)}: only one class is there")
    if not one.info.weights.trained:
        notes.append("<b>the weights are untrained: these figures mean nothing</b>")
    left_out = one.scored.failures
    if left_out:
        some = "; ".join(f"{escape(f.name)}: {escape(f.why)}" for f in left_out[:10])
        notes.append(f"{len(left_out)} images could not be read and are left out: {some}")
    title = f"<h3>{escape(one.engine)}</h3>"
    table = _table(["class", "precision", "recall", "F1", "images"], rows)
    return title + table + "".join(f"<div>{note}</div>" for note in notes)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # Names read from the left, figures from the right.
    left = [' class="l"' * (h in ("engine", "dataset", "class")) for h in heads]
    head = "".join(f"<th{c}>{escape(h)}</th>" for h, c in zip(heads, left, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{c}>{escape(text)}</td>" for text, c in zip(row, left, strict=True))
        + "</tr>\n"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>\n"


def figure(value: float | None) -> str:
    """Four digits, or a dash for what is undefined."""
    return "-" if value is None else f"{value:.4f}"
