"""What a Keras file's own network may not be, and that everything in the way is named."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tensorflow")

from export import from_keras
from runtime.engine_info import WeightsInfo
from runtime.errors import ExportError, MissingPackageError, WeightsError
from zoo.catalog import find_card
from zoo.originals import load_original
from zoo.originals.keras_framework import import_keras
from zoo.originals.mesonet import build_mesoinception4

keras = import_keras()
layers = keras.layers


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A whole file of a small network, whose description tests change."""
    path = tmp_path_factory.mktemp("keras") / "small.keras"
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    x = layers.Flatten(name="flat")(x)
    keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="out")(x)).save(path)
    return path


def refused(path: Path, network: str = "meso4") -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        load_original(find_card(network), str(path))
    assert str(path) in caught.value.what
    assert "\n" not in caught.value.why
    return caught.value


def changed(small: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The file with its description changed; ``change`` is given it and layers by name."""
    with zipfile.ZipFile(small) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            target.writestr(name, content)
    return path


def layer(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(own for own in config["config"]["layers"] if own["config"]["name"] == name)


def set_in(name: str, **settings: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: layer(config, name)["config"].update(settings)


def of_class(name: str, **settings: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: layer(config, name).update(settings)


TRAINING = {"training": True}
EVIL = {"module": "os", "class_name": "system", "config": "true", "registered_name": "system"}
CASES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a custom layer": (of_class("norm", class_name="SEBlock", module=None), "'norm': SEBlock"),
    "a layer of another module": (of_class("norm", module="os.path"), "'norm': BatchNormal"),
    "recurrent": (of_class("norm", class_name="LSTM"), "layer 'norm': LSTM"),
    "bytecode": (
        of_class("norm", class_name="Lambda", config={"name": "norm", "function": {}}),
        "'norm': Lambda is a function in the file",
    ),
    "a function of another module": (set_in("conv", activation=EVIL), "'conv': activation system"),
    "an unknown activation": (set_in("conv", activation="swoosh"), "'conv': activation swoosh"),
    "an object among the settings": (set_in("conv", filters=EVIL), "a system"),
    "channels first": (set_in("conv", data_format="channels_first"), "'conv': channels_first"),
    "as in training": (
        lambda config: layer(config, "drop")["inbound_nodes"][0]["kwargs"].update(TRAINING),
        "layer 'drop' is called as in training",
    ),
    "quantised": (set_in("conv", quantization_config={"class_name": "Int8"}), "is quantised"),
    "of another type": (
        set_in("conv", dtype={"class_name": "DTypePolicy", "config": {"name": "int8"}}),
        "layers of type int8",
    ),
    "grey": (set_in("image", batch_shape=[None, 8, 8, 1]), "'image' is [8, 8, 1]"),
    "a sequence": (set_in("image", batch_shape=[None, 20, 2048]), "'image' is [20, 2048]"),
    "huge": (set_in("image", batch_shape=[None, 9000, 8, 3]), "at most 2048 a side"),
    "many weights": (
        set_in("out", units=2_000_000_000),
        "it describes a network of 290,000,000,128 numbers and holds 273",
    ),
    "other weights": (set_in("out", units=2), "and holds 273"),
    "a model of its own class": (of_class("norm", class_name="Deepfake"), "'norm': Deepfake"),
    "not as Keras writes it": (lambda config: config.update(config=[3]), "not as Keras writes"),
    "nothing": (lambda config: config.clear(), "not as Keras writes it"),
    "an unknown setting": (set_in("conv", swirl=3), "Keras cannot build it"),
    "no number": (set_in("norm", epsilon=float("nan")), "not as Keras writes it"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_description_that_cannot_be_exported_is_refused(case, small, tmp_path):
    change, said = CASES[case]
    assert said in refused(changed(small, tmp_path / "theirs.keras", change)).why


def test_everything_in_the_way_is_named_at_once(tmp_path):
    inputs = [keras.Input((20, 2048), name="features"), keras.Input((20,), name="mask")]
    x = layers.LSTM(2, name="memory")(inputs[0])
    x = layers.Concatenate(name="both")([x, inputs[1]])
    keras.Model(inputs, layers.Dense(1)(x)).save(tmp_path / "theirs.keras")
    why = refused(tmp_path / "theirs.keras").why
    assert why == "layer 'memory': LSTM; 2 inputs: 'features' [20, 2048], 'mask' [20]"


def test_what_tf2onnx_does_not_know_is_told_of_a_users_network_alone(monkeypatch):
    errors = {
        "custom": ValueError("\nno such op\nat line 3"),
        "df": ValueError(),
        "missing": MissingPackageError("tf2onnx", "exporting", "keras"),
    }

    def converted(original: Any) -> None:
        raise errors[original.name]

    def network(name: str) -> Any:
        kind = "custom" if name == "missing" else name
        return SimpleNamespace(
            weights=WeightsInfo(kind, trained=True, file="mine.keras"), name=name
        )

    monkeypatch.setattr(from_keras, "_converted", converted)
    with pytest.raises(ExportError, match=r"mine\.keras cannot be converted") as caught:
        from_keras.keras_to_onnx(network("custom"))
    assert caught.value.why == "no such op"
    for name in ("df", "missing"):  # a bug of ours, and what is told already
        with pytest.raises(type(errors[name])) as same:
            from_keras.keras_to_onnx(network(name))
        assert same.value is errors[name]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ([layers.Dense(1, activation="tanh")], "is [1] after tanh"),
        ([layers.Dense(1, activation="softmax")], "is [1] after softmax"),
        ([layers.Dense(2, activation="sigmoid")], "is [2] after sigmoid"),
        ([layers.Dense(3, activation="softmax")], "is [3] after softmax"),
        ([layers.Dense(1, activation="sigmoid"), layers.Softmax()], "sigmoid and softmax"),
        ([layers.Dense(2), layers.ReLU()], "it ends in ReLU"),
    ],
    ids=["tanh", "softmax of one", "sigmoid of two", "three classes", "twice", "ReLU"],
)
def test_a_head_that_is_none_of_ours_is_named(end, said, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), *end])
    model.save(tmp_path / "theirs.keras")
    assert said in refused(tmp_path / "theirs.keras").why


def test_another_network_is_told_and_so_is_its_own_command(tmp_path):
    """Its convolutions make a network; with those of another it is no Meso4."""
    model = build_mesoinception4(256, 256)
    for name in ("theirs.keras", "theirs.weights.h5"):
        path = tmp_path / name
        model.save_weights(path) if name.endswith("weights.h5") else model.save(path)
        error = refused(path)
        assert "with the weights of MesoInception4" in error.why
        assert error.todo == f"zoo export mesoinception4 --weights {path}"


def test_a_network_that_the_zoo_does_not_have_is_no_meso4(small):
    error = refused(small)
    assert "its convolutions are 1, Meso4 has 4" in error.why
    assert "zoo list" in error.todo
