"""InceptionResNetV2 against Keras Applications' own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from runtime.errors import WeightsError
from zoo.catalog import find_card
from zoo.noise import seeded_frames
from zoo.originals import load_original
from zoo.originals.keras_original import import_keras

pytestmark = pytest.mark.slow
CARD = find_card("inception_resnet_v2")
FRAMES = seeded_frames(4, 299, 299, 11)


@pytest.fixture(scope="module")
def ours():
    return load_original(CARD, "random", seed=2)


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
    loaded = load_original(CARD, str(path), fake_index=0)
    assert loaded.weights.trained
    np.testing.assert_allclose(loaded.scores(FRAMES).logit, -ours.scores(FRAMES).logit, atol=1e-6)


def test_nothing_says_which_of_two_outputs_is_fake(ours, tmp_path):
    ours.module.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(WeightsError, match="which of the two outputs"):
        load_original(CARD, str(tmp_path / "a.weights.h5"))
