"""The flags by which a user says how a checkpoint was trained, see `zoo.recipe.Said`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from runtime.engine_info import Crop
from zoo.recipe import Three

_MOST_SIDE = 4096
_NUMBERS = "three numbers, for red, green and blue, or one for all"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _numbers(text: str) -> list[float]:
    """Numbers and fractions between commas or blanks: ``0.5, 1/255``."""
    found = []
    for part in text.replace(",", " ").split():
        top, slash, bottom = part.partition("/")
        value = float(top) / (float(bottom) if slash else 1.0)
        if not math.isfinite(value):
            raise ValueError(part)
        found.append(value)
    return found


def _scale(text: str) -> float:
    (scale,) = _numbers(text)
    return scale


def _three(text: str) -> Three:
    found = _numbers(text)
    red, green, blue = found * 3 if len(found) == 1 else found
    return red, green, blue


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.lower().partition("x")
    size = int(height), int(width if cross else height)
    if not all(1 <= side <= _MOST_SIDE for side in size):
        raise ValueError(text)
    return size


def _crop(text: str) -> tuple[Crop, int | None]:
    kind, colon, shorter = text.partition(":")
    if kind == "center":
        if colon and int(shorter) < 1:
            raise ValueError(text)
        return "center", int(shorter) if colon else None
    if text != "none":
        raise ValueError(text)
    return "none", None


def _option(name: str, read: Callable[[str], Any], due: str, **options: Any) -> Any:
    """An option whose text is read by a function, which raises ValueError."""

    def convert(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else read(text)
        except (ValueError, ZeroDivisionError):
            raise click.BadParameter(f"{text!r} is not {due}") from None

    return click.option(name, callback=convert, **options)


_OPTIONS = (
    click.option(
        "--says",
        type=click.Choice(["fake", "real"]),
        help="What a high value of ONE output means.",
    ),
    click.option(
        "--fake-index", type=click.IntRange(0, 1), help="Which of TWO outputs is 'fake': 0 or 1."
    ),
    _option(
        "--size",
        _size,
        f"a size of 1 to {_MOST_SIDE}, as 256 or 240x320 (height x width)",
        metavar="N|HxW",
        help="Of a frame; images are stretched to it unless --crop says otherwise.",
    ),
    _option(
        "--crop",
        _crop,
        "one of none, center and center:SHORTER",
        metavar="none|center[:SHORTER]",
        help="'center': scale the shorter side to SHORTER [the frame's longer], cut the middle.",
    ),
    click.option("--resize", type=click.Choice(["nearest", "bilinear"]), help="PIL's filter."),
    _option(
        "--scale",
        _scale,
        "a number, as 1/255 or 0.0078125",
        metavar="NUMBER",
        help="Pixels 0..255 become (x * SCALE - MEAN) / STD; 1/255 for 0..1.",
    ),
    _option("--mean", _three, _NUMBERS, metavar="R,G,B", help="After --scale: 0.485,0.456,0.406."),
    _option("--std", _three, _NUMBERS, metavar="R,G,B", help="Or one number for all three."),
)


def says(command: _Command) -> _Command:
    """The flags; the command takes them as the fields of `zoo.recipe.Said`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
