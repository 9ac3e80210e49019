"""Keras Applications' InceptionResNetV2, pooled, with two softmax outputs.

Architecture: Szegedy, Ioffe, Vanhoucke, Alemi, arXiv:1602.07261; the network of Keras
Applications without its top, global average pooling and one Dense behind it.
"""

from __future__ import annotations

from typing import Any

from zoo.card import ModelCard
from zoo.originals.calibration import calibration_frames
from zoo.originals.keras_arrays import read_keras_file
from zoo.originals.keras_files import open_file
from zoo.originals.keras_framework import import_keras
from zoo.originals.keras_original import KerasOriginal, condition, condition_head
from zoo.originals.original import WeightsChoice


def build_inception_resnet_v2(height: int, width: int) -> Any:
    """The Keras model: float32 [N, H, W, 3] in -1..1 to two probabilities [N, 2]."""
    keras = import_keras()
    body = keras.applications.InceptionResNetV2(
        include_top=False, weights=None, pooling="avg", input_shape=(height, width, 3)
    )
    head = keras.layers.Dense(2, activation="softmax")(body.output)
    return keras.Model(body.input, head, name="inception_resnet_v2")


def inception_resnet_v2(card: ModelCard, choice: WeightsChoice) -> KerasOriginal:
    """InceptionResNetV2 with its weights; see `zoo.originals.load_original`.

    A backbone has all of it but the head; a seeded one is put on.
    """
    if choice.file is not None and not choice.backbone:
        return open_file(card, choice, build_inception_resnet_v2)
    how = choice.resolve(card).preprocessing
    size = (how.height, how.width)
    keras = import_keras()
    keras.utils.set_random_seed(choice.seed)
    model = build_inception_resnet_v2(*size)
    original = KerasOriginal(card, choice, model)
    if choice.file is None:
        condition(model, size, original.normalise, choice.seed)
        return original
    features = keras.Model(model.inputs, model.layers[-1].input)
    original.load_weights(read_keras_file(choice.file), features)
    frames = calibration_frames(*size, seed=choice.seed + 1)
    condition_head(model, original.normalise(frames))
    return original
