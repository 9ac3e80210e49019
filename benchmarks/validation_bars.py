"""What the validation set must show: the bars, and the figures that are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.evaluation.metrics import Metrics
from export.certificate import Comparison

#: |dP| of FP32 against goldens that were written with seven digits.
FP32_MAX_P = 2e-5
#: How far half precision may move the area under the ROC curve.
AUC_CHANGE = 5e-4
#: Measured with Afchar's own code on Keras, four digits: accuracy, share of fakes and of
#: reals that are right, AUC, and videos by their mean. The paper says .891, .917, .969, .984.
KNOWN: Mapping[str, Mapping[str, float]] = {
    "meso4/df": {
        "accuracy": 0.8881, "fake right": 0.9012, "real right": 0.8793, "AUC": 0.9621,
        "videos right": 0.9615,
    },
    "mesoinception4/df": {
        "accuracy": 0.9130, "fake right": 0.9329, "real right": 0.8997, "AUC": 0.9755,
        "videos right": 0.9846,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One bar: what was measured, what is due in words, and whether it is met."""

    what: str
    value: float
    due: str
    passed: bool


def check_weights(
    name: str, fp32: Comparison, fp16: Comparison, figures: Mapping[str, Metrics]
) -> list[Check]:
    """Judge one set of weights.

    Args:
        name: ``network/weights``.
        fp32, fp16: against the original; `fp16` was compared with the certificate's bar.
        figures: of ``original``, ``fp32`` and ``fp16``.
    """
    auc = {kind: found.auc or 0.0 for kind, found in figures.items()}
    change = abs(auc["fp16"] - auc["original"])
    checks = [
        Check("FP32 max |dP|", fp32.max_p, f"<= {FP32_MAX_P:.0e}", fp32.max_p <= FP32_MAX_P),
        Check("FP32 decisions flipped", fp32.flips, "0", fp32.flips == 0),
        Check(
            "FP16 max |dP|",
            fp16.max_p,
            "the certificate's bar" + "".join(f"; {failure}" for failure in fp16.failures),
            fp16.passed,
        ),
        Check("FP16 AUC change", change, f"<= {AUC_CHANGE:.0e}", change <= AUC_CHANGE),
    ]
    for what, due in KNOWN.get(name, {}).items():
        value = _figure(figures["fp32"], what)
        checks.append(Check(f"FP32 {what}", value, f"{due:.4f}", round(value, 4) == due))
    return checks


def _figure(metrics: Metrics, what: str) -> float:
    values = {
        "accuracy": metrics.accuracy,
        "fake right": metrics.report["fake"]["recall"],
        "real right": metrics.report["real"]["recall"],
        "AUC": metrics.auc,
        "videos right": metrics.videos.accuracy if metrics.videos else None,
    }
    value = values[what]
    return float("nan") if value is None else float(value)
