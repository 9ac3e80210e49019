"""Originals written in Keras: strict loading, conditioning, scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import WeightsError
from runtime.text import printable
from zoo.originals.calibration import calibration_frames
from zoo.originals.keras_arrays import KerasFile, LayerArrays, as_float32
from zoo.originals.keras_framework import import_keras
from zoo.originals.keras_head import ending
from zoo.originals.original import Original
from zoo.originals.other_network import not_this_network

#: Spread that conditioned random weights give the logit over seeded frames. Wide
#: enough that an error shows, narrow enough that no probability saturates.
RANDOM_LOGIT_SPREAD = 2.0


class KerasOriginal(Original):
    """A ``keras.Model`` that ends in a Dense, with an activation or without."""

    def load_weights(self, file: KerasFile, model: Any = None) -> None:
        """Put the arrays of a file into the network, see `load_strictly`.

        Args:
            file: that was read.
            model: the part of the network that they are of; all of it by default.
        """
        self.note(*load_strictly(model or self.module, file, self.card.title))

    def release(self) -> None:
        """See `Original.release`."""
        super().release()
        self.__dict__.pop("_two_ended", None)

    def own_scores(
        self, values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Original.own_scores`; the logits are the last Dense before its activation."""
        keras = import_keras()
        head, features, _ = ending(self.module)
        if not hasattr(self, "_two_ended"):
            self._two_ended = keras.Model(self.module.inputs, [features, self.module.outputs[0]])
        features, own = self._two_ended.predict_on_batch(values)
        kernel, *bias = (np.asarray(a, np.float32) for a in head.get_weights())
        logits = features @ kernel
        return np.asarray(own, np.float32), (logits + bias[0] if bias else logits).astype(
            np.float32
        )


def load_strictly(model: Any, file: KerasFile, network: str) -> list[str]:
    """Put the arrays of a file into a Keras model, every one of them and no other.

    Layers are matched in order within their kind (convolutions with convolutions, and
    so on), as Keras itself does for files without layer names that mean anything.

    Returns:
        What was converted on the way, for people.

    Raises:
        WeightsError: an array is missing, left over or of another shape (the message names
            the first few and what the file looks like), no float, or not finite.
    """
    path = file.path
    mine = [layer for layer in model.layers if layer.weights]
    wanted: dict[str, list[Any]] = {}
    for layer in mine:
        wanted.setdefault(_kind([tuple(w.shape) for w in layer.weights]), []).append(layer)
    given: dict[str, list[LayerArrays]] = {}
    for arrays in file.layers:
        given.setdefault(_kind([a.shape for a in arrays.arrays]), []).append(arrays)

    wrong: list[str] = []
    pairs: list[tuple[Any, LayerArrays]] = []
    for kind in dict.fromkeys([*wanted, *given]):
        layers, found = wanted.get(kind, []), given.get(kind, [])
        pairs += zip(layers, found, strict=False)
        wrong += [f"missing: {layer.name} ({kind})" for layer in layers[len(found) :]]
        wrong += [f"left over: {extra.name} ({kind})" for extra in found[len(layers) :]]
    for layer, arrays in pairs:
        due = [tuple(w.shape) for w in layer.weights]
        got = [a.shape for a in arrays.arrays]
        if due != got:
            wrong.append(f"misshapen: {arrays.name} has {got}, due are {due}")
    if len(wrong) == 1:
        _refuse_other_classes(path, network, model.layers[-1], pairs)
    if wrong:
        _refuse(path, network, wrong)
    notes: set[str] = set()
    for layer, arrays in pairs:
        named = zip(arrays.names, arrays.arrays, strict=True)
        plain = [as_float32(path, name, array) for name, array in named]
        layer.set_weights([array for array, _ in plain])
        notes.update(note for _, note in plain if note)
    return sorted(notes)


def _kind(shapes: list[tuple[int, ...]]) -> str:
    """Convolution, dense or normalisation, told by the ranks of a layer's arrays."""
    ranks = tuple(len(shape) for shape in shapes)
    known = {
        (4, 1): "convolution",
        (4,): "convolution without bias",
        (2, 1): "dense",
        (2,): "dense without bias",
        (1, 1, 1, 1): "batch normalisation",
        (1, 1, 1): "batch normalisation without scale",
    }
    return known.get(ranks, f"arrays of ranks {ranks}")


def _refuse_other_classes(
    path: Path, network: str, head: Any, pairs: list[tuple[Any, LayerArrays]]
) -> None:
    """Where all fits but the number of outputs, say that."""
    for layer, arrays in pairs:
        if layer is head and len(arrays.arrays) == 2:
            (features, due), got = layer.weights[0].shape, arrays.arrays[0].shape
            if got[0] == features and got[1] != due:
                raise WeightsError(
                    f"{path} has another number of classes",
                    f"{arrays.names[0]} is {list(got)}: {got[1]} outputs; {network} judges by"
                    f" {due}",
                    f"give one trained with {due} outputs",
                )


def _refuse(path: Path, network: str, wrong: list[str]) -> None:
    shown = "; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more" if len(wrong) > 4 else "")
    raise not_this_network(path, network, printable(shown))


def condition(model: Any, preprocessing_size: tuple[int, int], normalise: Any, seed: int) -> None:
    """Make random weights say something: neither saturated nor constant.

    BatchNorm statistics are set from a calibration batch; the head comes last, see
    `condition_head`.

    Args:
        model: its last layer is a Dense.
        preprocessing_size: height and width of a frame.
        normalise: pixels to the network's input, see `Original.normalise`.
        seed: of the calibration batch.
    """
    import tensorflow as tf

    frames = calibration_frames(*preprocessing_size, seed=seed + 1)
    values = normalise(frames)
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0  # the moving statistics become those of this one batch
    # As a graph: an eager call keeps every activation to its end.
    tf.function(lambda pixels: model(pixels, training=True))(values)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    condition_head(model, values)


def condition_head(model: Any, values: NDArray[np.float32]) -> None:
    """Scale and centre the last Dense: logits of spread `RANDOM_LOGIT_SPREAD` around zero.

    Args:
        model: its last layer is a Dense with random weights.
        values: calibration batch, float32 [N, H, W, 3], normalised.
    """
    keras = import_keras()
    head = model.layers[-1]
    features = keras.Model(model.inputs, head.input).predict_on_batch(values)
    kernel, _ = (np.asarray(a, np.float64) for a in head.get_weights())
    logits = features @ kernel
    # Of a two-way head the difference is what counts.
    spread = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    scale = RANDOM_LOGIT_SPREAD / max(float(spread.std()), 1e-12)
    head.set_weights(
        [(kernel * scale).astype(np.float32), (-logits.mean(axis=0) * scale).astype(np.float32)]
    )
