"""The network that a whole Keras file carries, with its arrays in it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import WeightsError
from runtime.text import first_line, printable
from zoo.card import HeadKind
from zoo.originals.keras_arrays import KerasFile, as_float32
from zoo.originals.keras_config import SCALE_LAYER, check_config, refusal
from zoo.originals.keras_flat import flattened
from zoo.originals.keras_framework import import_keras
from zoo.originals.keras_head import head_of

#: A factor below this makes pixels of 0..255 into numbers around one; above it, 0..1.
_RAW_FACTOR = 20 / 255


@dataclass(frozen=True)
class Whole:
    """A file's own network.

    Attributes:
        model: ``keras.Model`` with the file's arrays in it, and no network in it.
        kind: of its head.
        height, width: of its input, in pixels; ``None`` where it takes any.
        scale: what pixels of 0..255 are multiplied by before a network that does the rest
            itself; ``None`` where it does nothing to them.
        notes: for people.
    """

    model: Any
    kind: HeadKind
    height: int | None
    width: int | None
    scale: float | None
    notes: tuple[str, ...]


def open_whole(file: KerasFile) -> Whole:
    """Build the network that a file describes and put the file's arrays into it.

    Raises:
        WeightsError: it is no network that can be exported (see `keras_config`), or its
            arrays do not fit its own description.
    """
    config, notes = check_config(file)
    model = _build(file, config)
    if len(model.outputs) != 1:
        raise refusal(file, [f"{len(model.outputs)} outputs"])
    notes += _load(file, model)
    model = flattened(model)
    kind, more = head_of(file, model)
    notes += more
    scale, more = _scaling(model)
    height, width = model.inputs[0].shape[1:3]
    return Whole(model, kind, height, width, scale, (*notes, *more))


def _build(file: KerasFile, config: dict[str, Any]) -> Any:
    """The network, its arrays allocated only when they are no more than the file has."""
    keras = import_keras()
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    kind = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
    has = sum(array.size for layer in file.layers for array in layer.arrays)
    due: int | None = None
    with keras.StatelessScope() as scope:  # variables are made when it ends
        try:
            model = kind.from_config(
                config["config"], custom_objects={SCALE_LAYER: CustomScaleLayer}
            )
            due = sum(int(np.prod(w.shape, dtype=object)) for w in model.weights)
        except Exception as error:  # a foreign description makes Keras raise anything
            scope.initialize_variables = False
            why = first_line(error)
        if due is not None and due != has:
            scope.initialize_variables = False
    if due == has and getattr(model, "outputs", None):
        return model
    keras.utils.clear_session()  # forget the variables that were never made
    if due is None:
        raise refusal(file, [f"Keras cannot build it ({why})"])
    if due != has:
        raise WeightsError(
            f"{printable(file.path)} does not fit its own description",
            f"it describes a network of {due:,} numbers and holds {has:,}",
            "fetch or copy it again",
        )
    raise refusal(file, ["no input size"])


def _load(file: KerasFile, model: Any) -> list[str]:
    """Put the arrays where Keras puts them: through a file of nothing but them.

    Which array is whose, Keras alone knows for each of its formats, so that it reads them
    itself; but not from the user's file.
    """
    import h5py

    content, notes = file.content, set()
    legacy = any("layer_names" in own or "layer_names0" in own for own in content.groups.values())
    prefix = "model_weights/" if legacy and "model_weights" in content.groups else ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("clean.h5" if legacy else "clean.weights.h5")
        with h5py.File(path, "w") as clean:
            for group, texts in content.groups.items():
                if not f"{group}/".startswith(prefix):
                    continue
                own = clean.require_group("/" + group.removeprefix(prefix.rstrip("/")))
                for name, text in texts.items():
                    own.attrs[name] = text if isinstance(text, str) else [t.encode() for t in text]
            for name, array in content.arrays.items():
                if not name.startswith(prefix):
                    continue
                if array.dtype.kind == "f":
                    array, note = as_float32(file.path, name, array)
                    notes.add(note)
                clean[name.removeprefix(prefix)] = array
        try:
            model.load_weights(path)
        except Exception as error:
            raise WeightsError(
                f"{printable(file.path)} does not fit its own description",
                first_line(error),
                "fetch or copy it again",
            ) from None
    return sorted(notes - {""})


def _scaling(model: Any) -> tuple[float | None, list[str]]:
    """What range a network takes that scales its pixels itself, told from its factors."""
    factor, names = 1.0, []
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "Rescaling":
            factor *= float(np.max(np.abs(layer.scale)))
        elif kind == "Normalization":
            factor /= float(np.sqrt(np.min(np.asarray(layer.variance))))
        elif layer.weights:
            break
        if kind in ("Rescaling", "Normalization"):
            names.append(kind)
    if not names:
        return None, []
    raw = factor < _RAW_FACTOR
    how = f"it scales its pixels itself ({', '.join(names)}, factor {factor:.3g})"
    return (1.0, [f"{how}: taken as 0..255"]) if raw else (1 / 255, [f"{how}: taken as 0..1"])
