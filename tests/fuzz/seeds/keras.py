"""Keras files."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..mutators import zipped
from . import CANARY, good, hostile, zip_bomb

_CONFIG = {
    "class_name": "Sequential",
    "config": {
        "name": "sequential",
        "layers": [
            {"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3], "name": "in"}},
            {"class_name": "Conv2D", "config": {"name": "conv2d", "filters": 4, "padding": "same",
                "kernel_size": [3, 3], "strides": [1, 1], "activation": "relu",
                "dilation_rate": [1, 1]}},
            {"class_name": "Flatten", "config": {"name": "flatten"}},
            {"class_name": "Dense", "config": {"name": "dense", "units": 1,
                "activation": "sigmoid"}},
        ],
    },
}  # fmt: skip


def _arrays() -> dict[str, dict[str, Any]]:
    import numpy as np

    shapes = {
        "conv2d": {"kernel:0": (3, 3, 3, 4), "bias:0": (4,)},
        "dense": {"kernel:0": (256, 1), "bias:0": (1,)},
    }
    return {
        layer: {n: np.full(shape, 0.25, np.float32) for n, shape in its.items()}
        for layer, its in shapes.items()
    }


def _hdf5(fill: Callable[[Any], None]) -> bytes:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        fill(root)
    return file.getvalue()


def _keras2(root: Any) -> None:
    import numpy as np

    arrays = _arrays()
    root.attrs["layer_names"] = np.array([name.encode() for name in arrays])
    root.attrs["backend"] = "tensorflow"
    for layer, its in arrays.items():
        group = root.create_group(layer)
        group.attrs["weight_names"] = np.array([f"{layer}/{name}".encode() for name in its])
        for name, array in its.items():
            group[f"{layer}/{name}"] = array


def keras2_weights() -> bytes:
    """``save_weights`` of Keras 2."""
    return _hdf5(_keras2)


def keras2_model() -> bytes:
    """``save`` of Keras 2: the config and the weights."""

    def fill(root: Any) -> None:
        root.attrs["model_config"] = json.dumps(_CONFIG)
        root.attrs["keras_version"] = "2.15.0"
        _keras2(root.create_group("model_weights"))

    return _hdf5(fill)


def keras3_weights() -> bytes:
    """``save_weights`` of Keras 3."""

    def fill(root: Any) -> None:
        for layer, its in _arrays().items():
            for index, array in enumerate(its.values()):
                root[f"layers/{layer}/vars/{index}"] = array

    return _hdf5(fill)


def keras_zip() -> bytes:
    """``save`` of Keras 3."""
    return zipped({
        "metadata.json": b'{"keras_version": "3.5.0", "date_saved": "2024-01-01@00:00:00"}',
        "config.json": json.dumps(_CONFIG).encode(),
        "model.weights.h5": keras3_weights(),
    })  # fmt: skip


def meso4_model() -> bytes:
    """Meso4 as Keras saves it, its config and its arrays."""
    from zoo.catalog import find_card
    from zoo.originals.original import load_original

    model = load_original(find_card("meso4"), "random").module
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.keras")
        model.save(path)
        with zipfile.ZipFile(path) as archive:  # without the time of day
            return zipped({name: archive.read(name) for name in archive.namelist()})


def _bias_is(make: Callable[[Any, str], None]) -> bytes:
    def fill(root: Any) -> None:
        _keras2(root)
        del root["conv2d/conv2d/bias:0"]
        make(root["conv2d/conv2d"], "bias:0")

    return _hdf5(fill)


def _external(target: str) -> bytes:
    count = len(CANARY) // 4
    return _bias_is(lambda g, n: g.create_dataset(n, (count,), "f4", external=[(target, 0, 28)]))


def hdf5_external_file() -> bytes:
    """Its bias lies in another file."""
    return _external("canary")


def hdf5_external_pipe() -> bytes:
    """Its bias lies in a pipe that nobody writes to."""
    return _external("pipe")


def hdf5_external_link() -> bytes:
    """A link into another HDF5 file, which is a pipe."""
    import h5py

    return _bias_is(lambda group, name: group.__setitem__(name, h5py.ExternalLink("pipe", "/x")))


def hdf5_virtual() -> bytes:
    """A virtual dataset whose source is a pipe."""
    import h5py

    def make(group: Any, name: str) -> None:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("pipe", "x", (4,))
        group.create_virtual_dataset(name, layout)

    return _bias_is(make)


def hdf5_fill_value() -> bytes:
    """Five gigabytes of one number that is written once."""
    shape = (1200, 1 << 20)
    return _bias_is(lambda g, n: g.create_dataset(n, shape, "f4", chunks=True, fillvalue=0.5))


def hdf5_cycle() -> bytes:
    """A group that holds itself."""

    def fill(root: Any) -> None:
        layers = root.create_group("layers")
        layers["layers"] = layers
        layers["vars/0"] = 1.0

    return _hdf5(fill)


def hdf5_deep() -> bytes:
    """Two thousand groups within each other."""
    return _hdf5(lambda root: root.__setitem__("layers/" + "g/" * 2000 + "vars/0", [1.0]))


def keras_zip_bomb() -> bytes:
    """A gigabyte of zeros in a megabyte."""
    config = {"config.json": json.dumps(_CONFIG).encode()}
    return zip_bomb("model.weights.h5", config, (bytes(1 << 20), 1200))


def keras_zip_config_bomb() -> bytes:
    """A config of a hundred million nested lists."""
    return zip_bomb("config.json", {"model.weights.h5": keras3_weights()}, (b"[" * (1 << 20), 100))


def keras_zip_encrypted() -> bytes:
    """Its headers say that it is encrypted."""
    content = bytearray(keras_zip())
    for at in range(len(content) - 4):
        if content[at : at + 4] == b"PK\1\2":
            content[at + 8] |= 1
        elif content[at : at + 4] == b"PK\3\4":
            content[at + 6] |= 1
    return bytes(content)


HDF5 = good(keras2_weights, keras2_model, keras3_weights) + hostile(
    hdf5_external_file, hdf5_external_pipe, hdf5_external_link, hdf5_virtual, hdf5_fill_value,
    hdf5_cycle, hdf5_deep,
)  # fmt: skip
MODELS = good(meso4_model)
ZIP = good(keras_zip) + hostile(keras_zip_encrypted, keras_zip_bomb, keras_zip_config_bomb)
