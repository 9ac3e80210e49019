"""Rewrites of layout: transposes that cancel or that a matrix can absorb."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.graph import (
    flattening_before,
    gemm_weight,
    image_dims,
    ints,
    nodes,
    only_use,
    producer,
    remove,
    replace,
    set_gemm_weight,
    value_of,
)


def transposes_cancel(model: ir.Model) -> int:
    """Two transposes that undo each other go away."""
    count = 0
    for node in nodes(model, "Transpose"):
        before = producer(node.inputs[0], "Transpose")
        if before is None:
            continue
        perm, earlier = ints(node, "perm"), ints(before, "perm")
        if [earlier[axis] for axis in perm] != list(range(len(perm))):
            continue
        replace(model, node, value_of(before.inputs[0]))
        if not before.outputs[0].uses():
            remove(model, before)
        count += 1
    return count


def transpose_into_dense(model: ir.Model) -> int:
    """Transpose, Flatten, Gemm: the rows of the matrix are put in order instead."""
    count = 0
    for gemm in nodes(model, "Gemm"):
        flatten = flattening_before(gemm)
        transpose = flatten and producer(flatten.inputs[0], "Transpose")
        if flatten is None or transpose is None or not only_use(transpose.outputs[0], flatten):
            continue
        x, perm = value_of(transpose.inputs[0]), ints(transpose, "perm")
        dims = image_dims(x)
        if perm[0] != 0 or dims is None:
            continue
        # order[k]: where the k-th value of the flattened image was before the transpose.
        places = np.arange(int(np.prod(dims))).reshape(dims)
        order = places.transpose([axis - 1 for axis in perm[1:]]).reshape(-1)
        weight = gemm_weight(gemm)
        straight = np.empty_like(weight)
        straight[order] = weight
        set_gemm_weight(model, gemm, straight)
        flatten.replace_input_with(0, x)
        remove(model, transpose)
        count += 1
    return count
