"""Figures of merit, by scikit-learn. "Fake" is the positive class throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluation.videos import mean_by_video
from runtime.errors import MissingPackageError

CLASSES = ("real", "fake")
CALIBRATION_BINS = 10
ONE_CLASS = "only one class is there"
_OF_BOTH_CLASSES = (
    *("auc", "auc_by_logit", "average_precision"),
    *("equal_error_rate", "best_threshold", "best_accuracy"),
)


@dataclass(frozen=True)
class Curves:
    """Points of the curves, for plots.

    Attributes:
        fpr, tpr: of the ROC.
        precision, recall: of the class "fake".
        predicted, observed: mean P(fake) and share of fakes of each calibration bin that
            is not empty.
        bin_count: images in each such bin.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    bin_count: NDArray[np.int64]


@dataclass(frozen=True)
class VideoMetrics:
    """Per video, judged by the mean P(fake) of its images.

    Attributes:
        videos, fake, real: how many.
        accuracy: at the engine's threshold.
        auc: area under the ROC curve; ``None`` with one class.
    """

    videos: int
    fake: int
    real: int
    accuracy: float
    auc: float | None


@dataclass(frozen=True)
class Metrics:
    """How well scores tell fake from real.

    Attributes:
        images, fake, real: how many were judged.
        threshold: P(fake) at or above which the verdict is "fake".
        accuracy: share of right verdicts.
        report: scikit-learn's classification report: precision, recall, f1-score and
            support by class, and their averages.
        confusion: [[real called real, real called fake], [fake called real, fake called fake]].
        auc: area under the ROC curve of P(fake). Images whose P(fake) has saturated to one
            value are ties, as in published figures.
        auc_by_logit: the same of the log-odds, which saturate nowhere and tell those apart.
        average_precision: area under the precision-recall curve of "fake".
        equal_error_rate: where as many reals are called fake as fakes real (as shares).
        brier: mean squared error of P(fake).
        best_threshold: maximises Youden's J = TPR - FPR on these very images.
        best_accuracy: accuracy at that threshold; optimistic, for it was chosen here.
        undefined: which of these have no value (``None``), and why.
        videos: where the images' names tell the videos.
        curves: for plots; not in the JSON.
    """

    images: int
    fake: int
    real: int
    threshold: float
    accuracy: float
    report: dict[str, Any]
    confusion: list[list[int]]
    auc: float | None
    auc_by_logit: float | None
    average_precision: float | None
    equal_error_rate: float | None
    brier: float
    best_threshold: float | None
    best_accuracy: float | None
    undefined: dict[str, str] = field(default_factory=dict)
    videos: VideoMetrics | None = None
    curves: Curves | None = field(default=None, repr=False, compare=False)


def measure(
    fake: NDArray[np.bool_],
    score: NDArray[np.float64],
    logit: NDArray[np.float64],
    *,
    threshold: float = 0.5,
    videos: Sequence[str] | None = None,
    rank: NDArray[np.float64] | None = None,
) -> Metrics:
    """All figures of one engine on one dataset.

    Args:
        fake: labels, bool [N], N >= 1.
        score: P(fake), [N], 0..1.
        logit: log-odds of fake, [N].
        threshold: of the verdict.
        videos: the video of each image.
        rank: what the curves and the areas under them order images by, [N]; P(fake) by
            default.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    metrics = import_metrics()
    said = score >= threshold
    both = bool(fake.any() and not fake.all())
    rank = score if rank is None else rank
    curves = _curves(fake, score, rank) if both else None
    best = _best_threshold(fake, score) if both else None
    return Metrics(
        images=len(fake),
        fake=int(fake.sum()),
        real=int((~fake).sum()),
        threshold=threshold,
        accuracy=float((said == fake).mean()),
        report=metrics.classification_report(
            fake,
            said,
            labels=[False, True],
            target_names=CLASSES,
            output_dict=True,
            zero_division=0.0,
        ),
        confusion=metrics.confusion_matrix(fake, said, labels=[False, True]).tolist(),
        auc=float(metrics.roc_auc_score(fake, rank)) if both else None,
        auc_by_logit=float(metrics.roc_auc_score(fake, logit)) if both else None,
        average_precision=float(metrics.average_precision_score(fake, rank)) if both else None,
        equal_error_rate=equal_error_rate(curves.fpr, curves.tpr) if curves else None,
        brier=float(np.mean((score - fake) ** 2)),
        best_threshold=best,
        best_accuracy=None if best is None else float(((score >= best) == fake).mean()),
        undefined={} if both else dict.fromkeys(_OF_BOTH_CLASSES, ONE_CLASS),
        videos=None if videos is None else _by_video(videos, fake, score, threshold),
        curves=curves,
    )


def equal_error_rate(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> float:
    """Where the false positive rate equals the false negative rate, between ROC points.

    Args:
        fpr, tpr: of the ROC, from (0, 0) to (1, 1).
    """
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    return float(fpr[before] + share * (fpr[after] - fpr[before]))


def import_metrics() -> Any:
    """``sklearn.metrics``, or the way to it."""
    try:
        from sklearn import metrics
    except ImportError:
        raise MissingPackageError("scikit-learn", "zoo evaluate", "evaluate") from None
    return metrics


def _curves(
    fake: NDArray[np.bool_], score: NDArray[np.float64], rank: NDArray[np.float64]
) -> Curves:
    from sklearn.calibration import calibration_curve

    metrics = import_metrics()
    fpr, tpr, _ = metrics.roc_curve(fake, rank)
    precision, recall, _ = metrics.precision_recall_curve(fake, rank)
    observed, predicted = calibration_curve(fake, score, n_bins=CALIBRATION_BINS)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    counts = np.bincount(np.searchsorted(edges, score))  # the same bins as calibration_curve's
    return Curves(fpr, tpr, precision, recall, predicted, observed, counts[counts > 0])


def _best_threshold(fake: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Of P(fake), by Youden's J; halfway to the next lower score, as no image tells more."""
    fpr, tpr, thresholds = import_metrics().roc_curve(fake, score, drop_intermediate=False)
    best = 1 + int(np.argmax((tpr - fpr)[1:]))  # the first point calls nothing fake
    lower = thresholds[best + 1] if best + 1 < len(thresholds) else 0.0
    return float((thresholds[best] + lower) / 2)


def _by_video(
    videos: Sequence[str], fake: NDArray[np.bool_], score: NDArray[np.float64], threshold: float
) -> VideoMetrics:
    labels, means = mean_by_video(videos, fake, score)
    both = bool(labels.any() and not labels.all())
    return VideoMetrics(
        videos=len(labels),
        fake=int(labels.sum()),
        real=int((~labels).sum()),
        accuracy=float(((means >= threshold) == labels).mean()),
        auc=float(import_metrics().roc_auc_score(labels, means)) if both else None,
    )
