"""How a Keras network ends: its last Dense, what stands behind it, what comes out."""

from __future__ import annotations

from typing import Any

from runtime.text import printable
from zoo.card import HeadKind
from zoo.originals.keras_arrays import KerasFile
from zoo.originals.keras_config import refusal
from zoo.originals.keras_flat import made_by

#: By a layer's output activation: of one output, and of two.
_HEADS: dict[str, tuple[HeadKind | None, HeadKind | None]] = {
    "sigmoid": ("sigmoid", None),
    "linear": ("logit", "logits"),
    "softmax": (None, "softmax"),
}


def ending(model: Any) -> tuple[Any, Any, list[Any]]:
    """How a flat network ends.

    Returns:
        Its last layer but for activations, which is a Dense or no end of ours; the tensor
        which that reads; and the activations behind it, the last one first.
    """
    behind: list[Any] = []
    layer, inputs = made_by(model.outputs[0])
    while type(layer).__name__ in ("Activation", "Softmax"):
        behind.append(layer)
        layer, inputs = made_by(inputs[0])
    return layer, inputs[0], behind


def head_of(file: KerasFile, model: Any) -> tuple[HeadKind, list[str]]:
    """How a network ends: the kind of its head, and a note where that is no certainty.

    Raises:
        WeightsError: it does not end in a Dense of one or two outputs.
    """
    shape = list(model.outputs[0].shape)[1:]
    dense, _, behind = ending(model)
    if type(dense).__name__ != "Dense":
        raise refusal(file, [f"it ends in {type(dense).__name__} '{dense.name}'; a Dense is due"])
    activations = [name for name in map(_activation_of, (*behind, dense)) if name != "linear"] or [
        "linear"
    ]
    kinds = _HEADS.get(activations[0], (None, None)) if len(activations) == 1 else (None, None)
    kind = kinds[shape[0] - 1] if shape in ([1], [2]) else None
    if kind is None:
        shown = " and ".join(reversed(activations))
        raise refusal(file, [f"its output '{dense.name}' is {shape} after {shown}"])
    if kind not in ("logit", "logits"):
        return kind, []
    loss = file.training.get("loss")
    loss = loss.get("class_name", "") if isinstance(loss, dict) else loss
    trained = f", trained with {printable(str(loss))[:60]}" if loss else ""
    return kind, [f"its output has no activation and is taken for logits{trained}"]


def _activation_of(layer: Any) -> str:
    if type(layer).__name__ == "Softmax":
        return "softmax"
    own = layer.activation
    return str(getattr(own, "__name__", type(own).__name__))
