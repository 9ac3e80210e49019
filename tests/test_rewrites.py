"""Each rewrite on a graph of a few nodes: it applies, and the function stays the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common as passes

from export.rewrite import REWRITES, rewrite
from export.rewrites.affine import (
    affine_into_convolutions,
    batchnorm_to_affine,
    scale_into_convolution,
    shift_behind_pool,
    shift_into_convolution,
)
from export.rewrites.dense import dense_to_gemm, shift_into_dense, tail_into_dense
from export.rewrites.layout import transpose_into_dense, transposes_cancel

Node = tuple[str, list[str], str, dict]
rng = np.random.default_rng(7)


def build(nodes: list[Node], constants: dict[str, np.ndarray], shape: list) -> onnx.ModelProto:
    """A graph from input ``x`` to the last node's output, with the constants given."""
    graph = helper.make_graph(
        [helper.make_node(op, inputs, [out], **attrs) for op, inputs, out, attrs in nodes],
        "few_nodes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a.astype(a.dtype), n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options)
    return session.run(None, {"x": x})[0]


def apply(step: Callable[[ir.Model], int], proto: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    model = passes.ShapeInferencePass()(ir.from_proto(proto)).model
    count = step(model)
    model.graph.sort()
    result = ir.to_proto(model)
    onnx.checker.check_model(result)
    return result, count


def ops(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def f32(*shape: int, low: float = -1, high: float = 1) -> np.ndarray:
    return rng.uniform(low, high, shape).astype(np.float32)


def same_function(before: onnx.ModelProto, after: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    for _ in range(3):
        x = rng.normal(0, 2, shape).astype(np.float32)
        due, found = run(before, x), run(after, x)
        assert due.std() > 1e-3, "a constant output would prove nothing"
        np.testing.assert_allclose(found, due, rtol=2e-5, atol=2e-5 * np.abs(due).max())


CONV = ("Conv", ["x", "w", "b"], "c", {"pads": [1, 1, 1, 1]})


def scale_case(scale: np.ndarray, activation: str = "Relu") -> onnx.ModelProto:
    attrs = {"alpha": 0.3} if activation in ("LeakyRelu", "Elu") else {}
    return build(
        [CONV, (activation, ["c"], "r", attrs), ("Mul", ["r", "s"], "y", {})],
        {"w": f32(4, 3, 3, 3), "b": f32(4), "s": scale.reshape(1, 4, 1, 1)},
        ["N", 3, 8, 8],
    )


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu"])
def test_positive_scale_goes_through_the_activation(activation):
    before = scale_case(f32(4, low=0.1, high=3), activation)
    after, count = apply(scale_into_convolution, before)
    assert count == 1
    assert ops(after) == ["Conv", activation]
    same_function(before, after, (2, 3, 8, 8))


def test_one_negative_scale_leaves_the_layer_as_it_is():
    scale = f32(4, low=0.1, high=3)
    scale[2] = -0.5
    before = scale_case(scale)
    after, count = apply(scale_into_convolution, before)
    assert count == 0
    assert ops(after) == ops(before)


def test_scale_does_not_go_through_an_activation_that_is_not_homogeneous():
    before = scale_case(f32(4, low=0.1, high=3), "Elu")
    assert apply(scale_into_convolution, before)[1] == 0


def test_scale_goes_through_a_concatenation_into_every_branch():
    before = build(
        [
            CONV,
            ("Relu", ["c"], "r", {}),
            ("Conv", ["x", "w2"], "c2", {}),
            ("Concat", ["r", "c2"], "k", {"axis": 1}),
            ("MaxPool", ["k"], "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Mul", ["p", "s"], "y", {}),
        ],
        {
            "w": f32(4, 3, 3, 3),
            "b": f32(4),
            "w2": f32(2, 3, 1, 1),
            "s": f32(1, 6, 1, 1, low=0.2, high=2),
        },
        ["N", 3, 8, 8],
    )
    after, count = apply(scale_into_convolution, before)
    assert count == 1
    assert "Mul" not in ops(after)
    same_function(before, after, (2, 3, 8, 8))


def test_scale_stays_where_something_else_uses_the_convolution():
    before = build(
        [
            CONV,
            ("Mul", ["c", "s"], "m", {}),
            ("Add", ["m", "c"], "y", {}),
        ],
        {"w": f32(4, 3, 3, 3), "b": f32(4), "s": f32(1, 4, 1, 1, low=0.2, high=2)},
        ["N", 3, 8, 8],
    )
    assert apply(scale_into_convolution, before)[1] == 0


def test_a_constant_that_is_not_one_number_a_channel_stays():
    # [4] broadcasts over the width, not over the channels
    before = build(
        [CONV, ("Mul", ["c", "s"], "y", {})],
        {"w": f32(4, 3, 3, 3), "b": f32(4), "s": f32(4, low=0.2, high=2)},
        ["N", 3, 4, 4],
    )
    assert apply(scale_into_convolution, before)[1] == 0


def test_batchnorm_behind_a_convolution_folds_whole():
    before = build(
        [
            ("Conv", ["x", "w"], "c", {}),
            ("BatchNormalization", ["c", "g", "be", "m", "v"], "y", {"epsilon": 1e-3}),
        ],
        {
            "w": f32(4, 3, 3, 3),
            "g": f32(4, low=-2, high=2),
            "be": f32(4),
            "m": f32(4),
            "v": f32(4, low=0.1, high=2),
        },
        ["N", 3, 8, 8],
    )
    affine, count = apply(batchnorm_to_affine, before)
    assert (count, ops(affine)) == (1, ["Conv", "Mul", "Add"])
    same_function(before, affine, (2, 3, 8, 8))
    scaled, _ = apply(scale_into_convolution, affine)
    after, count = apply(shift_into_convolution, scaled)
    assert (count, ops(after)) == (1, ["Conv"])
    same_function(before, after, (2, 3, 8, 8))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_shift_moves_behind_a_maximum(pads):
    before = build(
        [
            ("Add", ["x", "t"], "a", {}),
            ("MaxPool", ["a"], "y", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": pads}),
        ],
        {"t": f32(1, 3, 1, 1, low=-5, high=5)},
        ["N", 3, 8, 8],
    )
    after, count = apply(shift_behind_pool, before)
    assert (count, ops(after)) == (1, ["MaxPool", "Add"])
    same_function(before, after, (2, 3, 8, 8))


def test_input_scale_goes_into_every_convolution_that_reads_it():
    before = build(
        [
            ("Mul", ["x", "s"], "m", {}),
            ("Conv", ["m", "w"], "c", {"pads": [1, 1, 1, 1]}),
            ("Conv", ["m", "w2"], "c2", {}),
            ("Concat", ["c", "c2"], "y", {"axis": 1}),
        ],
        {"s": np.float32([[[[1 / 255]]]]), "w": f32(4, 3, 3, 3), "w2": f32(2, 3, 1, 1)},
        ["N", 3, 8, 8],
    )
    after, count = apply(affine_into_convolutions, before)
    assert (count, ops(after)) == (1, ["Conv", "Conv", "Concat"])
    same_function(before, after, (2, 3, 8, 8))


@pytest.mark.parametrize(
    ("padding", "applies"),
    [
        ({}, 1),
        ({"pads": [0, 0, 0, 0]}, 1),
        ({"auto_pad": "NOTSET", "pads": [0, 0, 0, 0]}, 1),
        ({"auto_pad": "VALID"}, 1),
        ({"pads": [1, 1, 1, 1]}, 0),
        ({"auto_pad": "NOTSET", "pads": [0, 0, 1, 1]}, 0),
        ({"auto_pad": "SAME_UPPER"}, 0),
    ],
)
def test_input_shift_goes_only_where_nothing_is_padded(padding, applies):
    before = build(
        [("Add", ["x", "t"], "a", {}), ("Conv", ["a", "w", "b"], "y", padding)],
        {"t": f32(1, 3, 1, 1), "w": f32(4, 3, 3, 3), "b": f32(4)},
        ["N", 3, 8, 8],
    )
    after, count = apply(affine_into_convolutions, before)
    assert count == applies
    same_function(before, after, (2, 3, 8, 8))


def test_transposes_that_undo_each_other_go_away():
    before = build(
        [
            ("Transpose", ["x"], "t", {"perm": [0, 3, 1, 2]}),
            ("Transpose", ["t"], "u", {"perm": [0, 2, 3, 1]}),
            ("Relu", ["u"], "y", {}),
        ],
        {},
        ["N", 4, 5, 3],
    )
    after, count = apply(transposes_cancel, before)
    assert (count, ops(after)) == (1, ["Relu"])
    same_function(before, after, (2, 4, 5, 3))


def test_transposes_that_do_not_cancel_stay():
    before = build(
        [
            ("Transpose", ["x"], "t", {"perm": [0, 3, 1, 2]}),
            ("Transpose", ["t"], "y", {"perm": [0, 3, 1, 2]}),
        ],
        {},
        ["N", 4, 5, 3],
    )
    assert apply(transposes_cancel, before)[1] == 0


def dense_graph(add_first: bool = False) -> onnx.ModelProto:
    """[Add,] Transpose to channels last, Flatten, MatMul, Add, LeakyRelu, MatMul, Add, Neg."""
    head: list[Node] = [("Add", ["x", "t"], "x2", {})] if add_first else []
    return build(
        [
            *head,
            ("Transpose", ["x2" if add_first else "x"], "u", {"perm": [0, 2, 3, 1]}),
            ("Flatten", ["u"], "f", {"axis": 1}),
            ("MatMul", ["f", "w1"], "m", {}),
            ("Add", ["m", "b1"], "d", {}),
            ("LeakyRelu", ["d"], "l", {"alpha": 0.1}),
            ("MatMul", ["l", "w2"], "m2", {}),
            ("Add", ["b2", "m2"], "d2", {}),
            ("Neg", ["d2"], "y", {}),
        ],
        {
            "t": f32(1, 3, 1, 1),
            "w1": f32(60, 7),
            "b1": f32(7),
            "w2": f32(7, 1),
            "b2": f32(1),
        },
        ["N", 3, 4, 5],
    )


def test_matmul_and_add_become_one_gemm():
    before = dense_graph()
    after, count = apply(dense_to_gemm, before)
    assert (count, ops(after).count("Gemm")) == (2, 2)
    same_function(before, after, (2, 3, 4, 5))


def test_the_matrix_absorbs_the_transpose_and_the_shift():
    before = dense_graph(add_first=True)
    gemm, _ = apply(dense_to_gemm, before)
    straight, count = apply(transpose_into_dense, gemm)
    assert count == 1
    assert "Transpose" not in ops(straight)
    same_function(before, straight, (2, 3, 4, 5))
    shifted, count = apply(shift_into_dense, straight)
    assert count == 1
    assert ops(shifted)[0] == "Flatten"
    same_function(before, shifted, (2, 3, 4, 5))
    after, count = apply(tail_into_dense, shifted)
    assert count == 1
    assert ops(after) == ["Flatten", "Gemm", "LeakyRelu", "Gemm"]
    same_function(before, after, (2, 3, 4, 5))


def test_the_difference_of_two_logits_goes_into_the_last_matrix():
    before = build(
        [
            ("Gemm", ["x", "w", "b"], "z", {"transB": 1}),
            ("MatMul", ["z", "pick"], "y", {}),
        ],
        {"w": f32(2, 9), "b": f32(2), "pick": np.float32([[-1], [1]])},
        ["N", 9],
    )
    gemm, _ = apply(dense_to_gemm, before)
    after, count = apply(tail_into_dense, gemm)
    assert (count, ops(after)) == (1, ["Gemm"])
    same_function(before, after, (5, 9))


def test_all_together_reach_the_smallest_form():
    """A Meso block with its classifier: nothing but the arithmetic is left."""
    before = build(
        [
            ("Mul", ["x", "s0"], "n", {}),
            ("Conv", ["n", "w", "b"], "c", {"pads": [1, 1, 1, 1]}),
            ("Relu", ["c"], "r", {}),
            ("BatchNormalization", ["r", "g", "be", "m", "v"], "bn", {"epsilon": 1e-3}),
            ("MaxPool", ["bn"], "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Transpose", ["p"], "u", {"perm": [0, 2, 3, 1]}),
            ("Flatten", ["u"], "f", {"axis": 1}),
            ("MatMul", ["f", "w1"], "mm", {}),
            ("Add", ["mm", "b1"], "d", {}),
            ("Neg", ["d"], "y", {}),
        ],
        {
            "s0": np.float32([1 / 255]),
            "w": f32(4, 3, 3, 3),
            "b": f32(4),
            "g": f32(4, low=0.5, high=2),
            "be": f32(4),
            "m": f32(4),
            "v": f32(4, low=0.1, high=2),
            "w1": f32(64, 1),
            "b1": f32(1),
        },
        ["N", 3, 8, 8],
    )
    after, applied = rewrite(before)
    assert ops(after) == ["Conv", "Relu", "MaxPool", "Flatten", "Gemm"]
    assert {a.name for a in applied} <= {step.__name__ for step in REWRITES}
    x = rng.normal(0, 100, (3, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-5, atol=1e-5)


def test_every_rewrite_has_a_test_of_its_own():
    here = "".join(p.read_text("utf-8") for p in Path(__file__).parent.glob("test_*rewrite*.py"))
    missing = [step.__name__ for step in REWRITES if f"apply({step.__name__}," not in here]
    assert not missing
