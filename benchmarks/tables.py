"""Measured results as Markdown. Each table ends with the command that repeats it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.bars import Bar, ratio_bar
from benchmarks.environment import summary_line
from benchmarks.peers import ENGINE
from zoo.catalog import CARDS

#: Columns of the performance tables: what the engine is compared with, the fastest way of
#: each kind.
_KINDS = {
    "original": ("keras", "keras-eager", "torch", "torch-channels-last", "torch-fp16"),
    "compiled original": ("keras-compiled", "torch-compiled", "torch-compiled-fp16"),
    "plain ONNX Runtime": ("onnxruntime", "onnxruntime-cuda"),
    "OpenVINO": ("openvino",),
}


def performance(found: Mapping[str, Any]) -> str:
    """Each network's engine: throughput, latency, and how many times as fast as its peers."""
    rows = []
    order = {card.name: number for number, card in enumerate(CARDS)}
    results = sorted(found.values(), key=lambda result: order.get(result["engine"]["network"], 99))
    for result in results:
        for figure in (f for f in result["figures"] if f["peer"] == ENGINE):
            batch, latency = figure["batch"], figure["latency"]
            rows.append(
                (
                    result["engine"]["title"],
                    str(batch),
                    digits(figure["images_per_s"]),
                    digits(1000 * latency["p50"]),
                    digits(1000 * latency["p99"]),
                    *(_times_as_fast(result, batch, peers) for peers in _KINDS.values()),
                )
            )
    head = ("network", "batch", "images/s", "p50 ms", "p99 ms", *_KINDS)
    filled = [i for i, _ in enumerate(head) if i < 5 or any(row[i] for row in rows)]
    table = markdown_table(
        [head[i] for i in filled],
        [[row[i] for i in filled] for row in rows],
        right=set(range(1, len(filled))),
    )
    first = results[0]
    precision = first["engine"]["precision"].upper()
    words = (
        f"{_where_each(results)} {precision}, frames from {first['settings']['from']} "
        "memory. The last columns say how many times as fast the engine is as the fastest "
        "way of each kind, with the 95 % interval; the peers get normalised floats, the "
        "engine scales the pixels itself."
    )
    return f"{table}\n\n{words} Repeat with `zoo bench --all`."


def bars(result: Mapping[str, Any]) -> str:
    """Limits of the networks' speed on a CPU."""
    words = f"{where(result['environment'])} Repeat with `zoo bench --all`."
    return f"{_bars(result['bars'])}\n\n{words}"


def speed(result: Mapping[str, Any]) -> str:
    """Limits of the command's, the runtime's and Meso4's speed."""
    words = f"{where(result['environment'])} Repeat with `python -m benchmarks.speed`."
    return f"{_bars(result['bars'])}\n\n{words}"


#: What an engine file is called in the table.
_ENGINES = {"least.onnx": "an engine that computes next to nothing", "meso4.onnx": "Meso4"}


def runtime(result: Mapping[str, Any]) -> str:
    """Limits of many threads on one Detector, and of the C library."""
    many, c = result["threads"], result["capi"]
    found = [
        Bar(
            f"{one['title']}, {one['threads']} threads on one Detector, batch {one['batch']}, "
            "against one thread",
            1.0,
            one["ratio"]["median"],
            "x",
            "more",
            f"{one['ratio']['low']:.2f} to {one['ratio']['high']:.2f}",
        )
        for one in many
    ] + [
        Bar(
            "a call through the C library more than Python's score, "
            f"{_ENGINES.get(one['engine'], one['engine'])}, batch {one['batch']}",
            50.0,
            one["overhead"],
            "µs",
            spread=f"{one['low']:.1f} to {one['high']:.1f}",
        )
        for one in c
    ]
    equal = all(one["same_scores"] for one in many)
    same = "gave the same scores" if equal else "did **not** give the same scores"
    words = f"{where(result['environment'])} All threads {same}."
    table = _bars(bar.to_dict() for bar in found)
    return f"{table}\n\n{words} Repeat with `{result['command']}`."


def gpu_bars(result: Mapping[str, Any]) -> str:
    """Limits of the runtime on a GPU."""
    words = f"{where(result['environment'])} Repeat with `make gpu`."
    return f"{_bars(result['bars'])}\n\n{words}"


def export_cost(result: Mapping[str, Any]) -> str:
    """Seconds and memory of exporting each network."""
    rows = []
    for one in result["networks"]:
        size = one["bytes"]
        megabytes = [
            f"{size[ending] / 1e6:,.1f}" if ending in size else ""
            for ending in (".onnx", ".fp16.onnx", ".plan")
        ]
        peak = f"{one['peak_bytes'] / 1e6:,.0f}"
        rows.append((one["title"], f"{one['seconds']:.1f}", peak, *megabytes))
    head = ("network", "seconds", "most resident MB", "ONNX MB", "FP16 ONNX MB", "plan MB")
    table = markdown_table(head, rows, right=set(range(1, 6)))
    words = f"{where(result['environment'])} `zoo export NAME --fp16`, certificate included."
    return f"{table}\n\n{words} Repeat with `python -m benchmarks.export_cost`."


def evaluation(result: Mapping[str, Any]) -> str:
    """What ``zoo evaluate`` says of Afchar's validation set, by engine."""
    rows = []
    for one in result["evaluations"]:
        figures = [
            one["accuracy"],
            one["report"]["fake"]["recall"],
            one["report"]["real"]["recall"],
        ]
        figures += [one["auc"], one["average_precision"], one["equal_error_rate"], one["brier"]]
        videos = one["videos"]
        off = [f"{c['what']} (due {c['due']})" for c in one["checks"] if not c["passed"]]
        rows.append(
            (
                f"`{one['name']}`",
                f"{one['images']:,}",
                *(f"{value:.4f}" for value in figures),
                f"{videos['accuracy']:.4f} ({videos['videos']})",
                "**no:** " + ", ".join(off) if off else "yes",
            )
        )
    head = ["weights", "images", "accuracy", "fakes right", "reals right", "AUC"]
    head += [
        "average precision",
        "equal error rate",
        "Brier",
        "videos right (of)",
        "as Afchar's code",
    ]
    table = markdown_table(head, rows, right=range(1, 10))
    words = (
        f"{where(result['environment'])} The last column: accuracy, AUC, fakes, reals and videos "
        "right are, to four digits, what Afchar's own code gives on Keras."
    )
    return f"{table}\n\n{words} Repeat with `{result['command']}`."


def video(result: Mapping[str, Any]) -> str:
    """How fast ``zoo detect`` goes through a clip, and the verdicts on the pair of clips."""
    fast, pair = [], []
    for name, found in result["engines"].items():
        speed, stages = found["speed"], found["speed"]["stage_seconds"]
        fast.append(
            (
                f"`{name}`",
                f"{speed['times_real_time']:.2f} times",
                f"{speed['command_seconds']:.2f}"
                f" ({speed['fastest_seconds']:.2f} to {speed['slowest_seconds']:.2f})",
                *(f"{stages[stage]:.2f}" for stage in ("decode", "faces", "score")),
                str(speed["frames"]),
                str(speed["faces"]),
            )
        )
        for clip, said in found["pair"].items():
            span = "" if said["low"] is None else f" ({said['low']:.2f} to {said['high']:.2f})"
            verdict = (str(said["label"]), f"{said['mean']:.2f}{span}", f"{said['median']:.2f}")
            share = f"{said['share']:.0%}"
            pair.append((f"`{name}`", f"`{clip}`", *verdict, share, str(said["faces"])))
    head = ["engine", "real time (≥ 1)", "whole command s", "decode s", "faces s", "scoring s"]
    table = markdown_table([*head, "frames", "faces"], fast, right=range(1, 8))
    clip = result["clip"]
    words = (
        f"{where(result['machine'])} A clip of {clip['seconds']:.1f} s, {clip['width']} x "
        f"{clip['height']}, {clip['frames_per_second']:.0f} frames a second, {clip['codec']}; "
        f"every {result['every']}th frame, the command's own start included. The three stages run "
        "side by side, so that their sum may exceed the whole."
    )
    head = ["engine", "clip", "verdict", "mean P(fake)", "median", "fake faces", "faces"]
    verdicts = markdown_table(head, pair, right=range(3, 7))
    again = "Repeat with `python -m benchmarks.video_speed ENGINE.onnx ...`."
    return f"{table}\n\n{words}\n\n{verdicts}\n\n{again}"


def _bars(found: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for bar in found:
        sign = "≤" if bar["better"] == "less" else "≥"
        unit = {"x": "times"}.get(bar["unit"], bar["unit"])
        measured = "not measured"
        if bar["measured"] is not None:
            spread = f" ({bar['spread']})" if bar["spread"] else ""
            measured = f"{digits(bar['measured'])} {unit}{spread}"
        against = f" ({bar['against']})" if bar["against"] else ""
        limit = f"{sign} {bar['limit']:g} {unit}"
        rows.append((bar["name"] + against, limit, measured, "yes" if bar["met"] else "**no**"))
    return markdown_table(("", "limit", "measured", "met"), rows, right={1, 2})


def _times_as_fast(result: Mapping[str, Any], batch: int, peers: Sequence[str]) -> str:
    bar = ratio_bar("", result, batch, peers, 1.0)
    return "" if bar.measured is None else f"{bar.measured:.2f} ({bar.spread})"


def _where_each(results: Sequence[Mapping[str, Any]]) -> str:
    """`where`, told of each network apart when they were not measured on one machine and day."""
    places: dict[str, list[str]] = {}
    for result in results:
        places.setdefault(where(result["environment"]), []).append(result["engine"]["title"])
    if len(places) == 1:
        return next(iter(places))
    return " ".join(f"{', '.join(names)}: {place}" for place, names in places.items())


def where(environment: Mapping[str, Any]) -> str:
    """What a result was measured on, with the packages that matter and the day."""
    day = environment["time"].partition("T")[0]
    packages = environment["packages"]
    shown = {"onnxruntime-gpu": "ONNX Runtime", "tensorflow": "TensorFlow", "torch": "torch"}
    versions = [f"{title} {packages[name]}" for name, title in shown.items() if name in packages]
    return f"{summary_line(dict(environment))}; {', '.join(versions)}; {day}."


def digits(value: float) -> str:
    """Three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()
) -> str:
    """A table in Markdown; ``right`` are the columns of numbers."""
    at_right = set(right)
    rule = ["---:" if index in at_right else "---" for index in range(len(head))]
    lines = [head, rule, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
