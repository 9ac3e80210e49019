"""An engine that computes next to nothing: what is left of a call is the cost of calling."""

from __future__ import annotations

from pathlib import Path

from runtime.engine_info import (
    FAKE_NAME,
    INPUT_NAME,
    LOGIT_NAME,
    METADATA_KEY,
    EngineInfo,
    Preprocessing,
    WeightsInfo,
)

_SIZE = 8


def write_least_engine(path: Path) -> Path:
    """Write the mean of 8 x 8 frames as a contract-keeping ``.onnx``, without a sidecar.

    Returns:
        The same path.
    """
    import onnx
    from onnx import TensorProto, helper

    info = EngineInfo(
        network="least",
        title="a mean over 8 x 8 pixels",
        weights=WeightsInfo("none", trained=False),
        preprocessing=Preprocessing(_SIZE, _SIZE, "nearest"),
    )
    batch = ["N"]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [INPUT_NAME], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], [LOGIT_NAME], keepdims=0),
            helper.make_node("Sigmoid", [LOGIT_NAME], [FAKE_NAME]),
        ],
        info.network,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [*batch, _SIZE, _SIZE, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, batch)
            for name in (LOGIT_NAME, FAKE_NAME)
        ],
        [helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    onnx.save(model, path)
    return path
