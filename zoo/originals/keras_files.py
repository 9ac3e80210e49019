"""Open a user's or a published Keras file as the original that a certificate speaks of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.engine_info import Preprocessing
from runtime.errors import WeightsError
from runtime.text import printable
from zoo.card import Head, ModelCard
from zoo.originals.keras_arrays import KerasFile, read_keras_file
from zoo.originals.keras_differences import convolutions, differences, named_otherwise
from zoo.originals.keras_original import KerasOriginal, load_strictly
from zoo.originals.keras_whole import Whole, open_whole
from zoo.originals.original import WeightsChoice
from zoo.originals.other_network import not_this_network
from zoo.originals.told import FileTold


def open_file(
    card: ModelCard, choice: WeightsChoice, build: Callable[[int, int], Any]
) -> KerasOriginal:
    """The network of a file with the file's arrays.

    A file that describes its network is taken at its word: that network is the original,
    and how it differs from the card's is noted. One of arrays alone is the card's network.

    Args:
        card: of the network.
        choice: with a file.
        build: the card's network for a height and width.

    Raises:
        WeightsError: it is of another network, or cannot be exported as it is; or nothing
            says what of its output is "fake".
    """
    assert choice.file is not None
    file = read_keras_file(choice.file)
    if file.config is None:
        how = choice.unread(card).preprocessing
        model = build(how.height, how.width)
        _check_frame(card, file, how, model)
        notes = load_strictly(model, file, card.title)
        if wrong := named_otherwise(file.names, model, card.title):
            raise WeightsError(
                f"{printable(file.path)} is of another network than {card.title}",
                f"its arrays would fit, but its layers are named {printable('; '.join(wrong))}",
                "save the whole model (model.save), which is exported as it is",
            )
        return KerasOriginal(card, choice, model, told=FileTold(notes=tuple(notes)))
    whole = open_whole(file)
    size = (card.preprocessing.height, card.preprocessing.width)
    ours = build(*size)
    _same_network(card, file, whole, ours)
    notes = list(whole.notes)
    if differ := differences(whole.model, ours, card.title):
        notes.append(f"exported as it is; differs from {card.title}: {'; '.join(differ)}")
    if (whole.height, whole.width) != size:
        shown = f"{whole.height} x {whole.width}" if whole.height and whole.width else "any"
        notes.append(f"its own input size is {shown} ({card.title}: {size[0]} x {size[1]})")
    head, own = Head(whole.kind), bool(differ)  # another head is a difference, too
    told = FileTold(whole.height, whole.width, head, whole.scale, own, tuple(notes))
    return KerasOriginal(card, choice, whole.model, told=told)


def _check_frame(card: ModelCard, file: KerasFile, how: Preprocessing, model: Any) -> None:
    """Behind a Flatten the size of a frame decides how many numbers a dense layer takes."""
    usual = card.preprocessing
    if (how.height, how.width) == (usual.height, usual.width):
        return
    takes = [w.shape for layer in model.layers for w in layer.weights if len(w.shape) == 2]
    given = [a.shape for layer in file.layers for a in layer.arrays if a.ndim == 2]
    if takes and given and takes[0][1:] == given[0][1:] and takes[0] != given[0]:
        raise WeightsError(
            f"{printable(file.path)} is not of frames of {how.height} x {how.width}",
            f"its first dense layer takes {given[0][0]:,} numbers; frames of that size give"
            f" {takes[0][0]:,}",
            f"leave --size out for the usual {usual.height} x {usual.width}, or give its own",
        )


def _same_network(card: ModelCard, file: KerasFile, whole: Whole, ours: Any) -> None:
    """What bears a network's name has its convolutions, all of them and no other."""
    mine, due = convolutions(whole.model), convolutions(ours)
    if mine != due:
        wrong = f"its convolutions are {len(mine)}, {card.title} has {len(due)}"
        if len(mine) == len(due):
            own = next(m for m, d in zip(mine, due, strict=True) if m != d)
            wrong = f"its convolutions are others (one is a {own})"
        raise not_this_network(file.path, card.title, wrong)
