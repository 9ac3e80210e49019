"""Cards: all that is known of a network and of each of its weights, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from runtime.engine_info import Preprocessing
from runtime.faces.recipe import FaceCrop
from runtime.recipe import Head as Head
from runtime.recipe import HeadKind as HeadKind
from runtime.recipe import Normalisation as Normalisation

Framework = Literal["keras", "torch"]
Activation = Literal["relu", "elu", "lrelu"]


@dataclass(frozen=True)
class WeightsCard:
    """One set of published weights.

    Attributes:
        name: as in ``--weights NAME``.
        file: its key in ``weights/manifest.toml`` (hash, bytes, URL and licence are there).
        trained_on: the data set and the forgery.
        reported: what its authors say it reaches.
        activation: of the convolutions, where the weights decide it (MalayAgr).
        goldens: P(real) of the original for Afchar's four test images, by file name.
        preprocessing, normalisation, head, face_crop: where these weights differ from the
            network's.
        backbone: they were trained for another task and bring no head of ours: a seeded
            one is put on, and the whole counts as untrained.
    """

    name: str
    file: str
    trained_on: str
    reported: str = ""
    backbone: bool = False
    activation: Activation = "relu"
    goldens: Mapping[str, float] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    normalisation: Normalisation | None = None
    head: Head | None = None
    face_crop: FaceCrop | None = None


@dataclass(frozen=True)
class ModelCard:
    """One network.

    Attributes:
        name: as in ``zoo export NAME``.
        title: for people.
        framework: the one it was published in.
        original: ``module:function`` that builds it (see `zoo.originals.Original`).
        preprocessing: from an image to one frame.
        normalisation: from a frame to the network's input.
        head: what comes out.
        parameters, trainable: number of scalars.
        weights: published weights, the default first.
        paper, source, licence: where it comes from.
        other_head: of users' checkpoints with another number of outputs than `head`,
            where both are met.
        half_within: error in P(fake) that half precision is to stay within on any face, where
            that is less than every certificate asks; nodes are kept in FP32 for it.
        face_crop: how the faces that it was trained with were cut from their pictures.
        notes: what is known of how checkpoints were trained, and what is assumed.
    """

    name: str
    title: str
    framework: Framework
    original: str
    preprocessing: Preprocessing
    normalisation: Normalisation
    head: Head
    parameters: int
    trainable: int
    weights: tuple[WeightsCard, ...]
    paper: str
    source: str
    licence: str
    other_head: Head | None = None
    half_within: float | None = None
    face_crop: FaceCrop = field(default_factory=FaceCrop)
    notes: str = ""

    @property
    def default_weights(self) -> WeightsCard | None:
        """What is taken where no weights are named; never a mere backbone."""
        return next((w for w in self.weights if not w.backbone), None)

    def find_weights(self, name: str) -> WeightsCard | None:
        """The card of the weights called ``name``, or ``None``."""
        return next((w for w in self.weights if w.name == name), None)
