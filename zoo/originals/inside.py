"""The original of an engine: the very weights that are inside it."""

from __future__ import annotations

from pathlib import Path

from runtime.engine_info import EngineInfo
from runtime.errors import EngineError, WeightsError
from runtime.files import snapshot
from zoo.catalog import find_card
from zoo.originals.original import Original, load_original
from zoo.recipe import recipe_of_engine


def load_original_of(engine: Path, info: EngineInfo, weights: str | None) -> Original:
    """Load the network and weights that an engine was made from.

    Args:
        engine: its path, for messages.
        info: what is known of it.
        weights: the file, where it was made from one of the user's.

    Raises:
        EngineError: the weights are a user's file that was not given, or are others.
        ZooError: the original cannot be loaded.
    """
    inside = info.weights
    if inside.name == "custom" and weights is None:
        raise EngineError(
            f"{engine} was made from a file of yours, and the original is needed",
            f"{inside.file}, sha256 {inside.sha256}",
            f"--weights PATH/TO/{inside.file}",
        )
    card = find_card(info.network)
    if weights is not None and Path(weights).is_file():
        with snapshot(Path(weights), error=WeightsError) as file:  # before a framework is loaded
            _refuse_others(engine, inside.sha256, file.sha256)
    original = load_original(
        card,
        weights or inside.name,
        seed=inside.seed or 0,
        recipe=recipe_of_engine(card, info),
    )
    _refuse_others(engine, inside.sha256, original.weights.sha256)
    return original


def _refuse_others(engine: Path, due: str | None, found: str | None) -> None:
    if found != due:
        raise EngineError(
            f"these are not the weights that are in {engine}",
            f"sha256 {found}, the engine's are {due}",
            "give the file the engine was made from with --weights",
        )
