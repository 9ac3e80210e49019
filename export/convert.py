"""From an original to ONNX as its framework's own exporter writes it.

The result has the framework's own face (normalised floats in, its own head out); the
engine contract comes after, in `export.contract`. Benchmarks use the same plain graph
as a peer.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runtime.errors import ExportError, MissingPackageError
from zoo.originals import Original

if TYPE_CHECKING:
    import onnx

#: The newest that every consumer here reads: TensorRT 10.16 and later, ONNX Runtime 1.22,
#: and tf2onnx 1.17 writes.
OPSET = 18


def to_plain_onnx(original: Original) -> onnx.ModelProto:
    """The framework's own export: float32 input with a dynamic batch, the network's output.

    Input and output are called ``input`` and ``output``. The layout is the framework's:
    [N, H, W, 3] from Keras, [N, 3, H, W] from torch.

    Raises:
        MissingPackageError: the exporter is not installed.
        ExportError: the exporter failed.
    """
    export = {"keras": _from_keras, "torch": _from_torch}[original.card.framework]
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


def _from_keras(original: Original) -> onnx.ModelProto:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
        import tf2onnx
    except ImportError as error:
        raise MissingPackageError(error.name or "tf2onnx", "converting Keras", "keras") from None
    how = original.preprocessing
    model = original.module
    signature = tf.TensorSpec((None, how.height, how.width, 3), tf.float32, name="input")
    function = tf.function(lambda x: tf.identity(model(x, training=False), name="output"))
    with quiet("tf2onnx", "tensorflow"), _tidy_memory():
        proto, _ = tf2onnx.convert.from_function(function, [signature], opset=OPSET)
    _rename_output(proto)
    return proto  # type: ignore[no-any-return]


def _from_torch(original: Original) -> onnx.ModelProto:
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it and says so badly)
        import torch
    except ImportError as error:
        raise MissingPackageError(error.name or "torch", "converting PyTorch", "torch") from None
    how = original.preprocessing
    module = original.module.eval()
    # Two images: the exporter treats a batch of one as a constant.
    example = torch.zeros(2, 3, how.height, how.width)
    with quiet("torch.onnx", "onnxscript"):
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    proto: Any = program.model_proto
    return proto  # type: ignore[no-any-return]


def _rename_output(proto: onnx.ModelProto) -> None:
    """tf2onnx names the output after the function's structure; call it ``output``."""
    (output,) = proto.graph.output
    old, output.name = output.name, "output"
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = "output"


@contextlib.contextmanager
def _tidy_memory() -> Iterator[None]:
    """Collect tf2onnx's cyclic garbage while it works.

    It holds every weight several times, and Python's collector comes by too rarely while
    millions of older objects are about: InceptionResNetV2 took 13 GB, 6 GB this way.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.collect()


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep the exporters' progress chatter from the user; errors are raised anyway."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
