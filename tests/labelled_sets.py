"""Labelled images that the tiny engine judges, and their evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.evaluation.run import Evaluation, EvaluationRequest, run_evaluation

MakeSet = Callable[..., Path]


def evaluate(*paths: Path, engines: list[Path], **options: Any) -> list[Evaluation]:
    return run_evaluation(EvaluationRequest(paths, tuple(engines), **options))[0]
