"""The emulation rounds where a GPU rounds, and ONNX Runtime's own FP16 does not."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from export import certify
from export.certify import emulated_scores
from export.half_emulation import emulate_half
from export.precision import to_half

rng = np.random.default_rng(6)
FRAMES = rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)


def two_layers() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    constants = {
        "w1": rng.normal(0, 1 / 50, (6, 3, 1, 1)).astype(np.float32),
        "b1": np.linspace(-1, 1, 6, dtype=np.float32),
        "w2": rng.normal(0, 1, (1, 6, 4, 4)).astype(np.float32),
        "shape": np.int64([-1]),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["x"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["x"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w1", "b1"], ["c1"], "conv_1"),
        helper.make_node("Relu", ["c1"], ["r1"], "relu_1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "conv_2"),
        helper.make_node("Reshape", ["c2", "shape"], ["logit"], "reshape"),
        helper.make_node("Sigmoid", ["logit"], ["fake"], "sigmoid"),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N"]) for n in ("logit", "fake")],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10), constants


def run(proto: onnx.ModelProto) -> np.ndarray:
    onnx.checker.check_model(proto, full_check=True)
    return ort.InferenceSession(proto.SerializeToString()).run(["logit"], {"frames": FRAMES})[0]


def by_hand(constants: dict[str, np.ndarray], half_first: bool = True) -> np.ndarray:
    """The same in NumPy, every node's result rounded to half."""

    def rounded(array: np.ndarray, on: bool = True) -> np.ndarray:
        return array.astype(np.float16).astype(np.float64) if on else array.astype(np.float64)

    weights, _ = to_half(two[0], {} if half_first else {"conv_1": "test"})
    halves = {
        t.name: numpy_helper.to_array(t).astype(np.float64) for t in weights.graph.initializer
    }
    x = FRAMES.astype(np.float64)
    c1 = rounded(
        np.einsum("nhwc,oc->nohw", x, halves["w1_half" if half_first else "w1"][:, :, 0, 0])
        + halves["b1_half" if half_first else "b1"][:, None, None],
        half_first,
    )
    r1 = rounded(np.maximum(c1, 0))
    return rounded(np.einsum("nchw,chw->n", r1, halves["w2_half"][0]))


two = two_layers()


def test_every_node_s_result_is_rounded():
    found = run(emulate_half(to_half(two[0])[0]))
    np.testing.assert_allclose(found, by_hand(two[1]), rtol=1e-3)
    # and not merely the weights: the scores are halves themselves
    np.testing.assert_array_equal(found, found.astype(np.float16).astype(np.float32))


def test_a_node_that_is_kept_is_not_rounded_but_what_reads_it_is():
    found = run(emulate_half(to_half(two[0], {"conv_1": "test"})[0]))
    np.testing.assert_allclose(found, by_hand(two[1], half_first=False), rtol=1e-3)
    assert np.abs(found - run(emulate_half(to_half(two[0])[0]))).max() > 0


def test_values_beyond_65504_overflow():
    proto, _ = two_layers()
    for tensor in proto.graph.initializer:
        if tensor.name == "w1":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 0 + 300, "w1"))
    assert not np.isfinite(run(emulate_half(to_half(proto)[0]))).all()
    # ONNX Runtime's own half precision on a CPU does not see that
    assert np.isfinite(run(to_half(proto)[0])).any()


def test_the_source_graph_is_left_alone():
    half, _ = to_half(two[0])
    before = half.SerializeToString()
    emulate_half(half)
    assert half.SerializeToString() == before


def test_scores_do_not_depend_on_how_frames_are_shared_out(monkeypatch):
    half, _ = to_half(two[0])
    frames = np.concatenate([FRAMES, FRAMES[::-1], 255 - FRAMES])
    together = emulated_scores(half, frames)
    alone = [emulated_scores(half, frames[i : i + 1]).logit for i in range(len(frames))]
    np.testing.assert_array_equal(together.logit, np.concatenate(alone))
    monkeypatch.setattr(certify, "count_cores", lambda: 1)
    np.testing.assert_array_equal(together.logit, emulated_scores(half, frames).logit)


def test_scores_are_rounded_as_the_graph_says():
    """Sums of another order may end in the half beside: never further, and seldom."""
    half, _ = to_half(two[0])
    found = emulated_scores(half, FRAMES).logit
    due = by_hand(two[1]).astype(np.float16)
    beside = np.abs(np.nextafter(due, np.float16(np.inf)) - due)
    assert np.all(np.abs(found - due) <= beside.astype(np.float32))
    assert np.mean(found == due) >= 0.8


def test_a_graph_without_halves_is_not_rounded():
    found = emulated_scores(two[0], FRAMES).logit
    np.testing.assert_allclose(found, run(two[0]), rtol=1e-6)
    assert np.any(found != found.astype(np.float16).astype(np.float32))


def test_rounding_behind_a_pool_gives_the_bits_of_rounding_everywhere():
    """A ReLU, a pool and a concatenation between two convolutions, and one read past them."""
    weights = {
        "w1": rng.normal(0, 1 / 50, (6, 3, 1, 1)).astype(np.float16),
        "w2": rng.normal(0, 1, (1, 12, 2, 2)).astype(np.float16),
        "w3": rng.normal(0, 1, (1, 6, 2, 2)).astype(np.float16),
        "shape": np.int64([-1]),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["x"], "cast", to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["x"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w1"], ["c1"], "conv_1"),
        helper.make_node("Relu", ["c1"], ["r1"], "relu_1"),
        helper.make_node("Concat", ["r1", "c1"], ["both"], "concat", axis=1),
        helper.make_node("MaxPool", ["both"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w2"], ["c2"], "conv_2"),
        helper.make_node("Conv", ["r1", "w3"], ["c3"], "conv_3", strides=[3, 3]),
        helper.make_node("Add", ["c2", "c3"], ["sum"], "add"),
        helper.make_node("Reshape", ["sum", "shape"], ["z"], "reshape"),
        helper.make_node("Cast", ["z"], ["logit"], "out", to=TensorProto.FLOAT),
    ]
    face = [
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"])],
    ]
    opset = [helper.make_opsetid("", 18)]

    def model(nodes: list[onnx.NodeProto], dtype: type) -> onnx.ModelProto:
        constants = [
            numpy_helper.from_array(a if a.dtype == np.int64 else a.astype(dtype), n)
            for n, a in weights.items()
        ]
        graph = helper.make_graph(nodes, "moves", *face, constants)
        return helper.make_model(graph, opset_imports=opset, ir_version=10)

    everywhere = []  # two casts behind every node, as they would stand without any thought
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.output[0] = f"{node.output[0]}_raw"
        to_float = {"to": TensorProto.FLOAT}
        if copy.op_type == "Cast":
            del copy.attribute[:]
            copy.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
        half = f"{node.output[0]}_half"
        everywhere += [
            copy,
            helper.make_node("Cast", [copy.output[0]], [half], to=TensorProto.FLOAT16),
            helper.make_node("Cast", [half], [node.output[0]], **to_float),
        ]
    emulated = emulate_half(model(nodes, np.float16))
    due = run(model(everywhere, np.float32))
    np.testing.assert_array_equal(run(emulated), due)
    assert np.ptp(due) > 0
    behind = [
        n for n in emulated.graph.node if n.op_type == "Cast" and n.input[0] in ("c1", "both")
    ]
    assert not behind, "the pool leaves a quarter to round"
