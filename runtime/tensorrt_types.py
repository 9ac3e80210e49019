"""What is said about TensorRT networks and plans, in plain types of every flavour's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: Sizes of each axis; -1 is a dynamic one.
Shape = tuple[int, ...]


class Flavour(str, Enum):
    """Which of NVIDIA's two libraries; the value is the name of its Python module."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt_rtx"


@dataclass(frozen=True)
class Availability:
    """Whether a flavour can be loaded: its version, or ``None`` and the reason why not."""

    flavour: Flavour
    version: str | None
    reason: str


@dataclass(frozen=True)
class TensorInfo:
    """An input or output: dtype in TensorRT's words (``UINT8``, ``HALF``, ``FLOAT``)."""

    name: str
    dtype: str
    shape: Shape
    is_input: bool


@dataclass(frozen=True)
class LayerInfo:
    """A layer as the parser made it.

    Attributes:
        name: TensorRT's name of the layer, unique in the network.
        node: the ONNX node it came from, which may have become several layers; empty
            for what TensorRT added (constants, broadcasts).
        type: TensorRT's layer type, as ``CONVOLUTION``.
        inputs: names of its input tensors.
        output_types: dtype of each output.
    """

    name: str
    node: str
    type: str
    inputs: tuple[str, ...]
    output_types: tuple[str, ...]


@dataclass(frozen=True)
class Built:
    """A serialised engine, and the timing cache after it (TensorRT, where one was asked for)."""

    plan: bytes
    timing_cache: bytes | None


@dataclass(frozen=True)
class RtxOptions:
    """How TensorRT-RTX runs a plan; TensorRT has neither and looks at neither.

    Attributes:
        runtime_cache: kernels compiled by an earlier process (`Engine.runtime_cache`).
        cuda_graphs: let TensorRT-RTX capture and replay the whole engine by itself.
    """

    runtime_cache: bytes = b""
    cuda_graphs: bool = False
