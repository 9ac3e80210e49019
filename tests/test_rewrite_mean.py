"""Means over an image's axes, on graphs of two nodes."""

from __future__ import annotations

import numpy as np
import pytest
from test_rewrites import apply, build, ops, same_function

from export.rewrites.mean import transpose_into_mean


def pooled(perm: list[int], axes: list[int], keepdims: int = 0):
    nodes = [
        ("Transpose", ["x"], "t", {"perm": perm}),
        ("ReduceMean", ["t", "axes"], "y", {"keepdims": keepdims}),
    ]
    return build(nodes, {"axes": np.array(axes, np.int64)}, ["N", 3, 4, 5])


@pytest.mark.parametrize("axes", [[1, 2], [-3, -2], [2], [1, 2, 3]])
def test_the_mean_takes_the_axes_from_before(axes):
    before = pooled([0, 2, 3, 1], axes)
    after, count = apply(transpose_into_mean, before)
    due = 0 if axes == [2] else 1  # [N, W, C] from [N, C, W] needs its transpose
    assert count == due
    assert ("Transpose" in ops(after)) == (not due)
    same_function(before, after, (2, 3, 4, 5))


def test_kept_axes_and_other_orders_are_left_alone():
    for graph in (pooled([0, 2, 3, 1], [1, 2], keepdims=1), pooled([1, 0, 2, 3], [2, 3])):
        after, count = apply(transpose_into_mean, graph)
        assert count == 0
        assert ops(after) == ops(graph)
