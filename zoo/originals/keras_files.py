"""Open a user's or a published Keras file as the original that a certificate speaks of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.errors import WeightsError
from runtime.text import printable
from zoo.card import Head, ModelCard
from zoo.originals.keras_arrays import KerasFile, read_keras_file
from zoo.originals.keras_differences import convolutions, differences
from zoo.originals.keras_original import KerasOriginal
from zoo.originals.keras_whole import Whole, open_whole
from zoo.originals.original import WeightsChoice, settle_fake_index
from zoo.originals.other_network import not_this_network
from zoo.originals.told import FileTold


def read_chosen(choice: WeightsChoice) -> KerasFile:
    """Read the file that was chosen, and see that it is still the one that was hashed.

    Raises:
        WeightsError: see `read_keras_file`; or it has changed meanwhile.
    """
    assert choice.path is not None
    file = read_keras_file(choice.path)
    if file.sha256 != choice.info.sha256:
        raise WeightsError(
            f"{printable(choice.path)} changed while it was read",
            f"sha256 {file.sha256}, was {choice.info.sha256}",
            "run it again when nothing writes to the file",
        )
    return file


def open_file(
    card: ModelCard,
    choice: WeightsChoice,
    build: Callable[[int, int], Any],
    fake_index: int | None,
    file: KerasFile | None = None,
) -> KerasOriginal:
    """The network of a file with the file's arrays.

    A file that describes its network is taken at its word: that network is the original,
    and how it differs from the card's is noted. One of arrays alone is the card's network.

    Args:
        card: of the network.
        choice: with a path.
        build: the card's network for a height and width.
        fake_index: of the user.
        file: where it was read already.

    Raises:
        WeightsError: it is of another network, or cannot be exported as it is.
    """
    file = file or read_chosen(choice)
    size = (card.preprocessing.height, card.preprocessing.width)
    if file.config is None:
        if choice.card is None:
            fake_index = settle_fake_index(card, card.head, choice, fake_index)
        model = build(*size)
        original = KerasOriginal(card, choice, model, fake_index)
        original.load_weights(file)
        return original
    whole = open_whole(file)
    ours = build(*size)
    _same_network(card, file, whole, ours)
    head = _head(card, choice, whole)
    if choice.card is None:
        fake_index = settle_fake_index(card, head, choice, fake_index)
    notes = list(whole.notes)
    if differ := differences(whole.model, ours, card.title):
        notes.append(f"exported as it is; differs from {card.title}: {'; '.join(differ)}")
    if (whole.height, whole.width) != size:
        shown = f"{whole.height} x {whole.width}" if whole.height and whole.width else "any"
        notes.append(f"its own input size is {shown} ({card.title}: {size[0]} x {size[1]})")
    told = FileTold(whole.height, whole.width, head, whole.scale, tuple(notes))
    return KerasOriginal(card, choice, whole.model, fake_index, told=told)


def _same_network(card: ModelCard, file: KerasFile, whole: Whole, ours: Any) -> None:
    """What bears a network's name has its convolutions, all of them and no other."""
    mine, due = convolutions(whole.model), convolutions(ours)
    if mine != due:
        wrong = f"its convolutions are {len(mine)}, {card.title} has {len(due)}"
        if len(mine) == len(due):
            own = next(m for m, d in zip(mine, due, strict=True) if m != d)
            wrong = f"its convolutions are others (one is a {own})"
        raise not_this_network(file.path, card.title, wrong)


def _head(card: ModelCard, choice: WeightsChoice, whole: Whole) -> Head:
    """The head of a file's own network: its kind from the file, its meaning from the card."""
    due = (choice.recipe and choice.recipe.head) or card.head
    if whole.kind in ("softmax", "logits"):
        return Head(whole.kind, fake_index=due.fake_index)
    if due.says is None:
        raise WeightsError(
            f"nothing says what the one output of {choice.info.file} means",
            f"{card.title} is known with two outputs; a high value may mean 'fake' or 'real'",
            "--says fake or --says real",
        )
    return Head(whole.kind, says=due.says)
