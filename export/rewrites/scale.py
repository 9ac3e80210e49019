"""Push a positive scale per channel backwards into the convolutions it comes from."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.graph import add_constant, constant_of, conv_bias, ints, set_conv_bias

#: ``f(s x) = s f(x)`` for s >= 0.
_HOMOGENEOUS = {"Relu", "LeakyRelu", "MaxPool"}
#: ``f(s x) = s f(x)`` for every s.
_LINEAR = {"AveragePool", "Identity", "GlobalAveragePool"}

Plan = list[tuple[ir.Node, NDArray[np.float64]]]


def push_scale(model: ir.Model, value: ir.Value, scale: NDArray[np.float64]) -> bool:
    """Scale the convolutions behind ``value`` [N, C, H, W] by ``scale`` [C], if that is exact.

    Walks back through activations, pools and concatenations. Nothing is changed unless
    every branch ends in a convolution that nothing else uses, and every scale that has
    to pass an activation is positive or zero.

    Returns:
        Whether it was done.
    """
    plan = _plan(value, scale)
    if plan is None:
        return False
    for conv, vector in plan:
        weight = constant_of(conv.inputs[1])
        bias = conv_bias(conv)
        assert weight is not None, "planned"
        assert bias is not None, "planned"
        scaled = weight.astype(np.float64) * vector.reshape(-1, 1, 1, 1)
        conv.replace_input_with(1, add_constant(model, scaled))
        set_conv_bias(model, conv, bias * vector)
    return True


def _plan(value: ir.Value, scale: NDArray[np.float64]) -> Plan | None:
    node = value.producer()
    if node is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    if node.op_type == "Conv":
        fits = conv_bias(node) is not None and constant_of(node.inputs[1]) is not None
        return [(node, scale)] if fits else None
    if node.op_type in _LINEAR or (node.op_type in _HOMOGENEOUS and bool((scale >= 0).all())):
        if len(node.outputs) != 1 or node.inputs[0] is None:
            return None
        return _plan(node.inputs[0], scale)
    if node.op_type == "Concat" and ints(node, "axis") == [1]:
        return _plan_concat(node, scale)
    return None


def _plan_concat(node: ir.Node, scale: NDArray[np.float64]) -> Plan | None:
    plan: Plan = []
    start = 0
    for value in node.inputs:
        channels = value.shape[1] if value is not None and value.shape is not None else None
        if value is None or not isinstance(channels, int):
            return None
        part = _plan(value, scale[start : start + channels])
        if part is None:
            return None
        plan += part
        start += channels
    convs = [id(conv) for conv, _ in plan]
    return plan if start == len(scale) and len(set(convs)) == len(convs) else None
