"""Cards: all that is known of a network and of each of its weights, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from runtime.engine_info import Preprocessing
from runtime.faces.recipe import FaceCrop

Framework = Literal["keras", "torch"]

#: What a network's own last layer gives.
#:
#: ``sigmoid``   one probability, shape [N, 1]
#: ``logit``     one log-odds, shape [N, 1]
#: ``softmax``   two probabilities, shape [N, 2]
#: ``logits``    two unnormalised logits, shape [N, 2]
HeadKind = Literal["sigmoid", "logit", "softmax", "logits"]


@dataclass(frozen=True)
class Head:
    """How a network says what it thinks.

    Attributes:
        kind: see `HeadKind`.
        fake_index: of a two-way head, which output is "fake"; ``None`` where the class
            order is unknown and the user has to say it.
        says: of a one-way head, what a high value means.
    """

    kind: HeadKind
    says: Literal["real", "fake"] | None = None
    fake_index: int | None = None

    def __post_init__(self) -> None:
        one_way = self.kind in ("sigmoid", "logit")
        if one_way and (self.says is None or self.fake_index is not None):
            raise ValueError(f"a {self.kind} head says 'real' or 'fake' and has no class index")
        if not one_way and self.says is not None:
            raise ValueError(f"a {self.kind} head has a class index, not a polarity")
        if self.fake_index not in (None, 0, 1):
            raise ValueError("fake_index is 0 or 1")

    @property
    def outputs(self) -> int:
        """How many numbers come out for one image."""
        return 1 if self.says is not None else 2


@dataclass(frozen=True)
class Normalisation:
    """Pixels 0..255 to the network's input: ``(x * scale - mean) / std`` by channel."""

    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


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
    activation: Literal["relu", "elu", "lrelu"] = "relu"
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
    face_crop: FaceCrop = field(default_factory=FaceCrop)
    notes: str = ""

    @property
    def default_weights(self) -> WeightsCard | None:
        """What is taken where no weights are named; never a mere backbone."""
        return next((w for w in self.weights if not w.backbone), None)

    def face_crop_of(self, weights: str) -> FaceCrop:
        """How faces are cut for the weights called ``weights``, or trained like them."""
        own = self.find_weights(weights)
        return self.face_crop if own is None or own.face_crop is None else own.face_crop

    def find_weights(self, name: str) -> WeightsCard | None:
        """The card of the weights called ``name``, or ``None``."""
        return next((w for w in self.weights if w.name == name), None)
