"""Half precision on a machine without it: what a GPU computes, node by node.

ONNX Runtime has no half-precision kernels for the CPU. It runs an FP16 graph in float32
and takes away the casts between its nodes: activations are never rounded, and nothing
overflows. A certificate from that would be too good. Here every node computes in float32,
as tensor cores accumulate, and what it gives is rounded to half, as a GPU stores it. An
engine that fuses nodes rounds less often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from export.graph import insert_cast

if TYPE_CHECKING:
    import onnx

#: These move values about or choose among them. Of halves they give halves. Rounding keeps
#: order, so that it may as well come behind them: after a pool there is less to round, and
#: a convolution can take its ReLU in.
_MOVES = frozenset(
    {"Concat", "Flatten", "Identity", "MaxPool", "Relu", "Reshape", "Slice", "Split"}
    | {"Squeeze", "Transpose", "Unsqueeze"}
)


def emulate_half(half: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 graph that computes what an FP16 graph computes on a GPU.

    Args:
        half: a graph with FP16 weights and activations, as `export.precision` makes them.

    Returns:
        A graph of the same face, which the contract keeps in FP32. What a node computes from
        are float32 values that half precision represents, the very ones that it would have.
    """
    model = passes.ShapeInferencePass()(ir.from_proto(half)).model
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.dtype == ir.DataType.FLOAT16:
            value.const_value = ir.tensor(
                value.const_value.numpy().astype(np.float32), name=value.name
            )
            value.type = ir.TensorType(ir.DataType.FLOAT)
    halves = [
        (node, value)
        for node in model.graph
        for value in node.outputs
        if value.dtype == ir.DataType.FLOAT16
    ]
    owed: set[ir.Value] = set()
    for node, value in halves:
        if node.op_type == "Cast":  # to half: it rounds already
            insert_cast(model, node, value, ir.DataType.FLOAT, list(value.uses()))
            continue
        value.type = ir.TensorType(ir.DataType.FLOAT)
        if node.op_type in _MOVES and not owed.intersection(node.inputs):
            continue
        readers = list(value.uses())
        if all(reader.op_type in _MOVES for reader, _ in readers):
            owed.add(value)
            continue
        rounded = insert_cast(model, node, value, ir.DataType.FLOAT16, ())
        insert_cast(model, rounded, rounded.outputs[0], ir.DataType.FLOAT, readers)
    return ir.to_proto(model)
