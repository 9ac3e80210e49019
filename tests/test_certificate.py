"""The certificate sees what it has to see: every kind of error is planted once."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from export.certificate import (
    FP16_BAR,
    FP32_BAR,
    ORIGINAL,
    Certificate,
    check_batches,
    compare,
    joint_of,
)
from zoo.originals import Scores

rng = np.random.default_rng(1)
NAMES = ("original", "engine")


def scores(logit: np.ndarray) -> Scores:
    logit = np.asarray(logit, np.float32)
    return Scores(logit, (1 / (1 + np.exp(-logit.astype(np.float64)))).astype(np.float32))


REFERENCE = scores(rng.normal(0, 3, 1000))


def shifted(by: float, where: object = slice(None)) -> Scores:
    logit = REFERENCE.logit.copy()
    logit[where] += by
    return scores(logit)


def test_the_same_scores_pass():
    result = compare(REFERENCE, REFERENCE, FP32_BAR, names=NAMES)
    assert result.passed
    assert result.max_p == result.max_logit == result.flips == 0


def test_figures_against_hand_computed_ones():
    reference = Scores(np.float32([0, 2, 6]), np.float32([0.5, 0.88, 0.99]))
    engine = Scores(np.float32([0.1, 1.8, 9]), np.float32([0.52, 0.85, 0.995]))
    result = compare(reference, engine, FP16_BAR, names=NAMES)
    assert result.max_p == pytest.approx(0.03, abs=1e-6)
    assert result.mean_p == pytest.approx((0.02 + 0.03 + 0.005) / 3, abs=1e-6)
    # the third logit is beyond 5 and does not count
    assert result.max_logit == pytest.approx(0.2, abs=1e-6)
    assert result.flips == 0
    assert not result.passed


@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_constant_shift_fails_fp32_whatever_its_sign(sign):
    result = compare(REFERENCE, shifted(sign * 1e-3), FP32_BAR, names=NAMES)
    assert not result.passed
    assert "max |dP|" in result.failures[0]


def test_errors_that_cancel_in_the_mean_fail():
    logit = REFERENCE.logit + np.where(np.arange(1000) % 2, 0.5, -0.5).astype(np.float32)
    assert not compare(REFERENCE, scores(logit), FP16_BAR, names=NAMES).passed


def test_one_bad_row_among_a_thousand_fails():
    result = compare(REFERENCE, shifted(0.5, 17), FP16_BAR, names=NAMES)
    assert result.failures[0].startswith("max |dP|")


def test_an_error_of_saturated_logits_alone_is_not_seen_in_p_but_in_none_of_the_bars():
    # beyond +-5 a shift of 0.5 moves P by less than the bar, and is allowed
    big = scores(np.full(10, 9.0))
    assert compare(big, scores(np.full(10, 9.5)), FP16_BAR, names=NAMES).passed
    # but a change of side is not
    assert not compare(big, scores(np.full(10, -9.0)), FP16_BAR, names=NAMES).passed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_fail(bad):
    logit, fake = REFERENCE.logit.copy(), REFERENCE.fake.copy()
    logit[3] = bad
    assert not compare(REFERENCE, Scores(logit, fake), FP16_BAR, names=NAMES).passed
    fake[3] = bad
    assert not compare(REFERENCE, Scores(REFERENCE.logit, fake), FP16_BAR, names=NAMES).passed


def test_a_flip_far_from_the_threshold_fails_and_one_close_by_passes():
    loose = FP16_BAR.__class__(1, 1, 1, 1e9, 2e-2, 0.002)
    reference = scores(np.linspace(-4, 4, 1001))
    engine = Scores(reference.logit.copy(), reference.fake.copy())
    engine.fake[500] = 0.499  # reference is exactly 0.5
    assert compare(reference, engine, loose, names=NAMES).passed
    engine.fake[800] = 0.1
    result = compare(reference, engine, loose, names=NAMES)
    assert any("flipped at distance" in f for f in result.failures)


def test_too_many_flips_close_to_the_threshold_fail():
    loose = FP16_BAR.__class__(1, 1, 1, 1e9, 2e-2, 0.002)
    reference = scores(np.full(1000, 0.01))
    engine = scores(np.where(np.arange(1000) < 3, -0.01, 0.01))
    result = compare(reference, engine, loose, names=NAMES)
    assert result.failures == ("3 decisions flipped > 2",)


def test_different_counts_are_a_bug_not_a_verdict():
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(REFERENCE, scores(np.zeros(3)), FP32_BAR, names=NAMES)


FRAMES = rng.integers(0, 256, (4, 2, 2, 3), dtype=np.uint8)


def honest(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = scores(frames.reshape(len(frames), -1).mean(axis=1) / 50 - 2.5)
    return s.logit, s.fake


def check(infer):
    return check_batches(infer, FRAMES, [1, 3, 8], 1e-6, "engine")


def test_an_honest_engine_passes_the_batch_check():
    result = check(honest)
    assert result.passed
    assert result.sizes == (1, 3, 8)


def test_a_batch_above_one_that_is_wrong_is_seen():
    def infer(frames):
        logit, fake = honest(frames)
        if len(frames) > 1:
            fake[1:] = fake[0]
        return logit, fake

    assert not check(infer).passed


def test_identical_rows_that_differ_are_seen():
    def infer(frames):
        logit, fake = honest(frames)
        if len(frames) == 8 and (frames == frames[0]).all():
            fake = fake + np.float32(1e-3) * (np.arange(8) == 7)
        return logit, fake

    failures = check(infer).failures
    assert len(failures) == 1
    assert "identical rows" in failures[0]


def test_rows_that_depend_on_their_place_are_seen():
    def infer(frames):
        logit, fake = honest(frames)
        return logit, fake + np.float32(1e-4) * np.arange(len(frames))

    assert not check(infer).passed


def test_an_engine_whose_smallest_batch_is_above_one_is_never_given_less():
    def infer(frames):
        assert len(frames) >= 3
        return honest(frames)

    assert check_batches(infer, FRAMES, [3, 8], 1e-6, "engine").passed


def test_nan_in_one_batch_size_is_seen():
    def infer(frames):
        logit, fake = honest(frames)
        return logit, fake * (np.nan if len(frames) == 3 else 1)

    assert not check(infer).passed


def certificate(**changes) -> Certificate:
    values = {
        "samples": "x",
        "spread": 1.0,
        "lowest": -2.0,
        "highest": 3.0,
        "threshold": 0.5,
        "comparisons": (compare(REFERENCE, REFERENCE, FP32_BAR, names=NAMES),),
        "batches": (check(honest),),
        "unchecked": {"meso4.plan": "no GPU"},
    }
    return Certificate(**{**values, **changes})


def test_a_certificate_passes_only_when_everything_did():
    assert certificate().passed
    bad = compare(REFERENCE, shifted(1), FP32_BAR, names=NAMES)
    assert not certificate(comparisons=(bad,)).passed
    assert not certificate(spread=0.0).passed


@pytest.mark.parametrize(
    ("lowest", "highest", "told"),
    [(-0.18, -0.17, "0.4551 to 0.4576"), (-2000.0, -1999.0, "0.0000 to 0.0000")],
)
def test_a_dead_network_is_told_by_what_it_answers(lowest, highest, told):
    dead = certificate(spread=1e-4, lowest=lowest, highest=highest, samples="48 made frames")
    assert not dead.passed
    (failure,) = dead.failures
    assert f"answers alike whatever it sees: P(fake) {told} on 48 made frames" in failure
    assert "use weights that do" in failure


def test_what_was_not_checked_is_written_down_as_that():
    data = certificate().to_dict()
    assert data["unchecked"] == {"meso4.plan": "no GPU"}
    assert all(c["engine"] != "meso4.plan" for c in data["comparisons"])


def test_what_was_compared_is_a_field_and_told_from_names_where_it_is_not() -> None:
    """Results that were committed before have the names alone."""
    found = compare(
        REFERENCE, REFERENCE, FP32_BAR, names=("a.onnx", "b"), kind="plan", to_original=False
    )
    written = json.loads(json.dumps(asdict(found)))
    assert joint_of(written) == ("plan", False)
    original = f"net {ORIGINAL}"
    for engine, kind in (
        ("net.onnx", "fp32"),
        ("net.onnx by cuda", "fp32"),
        ("net.fp16.onnx", "fp16"),
        ("net.fp16.onnx by cuda", "fp16"),
        ("net.fp16.onnx rounded", "fp16 rounded"),
        ("net.plan", "plan"),
    ):
        assert joint_of({"reference": original, "engine": engine}) == (kind, True)
        assert joint_of({"reference": "net.onnx", "engine": engine}) == (kind, False)
