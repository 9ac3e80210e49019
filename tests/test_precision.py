"""Half precision inside, the contract's types outside, and every exception named."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.precision import to_half
from runtime.errors import ExportError

rng = np.random.default_rng(4)


def detector(scale: float = 1.0) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["frames"], ["c"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["c"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w", "b"], ["v"], "conv"),
        helper.make_node("Relu", ["v"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["z"], "dense"),
        helper.make_node("Squeeze", ["z", "axis"], ["logit"], "squeeze"),
        helper.make_node("Sigmoid", ["logit"], ["fake"], "sigmoid"),
    ]
    constants = {
        "w": rng.normal(0, scale / 255, (8, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(0, 0.1, 8).astype(np.float32),
        "w2": rng.normal(0, 1, (8, 1)).astype(np.float32),
        "b2": np.float32([0.1]),
        "axis": np.int64([1]),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N"]) for n in ("logit", "fake")],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def types(proto: onnx.ModelProto) -> dict[str, int]:
    return {t.name: t.data_type for t in proto.graph.initializer}


def test_weights_are_half_and_the_face_is_the_contract_s():
    half, kept = to_half(detector())
    onnx.checker.check_model(half, full_check=True)
    assert {types(half)[f"{n}_half"] for n in ("w", "b", "w2", "b2")} == {TensorProto.FLOAT16}
    session = ort.InferenceSession(half.SerializeToString())
    assert [i.type for i in session.get_inputs()] == ["tensor(uint8)"]
    assert [o.type for o in session.get_outputs()] == ["tensor(float)"] * 2
    assert set(kept) == {"squeeze", "sigmoid"}
    assert all(kept.values()), "each with a reason"


def test_the_scores_stay_close_and_the_probability_is_not_rounded_to_half():
    proto = detector(3)
    half, _ = to_half(proto)
    frames = rng.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    due = ort.InferenceSession(proto.SerializeToString()).run(None, {"frames": frames})
    found = ort.InferenceSession(half.SerializeToString()).run(None, {"frames": frames})
    assert np.abs(found[1] - due[1]).max() < 5e-3
    assert np.abs(found[0] - due[0]).max() > 0, "something was rounded"
    # fake is the float32 sigmoid of the logit that is given out
    np.testing.assert_allclose(found[1], 1 / (1 + np.exp(-found[0].astype(np.float64))), atol=1e-7)


def test_a_node_that_is_kept_stays_in_fp32_and_is_named():
    half, kept = to_half(detector(), {"conv": "overflows"})
    assert types(half)["w"] == TensorProto.FLOAT
    assert types(half)["w2_half"] == TensorProto.FLOAT16
    assert kept["conv"] == "overflows"
    onnx.checker.check_model(half, full_check=True)


def test_the_weights_of_a_kept_node_are_not_rounded():
    proto = detector()
    half, _ = to_half(proto, {"conv": "overflows"})

    def weight(model: onnx.ModelProto) -> np.ndarray:
        return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "w"))

    np.testing.assert_array_equal(weight(half), weight(proto))


def test_between_neighbours_in_fp32_nothing_is_rounded():
    half, _ = to_half(detector(), {"conv": "a", "relu": "b", "pool": "c"})
    maker = {output: node for node in half.graph.node for output in node.output}
    for name in ("relu", "pool"):
        node = next(n for n in half.graph.node if n.name == name)
        assert maker[node.input[0]].op_type in ("Conv", "Relu"), "no cast in between"


def test_what_normalises_pixels_stays_in_fp32():
    proto = detector()
    for op, name, position, array in (
        ("Mul", "scale", 2, np.float32([[[[1 / 57]]]])),
        ("Add", "shift", 3, np.float32([[[[-2]], [[-1.9]], [[-1.8]]]])),
    ):
        source = "t" if op == "Mul" else "scaled"
        out = "scaled" if op == "Mul" else "shifted"
        proto.graph.node.insert(position, helper.make_node(op, [source, name], [out], name))
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    next(n for n in proto.graph.node if n.name == "conv").input[0] = "shifted"
    half, kept = to_half(proto)
    onnx.checker.check_model(half, full_check=True)
    assert {"cast", "transpose", "scale", "shift"} < set(kept)
    assert types(half)["scale"] == types(half)["shift"] == TensorProto.FLOAT
    assert types(half)["w_half"] == TensorProto.FLOAT16


def test_a_value_that_both_precisions_read_is_cast_once():
    proto = detector()
    proto.graph.node.insert(3, helper.make_node("Conv", ["t", "w", "b"], ["v2"], "conv_too"))
    proto.graph.node.insert(4, helper.make_node("Add", ["v", "v2"], ["sum"], "sum"))
    next(n for n in proto.graph.node if n.name == "relu").input[0] = "sum"
    for keep in ({"conv": "x"}, {"conv": "x", "conv_too": "x"}, {"sum": "x"}):
        half, _ = to_half(proto, keep)
        onnx.checker.check_model(half, full_check=True)
        casts = [n for n in half.graph.node if n.op_type == "Cast" and n.input[0] == "t"]
        assert len(casts) == (0 if "sum" in keep else 1)


def test_keeping_a_node_that_is_not_there_is_refused():
    with pytest.raises(ExportError, match="no node 'conv_9'"):
        to_half(detector(), {"conv_9": "?"})


def test_a_weight_beyond_half_precision_is_named():
    with pytest.raises(ExportError, match="w does not fit half precision") as caught:
        to_half(detector(1e8))
    assert "65504" in caught.value.why


def test_the_source_graph_is_left_alone():
    proto = detector()
    before = proto.SerializeToString()
    to_half(proto)
    assert proto.SerializeToString() == before
