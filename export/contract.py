"""The engine contract: every network leaves with the same face.

In: ``frames`` uint8 [N, H, W, 3] RGB. Out: ``logit`` float32 [N], log-odds of FAKE, and
``fake`` float32 [N], its sigmoid. Scaling, mean and std, layout and polarity move
inside the graph, so that a program which knows nothing of us gets them right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from runtime.engine_info import FAKE_NAME, INPUT_NAME, LOGIT_NAME, Preprocessing
from runtime.errors import ExportError
from zoo.card import Head, Normalisation

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

BATCH = "N"


def apply_contract(
    plain: onnx.ModelProto, how: Preprocessing, norm: Normalisation, head: Head
) -> ir.Model:
    """Give a framework's plain export the contract's inputs and outputs.

    Args:
        plain: one float32 input [N, H, W, 3] or [N, 3, H, W], one output as `head` says.
        how, norm, head: of the original.

    Raises:
        ExportError: the graph has other inputs or outputs, a batch axis that is not
            dynamic, or does not end as `head` says.
    """
    model = ir.from_proto(plain)
    graph = model.graph
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ExportError(
            "the exported graph has another face",
            f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs; one of each is due",
        )
    _attach_input(graph, how, norm)
    _attach_output(graph, head)
    model.graph.name = "detector"
    return model


def _attach_input(graph: ir.Graph, how: Preprocessing, norm: Normalisation) -> None:
    (old,) = graph.inputs
    dims = [d if isinstance(d, int) else None for d in (old.shape or ())]
    channels_last = dims[1:] == [how.height, how.width, 3]
    if not channels_last and dims[1:] != [3, how.height, how.width]:
        raise ExportError(
            "the exported graph takes another input",
            f"shape {list(old.shape or ())}, due is {how.height} x {how.width} with 3 channels",
        )
    if dims[0] is not None:
        raise ExportError(
            "the batch axis of the exported graph is not dynamic",
            f"it is fixed at {dims[0]}",
            "export with a dynamic batch axis",
        )
    frames = ir.Value(
        name=INPUT_NAME,
        type=ir.TensorType(ir.DataType.UINT8),
        shape=ir.Shape([BATCH, how.height, how.width, 3]),
    )
    # A uint8 input may feed only a Cast in TensorRT, so the layout comes second.
    nodes = [ir.node("Cast", [frames], {"to": ir.DataType.FLOAT}, name="frames_to_float")]
    nodes.append(
        ir.node(
            "Transpose", nodes[-1].outputs, {"perm": [0, 3, 1, 2]}, name="frames_channels_first"
        )
    )
    scale, shift = _affine(norm)
    for op, name, array, neutral in (
        ("Mul", "normalise_scale", scale, 1.0),
        ("Add", "normalise_shift", shift, 0.0),
    ):
        if not np.all(array == neutral):
            constant = _initializer(graph, name, array.reshape(1, 3, 1, 1))
            nodes.append(ir.node(op, [nodes[-1].outputs[0], constant], name=name + "_op"))
    if channels_last:
        nodes.append(
            ir.node(
                "Transpose", nodes[-1].outputs, {"perm": [0, 2, 3, 1]}, name="frames_channels_last"
            )
        )
    first = next(iter(graph))
    graph.insert_before(first, nodes)
    old.replace_all_uses_with(nodes[-1].outputs[0])
    graph.inputs.clear()
    graph.inputs.append(frames)


def _affine(norm: Normalisation) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``(x * scale - mean) / std`` as ``x * a + b``, by channel."""
    std = np.asarray(norm.std, np.float64)
    scale = (norm.scale / std).astype(np.float32)
    shift = (-np.asarray(norm.mean, np.float64) / std).astype(np.float32)
    return scale, shift


def _attach_output(graph: ir.Graph, head: Head) -> None:
    (own,) = graph.outputs
    logits = own
    if head.kind in ("sigmoid", "softmax"):
        last = own.producer()
        due = head.kind.capitalize()
        if last is None or last.op_type != due or last.inputs[0] is None:
            raise ExportError(
                f"the exported graph does not end in a {due}",
                f"it ends in {last.op_type if last else 'an input'}",
                "the card's head is wrong for this network",
            )
        logits = last.inputs[0]
    width = head.outputs
    if logits.shape is not None and list(logits.shape)[1:] not in ([width], [None]):
        raise ExportError(
            "the exported graph has another head",
            f"its output has shape {list(logits.shape)}, due is [N, {width}]",
        )
    if head.kind in ("sigmoid", "logit"):
        logit = logits
        if head.says == "real":
            logit = _append(graph, "Neg", [logits], "logit_of_fake")
    else:
        assert head.fake_index is not None
        # softmax(z)[fake] = sigmoid(z[fake] - z[real]), exactly.
        signs = np.full((2, 1), -1, np.float32)
        signs[head.fake_index] = 1
        pick = _initializer(graph, "fake_minus_real", signs)
        logit = _append(graph, "MatMul", [logits, pick], "logit_of_fake")
    axis = _initializer(graph, "class_axis", np.asarray([1], np.int64))
    flat = _append(graph, "Squeeze", [logit, axis], "squeeze_logit", LOGIT_NAME)
    fake = _append(graph, "Sigmoid", [flat], "probability", FAKE_NAME)
    for value in (flat, fake):
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape([BATCH])
    graph.outputs.clear()
    graph.outputs.extend([flat, fake])


def _append(
    graph: ir.Graph, op: str, inputs: list[ir.Value], name: str, output: str | None = None
) -> ir.Value:
    node = ir.node(op, inputs, name=name)
    node.outputs[0].name = output or name
    graph.append(node)
    return node.outputs[0]


def _initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value
