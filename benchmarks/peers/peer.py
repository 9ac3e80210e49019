"""What a peer is: something that judges the same frames, each in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.backend_names import BackendName
from runtime.engine_info import EngineInfo
from zoo.card import ModelCard
from zoo.catalog import find_card
from zoo.recipe import Recipe, recipe_of_engine
from zoo.scores import fake_scores

if TYPE_CHECKING:
    from zoo.originals import Original

Source = Literal["host", "device"]

#: Judges one batch and gives the peer's own output, in host memory, when it is there.
Call = Callable[[], NDArray[np.float32]]

#: In whose hands the frames are, so that a scope says the same of every peer.
HOST_SCOPE = "in host memory -> scores in host memory"
DEVICE_SCOPE = "in device memory -> scores in host memory"


class PeerMissingError(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True)
class Job:
    """What a worker process is to run.

    Attributes:
        peer: name, as in ``--compare``.
        opener: ``module:function`` that makes a `Peer` from this.
        engine: path of the engine.
        info: its sidecar as JSON; empty for the engine itself, which reads its own.
        plain: path of the framework's plain export, for peers that run it.
        threads: CPU threads; the peer's own choice by default.
        source: where the frames are.
        device: where the original and plain ONNX are to run.
        backend: what runs the engine.
        gpu: index of the GPU. The process of the peer sees that one alone, as its first.
    """

    peer: str
    opener: str
    engine: str
    info: str = ""
    plain: str | None = None
    threads: int | None = None
    source: Source = "host"
    device: Literal["cpu", "cuda"] = "cpu"
    backend: BackendName = "auto"
    gpu: int = 0

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @property
    def engine_info(self) -> EngineInfo:
        """The sidecar."""
        return EngineInfo.from_json(self.info, self.engine)


class Peer(Protocol):
    """Runs one network."""

    title: str
    #: What is inside the timed region: from what to what.
    scope: str

    @property
    def info(self) -> EngineInfo:
        """Of the engine."""
        ...

    def prepare(self, frames: NDArray[np.uint8]) -> Call:
        """Do all that is not to be timed.

        Args:
            frames: uint8 [N, H, W, 3].
        """
        ...

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """P(fake) float32 [N] of what the call gave."""
        ...

    def close(self) -> None:
        """Give back everything."""
        ...


class OriginalNetwork:
    """What is known of the network in an engine before its framework is loaded."""

    def __init__(self, info: EngineInfo) -> None:
        self.info = info
        self.card: ModelCard = find_card(info.network)
        self.recipe: Recipe = recipe_of_engine(self.card, info)
        # A user's own file may be gone, and speed does not hang on the numbers in it.
        self.weights = "random" if info.weights.name == "custom" else info.weights.name

    @property
    def comparable(self) -> bool:
        """Whether its scores are those of the engine."""
        return self.info.weights.name != "custom"

    def load(self) -> Original:
        """The original in its framework.

        Raises:
            PeerMissingError: the network is in a file that is not at hand.
        """
        if self.info.weights.own_network:
            raise PeerMissingError(
                f"the network is {self.info.weights.file}'s own, not quite {self.card.title}"
            )
        from zoo.originals import load_original

        return load_original(
            self.card,
            self.weights,
            seed=self.info.weights.seed or 0,
            recipe=self.recipe,
        )

    def values(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's own input: float32 [N, H, W, 3], normalised."""
        return self.recipe.normalisation.apply(frames)

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """P(fake) of the network's own output; NaN where its polarity is not known."""
        head = self.recipe.head
        output = np.asarray(output, np.float32).reshape(len(output), -1)
        if not self.comparable or output.shape[1] != head.outputs:
            return np.full(len(output), np.nan, np.float32)
        return fake_scores(head, output, output).fake


def shown_device(device: Literal["cpu", "cuda"]) -> str:
    """For people."""
    return {"cpu": "CPU", "cuda": "GPU"}[device]


def plain_path(job: Job) -> Path:
    """The framework's plain export.

    Raises:
        PeerMissingError: it could not be made.
    """
    if job.plain is None:
        raise PeerMissingError("the framework's plain export could not be made")
    return Path(job.plain)
