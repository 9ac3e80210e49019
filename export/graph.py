"""Small helpers for changing a graph, over `onnx_ir`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_fresh = count()


def nodes(model: ir.Model, op: str) -> list[ir.Node]:
    """The nodes of one kind, as a list that may be changed under."""
    return [node for node in model.graph if node.op_type == op and node.domain in ("", "ai.onnx")]


def value_of(value: ir.Value | None) -> ir.Value:
    """An input that is there (ONNX allows absent ones)."""
    assert value is not None, "this input is required by the operator"
    return value


def producer(value: ir.Value | None, op: str) -> ir.Node | None:
    """The node that makes a value, if it is of kind ``op``."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op else None


def only_use(value: ir.Value, node: ir.Node) -> bool:
    """Whether ``node`` is the one use of ``value``, which is no output of the graph."""
    users = {id(use.node) for use in value.uses()}
    return users == {id(node)} and not value.is_graph_output()


def constant_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The array of an initializer or Constant node, else ``None``."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def split_constant(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The inputs of a commutative node as (x, constant), ``None`` without a constant."""
    a, b = (value_of(v) for v in node.inputs)
    if constant_of(b) is not None:
        return a, b
    return (b, a) if constant_of(a) is not None else None


def channel_operand(
    node: ir.Node, channels: int | None = None
) -> tuple[ir.Value, NDArray[np.float64]] | None:
    """Of a Mul or Add with one number per channel: its image [N, C, H, W] and those [C]."""
    pair = split_constant(node)
    if pair is None:
        return None
    vector = channel_vector(constant_of(pair[1]), pair[0], channels)
    return None if vector is None else (pair[0], vector)


def add_constant(model: ir.Model, array: NDArray[Any], name: str = "const") -> ir.Value:
    """A new initializer; floats become float32."""
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    name = f"{name}_{next(_fresh)}"
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    model.graph.register_initializer(value)
    return value


def replace(model: ir.Model, node: ir.Node, by: ir.Value, new: Sequence[ir.Node] = ()) -> None:
    """Put ``new`` nodes before ``node``, let ``by`` take its output's place, remove it."""
    if new:
        model.graph.insert_before(node, list(new))
    (old,) = node.outputs
    if old.is_graph_output():
        by.name, old.name = old.name, None
    old.replace_all_uses_with(by, replace_graph_outputs=True)
    remove(model, node)


def remove(model: ir.Model, node: ir.Node) -> None:
    """Remove a node whose outputs nothing uses."""
    model.graph.remove(node, safe=True)


def copy_face(new: ir.Value, old: ir.Value) -> None:
    """Give a new value the type and shape of the one whose place it takes."""
    new.type, new.shape = old.type, old.shape


def insert_cast(
    model: ir.Model,
    after: ir.Node,
    value: ir.Value,
    to: ir.DataType,
    uses: Sequence[tuple[ir.Node, int]],
) -> ir.Node:
    """Cast ``value``, which ``after`` makes, and let ``uses`` of it read the cast."""
    name = f"{value.name}_to_{to.name.lower()}"
    cast = ir.node("Cast", [value], {"to": to}, name=f"{name}_{next(_fresh)}")
    cast.outputs[0].name = f"{cast.name}_out"
    cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(to), value.shape
    model.graph.insert_after(after, cast)
    for node, place in uses:
        node.replace_input_with(place, cast.outputs[0])
    return cast


def ints(node: ir.Node, name: str, default: Sequence[int] = ()) -> list[int]:
    """An attribute as a list of integers."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return list(default)
    if attribute.type == ir.AttributeType.INT:
        return [attribute.as_int()]
    return list(attribute.as_ints())


def per_channel(vector: NDArray[Any]) -> NDArray[Any]:
    """[C] as [1, C, 1, 1]."""
    return vector.reshape(1, -1, 1, 1)


def channel_vector(
    array: NDArray[Any] | None, x: ir.Value, channels: int | None = None
) -> NDArray[np.float64] | None:
    """A constant that is one number per channel of ``x`` [N, C, H, W], as [C], else ``None``."""
    if array is None or array.dtype.kind != "f":
        return None
    if channels is None:
        if x.shape is None or len(x.shape) != 4 or not isinstance(x.shape[1], int):
            return None
        channels = x.shape[1]
    if array.size == 1:
        return np.full(channels, float(array.reshape(-1)[0]))
    shape = (1,) * (4 - array.ndim) + array.shape
    if shape != (1, channels, 1, 1):
        return None
    return array.reshape(-1).astype(np.float64)


def group(conv: ir.Node) -> int:
    """Of a Conv."""
    return ints(conv, "group", [1])[0]


def conv_bias(conv: ir.Node) -> NDArray[np.float64] | None:
    """The bias of a Conv, zeros where it has none, ``None`` where it is not constant."""
    if len(conv.inputs) > 2 and conv.inputs[2] is not None:
        bias = constant_of(conv.inputs[2])
        return None if bias is None else bias.astype(np.float64)
    weight = constant_of(conv.inputs[1])
    return None if weight is None else np.zeros(weight.shape[0])


def set_conv_bias(model: ir.Model, conv: ir.Node, bias: NDArray[np.float64]) -> None:
    """Give a Conv a constant bias [C]."""
    if len(conv.inputs) < 3:
        conv.resize_inputs(3)
    conv.replace_input_with(2, add_constant(model, bias, "bias"))


def flattening_before(gemm: ir.Node) -> ir.Node | None:
    """The Flatten or Reshape to [N, K] whose one use is this Gemm with constants."""
    x = value_of(gemm.inputs[0])
    node = producer(x, "Flatten") or producer(x, "Reshape")
    if node is None or not only_use(x, gemm) or not plain_gemm(gemm):
        return None
    dims = image_dims(value_of(node.inputs[0]))
    if dims is None or int(np.prod(dims)) != gemm_weight(gemm).shape[0]:
        return None
    if node.op_type == "Reshape" and (x.shape is None or len(x.shape) != 2):
        return None
    return node


def image_dims(x: ir.Value) -> list[int] | None:
    """The static axes behind the batch, ``None`` where one is not known."""
    if x.shape is None or len(x.shape) < 2:
        return None
    dims = [d for d in list(x.shape)[1:] if isinstance(d, int)]
    return dims if len(dims) == len(x.shape) - 1 else None


def plain_gemm(gemm: ir.Node) -> bool:
    """Whether a Gemm is x W + b with constant W and b."""
    alpha, beta = (
        gemm.attributes[n].as_float() if n in gemm.attributes else 1.0 for n in ("alpha", "beta")
    )
    constants = len(gemm.inputs) == 3 and all(constant_of(v) is not None for v in gemm.inputs[1:])
    return constants and alpha == beta == 1.0 and ints(gemm, "transA", [0]) == [0]


def gemm_weight(gemm: ir.Node) -> NDArray[Any]:
    """The matrix of a Gemm as [in, out], whatever its transB."""
    weight = constant_of(gemm.inputs[1])
    assert weight is not None, "checked by the caller"
    return weight.T if ints(gemm, "transB", [0]) == [1] else weight


def gemm_bias(gemm: ir.Node) -> NDArray[np.float64]:
    """The bias of a Gemm, [out]."""
    bias = constant_of(gemm.inputs[2])
    assert bias is not None, "checked by the caller"
    width = gemm_weight(gemm).shape[1]
    return np.broadcast_to(bias.astype(np.float64).reshape(-1), (width,))


def set_gemm_weight(model: ir.Model, gemm: ir.Node, weight: NDArray[Any]) -> None:
    """Give a Gemm the matrix [in, out]."""
    if ints(gemm, "transB", [0]) == [1]:
        weight = weight.T
    gemm.replace_input_with(1, add_constant(model, weight, "weight"))
