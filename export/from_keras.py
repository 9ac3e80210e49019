"""A Keras model to ONNX, with tf2onnx.

This takes the steps of ``tf2onnx.convert.from_function`` one by one, because that holds
every weight some thirty times: InceptionResNetV2, 217 MB, took 10 GB on top of TensorFlow.
Here the weights stay out of TensorFlow's graph (which is freezing as tf2onnx's "large
model" does it), a failing pass is an error instead of a deep copy kept for going back, and
only the passes run that find something in networks of this kind: each of them copies every
weight into memory that is free again only when the whole graph is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from export.exporting import OPSET, quiet
from runtime.errors import ExportError, MissingPackageError, ZooError
from runtime.text import first_line, printable
from zoo.originals import Original

if TYPE_CHECKING:
    import onnx

#: Of ``tf2onnx.optimizer``, in its order.
_PASSES = ("optimize_transpose", "fold_constants", "merge_duplication", "remove_identity")


def keras_to_onnx(original: Original) -> onnx.ModelProto:
    """See `export.convert.to_plain_onnx`.

    Raises:
        ExportError: a network of the user's own has something that tf2onnx does not know.
    """
    try:
        return _converted(original)
    except ZooError:
        raise
    except Exception as error:
        if original.weights.name != "custom":
            raise  # a bug of ours
        raise ExportError(
            f"the network in {printable(original.weights.file or '')} cannot be converted to ONNX",
            first_line(error),
            "leave out of it what prepares images (Resizing, CenterCrop) and save it again",
        ) from error


def _converted(original: Original) -> onnx.ModelProto:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
        import tf2onnx.optimizer
        import tf2onnx.tf_loader
        import tf2onnx.tf_utils
        import tf2onnx.tfonnx
    except ImportError as error:
        raise MissingPackageError(error.name or "tf2onnx", "converting Keras", "keras") from None
    how = original.preprocessing
    model = original.module
    signature = tf.TensorSpec((None, how.height, how.width, 3), tf.float32, name="input")
    function = tf.function(lambda x: tf.identity(model(x, training=False), name="output"))
    with quiet("tf2onnx", "tensorflow"), tf.device("/cpu:0"):
        traced = function.get_concrete_function(signature)
        (output,) = (value.name for value in traced.outputs)
        frozen = tf2onnx.tf_loader.from_function(traced, ["input:0"], [output], large_model=True)
        with tf.Graph().as_default() as graph:
            weights = tf2onnx.tf_utils.compress_graph_def(frozen)
            tf.import_graph_def(frozen, name="")
            converted = tf2onnx.tfonnx.process_tf_graph(
                graph,
                opset=OPSET,
                input_names=["input:0"],
                output_names=[output],
                const_node_values=weights,
            )
        del weights, frozen
        every = tf2onnx.optimizer._get_optimizers()
        passes = {name: every[name] for name in _PASSES}
        converted = tf2onnx.optimizer.optimize_graph(
            converted, catch_errors=False, optimizers=passes
        )
        proto = converted.make_model(original.card.name)
    _rename(proto.graph, {"input:0": "input", proto.graph.output[0].name: "output"})
    return proto  # type: ignore[no-any-return]


def _rename(graph: Any, names: dict[str, str]) -> None:
    """tf2onnx names inputs and outputs after TensorFlow's tensors."""
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for own in (node.input, node.output):
            for index, name in enumerate(own):
                if name in names:
                    own[index] = names[name]
