"""Meso4 and MesoInception4 in Keras, weight-compatible with the published files.

Source: Afchar, Nozick, Yamagishi, Echizen: MesoNet, a compact facial video forgery
detection network, WIFS 2018 (https://github.com/DariusAf/MesoNet). MalayAgr's
variants (https://github.com/MalayAgr/MesoNet-DeepFakeDetection) differ in the
activation of the convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from runtime.errors import WeightsError
from zoo.card import ModelCard
from zoo.originals.keras_arrays import read_keras_file
from zoo.originals.keras_original import KerasOriginal, condition, import_keras
from zoo.originals.original import WeightsChoice

Activation = Literal["relu", "elu", "lrelu"]

#: Keras layers of a saved model that tell which activation follows its convolutions.
_ACTIVATION_LAYERS: dict[str, Activation] = {"ReLU": "relu", "ELU": "elu", "LeakyReLU": "lrelu"}


def _activation_layer(layers: Any, activation: Activation) -> Any:
    if activation == "elu":
        return layers.ELU()
    if activation == "lrelu":
        return layers.LeakyReLU(negative_slope=0.3)  # Keras 2's default, which MalayAgr used
    return layers.ReLU()


def _block(layers: Any, x: Any, filters: int, kernel: int, pool: int, act: Activation) -> Any:
    """Convolution, activation, normalisation, pooling: in that order, as published."""
    x = layers.Conv2D(filters, kernel, padding="same")(x)
    x = _activation_layer(layers, act)(x)
    x = layers.BatchNormalization()(x)
    return layers.MaxPooling2D(pool, padding="same")(x)


def _inception(layers: Any, x: Any, a: int, b: int, c: int, d: int) -> Any:
    """Four branches with dilations 1, 2 and 3, concatenated: a + b + c + d channels."""

    def conv(x: Any, filters: int, kernel: int, dilation: int = 1) -> Any:
        return layers.Conv2D(
            filters, kernel, dilation_rate=dilation, padding="same", activation="relu"
        )(x)

    branches = [conv(x, a, 1)]
    for filters, dilation in ((b, 1), (c, 2), (d, 3)):
        branches.append(conv(conv(x, filters, 1), filters, 3, dilation))
    x = layers.Concatenate(axis=-1)(branches)
    x = layers.BatchNormalization()(x)
    return layers.MaxPooling2D(2, padding="same")(x)


def _classifier(layers: Any, x: Any) -> Any:
    x = layers.Flatten()(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(16)(x)
    x = layers.LeakyReLU(negative_slope=0.1)(x)
    x = layers.Dropout(0.5)(x)
    return layers.Dense(1, activation="sigmoid")(x)


def build_meso4(height: int, width: int, activation: Activation = "relu") -> Any:
    """The Keras model: float32 [N, H, W, 3] in 0..1 to P(real) [N, 1]."""
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input((height, width, 3))
    x = inputs
    for filters, kernel, pool in ((8, 3, 2), (8, 5, 2), (16, 5, 2), (16, 5, 4)):
        x = _block(layers, x, filters, kernel, pool, activation)
    return keras.Model(inputs, _classifier(layers, x), name="meso4")


def build_mesoinception4(height: int, width: int) -> Any:
    """The Keras model: float32 [N, H, W, 3] in 0..1 to P(real) [N, 1]."""
    keras = import_keras()
    layers = keras.layers
    inputs = keras.Input((height, width, 3))
    x = _inception(layers, inputs, 1, 4, 4, 2)
    x = _inception(layers, x, 2, 4, 4, 2)
    x = _block(layers, x, 16, 5, 2, "relu")
    x = _block(layers, x, 16, 5, 4, "relu")
    return keras.Model(inputs, _classifier(layers, x), name="mesoinception4")


def _saved_activation(card: ModelCard, choice: WeightsChoice) -> Activation:
    """The activation of the convolutions: the card's, or what the file's layers say."""
    if choice.card is not None:
        return choice.card.activation
    config = None if choice.path is None else read_keras_file(choice.path).config
    if config is None:  # weights alone do not tell; Afchar's own have ReLU
        return choice.resolve(card).activation
    seen_convolution = False
    for layer in config.get("config", {}).get("layers", []):
        name = layer.get("class_name")
        if name == "Conv2D":
            own = layer.get("config", {}).get("activation")
            if own in ("relu", "elu"):
                return "elu" if own == "elu" else "relu"
            seen_convolution = True
        elif seen_convolution and name in _ACTIVATION_LAYERS:
            return _ACTIVATION_LAYERS[name]
        elif seen_convolution and name == "Flatten":
            break
    raise WeightsError(
        f"{choice.path} is a model of another kind",
        "no ReLU, ELU or LeakyReLU follows its convolutions",
        "zoo show meso4",
    )


def _load(
    card: ModelCard, choice: WeightsChoice, build: Callable[[int, int], Any]
) -> KerasOriginal:
    how = choice.resolve(card).preprocessing
    size = (how.height, how.width)
    keras = import_keras()
    if choice.path is None:
        keras.utils.set_random_seed(choice.seed)
    model = build(*size)
    original = KerasOriginal(card, choice, model)
    if choice.path is None:
        condition(model, size, original.normalise, choice.seed)
    else:
        original.load_weights(choice.path)
    return original


def meso4(card: ModelCard, choice: WeightsChoice) -> KerasOriginal:
    """Meso4 with its weights; see `zoo.originals.load_original`."""
    activation = _saved_activation(card, choice)
    return _load(card, choice, lambda height, width: build_meso4(height, width, activation))


def mesoinception4(card: ModelCard, choice: WeightsChoice) -> KerasOriginal:
    """MesoInception4 with its weights; see `zoo.originals.load_original`."""
    return _load(card, choice, build_mesoinception4)
