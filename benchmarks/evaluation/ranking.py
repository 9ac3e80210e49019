"""Which engine, or which dataset, comes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.evaluation.run import Evaluation


@dataclass(frozen=True)
class EngineMean:
    """An engine's mean over the datasets that have both classes."""

    engine: str
    auc: float
    accuracy: float
    datasets: int


def rank(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """By AUC, then by accuracy; without an AUC (one class) last."""
    return sorted(
        evaluations, key=lambda e: (-1.0 if (a := e.metrics.auc) is None else a,
                                    e.metrics.accuracy), reverse=True,
    )  # fmt: skip


def rank_engines(evaluations: Sequence[Evaluation]) -> list[EngineMean]:
    """Engines by their mean AUC; empty unless several meet several datasets."""
    engines = list(dict.fromkeys(e.engine for e in evaluations))
    if len(engines) < 2 or len({e.dataset for e in evaluations}) < 2:
        return []
    means = []
    for engine in engines:
        own = [e.metrics for e in evaluations if e.engine == engine]
        aucs = [(m.auc, m.accuracy) for m in own if m.auc is not None]
        if aucs:
            means.append(
                EngineMean(engine, fmean(a for a, _ in aucs), fmean(x for _, x in aucs), len(aucs))
            )
    return sorted(means, key=lambda mean: (mean.auc, mean.accuracy), reverse=True)
