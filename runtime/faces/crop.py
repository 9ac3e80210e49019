"""Cut a face out of its picture, as the network's training faces were cut."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runtime.faces.face import Face
from runtime.faces.recipe import FaceCrop

if TYPE_CHECKING:
    from PIL import Image

#: An aligned face's size in the greater of its two distances (see `FaceCrop.align`).
_SIZE = 2.2
#: Where its centre lies on the way from between the eyes to the tip of the nose. Afchar
#: took the middle of dlib's bridge and base of the nose; in his crops that is here.
_CENTRE = 0.8
#: A face as large as this is no face in a picture but nonsense of the finder.
_LARGEST = 12_000


def crop_face(picture: Image.Image, face: Face, recipe: FaceCrop) -> NDArray[np.uint8]:
    """The face's pixels at the picture's own scale.

    Args:
        picture: PIL, mode RGB.
        face: in that picture's pixels.
        recipe: the crop that the network was trained with.

    Returns:
        uint8 [H, W, 3] RGB, never empty.
    """
    from PIL import Image

    if not recipe.align:
        left, top, right, bottom = box_with_margin(face, recipe)
        edges = (
            max(0, math.floor(left)),
            max(0, math.floor(top)),
            min(picture.width, math.ceil(right)),
            min(picture.height, math.ceil(bottom)),
        )
        if edges[0] < edges[2] and edges[1] < edges[3]:
            return np.asarray(picture.crop(edges))
        return np.asarray(picture.crop((0, 0, 1, 1)))
    (x, y), side, turn = upright_square(face, recipe)
    side = min(max(1, round(side)), _LARGEST)
    picture, x, y = _mirrored(picture, x, y, side)
    cos, sin = math.cos(turn), math.sin(turn)
    half = side / 2
    # PIL asks where each pixel of the result comes from; it puts in pixel centres itself.
    origin_x = x - half * cos + half * sin
    origin_y = y - half * sin - half * cos
    upright = picture.transform(
        (side, side),
        Image.Transform.AFFINE,
        (cos, -sin, origin_x, sin, cos, origin_y),
        Image.Resampling.BICUBIC,
    )
    return np.asarray(upright)


def box_with_margin(face: Face, recipe: FaceCrop) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a face that is not aligned; may reach beyond the picture."""
    width, height = face.width, face.height
    if recipe.square:
        width = height = max(width, height)
    across, down = width * (0.5 + recipe.margin), height * (0.5 + recipe.margin)
    x, y = face.x + face.width / 2, face.y + face.height / 2
    return x - across, y - down, x + across, y + down


def upright_square(face: Face, recipe: FaceCrop) -> tuple[tuple[float, float], float, float]:
    """Centre (x, y) and side in pixels of an aligned face, and its turn in radians.

    A face that leans to the right of the picture (clockwise) has a positive turn.
    """
    points = face.landmarks.astype(np.float64)
    eyes, mouth = (points[0] + points[1]) / 2, (points[3] + points[4]) / 2
    nose = points[2]
    x, y = eyes + _CENTRE * (nose - eyes)
    down = mouth - eyes
    distance = max(math.dist(points[0], points[1]), math.hypot(*down))
    side = _SIZE * distance * (1 + 2 * recipe.margin)
    return (float(x), float(y)), float(side), math.atan2(-down[0], down[1])


def covered(face: Face, recipe: FaceCrop, width: int, height: int) -> float:
    """How far a picture is its face's crop already: intersection over union, 0..1."""
    if recipe.align:
        (x, y), side, _ = upright_square(face, recipe)
        left, top, right, bottom = x - side / 2, y - side / 2, x + side / 2, y + side / 2
    else:
        left, top, right, bottom = box_with_margin(face, recipe)
    across = min(right, width) - max(left, 0)
    down = min(bottom, height) - max(top, 0)
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    return shared / (width * height + (right - left) * (bottom - top) - shared)


def _mirrored(
    picture: Image.Image, x: float, y: float, side: int
) -> tuple[Image.Image, float, float]:
    """The part of a picture around (x, y) that a turned square needs, mirrored at its edges.

    Returns:
        That part, and where (x, y) lies in it.
    """
    from PIL import Image

    reach = math.ceil(side * math.sqrt(0.5)) + 2
    left, top = math.floor(x) - reach, math.floor(y) - reach
    right, bottom = left + 2 * reach + 1, top + 2 * reach + 1
    inner = (
        min(max(left, 0), picture.width - 1),
        min(max(top, 0), picture.height - 1),
        max(min(right, picture.width), 1),
        max(min(bottom, picture.height), 1),
    )
    inner = (inner[0], inner[1], max(inner[2], inner[0] + 1), max(inner[3], inner[1] + 1))
    part = np.asarray(picture.crop(inner))
    beyond = (
        (max(0, inner[1] - top), max(0, bottom - inner[3])),
        (max(0, inner[0] - left), max(0, right - inner[2])),
        (0, 0),
    )
    if any(map(sum, beyond)):
        part = np.pad(part, beyond, "symmetric")
    return Image.fromarray(part), x - (inner[0] - beyond[1][0]), y - (inner[1] - beyond[0][0])
