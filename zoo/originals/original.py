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

from runtime.engine_info import Preprocessing, WeightsInfo
from runtime.errors import WeightsError
from runtime.files import Snapshot, snapshot
from weights.store import locate
from zoo.card import Head, ModelCard, Normalisation, WeightsCard
from zoo.originals.first_look import refuse_at_first_look
from zoo.originals.told import FileTold
from zoo.recipe import Recipe, Said, resolve
from zoo.scores import Scores, fake_scores

RANDOM = "random"


@dataclass(frozen=True)
class WeightsChoice:
    """Which weights a user asked for, found and verified, and what is said of them.

    Attributes:
        info: what the sidecar will say of them.
        file: its bytes, taken once; ``None`` for random weights.
        card: where they are published ones.
        seed: of random ones, and of the new head on a backbone.
        like: published weights whose way of training these share.
        said: what the user says of them.
        recipe: how they are to be used, where that was settled before (an engine's sidecar).
    """

    info: WeightsInfo
    file: Snapshot | None = None
    card: WeightsCard | None = None
    seed: int = 0
    like: WeightsCard | None = None
    said: Said | None = None
    recipe: Recipe | None = None

    @property
    def path(self) -> Path | None:
        """Of the file, for messages."""
        return None if self.file is None else self.file.path

    @property
    def backbone(self) -> bool:
        """Whether these are features alone, for a new head."""
        return self.card is not None and self.card.backbone

    def resolve(self, card: ModelCard, told: FileTold | None = None) -> Recipe:
        """How the weights are to be used; see `zoo.recipe.resolve`.

        Args:
            card: of the network.
            told: what the file says of its own network.
        """
        return self._resolve(card, told, self.said or Said(), self.info.trained)

    def unread(self, card: ModelCard) -> Recipe:
        """The same before the file was read: what its output means is not asked for yet."""
        said = self.said or Said()
        if self.file is not None:
            said = replace(said, says=None, fake_index=None)
        return self._resolve(card, None, said, trained=False)

    def _resolve(self, card: ModelCard, told: FileTold | None, said: Said, trained: bool) -> Recipe:
        if self.recipe is not None:
            return self.recipe
        by = f"--like {self.info.like}"
        if self.card is not None:
            by = f"weights {self.card.name} of the card"
        return resolve(
            card,
            published=self.card or self.like,
            published_by=by,
            told=told,
            said=said,
            file="" if self.path is None else str(self.path),
            trained=trained,
        )


class Original(ABC):
    """A network in its own framework, with its weights.

    Attributes:
        card: the network's card.
        weights: what is inside.
        recipe: how it is used.
        module: the framework's object (``keras.Model``, ``torch.nn.Module``).
    """

    def __init__(
        self,
        card: ModelCard,
        choice: WeightsChoice,
        module: Any,
        *,
        told: FileTold | None = None,
    ) -> None:
        self.card = card
        self.weights = choice.info
        self.module = module
        self.recipe = choice.resolve(card, told)
        if told is not None:
            self.weights = replace(self.weights, own_network=told.own_network)
            self.note(*told.notes)

    @property
    def preprocessing(self) -> Preprocessing:
        """From an image to a frame."""
        return self.recipe.preprocessing

    @property
    def normalisation(self) -> Normalisation:
        """From a frame to the network's input."""
        return self.recipe.normalisation

    @property
    def head(self) -> Head:
        """What comes out."""
        return self.recipe.head

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
        return self.normalisation.apply(frames)

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


def choose_weights(
    card: ModelCard,
    name: str | None,
    *,
    seed: int = 0,
    like: str | None = None,
    said: Said | None = None,
    recipe: Recipe | None = None,
    download: bool = True,
) -> WeightsChoice:
    """Find the weights a user means.

    Args:
        card: of the network.
        name: a name on the card, a path to a file, ``random``, or ``None`` for the
            card's default.
        seed: of random weights.
        like: published weights that a file, or random ones, are to be treated as.
        said: what the user says of a file, or of random weights.
        recipe: see `WeightsChoice`.
        download: whether published weights may be fetched.

    Raises:
        WeightsError: no such name and no such file; or not to be found, or damaged; or
            ``like`` is no name on the card; or ``like`` or ``said`` are of weights that the
            card knows all of.
    """
    said = said or Said()
    own = card.find_weights(name) if name else card.default_weights
    flags = (*said.flags, *["--like"] * (like is not None))
    if flags and (own is not None or name is None):
        raise WeightsError(
            f"{flags[0]} is for a file of yours; {name or 'the default'} is on the card itself",
            "published weights are used as they were trained",
            f"leave {flags[0]} out, or give --weights PATH",
        )
    same = None if like is None else _like(card, like)
    if name == RANDOM:
        info = WeightsInfo(RANDOM, trained=False, seed=seed, like=like, source="seeded, untrained")
        return WeightsChoice(info, None, None, seed, same, said, recipe)
    if own is not None:
        found = locate(own.file, download=download)
        file = snapshot(found.path, error=WeightsError)
        if file.sha256 != found.sha256:
            raise WeightsError(
                f"{found.path} was replaced while it was looked at",
                f"its sha256 is {file.sha256}, due is {found.sha256}",
                "run the command again",
            )
        new_head = f"; on them a new head of seed {seed}, untrained" if own.backbone else ""
        info = WeightsInfo(
            own.name,
            trained=not own.backbone,
            file=own.file,
            sha256=file.sha256,
            seed=seed if own.backbone else None,
            source=found.source + new_head,
            licence=found.licence,
        )
        return WeightsChoice(info, file, own, seed, recipe=recipe)
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
    if not path.exists():
        raise WeightsError(
            f"{card.name} has no weights '{name}', and there is no such file",
            f"names: {names}",
            f"zoo show {card.name}",
        )
    file = snapshot(path, error=WeightsError)
    info = WeightsInfo(
        "custom",
        trained=True,
        file=path.name,
        sha256=file.sha256,
        like=like,
        source="the user's file",
    )
    return WeightsChoice(info, file, None, seed, same, said, recipe)


def _like(card: ModelCard, like: str) -> WeightsCard:
    """The published weights whose way of training is to be taken for others."""
    found = card.find_weights(like)
    if found is None:
        names = ", ".join(w.name for w in card.weights)
        raise WeightsError(
            f"--like {like}: {card.name} has no published weights of that name",
            f"names: {names or 'none'}",
            f"zoo show {card.name}",
        )
    return found


def load_original(
    card: ModelCard,
    weights: str | None = None,
    *,
    seed: int = 0,
    like: str | None = None,
    said: Said | None = None,
    recipe: Recipe | None = None,
    download: bool = True,
) -> Original:
    """Build a network in its own framework and load its weights strictly.

    Args:
        card: of the network.
        weights: a name on the card, a path, ``random``, or ``None`` for its default.
        seed: of random weights.
        like: name of published weights: a user's file (or random ones) gets the pixels, the
            size and the activation that those were trained with.
        said: what the user says of a file, or of random weights.
        recipe: how the weights are used, where an engine of them says it; instead of
            ``like`` and ``said``.
        download: whether published weights may be fetched.

    Raises:
        WeightsError: the weights are missing, damaged or of another network, or nothing
            says what of the network's output is "fake".
        MissingPackageError: the framework is not installed.
    """
    choice = choose_weights(
        card, weights, seed=seed, like=like, said=said, recipe=recipe, download=download
    )
    if choice.file is not None and choice.card is None:
        refuse_at_first_look(card, choice.file)
    module, _, function = card.original.partition(":")
    build = cast(
        "Callable[[ModelCard, WeightsChoice], Original]",
        getattr(importlib.import_module(module), function),
    )
    try:
        return build(card, choice)
    finally:
        if choice.file is not None:
            choice.file.close()  # the network has numbers of its own
