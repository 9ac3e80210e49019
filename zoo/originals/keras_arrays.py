"""Read the arrays of a Keras file, and what it says of its network.

Three layouts are met in the wild: Keras 2's HDF5 (weights alone, or a whole model
with them under ``model_weights``), Keras 3's ``.weights.h5``, and ``.keras`` (a zip
with such a file in it). Only arrays and, where there is one, the JSON of the network
are read: no code of the file is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import WeightsError
from runtime.files import Snapshot
from runtime.text import printable
from weights.hdf5 import HDF5_MAGIC, ZIP_MAGIC, Hdf5Content, read_hdf5
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
    """What a file holds.

    Attributes:
        path: of the file, for messages.
        layers: those that have arrays.
        config: the network as Keras describes it, where the file carries one.
        training: what it was compiled with, likewise.
        names: of all its layers in order, those without arrays too; Keras 2's layout alone
            has them.
        content: all of its HDF5.
    """

    path: Path
    layers: tuple[LayerArrays, ...]
    config: dict[str, Any] | None
    training: dict[str, Any]
    names: tuple[str, ...]
    content: Hdf5Content


def read_keras_file(source: Snapshot) -> KerasFile:
    """Read every array of a Keras file.

    Args:
        source: its bytes.

    Raises:
        WeightsError: not a Keras file (the message says what it looks like), truncated or
            damaged, or it refers to other files.
        MissingPackageError: h5py is not installed.
    """
    path = source.path
    with source.open() as file:
        magic = file.read(len(HDF5_MAGIC))
    if not magic.startswith((HDF5_MAGIC, ZIP_MAGIC)):
        raise _no_keras(path, f"it looks like {recognise(source).what}")
    content = read_hdf5(source)
    root = "model_weights" if "model_weights" in content.groups else ""
    if "layer_names" in content.groups[root] or "layer_names0" in content.groups[root]:
        layers = tuple(_keras2_layers(path, content, root))
    elif _under(root, "layers") in content.groups:
        layers = tuple(_keras3_layers(content, _under(root, "layers")))
    else:
        raise _no_keras(path, f"it looks like {recognise(source).what}")
    config = None if content.config is None else _json(path, content.config)
    training = content.groups[""].get("training_config")
    if content.archive:
        compiled = (config or {}).get("compile_config")
    else:
        compiled = _json(path, training) if isinstance(training, str) else None
    if not isinstance(compiled, dict):
        compiled = {}
    names = tuple(_names(content.groups[root], "layer_names"))
    return KerasFile(path, layers, config, compiled, names, content)


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


def _no_keras(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"{printable(path)} cannot be read as Keras weights",
        why,
        "give a Keras .h5, .hdf5, .weights.h5 or .keras file",
    )


def _json(path: Path, text: str | list[str]) -> dict[str, Any]:
    try:
        parsed = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise WeightsError(
            f"{printable(path)} is damaged",
            "what it says of its network is no JSON object",
            "fetch or copy it again",
        )
    return parsed


def _under(group: str, name: str) -> str:
    return f"{group}/{name}" if group else name


def _names(texts: dict[str, str | list[str]], name: str) -> list[str]:
    """A list in an attribute, which Keras cuts into pieces where it is too long for one."""
    pieces = [texts[name]] if name in texts else []
    while name not in texts and f"{name}{len(pieces)}" in texts:
        pieces.append(texts[f"{name}{len(pieces)}"])
    return [text for piece in pieces for text in ([piece] if isinstance(piece, str) else piece)]


def _keras2_layers(path: Path, content: Hdf5Content, root: str) -> Iterator[LayerArrays]:
    for layer in _names(content.groups[root], "layer_names"):
        group = _under(root, layer)
        names = tuple(_names(content.groups.get(group, {}), "weight_names"))
        missing = [n for n in names if _under(group, n) not in content.arrays]
        if group not in content.groups or missing:
            raise WeightsError(
                f"{printable(path)} is damaged",
                f"it names {printable(missing[0] if missing else layer)} and does not hold it",
                "fetch or copy it again",
            )
        if names:
            yield LayerArrays(layer, tuple(content.arrays[_under(group, n)] for n in names), names)


def _keras3_layers(content: Hdf5Content, root: str) -> Iterator[LayerArrays]:
    found: dict[str, dict[int, str]] = {}
    for name in content.arrays:
        group, _, number = name.rpartition("/vars/")
        if group.startswith(f"{root}/") and _is_number(number) and "seed_generator" not in group:
            found.setdefault(group, {})[int(number)] = name
    for group in sorted(found, key=lambda name: [_natural(part) for part in name.split("/")]):
        names = [found[group][number] for number in sorted(found[group])]
        short = [name.removeprefix(f"{root}/") for name in names]
        arrays = tuple(content.arrays[name] for name in names)
        yield LayerArrays(group.removeprefix(f"{root}/"), arrays, tuple(short))


def _natural(name: str) -> tuple[str, int]:
    """Sort key: conv2d, conv2d_1, conv2d_2, ... conv2d_10."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if stem and _is_number(number) else (name, 0)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 9
