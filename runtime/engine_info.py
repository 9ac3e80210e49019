"""The sidecar: what an engine is, in data that any program can read.

``zoo export`` writes ``NAME.json`` beside ``NAME.onnx`` and ``NAME.plan``; the
part that concerns every engine (network, weights, preprocessing) also travels
in the ONNX file's ``metadata_props`` under the key ``deepfake_zoo``. While an
export replaces another one, and after a kill in that moment, its field ``previous``
speaks of the files that are still the other one's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from runtime.errors import EngineError
from runtime.faces.recipe import FaceCrop
from runtime.files import open_regular
from runtime.recipe import Head, Normalisation
from runtime.text import printable
from runtime.typed_json import decode

FORMAT = 1
METADATA_KEY = "deepfake_zoo"

INPUT_NAME = "frames"
LOGIT_NAME = "logit"
FAKE_NAME = "fake"

Resize = Literal["nearest", "bilinear"]
Crop = Literal["none", "center"]


@dataclass(frozen=True)
class Preprocessing:
    """From an image of any size to one frame: what cannot be inside the graph.

    Attributes:
        height, width: size of a frame in pixels.
        resize: PIL's filter; ``bilinear`` is PIL's, which averages when it shrinks.
        crop: ``none`` stretches the image to the frame; ``center`` scales the
            shorter side to ``shorter_side`` and cuts the frame from the middle,
            as torchvision's ``Resize`` and ``CenterCrop`` do.
        shorter_side: in pixels, for ``crop="center"`` only.
    """

    height: int
    width: int
    resize: Resize
    crop: Crop = "none"
    shorter_side: int | None = None

    def __post_init__(self) -> None:
        if (self.crop == "center") != (self.shorter_side is not None):
            raise ValueError("shorter_side belongs to crop='center' and to nothing else")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a frame of height {self.height} and width {self.width} is empty")
        if self.shorter_side is not None and self.shorter_side < max(self.height, self.width):
            raise ValueError(
                f"shorter_side {self.shorter_side} is less than the frame's "
                f"{self.height} x {self.width}: the crop would reach beyond the image"
            )


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights are inside.

    Attributes:
        name: the card's name for them, or ``custom`` for a file of the user's.
        trained: False for seeded random weights: such an engine judges nothing.
        file: file name they came from, ``None`` for random ones.
        sha256: of that file.
        seed: of random weights.
        like: name of the published weights whose way of training was taken for these.
        source: where they were published.
        licence: SPDX identifier or ``none stated``.
        own_network: whether the file carries a network that is not quite the card's, and
            that is inside then.
    """

    name: str
    trained: bool
    file: str | None = None
    sha256: str | None = None
    seed: int | None = None
    like: str | None = None
    source: str = ""
    licence: str = ""
    own_network: bool = False


@dataclass(frozen=True)
class Artefact:
    """One engine file: its kind (``onnx`` or ``plan``), precision, bytes and sha256."""

    kind: Literal["onnx", "plan"]
    precision: Literal["fp32", "fp16"]
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Builder:
    """What built the plan, and for which machines.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt_rtx``.
        version: of that library; a plan is tied to it.
        target: compute capabilities the plan was built for, as ``8.9``; empty means
            the flavour's own default (TensorRT-RTX: 8.0 and later).
        min_batch, opt_batch, max_batch: the optimisation profile, in images.
        layers: number of layers by type and output type, as parsed.
    """

    flavour: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    target: list[str]
    min_batch: int
    opt_batch: int
    max_batch: int
    layers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineInfo:
    """Everything known of an engine.

    Attributes:
        network: name of the card.
        title: the card's title, for people.
        weights: which weights are inside.
        preprocessing: how images become frames.
        fake_index: of an original with two outputs, which one is "fake".
        normalisation: from a frame to the original's input; inside the graph.
        head: what comes out of the original, and what of it is "fake"; inside the graph.
        sources: who said each part of `preprocessing`, `normalisation`, `head` and
            `face_crop`: the card, the file, or a flag.
        threshold: P(fake) at or above which the verdict is "fake".
        face_crop: how a face is cut out of a picture before `preprocessing`.
        kept_fp32: nodes of the FP16 graph that stay in FP32, with the reason.
        artefacts: engine files by file name.
        builder: of the plan, where there is one.
        certificate: the parity proof, as ``export.certificate`` wrote it.
        made_with: versions of the packages that took part.
    """

    network: str
    title: str
    weights: WeightsInfo
    preprocessing: Preprocessing
    fake_index: int | None = None
    normalisation: Normalisation | None = None
    head: Head | None = None
    sources: dict[str, str] = field(default_factory=dict)
    threshold: float = 0.5
    face_crop: FaceCrop = field(default_factory=FaceCrop)
    kept_fp32: dict[str, str] = field(default_factory=dict)
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    builder: Builder | None = None
    certificate: dict[str, Any] | None = None
    made_with: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:  # NaN neither: it would call everything real
            raise ValueError(f"threshold is {self.threshold}, not within 0..1")
        if self.head is None:
            return
        if not self.head.known:
            raise ValueError("the head does not say what means 'fake'")
        if self.head.fake_index != self.fake_index:
            raise ValueError(
                f"fake_index is {self.fake_index}, and of the head {self.head.fake_index}"
            )

    def to_json(self, previous: Sequence[EngineInfo] = ()) -> str:
        """The sidecar's text.

        Args:
            previous: exports of the same name, some of whose files are still in place.
        """
        data: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        if previous:
            data["previous"] = [asdict(info) for info in previous]
        return json.dumps(data, indent=2, sort_keys=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> EngineInfo:
        """Read a sidecar.

        Args:
            text: JSON.
            source: what to call it in errors (a path).

        Raises:
            EngineError: not JSON, of another format version, or a field is missing
                or of the wrong type; the message names the field.
        """
        return read_infos(text, source)[0]


def read_infos(text: str, source: str) -> list[EngineInfo]:
    """Read a sidecar: its export, then earlier ones of which files may be in place.

    Raises:
        EngineError: see `EngineInfo.from_json`.
    """
    source = printable(source)
    todo = "export the engine again: zoo export NAME --fp16"
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{source} is not a sidecar", f"not JSON: {error}", todo) from None
    if not isinstance(data, dict) or "format" not in data:
        raise EngineError(f"{source} is not a sidecar", "it has no field 'format'", todo)
    if data.pop("format") != FORMAT:
        raise EngineError(
            f"{source} is of another version of deepfake-zoo",
            f"this version reads format {FORMAT}",
            todo,
        )
    try:
        previous = data.pop("previous", [])
        if not isinstance(previous, list):
            raise TypeError(f"previous must be a list, not {type(previous).__name__}")
        infos = [decode(EngineInfo, data)]
        return infos + [decode(EngineInfo, each, "previous.") for each in previous]
    except (TypeError, ValueError) as error:
        raise EngineError(f"{source} is damaged", printable(str(error)), todo) from None


def sidecar_path(engine: Path) -> Path:
    """Where the sidecar of an engine file is: ``meso4.fp16.onnx`` -> ``meso4.json``."""
    name = engine.name
    for suffix in (".fp16.onnx", ".onnx", ".plan"):
        if name.endswith(suffix):
            return engine.with_name(name.removesuffix(suffix) + ".json")
    return engine.with_suffix(".json")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open_regular(path) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
