"""Engines and their sidecars."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from . import good, hostile


@cache
def engine_files() -> Mapping[str, bytes]:
    """``tiny.onnx`` and ``tiny.json``, which fit."""
    from tiny_engine import TinyEngine

    with tempfile.TemporaryDirectory() as folder:
        engine = TinyEngine.write(Path(folder))
        return {path.name: path.read_bytes() for path in (engine.path, engine.sidecar)}


def engine() -> bytes:
    """An engine in eight nodes."""
    return engine_files()["tiny.onnx"]


def sidecar() -> bytes:
    """Its sidecar."""
    return engine_files()["tiny.json"]


def sidecar_of_plan() -> bytes:
    """That of a plan."""
    data = json.loads(sidecar())
    data["artefacts"] = {"tiny.plan": {"kind": "plan", "precision": "fp16", "bytes": 4,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}}  # fmt: skip
    data["builder"] = {"flavour": "tensorrt_rtx", "version": "1.4.0.76", "target": [],
        "min_batch": 1, "opt_batch": 8, "max_batch": 32, "layers": {}}  # fmt: skip
    return json.dumps(data).encode()


def sidecar_with_escapes() -> bytes:
    """Its texts drive a terminal."""
    data = json.loads(sidecar())
    data["\x1b]0;owned\x07"] = 1
    return json.dumps(data).encode()


def sidecar_of_400_digits() -> bytes:
    """A threshold that no float holds."""
    return sidecar().replace(b'"threshold": 0.5', b'"threshold": 1' + b"0" * 400)


def _model(change: Callable[[Any], None]) -> bytes:
    import onnx

    model = onnx.load_model_from_string(engine())
    change(model)
    return bytes(model.SerializeToString())


def engine_external_data() -> bytes:
    """A constant that lies in a pipe."""

    def change(model: Any) -> None:
        tensor = model.graph.initializer[1]
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        for key, value in (("location", "pipe"), ("offset", "0"), ("length", "432")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return _model(change)


def engine_loops() -> bytes:
    """A graph that loops for ever."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    def change(model: Any) -> None:
        body = helper.make_graph(
            [helper.make_node("Identity", ["go"], ["go_on"]),
             helper.make_node("Add", ["was", "unit"], ["is"])],
            "body",
            [helper.make_tensor_value_info("n", TensorProto.INT64, []),
             helper.make_tensor_value_info("go", TensorProto.BOOL, []),
             helper.make_tensor_value_info("was", TensorProto.FLOAT, None)],
            [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
             helper.make_tensor_value_info("is", TensorProto.FLOAT, None)],
        )  # fmt: skip
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        at = next(i for i, n in enumerate(model.graph.node) if n.output[0] == "logit")
        model.graph.node[at].input[0] = "more"
        loop = helper.make_node("Loop", ["", "yes", "column"], ["more"], body=body)
        model.graph.node.insert(at, loop)

    return _model(change)


def engine_of_wrong_numbers() -> bytes:
    """Its P(fake) is 1e31."""
    import numpy as np
    from onnx import numpy_helper

    def change(model: Any) -> None:
        large = numpy_helper.from_array(np.array(1e31, np.float32), "large")
        model.graph.initializer.append(large)
        last = model.graph.node[-1]
        last.op_type = "Mul"
        last.input.append("large")

    return _model(change)


def engine_odd_metadata() -> bytes:
    """Metadata that is not UTF-8."""
    return _model(lambda m: m.metadata_props.add(key="xxxx", value="yyyy")).replace(
        b"yyyy", b"\xff\xfe\xfd\xfc"
    )


ONNX = good(engine) + hostile(
    engine_external_data, engine_loops, engine_of_wrong_numbers,
    engine_odd_metadata,
)  # fmt: skip
SIDECARS = good(sidecar) + hostile(sidecar_with_escapes, sidecar_of_400_digits)
