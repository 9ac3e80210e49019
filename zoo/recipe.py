"""One recipe: from an image to a network's input, and from its output to P(fake).

It is resolved once, see `resolve`, from what the network's card says, what is known of the
weights, what a file says of its own network, and what the user says: whoever speaks later
is believed. Each part remembers who said it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from runtime.engine_info import Crop, EngineInfo, Preprocessing, Resize
from runtime.errors import WeightsError
from runtime.faces.recipe import FaceCrop
from runtime.recipe import Head, Normalisation
from zoo.card import Activation, ModelCard, WeightsCard

if TYPE_CHECKING:
    from zoo.originals.told import FileTold

Three = tuple[float, float, float]

#: What a network is given beyond these was scaled for other units: ``--mean 0.5`` on pixels
#: of 0..255 is (255 - .5) / .5 = 509, and 127.5 on pixels of 0..1 leaves nothing of them.
_MOST_VALUE = 256.0
_LEAST_RANGE = 0.1


@dataclass(frozen=True)
class Said:
    """What a user says of a checkpoint, by flags. ``None``: nothing was said.

    Attributes:
        says: what a high value of one output means.
        fake_index: which of two outputs is "fake".
        size: height and width of a frame, in pixels; images are stretched to it unless
            ``crop`` says otherwise.
        resize: PIL's filter.
        crop: how the frame is cut, and for ``center`` the shorter side in pixels that an
            image is scaled to before, by default the frame's longer side.
        scale, mean, std: pixels 0..255 become ``(x * scale - mean) / std``.
    """

    says: Literal["real", "fake"] | None = None
    fake_index: int | None = None
    size: tuple[int, int] | None = None
    resize: Resize | None = None
    crop: tuple[Crop, int | None] | None = None
    scale: float | None = None
    mean: Three | None = None
    std: Three | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """What was said, as flags: ``--fake-index``."""
        said = (f.name for f in fields(self) if getattr(self, f.name) is not None)
        return tuple(f"--{name.replace('_', '-')}" for name in said)


@dataclass(frozen=True)
class Recipe:
    """How one set of weights is to be used.

    Attributes:
        preprocessing: from an image to a frame.
        normalisation: from a frame to the network's input.
        head: what comes out; its meaning is known.
        face_crop: how a face is cut out of a picture.
        activation: of the convolutions, of networks that leave it to the weights.
        sources: who said each part, see `PARTS`: ``card``, ``weights NAME of the card``,
            ``--like NAME``, ``the file``, or a flag.
    """

    preprocessing: Preprocessing
    normalisation: Normalisation
    head: Head
    face_crop: FaceCrop
    activation: Activation = "relu"
    sources: Mapping[str, str] = field(default_factory=dict)


#: Keys of `Recipe.sources`.
PARTS = ("output", "polarity", "size", "resize", "crop", "scale", "mean", "std", "face_crop")


class _Parts:
    """Values by name, each as whoever spoke last has it, and who that was."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def say(self, source: str, **values: Any) -> None:
        for name, value in values.items():
            if value is not None:
                self.values[name], self.sources[name] = value, source

    def say_frame(self, source: str, how: Preprocessing | None) -> None:
        if how is not None:
            crop = how.crop, how.shorter_side
            self.say(source, size=(how.height, how.width), resize=how.resize, crop=crop)

    def say_pixels(self, source: str, norm: Normalisation | None) -> None:
        if norm is not None:
            self.say(source, scale=norm.scale, mean=norm.mean, std=norm.std)


def resolve(
    card: ModelCard,
    *,
    published: WeightsCard | None = None,
    published_by: str = "",
    told: FileTold | None = None,
    said: Said | None = None,
    file: str = "",
    trained: bool = True,
) -> Recipe:
    """What holds for one set of weights.

    Args:
        card: of the network.
        published: weights of the card that these are, or were trained like.
        published_by: who named those: ``weights NAME of the card`` or ``--like NAME``.
        told: what the file says of its own network.
        said: what the user says.
        file: name of the file, for messages; empty of random weights.
        trained: of untrained weights any polarity will do.

    Raises:
        WeightsError: nothing says what means "fake"; or what the user says does not fit the
            network or contradicts the file.
    """
    said = said or Said()
    parts = _Parts()
    parts.say_frame("card", card.preprocessing)
    parts.say_pixels("card", card.normalisation)
    parts.say("card", face_crop=card.face_crop)
    if published is not None:
        parts.say_frame(published_by, published.preprocessing)
        parts.say_pixels(published_by, published.normalisation)
        parts.say(published_by, face_crop=published.face_crop, activation=published.activation)
    if told is not None:
        _say_of_file(parts, told)
        _check_size(said, told, file)
    parts.say("--scale", scale=said.scale)
    parts.say("--mean", mean=said.mean)
    parts.say("--std", std=said.std)
    parts.say("--resize", resize=said.resize)
    if said.size is not None:
        parts.say("--size", size=said.size, crop=("none", None))
    parts.say("--crop", crop=said.crop)
    values = parts.values
    return Recipe(
        _preprocessing(values["size"], values["resize"], values["crop"]),
        _normalisation(values["scale"], values["mean"], values["std"], said),
        _head(parts, card, published, published_by, told, said, file, trained),
        values["face_crop"],
        values.get("activation", "relu"),
        {name: parts.sources[name] for name in PARTS},
    )


def _say_of_file(parts: _Parts, told: FileTold) -> None:
    if told.height is not None or told.width is not None:
        (height, width), resize, (crop, shorter) = (
            parts.values[name] for name in ("size", "resize", "crop")
        )
        how = told.resized(Preprocessing(height, width, resize, crop, shorter))
        parts.say("the file", size=(how.height, how.width))
        if how.shorter_side != shorter:
            parts.say("the file", crop=(how.crop, how.shorter_side))
    if told.scale is not None:
        parts.say_pixels("the file", Normalisation(told.scale))


def _check_size(said: Said, told: FileTold, file: str) -> None:
    own = (told.height, told.width)
    if said.size is not None and any(
        a is not None and a != b for a, b in zip(own, said.size, strict=True)
    ):
        raise WeightsError(
            f"--size {said.size[0]}x{said.size[1]} is not the size of the network in {file}",
            f"it takes {own[0]} x {own[1]}",
            "leave --size out",
        )


def _preprocessing(
    size: tuple[int, int], resize: Resize, crop: tuple[Crop, int | None]
) -> Preprocessing:
    kind, shorter = crop
    if kind == "center" and shorter is None:
        shorter = max(size)
    try:
        return Preprocessing(*size, resize, kind, shorter)
    except ValueError as error:
        raise WeightsError(
            "--size and --crop do not go together", str(error), "--crop center:SHORTER"
        ) from None


def _normalisation(scale: float, mean: Three, std: Three, said: Said) -> Normalisation:
    """Of the user's word, checked against slips of units."""
    try:
        norm = Normalisation(scale, mean, std)
    except ValueError as error:
        raise WeightsError("--scale, --mean and --std do not go", str(error), "") from None
    least, most = norm.range
    flags = {"--scale", "--mean", "--std"} & set(said.flags)
    if flags and (max(-least, most) > _MOST_VALUE or most - least < _LEAST_RANGE):
        raise WeightsError(
            f"{', '.join(sorted(flags))}: pixels would become {least:.4g} to {most:.4g}",
            f"pixels 0..255 become (x * {scale:.6g} - {list(mean)}) / {list(std)}",
            "give --scale, --mean and --std together: --scale 1/255 where pixels are 0..1",
        )
    return norm


def _head(
    parts: _Parts,
    card: ModelCard,
    published: WeightsCard | None,
    published_by: str,
    told: FileTold | None,
    said: Said,
    file: str,
    trained: bool,
) -> Head:
    """What comes out, and what of it means "fake"."""
    known = [(published.head, published_by)] if published is not None and published.head else []
    known += [(head, "card") for head in (card.head, card.other_head) if head is not None]
    head, source = known[0]
    if told is not None and told.head is not None:
        head, source = Head(told.head.kind), "the file"
    elif not file and not published:  # random weights are whatever they are said to be
        outputs = 1 if said.says else 2 if said.fake_index is not None else head.outputs
        head, source = next((one for one in known if one[0].outputs == outputs), known[0])
    parts.say(source, output=head.kind)
    _check_polarity(head, said, file or card.name)
    for one, by in reversed(known):
        if one.outputs == head.outputs and one.known:
            head = replace(head, says=one.says, fake_index=one.fake_index)
            parts.say(by, polarity=True)
    if said.says is not None:
        head = replace(head, says=said.says)
        parts.say("--says", polarity=True)
    if said.fake_index is not None:
        head = replace(head, fake_index=said.fake_index)
        parts.say("--fake-index", polarity=True)
    if head.known:
        return head
    if trained:
        raise _unknown(head, file)
    parts.say("untrained: either will do", polarity=True)
    return replace(head, says="fake") if head.outputs == 1 else replace(head, fake_index=1)


def _check_polarity(head: Head, said: Said, what: str) -> None:
    if head.outputs == 1 and said.fake_index is not None:
        raise WeightsError(
            f"--fake-index is for two outputs; {what} has one",
            f"its output means '{head.says}'" if head.says else "",
            "say what its output means: --says fake or --says real",
        )
    if head.outputs == 2 and said.says is not None:
        raise WeightsError(
            f"--says is for one output; {what} has two",
            "one of them is 'fake'",
            "--fake-index 0 (fake, real) or --fake-index 1 (real, fake)",
        )


def _unknown(head: Head, file: str) -> WeightsError:
    if head.outputs == 1:
        return WeightsError(
            f"nothing says whether the one output of {file} means 'fake' or 'real'",
            "a label of 1 meant whatever it meant to whoever trained it",
            "--says fake or --says real",
        )
    return WeightsError(
        f"nothing says which of the two outputs of {file} is 'fake'",
        "the class order is that of the folders it was trained on",
        "--fake-index 0 (fake, real) or --fake-index 1 (real, fake)",
    )


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """A recipe as the fields of a sidecar, see `recipe_of_engine`."""
    return {
        "preprocessing": recipe.preprocessing,
        "fake_index": recipe.head.fake_index,
        "normalisation": recipe.normalisation,
        "head": recipe.head,
        "sources": dict(recipe.sources),
        "face_crop": recipe.face_crop,
    }


def recipe_of_engine(card: ModelCard, info: EngineInfo) -> Recipe:
    """The recipe that an engine was made by, from its sidecar.

    A sidecar of before says nothing of normalisation and head: these were the card's then,
    or those of the published weights inside.
    """
    published = card.find_weights(info.weights.like or info.weights.name)
    norm = info.normalisation or (published and published.normalisation) or card.normalisation
    head = info.head
    if head is None:
        heads = [published.head if published else None, card.head, card.other_head]
        outputs = 1 if info.fake_index is None else 2
        head = next((one for one in heads if one and one.outputs == outputs), card.head)
        if outputs == 2:
            head = replace(head, fake_index=info.fake_index)
    return Recipe(
        info.preprocessing,
        norm,
        head,
        info.face_crop,
        published.activation if published else "relu",
        info.sources,
    )
