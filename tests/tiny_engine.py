"""A detector small enough to be computed by hand: the engine contract in eight nodes.

Frames of 8 x 8 pixels go through a convolution, the mean over the frame and a dense
layer. `TinyEngine.reference` computes the same in NumPy and float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.engine_info import (
    METADATA_KEY,
    Artefact,
    EngineInfo,
    Preprocessing,
    WeightsInfo,
    file_sha256,
    sidecar_path,
)

SIZE = 8
CHANNELS = 4

TINY_INFO = EngineInfo(
    network="tiny",
    title="Tiny",
    weights=WeightsInfo("test", trained=True, file="tiny.h5", sha256="0" * 64),
    preprocessing=Preprocessing(SIZE, SIZE, "nearest"),
)


@dataclass(frozen=True)
class TinyWeights:
    """float32: kernel [4, 3, 3, 3], bias [4], dense [4, 1], offset [1]."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    dense: NDArray[np.float32]
    offset: NDArray[np.float32]

    @classmethod
    def seeded(cls, seed: int = 0) -> TinyWeights:
        """Logits of random frames then lie between about -4 and 4."""
        rng = np.random.default_rng(seed)
        kernel = rng.standard_normal((CHANNELS, 3, 3, 3)).astype(np.float32)
        bias = rng.standard_normal(CHANNELS).astype(np.float32)
        dense = 4 * rng.standard_normal((CHANNELS, 1)).astype(np.float32)
        weights = cls(kernel, bias, dense, np.zeros(1, np.float32))
        middle = weights.logit(random_frames(64, seed=seed)).mean()
        return replace(weights, offset=np.asarray([-middle], np.float32))

    @classmethod
    def constant(cls, logit: float) -> TinyWeights:
        """Every frame gets this logit."""
        seeded = cls.seeded()
        return replace(
            seeded, dense=np.zeros_like(seeded.dense), offset=np.asarray([logit], np.float32)
        )

    def logit(self, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The network in NumPy."""
        pixels = frames.astype(np.float64).transpose(0, 3, 1, 2) / 255
        padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = sliding_window_view(padded, (3, 3), axis=(2, 3))  # [N, 3, H, W, 3, 3]
        features = np.einsum("ncyxij,kcij->nkyx", windows, self.kernel.astype(np.float64))
        features = np.maximum(features + self.bias.reshape(1, -1, 1, 1), 0)
        return (features.mean((2, 3)) @ self.dense.astype(np.float64))[:, 0] + self.offset[0]


def random_frames(count: int, *, seed: int = 1) -> NDArray[np.uint8]:
    """uint8 [count, 8, 8, 3], each of another brightness and colour."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(0, 1, (count, 1, 1, 3))
    return (colour * rng.integers(0, 256, (count, SIZE, SIZE, 3))).astype(np.uint8)


def tiny_model(
    weights: TinyWeights,
    *,
    batch: str | int | None = "N",
    frames: str = "frames",
    frames_type: int = TensorProto.UINT8,
    outputs: Sequence[str] = ("logit", "fake"),
    metadata: str | None = None,
) -> onnx.ModelProto:
    """The network in ONNX.

    Args:
        batch: the first axis of the inputs and outputs; a number fixes it.
        frames, frames_type: name and element type of the input.
        outputs: which values the graph gives; "features" is there too.
        metadata: value of the sidecar's metadata entry.
    """
    arrays = {
        "unit": np.asarray(1 / 255, np.float32),
        "kernel": weights.kernel,
        "bias": weights.bias,
        "dense": weights.dense,
        "offset": weights.offset,
        "class_axis": np.asarray([1], np.int64),
        "space": np.asarray([2, 3], np.int64),
    }
    nodes = [
        helper.make_node("Cast", [frames], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["channels_first", "unit"], ["pixels"]),
        helper.make_node("Conv", ["pixels", "kernel", "bias"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Squeeze", ["pool", "space"], ["features"]),
        helper.make_node("Gemm", ["features", "dense", "offset"], ["column"]),
        helper.make_node("Squeeze", ["column", "class_axis"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["fake"]),
    ]
    shapes = {"logit": [batch], "fake": [batch], "features": [batch, CHANNELS]}
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info(frames, frames_type, [batch, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, metadata
    onnx.checker.check_model(model)
    return model


def describe(*engines: Path, info: EngineInfo = TINY_INFO) -> EngineInfo:
    """``info`` with these engine files as its artefacts, as they are on disk."""
    artefacts = {
        path.name: Artefact("onnx", "fp32", path.stat().st_size, file_sha256(path))
        for path in engines
    }
    return replace(info, artefacts=artefacts)


@dataclass(frozen=True)
class TinyEngine:
    """An engine on disk: ``tiny.onnx`` and ``tiny.json``."""

    path: Path
    weights: TinyWeights
    info: EngineInfo

    @property
    def sidecar(self) -> Path:
        """The path of its sidecar."""
        return sidecar_path(self.path)

    @classmethod
    def write(
        cls,
        folder: Path,
        *,
        name: str = "tiny.onnx",
        weights: TinyWeights | None = None,
        info: EngineInfo = TINY_INFO,
    ) -> TinyEngine:
        """Write both files into ``folder``, the sidecar in the metadata too."""
        path = folder / name
        weights = weights or TinyWeights.seeded()
        onnx.save(tiny_model(weights, metadata=info.to_json()), path)
        info = describe(path, info=info)
        sidecar_path(path).write_text(info.to_json(), "utf-8")
        return cls(path, weights, info)

    def reference(
        self, frames: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(logit, fake) of uint8 frames [N, 8, 8, 3] in NumPy, float64 [N]."""
        logit = self.weights.logit(frames)
        return logit, 1 / (1 + np.exp(-logit))
