"""Rewrites of means over the image's axes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.graph import (
    add_constant,
    constant_of,
    ints,
    nodes,
    only_use,
    producer,
    remove,
    value_of,
)


def transpose_into_mean(model: ir.Model) -> int:
    """Transpose, ReduceMean over its axes: the mean takes the axes from before instead.

    Global average pooling of a channels-last network is written so. Only where the axes
    that are left stay in order, so that the result needs no transpose of its own.
    """
    count = 0
    for mean in nodes(model, "ReduceMean"):
        transpose = producer(mean.inputs[0], "Transpose")
        axes = constant_of(mean.inputs[1]) if len(mean.inputs) > 1 else None
        if transpose is None or axes is None or ints(mean, "keepdims", [1]) != [0]:
            continue
        if not only_use(transpose.outputs[0], mean):
            continue
        perm = ints(transpose, "perm")
        reduced = {int(axis) % len(perm) for axis in axes.reshape(-1)}
        left = [before for after, before in enumerate(perm) if after not in reduced]
        if left != sorted(left):
            continue
        moved = np.asarray(sorted(perm[axis] for axis in reduced), np.int64)
        mean.replace_input_with(0, value_of(transpose.inputs[0]))
        mean.replace_input_with(1, add_constant(model, moved, "axes"))
        remove(model, transpose)
        count += 1
    return count
