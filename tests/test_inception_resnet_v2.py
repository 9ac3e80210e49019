"""InceptionResNetV2 against Keras Applications' own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from published import SHARED

pytest.importorskip("tensorflow")

import onnx_ir as ir
import onnxruntime as ort

import zoo.originals.original as originals
from export.contract import apply_contract
from export.convert import to_plain_onnx
from export.rewrite import rewrite
from export.samples import read_samples
from runtime.engine_info import file_sha256
from runtime.errors import WeightsError
from weights import manifest
from weights.store import LocatedFile
from zoo.catalog import find_card
from zoo.noise import seeded_frames
from zoo.originals import load_original
from zoo.originals.keras_framework import import_keras
from zoo.recipe import Said

pytestmark = pytest.mark.slow
CARD = find_card("inception_resnet_v2")
FRAMES = seeded_frames(4, 299, 299, 11)
#: The same network on the smallest images it takes: all its arrays at a tenth of the cost.
SMALL = replace(CARD, preprocessing=replace(CARD.preprocessing, height=75, width=75))
SMALL_FRAMES = seeded_frames(8, 75, 75, 11)


@pytest.fixture(scope="module")
def ours():
    return load_original(CARD, "random")


def test_the_stated_facts_are_the_true_ones(ours):
    assert ours.module.count_params() == CARD.parameters
    assert sum(int(np.prod(v.shape)) for v in ours.module.trainable_weights) == CARD.trainable
    assert ours.normalise(np.array([[[[0, 255, 51]]]], np.uint8)).ravel() == pytest.approx(
        [-1, 1, -0.6], abs=1e-6
    )


def test_random_weights_are_marked_and_say_something(ours):
    assert not ours.weights.trained
    logit = ours.scores(FRAMES).logit
    assert 0.3 < logit.std() < 8
    assert np.abs(logit).max() < 15


@pytest.fixture(scope="module")
def theirs(ours):
    """Keras Applications' network with a head as its tutorials put it on, same weights."""
    keras = import_keras()
    body = keras.applications.InceptionResNetV2(
        include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3)
    )
    model = keras.Sequential([body, keras.layers.Dense(2, activation="softmax")])
    model.build((None, 299, 299, 3))
    model.set_weights(ours.module.get_weights())
    return model


def test_it_says_what_keras_says(ours, theirs):
    preprocess = import_keras().applications.inception_resnet_v2.preprocess_input
    due = theirs.predict_on_batch(preprocess(FRAMES.astype(np.float32)))
    scores = ours.scores(FRAMES)
    assert due[:, 1].std() > 0.05, "a constant output would prove nothing"
    np.testing.assert_allclose(scores.fake, due[:, 1], atol=1e-5)
    logit = np.log(due[:, 1].astype(np.float64) / due[:, 0])
    np.testing.assert_allclose(scores.logit, logit, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_every_kind_of_file_loads_into_the_same_network(ours, tmp_path, suffix):
    path = tmp_path / f"saved{suffix}"
    save = ours.module.save_weights if suffix == ".weights.h5" else ours.module.save
    save(path)
    loaded = load_original(CARD, str(path), said=Said(fake_index=0))
    assert loaded.weights.trained
    np.testing.assert_allclose(loaded.scores(FRAMES).logit, -ours.scores(FRAMES).logit, atol=1e-6)


def test_nothing_says_which_of_two_outputs_is_fake(ours, tmp_path):
    ours.module.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(WeightsError, match="which of the two outputs"):
        load_original(CARD, str(tmp_path / "a.weights.h5"))


@pytest.mark.weights
def test_random_logits_of_real_faces_are_spread_and_not_saturated(ours):
    tar = SHARED / "data" / "afchar-validation.tar"
    frames = read_samples(tar, ours.preprocessing, limit=32).frames
    logit = ours.scores(frames, batch=8).logit
    assert len(logit) == 32
    assert logit.std() >= 1
    assert np.abs(logit).max() <= 15


def test_the_exported_graph_is_an_inference_graph_with_one_logit():
    """No BatchNorm, no Softmax, no Dropout is left, and it says what the original says."""
    original = load_original(SMALL, "random", said=Said(fake_index=0))
    due = original.scores(SMALL_FRAMES)
    plain = to_plain_onnx(original)
    assert plain.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 0, "any batch"
    model = apply_contract(plain, original.preprocessing, original.normalisation, original.head)
    graph, _ = rewrite(ir.to_proto(model))
    kinds = {node.op_type for node in graph.graph.node}
    assert not kinds & {"BatchNormalization", "Dropout", "Identity", "Softmax", "MatMul", "Neg"}
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    logit, fake = session.run(["logit", "fake"], {"frames": SMALL_FRAMES})
    assert due.fake.std() > 0.05, "a constant output would prove nothing"
    np.testing.assert_allclose(fake, due.fake, atol=1e-5)
    np.testing.assert_allclose(logit, due.logit, rtol=1e-4, atol=1e-3)


def test_a_whole_file_says_its_own_size(tmp_path):
    """Built for small images, it is no network of 299 x 299."""
    model = load_original(SMALL, "random").module
    model.save(tmp_path / "small.keras")
    theirs = load_original(CARD, str(tmp_path / "small.keras"), said=Said(fake_index=0))
    own = theirs.normalise(SMALL_FRAMES)
    due = import_keras().saving.load_model(tmp_path / "small.keras").predict_on_batch(own)
    assert (theirs.preprocessing.height, theirs.preprocessing.width) == (75, 75)
    assert "its own input size is 75 x 75 (InceptionResNetV2: 299 x 299)" in theirs.weights.source
    assert "differs from" not in theirs.weights.source
    assert due[:, 0].std() > 0.05, "a constant output would prove nothing"
    np.testing.assert_allclose(theirs.scores(SMALL_FRAMES).fake, due[:, 0], atol=1e-5)


# --- features of ImageNet ---------------------------------------------------------------

Layers = list[tuple[str, list[np.ndarray]]]


def write_legacy(path: Path, layers: Layers) -> None:
    """A weights file in the layout of Keras 2, in which Keras Applications publishes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, arrays in layers:
            names = [f"{name}/{index}:0" for index in range(len(arrays))]
            file.create_group(name).attrs["weight_names"] = [n.encode() for n in names]
            for own, array in zip(names, arrays, strict=True):
                file[f"{name}/{own}"] = array


@pytest.fixture(scope="module")
def published() -> Layers:
    """The layers with arrays of Keras Applications' network without its top, in order."""
    keras = import_keras()
    keras.utils.set_random_seed(3)
    model = keras.applications.InceptionResNetV2(
        weights=None, include_top=False, input_shape=(299, 299, 3)
    )
    # Fresh BatchNorms are all alike: two that change places would not be seen.
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            shape = layer.get_weights()[0].shape
            values = [rng.normal(0, 0.1, shape), rng.normal(0, 0.1, shape)]
            layer.set_weights([*values, rng.uniform(0.9, 1.1, shape)])
    return [(layer.name, layer.get_weights()) for layer in model.layers if layer.weights]


@pytest.fixture
def imagenet(tmp_path, monkeypatch) -> Path:
    """Where the store says the published file is."""
    path = tmp_path / manifest.entry(CARD.find_weights("imagenet").file).name
    monkeypatch.setattr(
        originals,
        "locate",
        lambda name, download: LocatedFile(path, file_sha256(path), "test", "Keras", "Apache-2.0"),
    )
    return path


def test_a_backbone_gets_a_new_head_and_counts_as_untrained(published, imagenet):
    write_legacy(imagenet, published)
    original, again, other = (load_original(SMALL, "imagenet", seed=seed) for seed in (7, 7, 8))
    assert not original.weights.trained
    assert original.weights.seed == 7
    assert "untrained" in original.weights.source
    assert original.weights.sha256 == file_sha256(imagenet)
    mine = [layer for layer in original.module.layers if layer.weights]
    assert [w.shape for w in mine[-1].get_weights()] == [(1536, 2), (2,)]
    assert len(mine) == len(published) + 1
    for layer, (name, arrays) in zip(mine, published, strict=False):
        for own, due in zip(layer.get_weights(), arrays, strict=True):
            np.testing.assert_array_equal(own, due, name)
    logit = original.scores(SMALL_FRAMES).logit
    assert 0.5 < logit.std() < 8
    assert np.abs(logit).max() < 15
    np.testing.assert_array_equal(again.scores(SMALL_FRAMES).logit, logit)
    assert not np.allclose(other.scores(SMALL_FRAMES).logit, logit)


def test_a_backbone_is_loaded_strictly(published, imagenet):
    write_legacy(imagenet, published[:-1])
    with pytest.raises(WeightsError, match="missing: conv_7b_bn"):
        load_original(SMALL, "imagenet")
    top = ("predictions", [np.zeros((1536, 1000), np.float32), np.zeros(1000, np.float32)])
    write_legacy(imagenet, [*published, top])
    with pytest.raises(WeightsError, match="left over: predictions"):
        load_original(SMALL, "imagenet")
    with pytest.raises(WeightsError, match="number of classes") as refused:
        load_original(SMALL, str(imagenet), said=Said(fake_index=1))
    assert "[1536, 1000]: 1000 outputs; InceptionResNetV2 judges by 2" in refused.value.why


def test_nothing_untrained_is_chosen_for_the_user():
    with pytest.raises(WeightsError, match="no published weights") as refused:
        load_original(CARD)
    assert "imagenet" in refused.value.why
