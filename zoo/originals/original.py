"""What every original has in common, whatever it was written in."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.engine_info import Preprocessing, WeightsInfo, file_sha256
from runtime.errors import WeightsError
from weights.store import locate
from zoo.card import Head, ModelCard, Normalisation, WeightsCard
from zoo.originals.told import FileTold

RANDOM = "random"


@dataclass(frozen=True)
class Scores:
    """What a network thinks of N frames.

    Attributes:
        logit: float32 [N], log-odds of FAKE.
        fake: float32 [N], P(fake), as the network's own last layer gives it.
    """

    logit: NDArray[np.float32]
    fake: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.logit)


@dataclass(frozen=True)
class WeightsChoice:
    """Which weights a user asked for, found and verified.

    Attributes:
        info: what the sidecar will say of them.
        path: the file; ``None`` for random weights.
        card: where they are published ones.
        seed: of random ones, and of the new head on a backbone.
        like: published weights whose way of training these share.
    """

    info: WeightsInfo
    path: Path | None = None
    card: WeightsCard | None = None
    seed: int = 0
    like: WeightsCard | None = None

    @property
    def recipe(self) -> WeightsCard | None:
        """What says how these weights were trained, where the network's card does not."""
        return self.card or self.like


class Original(ABC):
    """A network in its own framework, with its weights.

    Attributes:
        card: the network's card.
        weights: what is inside.
        preprocessing, normalisation, head: the card's, or the weights' own where they
            were trained otherwise.
        module: the framework's object (``keras.Model``, ``torch.nn.Module``).
    """

    def __init__(
        self,
        card: ModelCard,
        choice: WeightsChoice,
        module: Any,
        fake_index: int | None = None,
        head: Head | None = None,
        *,
        told: FileTold | None = None,
    ) -> None:
        own = choice.recipe
        told = told or FileTold()
        self.card = card
        self.weights = choice.info
        self.module = module
        self.preprocessing: Preprocessing = told.resized(
            (own and own.preprocessing) or card.preprocessing
        )
        self.normalisation: Normalisation = (own and own.normalisation) or card.normalisation
        if told.scale is not None:
            self.normalisation = Normalisation(told.scale)
        self.note(*told.notes)
        head = head or told.head or (own and own.head) or card.head
        self.head = Head(head.kind, head.says, fake_index) if fake_index is not None else head

    def scores(self, frames: NDArray[np.uint8], batch: int = 32) -> Scores:
        """Judge frames as the original does.

        Args:
            frames: uint8 [N, H, W, 3] RGB of the card's size.
            batch: how many go through the framework at once.
        """
        parts = [
            self.own_scores(self.normalise(frames[start : start + batch]))
            for start in range(0, len(frames), batch)
        ]
        own = np.concatenate([p[0] for p in parts])
        logits = np.concatenate([p[1] for p in parts])
        return fake_scores(self.head, own, logits)

    def note(self, *notes: str) -> None:
        """Add to what is said of the weights, for people."""
        self.weights = replace(self.weights, source="; ".join([self.weights.source, *notes]))

    def release(self) -> None:
        """Free the framework's object, whose weights an export no longer needs."""
        self.module = None

    def normalise(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pixels to the network's input, float32 [N, H, W, 3], as its authors did."""
        norm = self.normalisation
        values = frames.astype(np.float32) * np.float32(norm.scale)
        if any(norm.mean):
            values -= np.asarray(norm.mean, np.float32)
        if norm.std != (1.0, 1.0, 1.0):
            values /= np.asarray(norm.std, np.float32)
        return values

    @abstractmethod
    def own_scores(
        self, values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The network's own output and the same before its last activation.

        Args:
            values: float32 [N, H, W, 3], normalised.

        Returns:
            (output, logits), both float32 [N, 1] or [N, 2].
        """


def fake_scores(head: Head, own: NDArray[np.float32], logits: NDArray[np.float32]) -> Scores:
    """A network's own outputs, in its own polarity, as log-odds and P of FAKE."""
    if head.kind in ("sigmoid", "logit"):
        logit, probability = logits[:, 0], own[:, 0]
        if head.kind == "logit":
            probability = sigmoid(own[:, 0])
        if head.says == "real":
            return Scores(-logit, np.float32(1) - probability)
        return Scores(logit, probability)
    assert head.fake_index is not None, "refused when the original was loaded"
    fake, real = head.fake_index, 1 - head.fake_index
    logit = logits[:, fake] - logits[:, real]
    return Scores(logit, own[:, fake] if head.kind == "softmax" else sigmoid(logit))


def sigmoid(logit: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function in float32, without overflow at either end."""
    half = np.tanh(logit.astype(np.float64) / 2) / 2
    return (half + 0.5).astype(np.float32)


def choose_weights(
    card: ModelCard,
    name: str | None,
    *,
    seed: int = 0,
    like: str | None = None,
    download: bool = True,
) -> WeightsChoice:
    """Find the weights a user means.

    Args:
        card: of the network.
        name: a name on the card, a path to a file, ``random``, or ``None`` for the
            card's default.
        seed: of random weights.
        like: published weights that a file, or random ones, are to be treated as.
        download: whether published weights may be fetched.

    Raises:
        WeightsError: no such name and no such file; or not to be found, or damaged; or
            ``like`` is no name on the card, or makes no sense for these weights.
    """
    recipe = None if like is None else _recipe(card, name, like)
    if name == RANDOM:
        info = WeightsInfo(RANDOM, trained=False, seed=seed, like=like, source="seeded, untrained")
        return WeightsChoice(info, seed=seed, like=recipe)
    own = card.find_weights(name) if name else card.default_weights
    if own is not None:
        found = locate(own.file, download=download)
        new_head = f"; on them a new head of seed {seed}, untrained" if own.backbone else ""
        info = WeightsInfo(
            own.name,
            trained=not own.backbone,
            file=own.file,
            sha256=found.sha256,
            seed=seed if own.backbone else None,
            source=found.source + new_head,
            licence=found.licence,
        )
        return WeightsChoice(info, found.path, own, seed)
    names = ", ".join([*(w.name for w in card.weights), RANDOM])
    if name is None:
        raise WeightsError(
            f"{card.name} has no published weights of a trained detector",
            f"untrained ones are {names}",
            f"zoo export {card.name} --weights PATH (or --weights {RANDOM})",
        )
    path = Path(name).expanduser()
    if path.is_dir():
        raise WeightsError(f"{path} is a directory", "a weights file is due", f"names: {names}")
    if not path.is_file():
        raise WeightsError(
            f"{card.name} has no weights '{name}', and there is no such file",
            f"names: {names}",
            f"zoo show {card.name}",
        )
    info = WeightsInfo(
        "custom",
        trained=True,
        file=path.name,
        sha256=file_sha256(path),
        like=like,
        source="the user's file",
    )
    return WeightsChoice(info, path, like=recipe)


def _recipe(card: ModelCard, name: str | None, like: str) -> WeightsCard:
    """The published weights whose way of training is to be taken for others."""
    names = ", ".join(w.name for w in card.weights)
    found = card.find_weights(like)
    if found is None:
        raise WeightsError(
            f"--like {like}: {card.name} has no published weights of that name",
            f"names: {names or 'none'}",
            f"zoo show {card.name}",
        )
    if name is None or card.find_weights(name) is not None:
        raise WeightsError(
            f"--like is for a file of yours; {name or 'the default'} is on the card itself",
            "published weights are used as they were trained",
            "leave --like out, or give --weights PATH",
        )
    return found


def load_original(
    card: ModelCard,
    weights: str | None = None,
    *,
    seed: int = 0,
    fake_index: int | None = None,
    like: str | None = None,
    download: bool = True,
) -> Original:
    """Build a network in its own framework and load its weights strictly.

    Args:
        card: of the network.
        weights: a name on the card, a path, ``random``, or ``None`` for its default.
        seed: of random weights.
        fake_index: which of two outputs is "fake", for weights whose card does not say.
        like: name of published weights: a user's file (or random ones) gets the pixels, the
            size and the activation that those were trained with.
        download: whether published weights may be fetched.

    Raises:
        WeightsError: the weights are missing, damaged or of another network, or nothing
            says which of two outputs is "fake".
        MissingPackageError: the framework is not installed.
    """
    choice = choose_weights(card, weights, seed=seed, like=like, download=download)
    # A user's file that may bring a head of its own has to be read first: the network's
    # own function settles it then.
    of_card = choice.path is None or choice.card is not None
    if of_card or (card.other_head is None and card.framework != "keras"):
        head = (choice.recipe and choice.recipe.head) or card.head
        fake_index = settle_fake_index(card, head, choice, fake_index)
    module, _, function = card.original.partition(":")
    build = cast(
        "Callable[[ModelCard, WeightsChoice, int | None], Original]",
        getattr(importlib.import_module(module), function),
    )
    return build(card, choice, fake_index)


def settle_fake_index(
    card: ModelCard, head: Head, choice: WeightsChoice, fake_index: int | None
) -> int | None:
    """Which output of ``head`` is "fake", from the user or the card; ``None`` of one output.

    Raises:
        WeightsError: nothing says it, or it was said of a head with one output.
    """
    if head.outputs == 1:
        if fake_index is None:
            return None
        raise WeightsError(
            f"--fake-index is for two outputs; {choice.info.file or card.name} has one",
            f"its output means '{head.says}'",
            "leave --fake-index out",
        )
    if fake_index is not None:
        return fake_index
    if head.fake_index is None and choice.info.trained:
        raise WeightsError(
            f"nothing says which of the two outputs of {choice.info.file} is 'fake'",
            "the class order is that of the folders it was trained on",
            "--fake-index 0 (fake, real) or --fake-index 1 (real, fake)",
        )
    return 1 if head.fake_index is None else head.fake_index  # untrained: either will do
