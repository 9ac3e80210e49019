"""What an export took for granted, and who said it: the block that `zoo export` prints."""

from __future__ import annotations

from typing import NamedTuple

from runtime.engine_info import Preprocessing
from runtime.faces.recipe import FaceCrop
from runtime.recipe import Head, Normalisation
from zoo.recipe import Recipe


class Assumption(NamedTuple):
    """One line.

    Attributes:
        what: ``output``, ``frame``, ``pixels`` or ``faces``.
        is_: in words.
        by: who said it; several where they said a part each.
    """

    what: str
    is_: str
    by: str


#: Lines, and the parts of a recipe that each is of.
_LINES = {
    "output": ("output", "polarity"),
    "frame": ("size", "resize", "crop"),
    "pixels": ("scale", "mean", "std"),
    "faces": ("face_crop",),
}


def assumptions(recipe: Recipe, unread: str = "") -> list[Assumption]:
    """A recipe in four lines, with the source of each.

    Args:
        recipe: all of it known.
        unread: of a file that was not read yet, and may say more, what was said by flags.
    """
    words = {
        "output": _output(recipe.head),
        "frame": frame_in_words(recipe.preprocessing),
        "pixels": pixels_in_words(recipe.normalisation),
        "faces": _faces(recipe.face_crop),
    }
    by = {what: _by(recipe, parts) for what, parts in _LINES.items()}
    if unread:
        words["output"], by["output"] = "as the file has it", f"the file; {unread}"
        by["frame"] += "; the file may say otherwise"
    return [Assumption(what, words[what], by[what]) for what in _LINES]


def _by(recipe: Recipe, parts: tuple[str, ...]) -> str:
    """``card``, or ``size: --size; resize, crop: card``."""
    by: dict[str, list[str]] = {}
    for part in parts:
        by.setdefault(recipe.sources.get(part, "card"), []).append(part.replace("_", " "))
    if len(by) == 1:
        return next(iter(by))
    return "; ".join(f"{', '.join(said)}: {source}" for source, said in by.items())


def _output(head: Head) -> str:
    name = {"sigmoid": "a probability", "logit": "a logit"}.get(head.kind)
    if name is not None:
        return f"one, {name} of '{head.says}'"
    order = "fake, real" if head.fake_index == 0 else "real, fake"
    return f"two, {'probabilities' if head.kind == 'softmax' else 'logits'} of ({order})"


def frame_in_words(how: Preprocessing) -> str:
    """``224 x 224 (height x width), bilinear, no crop``."""
    crop = "stretched, no crop"
    if how.crop == "center":
        crop = f"shorter side {how.shorter_side}, centre crop"
    return f"{how.height} x {how.width} RGB, {how.resize}, {crop}"


def pixels_in_words(norm: Normalisation) -> str:
    """The formula, and the range that 0..255 becomes."""
    least, most = norm.range
    scaled = "x" if norm.scale == 1 else f"x / {1 / norm.scale:.6g}"
    divided = norm.std != (1.0, 1.0, 1.0)
    if any(norm.mean):
        scaled = f"{scaled} - {_three(norm.mean)}"
        scaled = f"({scaled})" if divided else scaled
    if divided:
        scaled += f" / {_three(norm.std)}"
    return f"{scaled}: {least:.4g} to {most:.4g}"


def _three(values: tuple[float, float, float]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:.6g}"
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"


def _faces(crop: FaceCrop) -> str:
    turned = "eyes level" if crop.align else "not turned"
    shape = "a square" if crop.square else "the box"
    return f"{shape} with margin {crop.margin:g}, {turned}"
