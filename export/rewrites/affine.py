"""Rewrites of scales and shifts per channel, above all those of BatchNorm."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.graph import (
    add_constant,
    channel_operand,
    constant_of,
    conv_bias,
    copy_face,
    group,
    ints,
    nodes,
    only_use,
    per_channel,
    producer,
    remove,
    replace,
    set_conv_bias,
    value_of,
)
from export.rewrites.scale import push_scale


def batchnorm_to_affine(model: ir.Model) -> int:
    """BatchNormalization with fixed statistics becomes a Mul and an Add."""
    count = 0
    for node in nodes(model, "BatchNormalization"):
        arrays = [constant_of(value) for value in node.inputs[1:5]]
        x = value_of(node.inputs[0])
        if any(a is None for a in arrays) or x.shape is None or len(x.shape) != 4:
            continue
        gamma, beta, mean, variance = (np.asarray(a, np.float64) for a in arrays)
        epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
        scale = gamma / np.sqrt(variance + epsilon)
        shift = beta - mean * scale
        mul = ir.node("Mul", [x, add_constant(model, per_channel(scale))])
        add = ir.node("Add", [mul.outputs[0], add_constant(model, per_channel(shift))])
        for new in (mul, add):
            copy_face(new.outputs[0], node.outputs[0])
        replace(model, node, add.outputs[0], [mul, add])
        count += 1
    return count


def scale_into_convolution(model: ir.Model) -> int:
    """A Mul by a constant per channel goes into the convolutions before it."""
    count = 0
    for node in nodes(model, "Mul"):
        operand = channel_operand(node)
        if operand is not None and push_scale(model, *operand):
            replace(model, node, operand[0])
            count += 1
    return count


def shift_into_convolution(model: ir.Model) -> int:
    """An Add of a constant per channel right behind a convolution goes into its bias."""
    count = 0
    for node in nodes(model, "Add"):
        operand = channel_operand(node)
        conv = producer(operand[0], "Conv") if operand is not None else None
        if operand is None or conv is None or not only_use(operand[0], node):
            continue
        bias = conv_bias(conv)
        if bias is None:
            continue
        set_conv_bias(model, conv, bias + operand[1])
        replace(model, node, operand[0])
        count += 1
    return count


def shift_behind_pool(model: ir.Model) -> int:
    """``max(x + t) = max(x) + t``: the Add moves to where there are fewer values.

    Padding is no obstacle: MaxPool pads with minus infinity.
    """
    count = 0
    for pool in nodes(model, "MaxPool"):
        add = producer(pool.inputs[0], "Add")
        operand = channel_operand(add) if add is not None else None
        if add is None or operand is None or len(pool.outputs) != 1:
            continue
        if not only_use(add.outputs[0], pool):
            continue
        pool.replace_input_with(0, operand[0])
        later = ir.node(
            "Add", [pool.outputs[0], add_constant(model, per_channel(operand[1]))], name=add.name
        )
        copy_face(later.outputs[0], pool.outputs[0])
        pool.outputs[0].replace_all_uses_with(later.outputs[0], replace_graph_outputs=True)
        later.replace_input_with(0, pool.outputs[0])
        model.graph.insert_after(pool, later)
        remove(model, add)
        count += 1
    return count


def affine_into_convolutions(model: ir.Model) -> int:
    """A scale of convolutions' input goes into their weights, a shift into their biases.

    A shift only where nothing is padded: the zeros of the padding are not shifted.
    """
    count = 0
    for node in [*nodes(model, "Mul"), *nodes(model, "Add")]:
        convs = [use.node for use in node.outputs[0].uses()]
        if not convs or not all(_takes(conv, node) for conv in convs):
            continue
        weights = [np.asarray(constant_of(conv.inputs[1]), np.float64) for conv in convs]
        operand = channel_operand(node, weights[0].shape[1])
        if operand is None or node.outputs[0].is_graph_output():
            continue
        x, vector = operand
        for conv, weight in zip(convs, weights, strict=True):
            moved = weight * vector.reshape(1, -1, 1, 1)
            if node.op_type == "Mul":
                conv.replace_input_with(1, add_constant(model, moved))
            else:
                bias = conv_bias(conv)
                assert bias is not None, "checked by _takes"
                set_conv_bias(model, conv, bias + moved.sum((1, 2, 3)))
            conv.replace_input_with(0, x)
        remove(model, node)
        count += 1
    return count


def _takes(conv: ir.Node, node: ir.Node) -> bool:
    """Whether a node is a convolution that can absorb the Mul or Add before it."""
    if conv.op_type != "Conv" or conv.inputs[0] is not node.outputs[0] or group(conv) != 1:
        return False
    if constant_of(conv.inputs[1]) is None or conv_bias(conv) is None:
        return False
    return node.op_type == "Mul" or not _padded(conv)


def _padded(conv: ir.Node) -> bool:
    """Whether a convolution reads zeros around its input."""
    automatic = conv.attributes.get("auto_pad")
    if automatic is not None and automatic.as_string() not in ("NOTSET", "VALID"):
        return True
    return any(ints(conv, "pads"))
