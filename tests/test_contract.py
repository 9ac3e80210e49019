"""The engine contract: layout, scaling and polarity move inside the graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.contract import apply_contract
from runtime.engine_info import Preprocessing
from runtime.errors import ExportError
from zoo.card import Head, Normalisation
from zoo.scores import fake_scores

SIZE = Preprocessing(6, 5, "nearest")
NORM = Normalisation(1 / 255, (0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
rng = np.random.default_rng(2)
FRAMES = rng.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)


def plain(head: str, outputs: int, channels_first: bool, batch: object = "n") -> onnx.ModelProto:
    """Mean over the image, a dense layer, and the head's activation."""
    shape = [batch, 3, 6, 5] if channels_first else [batch, 6, 5, 3]
    axes = [2, 3] if channels_first else [1, 2]
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["m"], keepdims=0),
        helper.make_node("Gemm", ["m", "w", "b"], ["z" if head else "output"]),
    ]
    if head:
        nodes.append(helper.make_node(head, ["z"], ["output"]))
    weight = np.random.default_rng(0).normal(size=(3, outputs)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", outputs])],
        [
            numpy_helper.from_array(np.int64(axes), "axes"),
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.linspace(-0.5, 0.3, outputs, dtype=np.float32), "b"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


CASES = {
    "sigmoid says real": (Head("sigmoid", says="real"), "Sigmoid", 1),
    "sigmoid says fake": (Head("sigmoid", says="fake"), "Sigmoid", 1),
    "logit says fake": (Head("logit", says="fake"), "", 1),
    "logit says real": (Head("logit", says="real"), "", 1),
    "softmax, fake first": (Head("softmax", fake_index=0), "Softmax", 2),
    "softmax, fake second": (Head("softmax", fake_index=1), "Softmax", 2),
    "two logits, fake second": (Head("logits", fake_index=1), "", 2),
}


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_every_head_and_layout(case, channels_first):
    head, activation, outputs = CASES[case]
    proto = plain(activation, outputs, channels_first)
    # by hand: normalise as the authors did, mean over the image, dense, activation
    values = (FRAMES.astype(np.float64) / 255 - NORM.mean) / NORM.std
    weight = np.random.default_rng(0).normal(size=(3, outputs)).astype(np.float32)
    z = values.mean(axis=(1, 2)) @ weight + np.linspace(-0.5, 0.3, outputs)
    own = z
    if activation == "Sigmoid":
        own = 1 / (1 + np.exp(-z))
    elif activation == "Softmax":
        own = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    due = fake_scores(head, own.astype(np.float32), z.astype(np.float32))

    model = ir.to_proto(apply_contract(proto, SIZE, NORM, head))
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString())
    (frames,) = session.get_inputs()
    assert (frames.name, frames.type, frames.shape) == ("frames", "tensor(uint8)", ["N", 6, 5, 3])
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("logit", "tensor(float)", ["N"]),
        ("fake", "tensor(float)", ["N"]),
    ]
    logit, fake = session.run(["logit", "fake"], {"frames": FRAMES})
    np.testing.assert_allclose(logit, due.logit, atol=2e-6)
    np.testing.assert_allclose(fake, due.fake, atol=1e-6)


def test_polarity_turns_with_the_class_order():
    def fake(index: int) -> np.ndarray:
        proto = plain("Softmax", 2, True)
        model = ir.to_proto(apply_contract(proto, SIZE, NORM, Head("softmax", fake_index=index)))
        return ort.InferenceSession(model.SerializeToString()).run(["fake"], {"frames": FRAMES})[0]

    np.testing.assert_allclose(fake(0) + fake(1), 1, atol=1e-6)
    assert np.abs(fake(0) - 0.5).max() > 0.01


def test_the_input_feeds_only_a_cast():
    """TensorRT takes uint8 nowhere else."""
    model = ir.to_proto(
        apply_contract(plain("Sigmoid", 1, False), SIZE, NORM, Head("sigmoid", says="real"))
    )
    users = [n.op_type for n in model.graph.node if "frames" in n.input]
    assert users == ["Cast"]


def test_a_fixed_batch_is_refused():
    with pytest.raises(ExportError, match="not dynamic"):
        apply_contract(plain("Sigmoid", 1, True, 1), SIZE, NORM, Head("sigmoid", says="real"))


def test_another_input_size_is_refused():
    with pytest.raises(ExportError, match="another input"):
        apply_contract(
            plain("Sigmoid", 1, True),
            Preprocessing(7, 7, "nearest"),
            NORM,
            Head("sigmoid", says="real"),
        )


def test_a_graph_that_does_not_end_as_the_card_says_is_refused():
    with pytest.raises(ExportError, match="does not end in a Softmax"):
        apply_contract(plain("", 2, True), SIZE, NORM, Head("softmax", fake_index=1))
    with pytest.raises(ExportError, match="another head"):
        apply_contract(plain("", 2, True), SIZE, NORM, Head("logit", says="fake"))


def test_two_inputs_are_refused():
    proto = plain("Sigmoid", 1, True)
    proto.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    with pytest.raises(ExportError, match="another face"):
        apply_contract(proto, SIZE, NORM, Head("sigmoid", says="real"))
