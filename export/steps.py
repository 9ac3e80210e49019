"""The steps of an export, in their order: what it does, and what a dry run says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.engine_info import WeightsInfo
from zoo.originals.first_look import refuse_at_first_look
from zoo.originals.original import WeightsChoice, choose_weights
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from export.pipeline import ExportRequest

LOAD = "load the original"
SCORE = "score with the original"
CONVERT = "convert to ONNX"
REWRITE = "contract and exact rewrites"
HALF = "half precision"
BUILD = "build the plan"
CERTIFY = "certificate"


@dataclass(frozen=True)
class Step:
    """One of them.

    Attributes:
        title: for people.
        how: what was asked for, where there is a choice.
    """

    title: str
    how: str = ""

    def __str__(self) -> str:
        return f"{self.title} ({self.how})" if self.how else self.title


def steps_of(request: ExportRequest) -> list[Step]:
    """What an export is going to do."""
    steps = [Step(LOAD), Step(SCORE), Step(CONVERT), Step(REWRITE)]
    if request.fp16:
        steps.append(Step(HALF))
    if request.builder != "none":
        steps.append(Step(BUILD, f"{request.builder}, batch {request.batch}"))
    return [*steps, Step(CERTIFY)]


def look_ahead(request: ExportRequest) -> Recipe:
    """What an export would assume, as far as no framework and no download is needed to tell.

    Returns:
        The recipe before the file was read, which may say more of its own network.

    Raises:
        ZooError: as the export would.
    """
    card, said = request.card, request.said
    named = card.find_weights(request.weights) if request.weights else card.default_weights
    if named is not None and request.like is None and not said.flags:
        # Published weights: checked by their hash when they are fetched.
        return WeightsChoice(WeightsInfo(named.name, trained=True), card=named).unread(card)
    choice = choose_weights(card, request.weights, seed=request.seed, like=request.like, said=said)
    if choice.file is not None:
        with choice.file as file:
            refuse_at_first_look(card, file)
    return choice.unread(card)
