"""A whole Keras file is the original itself: what is exported says what Keras says of it."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

pytest.importorskip("tensorflow")

import onnxruntime as ort

from export.contract import apply_contract
from export.convert import to_plain_onnx
from export.rewrite import rewrite
from runtime.errors import WeightsError
from zoo.catalog import find_card
from zoo.noise import seeded_frames
from zoo.originals import Original, load_original
from zoo.originals.keras_framework import import_keras
from zoo.recipe import Said

CARD = find_card("meso4")
SIDE = 64
FRAMES = seeded_frames(8, SIDE, SIDE, 3)
NUMBERS = itertools.count()
keras = import_keras()
layers = keras.layers


def meso4(
    *,
    side: int = SIDE,
    first: tuple[Any, ...] = (),
    pool: Any = layers.MaxPooling2D,
    act: Callable[[], Any] = layers.ReLU,
    dense: Callable[[], Any] = lambda: layers.LeakyReLU(negative_slope=0.1),
    epsilon: float = 1e-3,
    norm_first: bool = False,
    dilation: int = 1,
    padding: str = "same",
    end: tuple[Any, ...] = (),
) -> Any:
    """Afchar's Meso4, with one thing or another changed, and odd numbers in every array."""
    parts: list[Any] = [keras.Input((side, side, 3)), *first]
    for filters, kernel, size in ((8, 3, 2), (8, 5, 2), (16, 5, 2), (16, 5, 4)):
        parts.append(layers.Conv2D(filters, kernel, padding=padding, dilation_rate=dilation))
        between = [act(), layers.BatchNormalization(epsilon=epsilon)]
        parts += between[::-1] if norm_first else between
        parts.append(pool(size, padding="same"))
    parts += [layers.Flatten(), layers.Dropout(0.5), layers.Dense(16), dense()]
    parts += end or (layers.Dense(1, activation="sigmoid"),)
    model = keras.Sequential(parts)
    randomise(model)
    return model


def randomise(model: Any) -> None:
    """Weights with which each of those changes shows, and logits that are spread."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "BatchNormalization":
            size = layer.gamma.shape
            bounds = ((0.5, 1.5), (-0.5, 0.5), (-0.1, 0.3), (1e-3, 0.02))
            layer.set_weights([rng.uniform(*bound, size) for bound in bounds])
        elif kind in ("Conv2D", "Dense"):
            kernel, bias = layer.get_weights()
            fan = np.prod(kernel.shape[:-1])
            layer.set_weights(
                [rng.normal(0, 0.6 / np.sqrt(fan), kernel.shape), rng.normal(0, 0.1, bias.shape)]
            )
    head = [layer for layer in model.layers if type(layer).__name__ == "Dense"][-1]
    kernel, bias = head.get_weights()
    side = model.inputs[0].shape[1]
    features = keras.Model(model.inputs[0], head.input).predict_on_batch(
        seeded_frames(16, side, side, 9).astype(np.float32) / np.float32(255)
    )
    logits = np.asarray(features) @ kernel
    head.set_weights([kernel * 2 / logits.std(0), -logits.mean(0) * 2 / logits.std(0)])


def engine_of(original: Original) -> Callable[[np.ndarray], np.ndarray]:
    """P(fake) as the exported graph says it."""
    model = apply_contract(
        to_plain_onnx(original), original.preprocessing, original.normalisation, original.head
    )
    import onnx_ir as ir

    graph, _ = rewrite(ir.to_proto(model))
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda frames: session.run(["fake"], {"frames": frames})[0]


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "average pooling": (
        {"pool": layers.AveragePooling2D},
        "4 AveragePooling2D (Meso4: none); no MaxPooling2D (Meso4: 4)",
    ),
    "normalisation first": (
        {"norm_first": True},
        "behind its convolutions: normalisation then activation then pooling"
        " (Meso4: activation then normalisation then pooling)",
    ),
    "epsilon": ({"epsilon": 1e-5}, "BatchNormalization epsilon: 1e-05 (Meso4: 0.001)"),
    "leaky convolutions": (
        {"act": lambda: layers.LeakyReLU(negative_slope=0.1)},
        "the activation of its convolutional layers: LeakyReLU of slope 0.1 (Meso4: ReLU)",
    ),
    "dense slope": (
        {"dense": lambda: layers.LeakyReLU(negative_slope=0.3)},
        "the activation of its dense layers: LeakyReLU of slope 0.3 (Meso4: LeakyReLU of"
        " slope 0.1)",
    ),
    "dense relu": (
        {"dense": layers.ReLU},
        "the activation of its dense layers: ReLU (Meso4: LeakyReLU of slope 0.1)",
    ),
    "dilation": ({"dilation": 2}, "Conv2D dilation: 2 x 2 (Meso4: 1 x 1)"),
    "rescaling inside": (
        {"end": (layers.Rescaling(0.5), layers.Dense(1, activation="sigmoid"))},
        "1 Rescaling (Meso4: none)",
    ),
    "padding": ({"padding": "valid", "side": 128}, "Conv2D padding: valid (Meso4: same)"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_in_a_whole_file_is_exported_and_named(change, tmp_path):
    what, said = CHANGES[change]
    path = tmp_path / "theirs.keras"
    model = meso4(**what)
    model.save(path)
    side = model.inputs[0].shape[1]
    frames = seeded_frames(8, side, side, 3)
    original = load_original(CARD, str(path))
    assert original.weights.source == (
        f"the user's file; exported as it is; differs from Meso4: {said}; its own input size is"
        f" {side} x {side} (Meso4: 256 x 256)"
    )
    assert original.weights.own_network
    theirs = keras.saving.load_model(path, compile=False)
    due = 1 - theirs.predict_on_batch(frames.astype(np.float32) / np.float32(255))[:, 0]
    assert due.std() > 0.01, "a constant output would prove nothing"
    np.testing.assert_allclose(original.scores(frames).fake, due, atol=1e-5)
    np.testing.assert_allclose(engine_of(original)(frames), due, atol=1e-5)
    # The card's own network with these arrays says something else: the certificate would
    # not have seen it.
    if side == SIDE:
        ours = meso4()
        ours.set_weights(model.get_weights())
        wrong = 1 - ours.predict_on_batch(frames.astype(np.float32) / np.float32(255))[:, 0]
        assert np.abs(wrong - due).max() > 1e-3


def pool_of_a_name_of_its_own(size: int, padding: str) -> Any:
    return layers.MaxPooling2D(size, padding=padding, name=f"halve_{next(NUMBERS)}_times")


def exported(path: Path, fake_index: int | None = None, scale: float = 1 / 255) -> Original:
    """Load a file, and see that its engine says what Keras says of it."""
    original = load_original(CARD, str(path), said=Said(fake_index=fake_index))
    how = original.preprocessing
    frames = seeded_frames(8, how.height, how.width, 3)
    theirs = keras.saving.load_model(path, compile=False)
    out = theirs.predict_on_batch(frames.astype(np.float32) * np.float32(scale))
    if original.head.kind in ("logit", "logits"):
        out = out[:, :1] - out[:, 1:] if out.shape[1] == 2 else out
        out = np.concatenate([1 / (1 + np.exp(-out)), 1 / (1 + np.exp(out))], axis=1)
    due = out[:, fake_index] if fake_index is not None else 1 - out[:, 0]
    assert due.std() > 0.01, "a constant output would prove nothing"
    np.testing.assert_allclose(original.scores(frames).fake, due, atol=1e-5)
    np.testing.assert_allclose(engine_of(original)(frames), due, atol=1e-5)
    return original


@pytest.mark.parametrize(
    ("end", "kind", "fake_index"),
    [
        ((layers.Dense(1), layers.Activation("sigmoid")), "sigmoid", None),
        ((layers.Dense(1),), "logit", None),
        ((layers.Dense(2, activation="softmax"),), "softmax", 0),
        ((layers.Dense(2), layers.Softmax()), "softmax", 1),
        ((layers.Dense(2),), "logits", 1),
    ],
    ids=["one and Activation", "one logit", "softmax", "two and Softmax", "two logits"],
)
def test_the_head_is_the_files_own(end, kind, fake_index, tmp_path):
    meso4(end=end).save(tmp_path / "theirs.keras")
    original = exported(tmp_path / "theirs.keras", fake_index)
    assert original.head.kind == kind
    assert original.weights.own_network == (kind != "sigmoid")
    assert original.head.says == ("real" if fake_index is None else None)
    assert ("is taken for logits" in original.weights.source) == kind.startswith("logit")


def test_of_two_outputs_somebody_has_to_say_which_is_fake(tmp_path):
    meso4(end=(layers.Dense(2, activation="softmax"),)).save(tmp_path / "theirs.keras")
    with pytest.raises(WeightsError, match="which of the two outputs"):
        load_original(CARD, str(tmp_path / "theirs.keras"))
    meso4().save(tmp_path / "one.keras")
    with pytest.raises(WeightsError, match="--fake-index is for two outputs"):
        load_original(CARD, str(tmp_path / "one.keras"), said=Said(fake_index=1))


@pytest.mark.parametrize(
    ("first", "scale", "said"),
    [
        (layers.Rescaling(1 / 255), 1.0, "Rescaling, factor 0.00392): taken as 0..255"),
        (layers.Rescaling(1 / 127.5, offset=-1), 1.0, "factor 0.00784): taken as 0..255"),
        (layers.Rescaling(2.0, offset=-1.0), 1 / 255, "factor 2): taken as 0..1"),
        (
            layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 4000.0, 4900.0]),
            1.0,
            "Normalization, factor 0.0167): taken as 0..255",
        ),
    ],
    ids=["/255", "-1..1", "of 0..1", "mean and variance"],
)
def test_scaling_inside_the_network_is_not_done_twice(first, scale, said, tmp_path):
    meso4(first=(first,)).save(tmp_path / "theirs.keras")
    original = exported(tmp_path / "theirs.keras", scale=scale)
    assert said in original.weights.source
    assert "differs from" not in original.weights.source
    assert original.normalisation.scale == scale


def test_a_network_inside_the_network_is_taken_apart(tmp_path):
    """As tutorials put a head on a body; all its layers are seen."""
    whole = meso4()
    body = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *whole.layers[:-3]], name="body")
    body.trainable = False  # which changes the order of its arrays in an .h5
    head = keras.Sequential([keras.Input((64,)), *whole.layers[-3:]], name="head")
    inputs = keras.Input((SIDE, SIDE, 3))
    nested = keras.Model(inputs, head(body(inputs)))
    for name in ("theirs.keras", "theirs.h5"):
        nested.save(tmp_path / name)
        original = exported(tmp_path / name)
        assert "differs" not in original.weights.source
        assert not any(hasattr(layer, "layers") for layer in original.module.layers)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({}, ""),
        ({"pool": pool_of_a_name_of_its_own}, ""),
        ({"pool": layers.AveragePooling2D}, "4 average_pooling2d (Meso4: none)"),
        ({"norm_first": True}, "an activation behind a normalisation (Meso4: before it)"),
    ],
    ids=["none", "names of its own", "average pooling", "normalisation first"],
)
def test_arrays_alone_may_tell_by_their_names_that_they_are_of_another_network(
    what, said, tmp_path
):
    """Keras 2's layout lists all layers, by their classes' names."""
    path = tmp_path / "theirs.h5"
    meso4(**what, side=256).save(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    if not said:
        load_original(CARD, str(path))
        return
    with pytest.raises(WeightsError, match="of another network than Meso4") as caught:
        load_original(CARD, str(path))
    assert said in caught.value.why


@pytest.mark.weights
@pytest.mark.parametrize(
    ("network", "name", "said"),
    [
        ("meso4", "users/yiercodee_sequential.h5", "dense layers: ReLU (Meso4: LeakyReLU"),
        ("meso4", "users/sambitb_functional.h5", "normalisation then activation then pooling"),
        ("mesoinception4", "users/nviable_MesoInception-f2f.best_2.h5", ""),
        ("meso4", "model1_18epochs_valacc0.9252.hdf5", ""),
    ],
)
def test_files_that_people_published_are_exported_as_keras_reads_them(
    network, name, said, weights_dir
):
    path = weights_dir / name
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Argument `alpha`")  # Keras 2's, which it renamed
        original = load_original(find_card(network), str(path))
    assert said in original.weights.source
    assert ("differs from" in original.weights.source) == bool(said)
    frames = seeded_frames(4, 256, 256, 3)
    theirs = keras.saving.load_model(path, compile=False)
    due = 1 - theirs.predict_on_batch(original.normalise(frames))[:, 0]
    np.testing.assert_allclose(original.scores(frames).fake, due, atol=1e-6)
    np.testing.assert_allclose(engine_of(original)(frames), due, atol=1e-5)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("umit_custom_layers.keras", ("SEBlock", "SelfAttention", "2 inputs", "[30, 105]")),
        ("daksh_sequence.keras", ("LSTM", "2 inputs", "[20, 2048]")),
    ],
)
def test_files_that_people_published_are_refused_by_name(name, said, weights_dir):
    with pytest.raises(WeightsError) as caught:
        load_original(CARD, str(weights_dir / "users" / name))
    assert all(word in caught.value.why for word in said)
