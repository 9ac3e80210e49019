"""A Keras network as a list of steps: what it computes, however it was written down.

An activation is a step of its own, whether it stood inside a convolution or behind it;
networks inside the network are taken apart; what does nothing but in training is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zoo.originals.keras_flat import traverse

#: These do nothing when a network judges.
_IDLE = frozenset(
    """Dropout SpatialDropout2D GaussianNoise GaussianDropout AlphaDropout RandomFlip
    RandomRotation RandomZoom RandomContrast RandomBrightness RandomTranslation""".split()  # noqa: SIM905
)
#: At the input these are told apart, see `keras_whole`.
_SCALERS = frozenset({"Rescaling", "Normalization"})
_SUMS = frozenset({"Add", "Multiply", "Average", "Maximum", "Minimum"})
#: Of a layer's configuration, what has no part in what it computes.
_ASIDE = {"name", "trainable", "dtype", "activation", "momentum", "data_format", "seed"}
ACTIVATION, CONVOLUTIONS = "activation", ("Conv2D", "DepthwiseConv2D", "SeparableConv2D")


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        kind: Keras' name of the layer, or ``activation``.
        facts: what decides what it computes, as text by name.
        inputs: numbers of the steps that it reads; -1 is the network's input.
    """

    kind: str
    facts: tuple[tuple[str, str], ...]
    inputs: tuple[int, ...]


def steps_of(model: Any) -> list[Step]:
    """The steps of a network, each after those that it reads."""
    found: list[Step] = []
    traverse(model, [-1], lambda layer, inputs: _append(layer, inputs, found))
    return found


def signatures(steps: list[Step]) -> list[int]:
    """A number for what each step computes from the network's input, whatever the order."""
    found: list[int] = []
    for step in steps:
        of = [found[i] if i >= 0 else 0 for i in step.inputs]
        inputs = tuple(sorted(of) if step.kind in _SUMS else of)
        found.append(hash((step.kind, step.facts, inputs)))
    return found


def _append(layer: Any, inputs: list[int], found: list[Step]) -> int:
    kind = type(layer).__name__
    if kind in _IDLE or (kind in _SCALERS and inputs == [-1]):
        return inputs[0]
    own = activation_of(layer)
    last = inputs[0]
    if kind not in _ACTIVATION_LAYERS:
        found.append(Step(kind, _facts(layer), tuple(inputs)))
        last = len(found) - 1
    if own is not None:
        found.append(Step(ACTIVATION, (("is", own),), (last,)))
        last = len(found) - 1
    return last


_ACTIVATION_LAYERS = {"Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"}


def activation_of(layer: Any) -> str | None:
    """The activation that a layer is or ends with, ``None`` without one."""
    kind = type(layer).__name__
    if kind in ("ReLU", "LeakyReLU"):
        slope = float(layer.negative_slope)
        ceiling = getattr(layer, "max_value", None)
        shown = f"LeakyReLU of slope {slope:.3g}" if slope else "ReLU"
        if ceiling is not None:
            shown += f" up to {float(ceiling):.3g}"
        threshold = float(getattr(layer, "threshold", 0) or 0)
        return shown + (f" from {threshold:.3g}" if threshold else "")
    if kind == "ELU":
        alpha = float(layer.alpha)
        return "ELU" if alpha == 1 else f"ELU of alpha {alpha:.3g}"
    if kind == "Softmax":
        return "softmax"
    own = getattr(layer, "activation", None)
    if own is None:
        return None
    if hasattr(own, "get_config"):  # a layer in the place of a function
        return activation_of(own) or type(own).__name__
    name = str(own.__name__)
    known = {"relu": "ReLU", "elu": "ELU", "leaky_relu": "LeakyReLU of slope 0.2"}
    return None if name == "linear" else known.get(name, name)


def _facts(layer: Any) -> tuple[tuple[str, str], ...]:
    config = {
        key: value
        for key, value in layer.get_config().items()
        if key not in _ASIDE and not key.endswith(("_initializer", "_regularizer", "_constraint"))
    }
    if config.get("axis") is not None and isinstance(config["axis"], int) and config["axis"] >= 0:
        config["axis"] -= len(layer.output.shape)  # 3 of four is -1
    return tuple(sorted((key, _shown(value)) for key, value in config.items()))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (tuple, list)):
        return " x ".join(map(_shown, value))
    return str(value)
