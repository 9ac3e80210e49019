"""Rounding to half precision: representable, next to the exact value, errors cancel."""

from __future__ import annotations

import numpy as np
import pytest

from export.half_rounding import round_kernel, round_rows

rng = np.random.default_rng(3)


def neighbours(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The halves just below and just above (or equal)."""
    half = values.astype(np.float16)
    below = np.where(half > values, np.nextafter(half, np.float16(-np.inf)), half)
    above = np.where(half < values, np.nextafter(half, np.float16(np.inf)), half)
    return below.astype(np.float32), above.astype(np.float32)


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (16, 8, 5, 5), (4, 3, 1, 1), (2, 1, 7, 1)])
@pytest.mark.parametrize("scale", [1.0, 1 / 255, 300.0])
def test_every_weight_becomes_one_of_its_two_halves(shape, scale):
    exact = (rng.normal(0, scale, shape)).astype(np.float32)
    rounded = round_kernel(exact)
    assert rounded.shape == exact.shape
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16).astype(np.float32))
    below, above = neighbours(exact)
    assert np.all((rounded == below) | (rounded == above))


@pytest.mark.parametrize("shape", [(64, 3, 3, 3), (64, 8, 5, 5), (64, 16, 1, 1)])
def test_the_errors_of_a_kernel_cancel(shape):
    exact = rng.normal(0, 1 / 255, shape).astype(np.float32)
    rows = (len(exact), -1) if shape[2] == 1 else (shape[0] * shape[1], -1)

    def error_of_the_sum(rounded: np.ndarray) -> float:
        sums = (rounded.astype(np.float64) - exact).reshape(rows).sum(axis=1)
        return float(np.sqrt((sums**2).mean()))

    plain = error_of_the_sum(exact.astype(np.float16).astype(np.float32))
    assert error_of_the_sum(round_kernel(exact)) < plain / 4


def test_single_errors_grow_little():
    exact = rng.normal(0, 1, (64, 8, 5, 5)).astype(np.float32)
    plain = np.square(exact.astype(np.float16) - exact.astype(np.float64)).mean()
    ours = np.square(round_kernel(exact).astype(np.float64) - exact).mean()
    assert ours < 1.6 * plain


def test_representable_weights_do_not_move():
    exact = rng.normal(0, 1, (50, 9)).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(round_rows(exact), exact)


def test_zeros_and_the_largest_half_stay():
    row = np.float32([[0, 65504, -65504, 1e-9, 0.1]])
    rounded = round_rows(row)
    assert np.isfinite(rounded).all()
    assert rounded[0, 0] == 0
    assert abs(rounded[0, 1]) <= 65504


def test_rows_do_not_depend_on_each_other():
    rows = rng.normal(0, 1, (10, 9)).astype(np.float32)
    together = round_rows(rows)
    alone = np.concatenate([round_rows(row[None]) for row in rows])
    np.testing.assert_array_equal(together, alone)
