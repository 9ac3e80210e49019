"""The README's table of networks: what the cards say, beside what was measured of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.peers import ENGINE
from benchmarks.tables import digits, markdown_table, where
from export.certificate import EngineKind, joint_of
from zoo.card import ModelCard
from zoo.catalog import CARDS

_HEAD = (
    "name",
    "network",
    "input",
    "parameters",
    "weights",
    "measured with",
    "faces",
    "FP32 max abs dP",
    "FP16 max abs dP",
    "export s",
    "FP16 plan MB",
    "images/s, FP32",
)


def networks_table(found: Mapping[str, Any]) -> str:
    """Every card of the zoo with its certificate on faces, its export and its speed.

    Args:
        found: by file name, of ``certificates.json``, ``export_cost.json`` and the
            benchmark's ``NETWORK.cpu.json``, those that are there.
    """
    certificates = _by_network(found.get("certificates.json"))
    costs = _by_network(found.get("export_cost.json"))
    rows = []
    for card in CARDS:
        shown = (*_certified(certificates.get(card.name)), *_cost(costs.get(card.name)))
        speed = _speed(found.get(f"{card.name}.cpu.json"))
        rows.append((*_card(card), *shown, speed))
    table = markdown_table(_HEAD, rows, right=(3, *range(6, 12)))
    words = (
        "FP16 is computed as a GPU does it, every result rounded to half; dP is the difference "
        "in P(fake) to the original in its own framework on real faces. Plans are built and not "
        "run here. Images a second: batch 8, ONNX Runtime."
    )
    if "certificates.json" in found:
        result = found["certificates.json"]
        words += f" {where(result['environment'])} Repeat with `{result['command']}`"
        words += ", `python -m benchmarks.export_cost` and `zoo bench --all`."
    return f"{table}\n\n{words}"


def _card(card: ModelCard) -> tuple[str, ...]:
    how = card.preprocessing
    weights = ", ".join(f"`{w.name}`" + " (features)" * w.backbone for w in card.weights)
    framework = {"keras": "Keras", "torch": "PyTorch"}[card.framework]
    return (
        f"`{card.name}`",
        f"[{card.title}]({card.source}), {framework}",
        f"{how.height} x {how.width}",
        f"{card.parameters:,}",
        weights or "none published",
    )


def _certified(one: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    """Weights, number of faces, and the worst error of the FP32 and the rounded FP16 graph."""
    if one is None:
        return ("",) * 4
    worst: dict[EngineKind, float] = {"fp32": 0.0, "fp16 rounded": 0.0}
    images = 0
    for joint in one["certificate"]["comparisons"]:
        kind, to_original = joint_of(joint)
        if to_original and kind in worst:
            images = joint["images"]
            worst[kind] = max(worst[kind], joint["max_p"])
    failed = "" if one["certificate"]["passed"] else " **failed**"
    named = f"`{one['weights']}`{failed}"
    return named, f"{images:,}", f"{worst['fp32']:.1e}", f"{worst['fp16 rounded']:.1e}"


def _cost(one: Mapping[str, Any] | None) -> tuple[str, str]:
    if one is None:
        return "", ""
    plan = one["bytes"].get(".plan")
    return f"{one['seconds']:.1f}", "" if plan is None else f"{plan / 1e6:,.1f}"


def _speed(result: Mapping[str, Any] | None) -> str:
    figures = [] if result is None else result["figures"]
    for figure in figures:
        if figure["peer"] == ENGINE and figure["batch"] == 8:
            return digits(figure["images_per_s"])
    return ""


def _by_network(result: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {} if result is None else {one["network"]: one for one in result["networks"]}
