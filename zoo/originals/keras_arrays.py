"""Read the arrays of a Keras weights file, and nothing else.

Three layouts are met in the wild: Keras 2's HDF5 (weights alone, or a whole model
with them under ``model_weights``), Keras 3's ``.weights.h5``, and ``.keras`` (a zip
with such a file in it). Only arrays and, where there is one, the JSON of the layers
are read: no code of the file is run.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import MissingPackageError, WeightsError
from weights.recognise import recognise


@dataclass(frozen=True)
class LayerArrays:
    """The arrays of one layer, in the order of the file.

    Attributes:
        name: of the layer in the file.
        arrays: float arrays, in Keras' own order for that kind of layer.
        names: of the arrays in the file, for messages.
    """

    name: str
    arrays: tuple[NDArray[Any], ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class KerasFile:
    """What a file holds: its layers that have arrays, and its architecture if it says so."""

    layers: tuple[LayerArrays, ...]
    config: dict[str, Any] | None


def read_keras_file(path: Path) -> KerasFile:
    """Read every array of a Keras file.

    Raises:
        WeightsError: not a Keras file (the message says what it looks like), truncated
            or damaged.
        MissingPackageError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingPackageError("h5py", "reading Keras weights", "keras") from None
    try:
        if zipfile.is_zipfile(path):
            return _read_archive(h5py, path)
        with h5py.File(path, "r") as file:
            return _read_hdf5(file)
    except (OSError, KeyError, zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as Keras weights",
            f"it looks like {recognise(path).what} ({_first_line(error)})",
            "give a Keras .h5, .hdf5, .weights.h5 or .keras file",
        ) from None


def as_float32(path: Path, name: str, array: NDArray[Any]) -> tuple[NDArray[np.float32], str]:
    """An array as a network computes with it.

    Args:
        path, name: of the file and the array, for messages.
        array: of half precision, which is widened exactly, or float64, which is rounded.

    Returns:
        The same numbers in float32, and a note on how that was done, empty where it was not.

    Raises:
        WeightsError: it holds something else than floats, or numbers that are not finite.
    """
    notes = {
        "float16": "float16 weights, widened exactly",
        "float32": "",
        "float64": "float64 weights, rounded to float32",
    }
    if array.dtype.name not in notes:
        raise WeightsError(
            f"{path} has weights of another kind",
            f"{name} is {array.dtype.name}, due is float32",
            "quantised weights cannot be judged by; give those before quantisation",
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused
        plain = array.astype(np.float32, copy=False)
    bad = int((~np.isfinite(plain)).sum())
    if bad:
        raise WeightsError(
            f"{path} holds numbers that are not finite",
            f"{name} has {bad} NaN or infinite values",
            "its training has diverged; use another checkpoint",
        )
    return plain, notes[array.dtype.name]


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__


def _read_archive(h5py: Any, path: Path) -> KerasFile:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "model.weights.h5" not in names:
            raise KeyError(f"no model.weights.h5 among {', '.join(names[:3])}")
        config = json.loads(archive.read("config.json")) if "config.json" in names else None
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
            return KerasFile(tuple(_keras3_layers(file)), config)


def _read_hdf5(file: Any) -> KerasFile:
    config = file.attrs.get("model_config")
    parsed = json.loads(config) if config is not None else None
    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:
        return KerasFile(tuple(_keras2_layers(root)), parsed)
    if "layers" in root:
        return KerasFile(tuple(_keras3_layers(root)), parsed)
    raise KeyError(f"neither 'layer_names' nor 'layers' among {', '.join(list(root)[:4])}")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _keras2_layers(root: Any) -> Iterator[LayerArrays]:
    for layer in map(_text, root.attrs["layer_names"]):
        group = root[layer]
        names = tuple(map(_text, group.attrs["weight_names"]))
        if names:
            yield LayerArrays(layer, tuple(np.asarray(group[n]) for n in names), names)


def _keras3_layers(root: Any) -> Iterator[LayerArrays]:
    def walk(group: Any, prefix: str) -> Iterator[LayerArrays]:
        if "vars" in group and len(group["vars"]):
            keys = sorted(group["vars"], key=int)
            arrays = tuple(np.asarray(group["vars"][k]) for k in keys)
            yield LayerArrays(prefix, arrays, tuple(f"{prefix}/vars/{k}" for k in keys))
        for name in sorted((n for n in group if n not in ("vars", "seed_generator")), key=_natural):
            if hasattr(group[name], "keys"):
                yield from walk(group[name], f"{prefix}/{name}" if prefix else name)

    yield from walk(root["layers"], "")


def _natural(name: str) -> tuple[str, int]:
    """Sort key: conv2d, conv2d_1, conv2d_2, ... conv2d_10."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if stem and number.isdigit() else (name, 0)
