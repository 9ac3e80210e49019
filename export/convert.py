"""From an original to ONNX as its framework's own exporter writes it.

The result has the framework's own face (normalised floats in, its own head out); the
engine contract comes after, in `export.contract`. Benchmarks use the same plain graph
as a peer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.from_keras import keras_to_onnx
from export.from_torch import torch_to_onnx
from runtime.errors import ExportError, MissingPackageError
from zoo.originals import Original

if TYPE_CHECKING:
    import onnx


def to_plain_onnx(original: Original) -> onnx.ModelProto:
    """The framework's own export: float32 input with a dynamic batch, the network's output.

    Input and output are called ``input`` and ``output``. The layout is the framework's:
    [N, H, W, 3] from Keras, [N, 3, H, W] from torch.

    Raises:
        MissingPackageError: the exporter is not installed.
        ExportError: the exporter failed.
    """
    export = {"keras": keras_to_onnx, "torch": torch_to_onnx}[original.card.framework]
    try:
        return export(original)
    except (MissingPackageError, MemoryError):
        raise
    except Exception as error:
        raise ExportError(
            f"{original.card.name} could not be converted to ONNX",
            f"{type(error).__name__}: {error}",
            "zoo doctor shows the versions that are installed",
        ) from error
