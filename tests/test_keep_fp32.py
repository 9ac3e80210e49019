"""The bisection finds the nodes that overflow, all of them and no other."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.certificate import FP16_BAR, compare
from export.half_emulation import emulate_half
from export.keep_fp32 import candidates, smallest_set, to_verified_half
from export.precision import to_half
from runtime.errors import ExportError
from zoo.originals import Scores

rng = np.random.default_rng(11)
# bright and dark frames, so that the scores differ
FRAMES = (rng.uniform(0, 1, (24, 8, 8, 3)) * np.linspace(40, 255, 24)[:, None, None, None]).astype(
    np.uint8
)


def overflowing() -> onnx.ModelProto:
    """Six convolutions; the third's output is beyond 65504, the fourth brings it back."""
    rng = np.random.default_rng(13)  # the same graph for each test, whichever ran before
    nodes = [
        helper.make_node("Cast", ["frames"], ["x"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["x"], ["v0"], "transpose", perm=[0, 3, 1, 2]),
    ]
    constants: dict[str, np.ndarray] = {}
    for i in range(1, 7):
        # every weight fits half precision; only the third convolution's sums do not
        scale = {1: 1 / 255, 3: 4e4, 4: 1 / 4e4}.get(i, 1.0)
        weight = rng.uniform(0.2, 1, (4, 3 if i == 1 else 4, 1, 1)) * scale
        constants[f"w{i}"] = weight.astype(np.float32)
        constants[f"b{i}"] = rng.normal(0, 0.1, 4).astype(np.float32)
        nodes.append(
            helper.make_node("Conv", [f"v{i - 1}", f"w{i}", f"b{i}"], [f"c{i}"], f"conv_{i}")
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"v{i}"], f"relu_{i}"))
    constants["dense"] = rng.normal(0, 0.05, (4, 1)).astype(np.float32)
    constants["axis"] = np.int64([1])
    nodes += [
        helper.make_node("GlobalAveragePool", ["v6"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "dense"], ["z"], "matmul"),
        helper.make_node("Squeeze", ["z", "axis"], ["logit"], "squeeze"),
        helper.make_node("Sigmoid", ["logit"], ["fake"], "sigmoid"),
    ]
    graph = helper.make_graph(
        nodes,
        "overflowing",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N"]) for n in ("logit", "fake")],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def scores(proto: onnx.ModelProto) -> Scores:
    session = ort.InferenceSession(proto.SerializeToString())
    return Scores(*session.run(["logit", "fake"], {"frames": FRAMES}))


def judge(proto: onnx.ModelProto):
    reference = scores(proto)

    def passes(half) -> bool:
        found = scores(emulate_half(half))
        return compare(reference, found, FP16_BAR, names=("a", "b")).passed

    return passes


def test_a_layer_that_overflows_stays_in_fp32_and_no_other():
    proto = overflowing()
    reference = scores(proto)
    assert np.ptp(reference.fake) > 0.01, "a constant output would prove nothing"
    passes = judge(proto)
    assert not passes(to_half(proto)[0])
    half, kept = to_verified_half(proto, passes)
    assert passes(half)
    # the sum overflows in the third convolution, is still too large behind its ReLU, and
    # the fourth brings it back
    assert {name for name in kept if name not in ("squeeze", "sigmoid")} == {
        "conv_3",
        "relu_3",
        "conv_4",
    }
    types = {t.name: t.data_type for t in half.graph.initializer}
    assert types["w3"] == types["w4"] == TensorProto.FLOAT
    assert types["w2_half"] == types["w5_half"] == TensorProto.FLOAT16


def test_a_weight_that_does_not_fit_stays_in_fp32_with_that_reason():
    proto = overflowing()
    for tensor in proto.graph.initializer:
        if tensor.name == "w5":
            array = numpy_helper.to_array(tensor).copy()
            array[0, 0] = 1e5
            tensor.CopyFrom(numpy_helper.from_array(array, "w5"))
    half, kept = to_verified_half(proto, lambda half: True)
    assert "100000" in kept["conv_5"]
    assert {t.name: t.data_type for t in half.graph.initializer}["w5"] == TensorProto.FLOAT


def test_nothing_is_kept_where_nothing_has_to_be():
    proto = overflowing()
    _, kept = to_verified_half(proto, lambda half: True)
    assert set(kept) == {"squeeze", "sigmoid"}


def test_what_never_passes_is_refused():
    with pytest.raises(ExportError, match="cannot reach the bar"):
        to_verified_half(overflowing(), lambda half: False)


def test_candidates_are_in_order_and_leave_the_contract_alone():
    names = candidates(overflowing())
    assert names[0] == "transpose"
    assert names[-1] == "matmul"
    assert not {"cast", "squeeze", "sigmoid"} & set(names)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_every_pair_of_needed_nodes_is_found(count):
    nodes = [f"n{i}" for i in range(count)]
    for needed in itertools.chain(
        itertools.combinations(nodes, 1), itertools.combinations(nodes[:12], 2)
    ):
        assert smallest_set(nodes, lambda s, n=needed: set(n) <= set(s)) == list(needed)


def test_three_nodes_far_apart_are_found_and_it_does_not_take_long():
    nodes = [f"n{i}" for i in range(500)]
    trials = 0

    def enough(kept) -> bool:
        nonlocal trials
        trials += 1
        return {"n17", "n250", "n480"} <= set(kept)

    assert smallest_set(nodes, enough) == ["n17", "n250", "n480"]
    assert trials < 60


def test_an_empty_answer_is_not_made_up():
    assert smallest_set(["a", "b"], lambda kept: False) is None
