"""Rewrites that end in a dense layer's matrix and bias."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.graph import (
    add_constant,
    channel_operand,
    constant_of,
    copy_face,
    flattening_before,
    gemm_bias,
    gemm_weight,
    image_dims,
    nodes,
    only_use,
    plain_gemm,
    producer,
    remove,
    replace,
    set_gemm_weight,
    split_constant,
    value_of,
)


def dense_to_gemm(model: ir.Model) -> int:
    """MatMul by a constant matrix, and the Add behind it, become one Gemm."""
    count = 0
    for node in nodes(model, "MatMul"):
        weight = constant_of(node.inputs[1])
        x, product = value_of(node.inputs[0]), node.outputs[0]
        if weight is None or weight.ndim != 2 or x.shape is None or len(x.shape) != 2:
            continue
        bias, last = np.zeros(weight.shape[1], np.float32), node
        users = [use.node for use in product.uses()]
        if len(users) == 1 and users[0].op_type == "Add":
            pair = split_constant(users[0])
            array = constant_of(pair[1]) if pair is not None else None
            if array is not None and array.shape in (bias.shape, (1, *bias.shape)):
                bias, last = array.reshape(-1), users[0]
        gemm = ir.node("Gemm", [x, node.inputs[1], add_constant(model, bias)], name=node.name)
        copy_face(gemm.outputs[0], last.outputs[0])
        replace(model, last, gemm.outputs[0], [gemm])
        if last is not node:
            remove(model, node)
        count += 1
    return count


def shift_into_dense(model: ir.Model) -> int:
    """Add per channel, Flatten, Gemm: the shift goes into the bias."""
    count = 0
    for gemm in nodes(model, "Gemm"):
        flatten = flattening_before(gemm)
        add = flatten and producer(flatten.inputs[0], "Add")
        operand = channel_operand(add) if add is not None else None
        if flatten is None or add is None or operand is None:
            continue
        x, vector = operand
        dims = image_dims(x)
        if dims is None or not only_use(add.outputs[0], flatten):
            continue
        flat = np.broadcast_to(vector.reshape(-1, *[1] * (len(dims) - 1)), dims).reshape(-1)
        moved = flat @ gemm_weight(gemm).astype(np.float64)
        gemm.replace_input_with(2, add_constant(model, gemm_bias(gemm) + moved))
        flatten.replace_input_with(0, x)
        remove(model, add)
        count += 1
    return count


def tail_into_dense(model: ir.Model) -> int:
    """Neg, or a Gemm with fewer outputs, right behind a Gemm goes into its matrix and bias."""
    count = 0
    for node in [*nodes(model, "Neg"), *nodes(model, "Gemm")]:
        gemm = producer(node.inputs[0], "Gemm")
        if gemm is None or not only_use(gemm.outputs[0], node) or not plain_gemm(gemm):
            continue
        weight, bias = gemm_weight(gemm).astype(np.float64), gemm_bias(gemm)
        if node.op_type == "Neg":
            weight, bias = -weight, -bias
        else:
            if not plain_gemm(node):
                continue
            second = gemm_weight(node).astype(np.float64)
            if second.shape[1] > second.shape[0]:
                continue  # the product would be larger than its factors
            weight, bias = weight @ second, bias @ second + gemm_bias(node)
        set_gemm_weight(model, gemm, weight)
        gemm.replace_input_with(2, add_constant(model, bias))
        copy_face(gemm.outputs[0], node.outputs[0])
        replace(model, node, gemm.outputs[0])
        count += 1
    return count
