"""Half precision inside the graph, the contract's types outside.

TensorRT 11 and TensorRT-RTX know only strongly typed networks: what runs in FP16 is what
is FP16 in the ONNX graph, and a cast in the graph is a rounding in the engine. So casts
stand only where a node in FP32 meets one in FP16. (ONNX Runtime's own converter puts them
around every node that is kept, which lets a sum overflow between two of them.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common as passes

from export.graph import insert_cast
from export.half_rounding import round_kernel
from runtime.engine_info import FAKE_NAME, LOGIT_NAME
from runtime.errors import ExportError

if TYPE_CHECKING:
    import onnx

#: The largest finite number of half precision, 65504.
LARGEST = float(np.finfo(np.float16).max)
#: Inputs that ONNX wants in float32 whatever the data's type is, by operator.
_ALWAYS_FLOAT = {"Resize": (2,)}
_CONTRACT = "gives an output of the engine contract"
_NORMALISES = "normalises pixels; engines fuse it with their cast"


def to_half(
    proto: onnx.ModelProto, keep: Mapping[str, str] | None = None
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The same graph with FP16 weights and activations; uint8 in and float32 out.

    Args:
        proto: an FP32 graph that keeps the engine contract.
        keep: nodes that stay in FP32 besides the contract's own, with the reason.

    Returns:
        The FP16 graph, and every node that stays in FP32 with the reason, by name.

    Raises:
        ExportError: a weight is too large for half precision, or `keep` names a node
            that is not there.
    """
    model = ir.from_proto(proto)
    passes.LiftConstantsToInitializersPass()(model)
    model = passes.ShapeInferencePass()(model).model
    kept = dict(keep or {})
    if unknown := sorted(set(kept) - {node.name for node in model.graph}):
        raise ExportError(f"the graph has no node '{unknown[0]}' to keep in FP32")
    tail = {LOGIT_NAME, FAKE_NAME}
    kept |= {
        node.name or "": _CONTRACT
        for node in model.graph
        if tail & {value.name for value in node.outputs}
    }
    kept |= dict.fromkeys(_normalisation(model), _NORMALISES)
    half = {node for node in model.graph if node.name not in kept}
    _halve_weights(model, half)
    _halve_activations(model, half)
    _cast_where_they_meet(model, half)
    model.graph.sort()
    return ir.to_proto(model), kept


def _normalisation(model: ir.Model) -> list[str]:
    """Names of the nodes that scale and shift pixels before the first layer, if any is left.

    A pixel is a small whole number, which half precision has exactly; scaled and shifted
    it is not, and the error is the same wherever that grey occurs: it does not average
    out. Where a rewrite has moved all of it into the first convolution, nothing is left.
    """
    found: list[ir.Node] = []
    values = [model.graph.inputs[0]]
    while len(values) == 1:
        (value,) = values
        users = list({use.node for use in value.uses()})
        if len(users) != 1 or users[0].op_type not in ("Cast", "Transpose", "Mul", "Add"):
            break
        found.append(users[0])
        values = list(users[0].outputs)
    while found and found[-1].op_type not in ("Mul", "Add"):
        found.pop()
    return [node.name or "" for node in found]


def _halve_weights(model: ir.Model, half: set[ir.Node]) -> None:
    """Give every node in half precision its own constants in half precision."""
    made: dict[tuple[str, bool], ir.Value] = {}
    for node in half:
        for place, value in enumerate(node.inputs):
            if value is None or not value.is_initializer() or value.const_value is None:
                continue
            if value.const_value.dtype != ir.DataType.FLOAT:
                continue
            if place in _ALWAYS_FLOAT.get(node.op_type, ()):
                continue
            kernel = node.op_type == "Conv" and place == 1
            key = (str(value.name), kernel)
            if key not in made:
                made[key] = _half_constant(model, value, kernel)
            node.replace_input_with(place, made[key])
    for name, value in list(model.graph.initializers.items()):
        if not value.uses():
            del model.graph.initializers[name]


def _half_constant(model: ir.Model, value: ir.Value, kernel: bool) -> ir.Value:
    assert value.const_value is not None, "checked by the caller"
    array: NDArray[Any] = value.const_value.numpy()
    most = max(float(array.max()), -float(array.min())) if array.size else 0.0
    if most > LARGEST:
        raise ExportError(
            f"{value.name} does not fit half precision",
            f"its largest value is {most:.6g}, half ends at {LARGEST:.0f}",
            "export without --fp16, or keep that layer in FP32",
        )
    name = f"{value.name}_half"
    rounded = (round_kernel(array) if kernel else array).astype(np.float16)
    constant = ir.Value(name=name, const_value=ir.tensor(rounded, name=name))
    model.graph.register_initializer(constant)
    return constant


def _halve_activations(model: ir.Model, half: set[ir.Node]) -> None:
    """Declare the results of nodes in half precision, and let casts to float32 stop at half."""
    for node in model.graph:
        if node not in half:
            continue
        if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT16)
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT:
                value.type = ir.TensorType(ir.DataType.FLOAT16)


def _cast_where_they_meet(model: ir.Model, half: set[ir.Node]) -> None:
    """One cast for each value that is read in another precision than it is made in."""
    for maker in list(model.graph):
        for value in maker.outputs:
            if value.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
                continue
            others = [use for use in value.uses() if (use.node in half) != (maker in half)]
            if not others:
                continue
            to = ir.DataType.FLOAT if maker in half else ir.DataType.FLOAT16
            insert_cast(model, maker, value, to, others)
