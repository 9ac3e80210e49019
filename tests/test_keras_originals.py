"""Every Keras card against reality, and loading that is strict."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from published import SHARED

from export.samples import find_golden_images, read_samples
from runtime.errors import WeightsError
from runtime.frames import to_frame
from weights.store import locate
from zoo.card import ModelCard, WeightsCard
from zoo.catalog import CARDS, find_card
from zoo.noise import seeded_frames
from zoo.originals import load_original
from zoo.originals.keras_framework import import_keras
from zoo.originals.mesonet import build_meso4, build_mesoinception4
from zoo.recipe import Said

MESO = [card for card in CARDS if card.original.startswith("zoo.originals.mesonet")]
PUBLISHED = [(card, own) for card in MESO for own in card.weights]
FRAMES = seeded_frames(16, 256, 256, 5)


def ids(pair) -> str:
    return f"{pair[0].name}-{pair[1].name}"


@pytest.mark.parametrize("card", MESO, ids=lambda c: c.name)
def test_the_stated_numbers_of_parameters_are_the_true_ones(card):
    model = load_original(card, "random").module
    assert model.count_params() == card.parameters
    assert sum(int(np.prod(v.shape)) for v in model.trainable_weights) == card.trainable


@pytest.mark.weights
@pytest.mark.parametrize("pair", PUBLISHED, ids=ids)
def test_published_weights_load_and_tell_real_from_fake(pair, afchar_images):
    """Polarity on real images: the two forged ones are fake, the two others real."""
    card, own = pair
    original = load_original(card, own.name, download=False)
    assert original.weights.trained
    assert original.weights.sha256 == locate(own.file, download=False).sha256
    paths = find_golden_images()
    scores = original.scores(np.stack([to_frame(p, original.preprocessing) for p in paths]))
    by_name = dict(zip([p.name for p in paths], scores.fake, strict=True))
    # F2F weights were trained on another forgery: only its order is theirs to get right
    forged = np.mean([by_name["df00204.jpg"], by_name["df01254.jpg"]])
    real = np.mean([by_name["real00240.jpg"], by_name["real00772.jpg"]])
    if own.name != "f2f":
        assert forged > 0.5 > real
    for name, golden in own.goldens.items():
        assert 1 - by_name[name] == pytest.approx(golden, abs=1e-5)
    # the log-odds say the same as the probability
    np.testing.assert_allclose(1 / (1 + np.exp(-scores.logit)), scores.fake, atol=2e-6)


@pytest.mark.parametrize("card", MESO, ids=lambda c: c.name)
def test_random_weights_are_seeded_marked_and_say_something(card):
    one, again = (load_original(card, "random", seed=4) for _ in range(2))
    other = load_original(card, "random", seed=5)
    assert not one.weights.trained
    scores = one.scores(FRAMES)
    np.testing.assert_array_equal(scores.logit, again.scores(FRAMES).logit)
    assert np.abs(scores.logit - other.scores(FRAMES).logit).max() > 0.1
    # Of frames like half of those it was conditioned on; of faces it is more, see below.
    assert scores.logit.std() > 0.5
    assert np.abs(scores.logit).max() < 15
    assert scores.fake.min() > 1e-3
    assert (scores.fake >= 0.5).any()
    assert (scores.fake < 0.5).any()


@pytest.mark.weights
@pytest.mark.parametrize("card", MESO, ids=lambda c: c.name)
def test_random_logits_of_real_faces_are_spread_and_not_saturated(card):
    original = load_original(card, "random")
    tar = SHARED / "data" / "afchar-validation.tar"
    logit = original.scores(read_samples(tar, original.preprocessing, limit=32).frames).logit
    assert len(logit) == 32
    assert logit.std() >= 1
    assert np.abs(logit).max() <= 15


def test_the_activation_is_a_parameter_of_the_builder():
    outputs = {}
    for activation in ("relu", "elu", "lrelu"):
        model = build_meso4(64, 64, activation)
        for number, variable in enumerate(model.weights):
            values = np.random.default_rng(number).normal(0.3, 0.2, variable.shape)
            variable.assign(np.abs(values))
        outputs[activation] = np.asarray(model(np.full((1, 64, 64, 3), -0.5, np.float32)))
        kinds = [type(layer).__name__ for layer in model.layers]
        assert {"relu": "ReLU", "elu": "ELU", "lrelu": "LeakyReLU"}[activation] in kinds
    assert len({float(o) for o in map(np.squeeze, outputs.values())}) == 3


# --- files of every layout -------------------------------------------------------------


@pytest.fixture(scope="module")
def trained_like(tmp_path_factory) -> tuple[object, Path]:
    """A Meso4 with odd values in every array, and a folder to save it to."""
    model = build_meso4(256, 256)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([np.abs(rng.normal(0.1, 0.05, w.shape)) for w in layer.get_weights()])
    return model, tmp_path_factory.mktemp("keras")


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
def test_every_layout_that_keras_writes_is_read(trained_like, suffix):
    model, folder = trained_like
    path = folder / f"model{suffix}"
    model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    original = load_original(find_card("meso4"), str(path))
    for mine, theirs in zip(original.module.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert original.weights.name == "custom"


def test_the_activation_of_a_whole_model_is_read_from_it(tmp_path):
    path = tmp_path / "elu.keras"
    build_meso4(256, 256, "elu").save(path)
    model = load_original(find_card("meso4"), str(path)).module
    assert "ELU" in [type(layer).__name__ for layer in model.layers]


def legacy_file(path: Path, change=lambda layers: layers) -> Path:
    """An .h5 as Keras 2 wrote it, from random arrays of Meso4's shapes."""
    rng = np.random.default_rng(0)
    layers: list[tuple[str, dict[str, np.ndarray]]] = []
    for number, (ins, outs, size) in enumerate([(3, 8, 3), (8, 8, 5), (8, 16, 5), (16, 16, 5)]):
        layers.append(
            (f"conv2d_{number}", {"kernel:0": rng.normal(size=(size, size, ins, outs)),
                                  "bias:0": rng.normal(size=outs)})
        )  # fmt: skip
        names = ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0")
        layers.append((f"bn_{number}", {n: np.abs(rng.normal(size=outs)) for n in names}))
    layers.append(("dense_1", {"kernel:0": rng.normal(size=(1024, 16)), "bias:0": np.zeros(16)}))
    layers.append(("dense_2", {"kernel:0": rng.normal(size=(16, 1)), "bias:0": np.zeros(1)}))
    with h5py.File(path, "w") as file:
        layers = change(layers)
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, arrays in layers:
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{a}".encode() for a in arrays]
            for array_name, array in arrays.items():
                group.create_dataset(f"{name}/{array_name}", data=array.astype(np.float32))
    return path


def refused(path: Path, network: str = "meso4") -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        load_original(find_card(network), str(path))
    assert str(path) in str(caught.value), "the message names the file"
    return caught.value


def test_the_legacy_file_of_the_other_tests_is_a_good_one(tmp_path):
    load_original(find_card("meso4"), str(legacy_file(tmp_path / "good.h5")))


def test_a_missing_array_is_named(tmp_path):
    error = refused(legacy_file(tmp_path / "w.h5", lambda layers: layers[:-1]))
    assert "missing: dense" in error.why


def test_an_extra_array_is_named(tmp_path):
    extra = ("dense_9", {"kernel:0": np.zeros((16, 1)), "bias:0": np.zeros(1)})
    error = refused(legacy_file(tmp_path / "w.h5", lambda layers: [*layers, extra]))
    assert "left over: dense_9" in error.why


def test_a_misshapen_array_is_named(tmp_path):
    def change(layers):
        layers[2][1]["kernel:0"] = np.zeros((3, 3, 8, 8))
        return layers

    error = refused(legacy_file(tmp_path / "w.h5", change))
    assert "misshapen: conv2d_1" in error.why
    assert "(3, 3, 8, 8)" in error.why


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, bad):
    def change(layers):
        layers[4][1]["kernel:0"][0, 0, 0, 0] = bad
        return layers

    error = refused(legacy_file(tmp_path / "w.h5", change))
    assert "conv2d_2/kernel:0" in error.why


def converted(path: Path, dtype: str) -> Path:
    """A file of Meso4 with the kernel of one convolution in another type."""
    with h5py.File(legacy_file(path), "r+") as file:
        kernel = file["conv2d_2/conv2d_2/kernel:0"]
        values = kernel[:].astype(dtype)
        del file["conv2d_2/conv2d_2/kernel:0"]
        file["conv2d_2/conv2d_2/kernel:0"] = values
    return path


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("float16", "float16 weights, widened exactly"),
        ("float64", "float64 weights, rounded to float32"),
    ],
)
def test_weights_of_another_precision_are_accepted_and_said(tmp_path, dtype, said):
    path = converted(tmp_path / "w.h5", dtype)
    original = load_original(find_card("meso4"), str(path))
    assert original.weights.source == f"the user's file; {said}"
    with h5py.File(path) as file:
        due = file["conv2d_2/conv2d_2/kernel:0"][:]
    kernels = [w for layer in original.module.layers for w in layer.get_weights() if w.ndim == 4]
    assert kernels[2].dtype == np.float32
    np.testing.assert_array_equal(kernels[2], due.astype(np.float32))


def test_quantised_weights_are_refused(tmp_path):
    error = refused(converted(tmp_path / "w.h5", "int8"))
    assert "conv2d_2/kernel:0 is int8" in error.why


def test_float64_beyond_float32_is_not_finite(tmp_path):
    path = converted(tmp_path / "w.h5", "float64")
    with h5py.File(path, "r+") as file:
        file["conv2d_2/conv2d_2/kernel:0"][0, 0, 0, 0] = 1e300
    assert "1 NaN or infinite" in refused(path).why


def test_another_number_of_classes_is_named(tmp_path):
    def change(layers):
        layers[-1][1].update({"kernel:0": np.zeros((16, 2)), "bias:0": np.zeros(2)})
        return layers

    error = refused(legacy_file(tmp_path / "w.h5", change))
    assert "number of classes" in error.what
    assert "[16, 2]: 2 outputs; Meso4 judges by 1" in error.why


def test_weights_of_another_keras_network_are_refused(tmp_path):
    path = tmp_path / "inception.weights.h5"
    build_mesoinception4(256, 256).save_weights(path)
    error = refused(path)
    assert "MesoInception4" in error.why, "says what the file looks like"


def test_a_truncated_file_is_named(tmp_path):
    whole = legacy_file(tmp_path / "whole.h5").read_bytes()
    path = tmp_path / "cut.h5"
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refused(path).why


@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (b"not weights at all\n", "a text file"),
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        (b"\xff\xd8\xff\xe0" + bytes(600), "an image"),
        (bytes(range(256)) * 8, "no weights file of a known kind"),
    ],
)
def test_a_file_that_is_no_weights_file_is_told_what_it_is(tmp_path, content, looks_like):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    assert looks_like in refused(path).why


def test_a_directory_and_a_missing_name_are_refused(tmp_path):
    assert "directory" in refused(tmp_path).what
    with pytest.raises(WeightsError, match="no weights 'dff'") as caught:
        load_original(find_card("meso4"), "dff")
    assert "df, f2f" in caught.value.why


def test_the_other_meso4_is_recognised_and_refused(tmp_path):
    """DeepfakeBench's and HongguLiu's is another network of the same name."""
    keys = [f"{n}.weight" for n in ("conv1", "conv2", "conv3", "conv4", "bn1", "bn2")]
    keys += ["bn1.bias", "bn2.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    path = tmp_path / "meso4_best.pth"
    with zipfile.ZipFile(path, "w") as archive:
        buffer = io.BytesIO()
        pickle.dump(dict.fromkeys(keys), buffer, protocol=2)
        archive.writestr("meso4/data.pkl", buffer.getvalue())
    assert "DeepfakeBench and HongguLiu" in refused(path).why


class Call:
    """A pickle that makes a folder when it is opened carelessly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_runs_code_is_named_and_not_run(tmp_path):
    path = tmp_path / "evil.h5"
    path.write_bytes(pickle.dumps({"weights": Call(tmp_path / "it_ran")}, protocol=2))
    assert "mkdir" in refused(path).why
    assert not (tmp_path / "it_ran").exists()
    pickle.loads(path.read_bytes())  # the same, run on purpose: it is no dud
    assert (tmp_path / "it_ran").exists()


def test_code_in_a_keras_file_is_not_run(tmp_path):
    """A Lambda layer is a function in the file, which nobody here can judge."""
    keras = import_keras()
    mark, path = tmp_path / "it_ran", tmp_path / "lambda.keras"
    place = str(mark)
    trap = keras.layers.Lambda(lambda x: (open(place, "w").write("ran"), x)[1])  # noqa: SIM115, PTH123
    plain = build_meso4(256, 256)
    keras.Model(plain.input, trap(plain.output)).save(path)
    mark.unlink()  # it ran when the model was built
    assert "Lambda is a function in the file" in refused(path).why
    assert not mark.exists()
    keras.saving.load_model(path, safe_mode=False)  # run on purpose: it is no dud
    assert mark.exists()


def test_fake_index_is_refused_where_there_is_one_output():
    card: ModelCard = find_card("meso4")
    with pytest.raises(WeightsError, match="two outputs"):
        load_original(card, "random", said=Said(fake_index=1))


def test_a_file_of_bare_weights_is_like_those_it_was_trained_as(tmp_path):
    """LeakyReLU instead of ReLU is in no array: a file of weights alone does not tell."""
    theirs = WeightsCard("theirs", "theirs.h5", "somewhere", activation="lrelu")
    card = replace(find_card("meso4"), weights=(theirs,))
    model = build_meso4(256, 256, "lrelu")
    path = tmp_path / "mine.weights.h5"
    load_original(card, "random").module.save_weights(path)
    model.load_weights(path)
    like = load_original(card, str(path), like="theirs")
    values = like.normalise(FRAMES)
    due = model.predict_on_batch(values)
    np.testing.assert_allclose(like.own_scores(values)[0], due, atol=1e-6)
    assert like.weights.like == "theirs"
    plain = load_original(card, str(path))
    assert plain.weights.like is None
    assert np.abs(plain.own_scores(values)[0] - due).max() > 1e-3


def test_a_size_that_does_not_fit_the_dense_layer_is_named(tmp_path):
    """Behind a Flatten each size of frames gives another number of features."""
    path = tmp_path / "mine.weights.h5"
    build_meso4(256, 256).save_weights(path)
    card = find_card("meso4")
    with pytest.raises(WeightsError, match="not of frames of 128 x 128") as caught:
        load_original(card, str(path), said=Said(size=(128, 128)))
    assert "takes 1,024 numbers; frames of that size give 256" in caught.value.why
    said = Said(size=(250, 256), says="fake", scale=1 / 127.5, mean=(1.0,) * 3)
    original = load_original(card, str(path), said=said)
    assert original.preprocessing.height == 250
    assert original.head.says == "fake"
    frames = seeded_frames(3, 250, 256, 1)
    due = original.module.predict_on_batch((frames / 127.5 - 1).astype(np.float32))[:, 0]
    np.testing.assert_allclose(original.scores(frames).fake, due, atol=1e-6)
