"""Meso4 and MesoInception4 in Keras, weight-compatible with the published files.

Source: Afchar, Nozick, Yamagishi, Echizen: MesoNet, a compact facial video forgery
detection network, WIFS 2018 (https://github.com/DariusAf/MesoNet). MalayAgr's
variants (https://github.com/MalayAgr/MesoNet-DeepFakeDetection) differ in the
activation of the convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from zoo.card import ModelCard
from zoo.originals.keras_files import open_file
from zoo.originals.keras_framework import import_keras
from zoo.originals.keras_original import KerasOriginal, condition
from zoo.originals.original import WeightsChoice

Activation = Literal["relu", "elu", "lrelu"]


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


def _load(
    card: ModelCard,
    choice: WeightsChoice,
    build: Callable[[int, int], Any],
) -> KerasOriginal:
    if choice.file is not None:
        return open_file(card, choice, build)
    how = choice.resolve(card).preprocessing
    size = (how.height, how.width)
    import_keras().utils.set_random_seed(choice.seed)
    model = build(*size)
    original = KerasOriginal(card, choice, model)
    condition(model, size, original.normalise, choice.seed)
    return original


def meso4(card: ModelCard, choice: WeightsChoice) -> KerasOriginal:
    """Meso4 with its weights; see `zoo.originals.load_original`.

    Which activation follows the convolutions is in no array: of a file of arrays alone the
    card says it, or that of the weights that the file is like.
    """
    published = choice.card or choice.like
    activation: Activation = "relu" if published is None else published.activation
    return _load(card, choice, lambda h, w: build_meso4(h, w, activation))


def mesoinception4(card: ModelCard, choice: WeightsChoice) -> KerasOriginal:
    """MesoInception4 with its weights; see `zoo.originals.load_original`."""
    return _load(card, choice, build_mesoinception4)
