"""Figures of an evaluation, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.evaluation.metrics import equal_error_rate, measure

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: evaluate)")


def array(*values: float) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)


def test_figures_of_hand_made_scores() -> None:
    fake = np.asarray([True, True, True, False, False])
    score = array(0.9, 0.8, 0.3, 0.6, 0.1)
    found = measure(fake, score, np.log(score / (1 - score)))
    assert found.confusion == [[1, 1], [1, 2]]
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.report["fake"]["precision"] == pytest.approx(2 / 3)
    assert found.report["fake"]["recall"] == pytest.approx(2 / 3)
    assert found.report["fake"]["f1-score"] == pytest.approx(2 / 3)
    assert found.report["real"]["precision"] == pytest.approx(1 / 2)
    assert found.report["real"]["support"] == 2
    # Of 3 x 2 pairs one is in the wrong order: .3 (fake) below .6 (real).
    assert found.auc == pytest.approx(5 / 6)
    # Precision where each fake comes: 1, 1, 3/4.
    assert found.average_precision == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found.brier == pytest.approx((0.01 + 0.04 + 0.49 + 0.36 + 0.01) / 5)
    # Above .6: 2 of 3 fakes, no real: J = 2/3; the middle of .6 and .8.
    assert found.best_threshold == pytest.approx(0.7)
    assert found.best_accuracy == pytest.approx(4 / 5)
    assert found.curves is not None
    assert found.curves.bin_count.sum() == 5


def test_saturated_probabilities_are_ties_and_their_log_odds_are_none() -> None:
    fake = np.asarray([True, False])
    found = measure(fake, array(1, 1), array(30, 20))
    assert (found.auc, found.auc_by_logit) == (0.5, 1.0)
    assert measure(fake, array(1, 1), array(20, 20)).auc_by_logit == 0.5
    ranked = measure(fake, array(1, 1), array(20, 20), rank=array(2, 1))
    assert (ranked.auc, ranked.average_precision, ranked.auc_by_logit) == (1.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("fpr", "tpr", "due"),
    [
        (array(0, 0, 1), array(0, 1, 1), 0.0),
        (array(0, 1), array(0, 1), 0.5),
        (array(0, 0.2, 1), array(0, 0.8, 1), 0.2),
        (array(0, 0.1, 0.3, 1), array(0, 0.6, 0.8, 1), 0.25),
    ],
)
def test_equal_error_rate(fpr: NDArray[np.float64], tpr: NDArray[np.float64], due: float) -> None:
    assert equal_error_rate(fpr, tpr) == pytest.approx(due)


def test_one_class_has_no_auc_and_says_so() -> None:
    found = measure(np.ones(3, bool), array(0.9, 0.8, 0.1), array(2, 1, -2))
    assert found.auc is None
    assert found.average_precision is None
    assert found.best_threshold is None
    assert found.undefined["auc"] == "only one class is there"
    assert found.accuracy == pytest.approx(2 / 3)


def test_a_video_is_judged_by_the_mean_of_its_images() -> None:
    fake = np.asarray([True, True, True, False, False, True])
    score = array(0.9, 0.9, 0.1, 0.7, 0.1, 0.3)
    videos = ["f/1", "f/1", "f/1", "r/1", "r/1", "f/2"]
    found = measure(fake, score, score, videos=videos).videos
    assert found is not None
    assert (found.videos, found.fake, found.real) == (3, 2, 1)
    # Means .633, .4, .3: f/2 is wrong. By image 3 of 6 would be.
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.auc == pytest.approx(0.5)


def test_the_log_odds_are_told_where_they_rank_otherwise() -> None:
    from benchmarks.evaluation.printing import _by_logit

    fake = np.asarray([True, False])
    assert _by_logit(measure(fake, array(0.9, 0.1), array(2, -2))) == ""
    assert "1.0000 by log-odds" in _by_logit(measure(fake, array(1, 1), array(30, 20)))
