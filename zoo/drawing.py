"""Draw verdicts into a picture: a box and a label a face, and a strip for the whole clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime.verdicts import FaceVerdict, Summary

if TYPE_CHECKING:
    from PIL import Image

_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
#: Of a box, a label's ground or the strip; and of the letters on it.
_COLOURS = {
    "fake": ((230, 40, 40), _WHITE),
    "real": ((30, 170, 70), _WHITE),
    "uncertain": ((250, 200, 40), _BLACK),
    "no face": ((110, 110, 110), _WHITE),
}
#: The strip is this part of the picture's longer side high, but not lower than this.
_STRIP, _LOWEST = 1 / 24, 16


def draw_faces(picture: Image.Image, faces: Sequence[FaceVerdict], trained: bool) -> None:
    """Draw boxes with P(fake) into a picture; a whole picture has its frame as the box."""
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 400))
    font: Any = ImageFont.load_default(max(12, round(max(picture.size) / 55)))
    boxes = [face.box or (0, 0, *picture.size) for face in faces]
    for face, (x, y, width, height) in zip(faces, boxes, strict=True):
        corner = x + width, y + height
        pen.rectangle((x, y, *corner), outline=_COLOURS[face.label][0], width=line)
    taken: list[_Area] = []
    for face, (x, y, _, height) in zip(faces, boxes, strict=True):
        text = f"{'' if trained else 'untrained: '}{face.label} {face.fake:.2f}"
        if face.track is not None:
            text = f"#{face.track} {text}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        size = right - left + 2 * line, bottom - top + 2 * line
        area = _free_place(x, y, y + height, size, picture.size, taken)
        taken.append(area)
        pen.rectangle(area, fill=_COLOURS[face.label][0])
        start = area[0] + line - left, area[1] + line - top
        pen.text(start, text, fill=_COLOURS[face.label][1], font=font)


def strip_height(size: tuple[int, int]) -> int:
    """Of the strip below a clip's frames: even, as 4:2:0 wants it.

    Args:
        size: width and height of a frame in pixels.
    """
    return 2 * round(max(_LOWEST, _STRIP * max(size)) / 2)


def clip_words(overall: Summary | None, trained: bool) -> str:
    """What the strip says: the verdict, the mean and, where there is one, its interval."""
    if overall is None:
        return "no face found"
    words = f"{overall.label} {overall.mean:.2f}"
    if overall.low is not None:
        words += f" ({overall.low:.2f} to {overall.high:.2f})"
    return words if trained else f"untrained: {words}"


def strip_below(size: tuple[int, int], overall: Summary | None, trained: bool) -> Image.Image:
    """Room for a frame, and below it the clip's verdict in a strip, so that no face is hidden.

    Args:
        size: width and height of a frame in pixels.
        overall: the clip's verdict; ``None`` where there was no face.
        trained: whether the engine's weights are.

    Returns:
        RGB, as wide as a frame and `strip_height` higher.
    """
    from PIL import Image, ImageDraw, ImageFont

    words = clip_words(overall, trained)
    ground, letters = _COLOURS["no face" if overall is None else overall.label]
    width, height = size[0], strip_height(size)
    room = Image.new("RGB", (width, size[1] + height), ground)
    pen = ImageDraw.Draw(room)
    points = 0.7 * height
    font: Any = ImageFont.load_default(points)
    # A tall, narrow picture has less room across.
    if (wide := pen.textlength(words, font=font)) > 0.96 * width:
        font = ImageFont.load_default(max(5.0, points * 0.96 * width / wide))
    pen.text((0.02 * width, size[1] + height / 2), words, fill=letters, font=font, anchor="lm")
    return room


_Area = tuple[float, float, float, float]


def _free_place(
    x: float,
    top: float,
    bottom: float,
    size: tuple[float, float],
    picture: tuple[int, int],
    taken: Sequence[_Area],
) -> _Area:
    """Room for a label: above its box, below it, or further up; never beyond the picture.

    Args:
        x, top, bottom: of the face's box.
        size: width and height of the label.
        picture: likewise.
        taken: what other labels cover; covered again only where all else is taken.
    """
    width, height = size
    left = max(0.0, min(x, picture[0] - width))
    wanted = [top - height, bottom, *(top - n * height for n in range(2, 6))]
    places: list[_Area] = []
    for y in wanted:
        y = max(0.0, min(y, picture[1] - height))
        places.append((left, y, left + width, y + height))
    # A label at the picture's upper edge would hide the face.
    inside = [p for p, y in zip(places, wanted, strict=True) if y == p[1]] or places
    for place in inside:
        if not any(_meet(place, other) for other in taken):
            return place
    return inside[0]


def _meet(one: _Area, other: _Area) -> bool:
    across = min(one[2], other[2]) > max(one[0], other[0])
    return across and min(one[3], other[3]) > max(one[1], other[1])
