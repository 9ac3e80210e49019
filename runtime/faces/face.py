"""What a face finder gives, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one picture.

    Attributes:
        x, y, width, height: its box in pixels of the picture, the origin top left. A box
            may reach beyond the picture.
        score: how sure the finder is, 0..1.
        landmarks: float32 [5, 2], (x, y) in pixels: the eye at the left of the picture,
            the eye at the right, the tip of the nose, the left and the right corner of
            the mouth.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    landmarks: NDArray[np.float32]

    @property
    def size(self) -> float:
        """The shorter side of the box in pixels."""
        return min(self.width, self.height)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(x, y, width, height)."""
        return self.x, self.y, self.width, self.height


class FaceFinder(Protocol):
    """Finds faces. Calls of `find` may come from several threads at once."""

    #: For people and for results: ``yunet``, ``mtcnn``.
    name: str

    def find(self, picture: Image.Image, min_size: int) -> list[Face]:
        """Every face of a picture, the largest first.

        Args:
            picture: PIL, mode RGB, upright.
            min_size: in pixels; how small a face still has to be found. Smaller ones may
                be found as well.

        Returns:
            The faces; an empty list where there are none.
        """
        ...


def overlap(one: tuple[float, float, float, float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (x, y, width, height), 0..1."""
    x, y, width, height = one
    u, v, w, h = other
    across = min(x + width, u + w) - max(x, u)
    down = min(y + height, v + h) - max(y, v)
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    return shared / (width * height + w * h - shared)


def largest_first(faces: Sequence[Face]) -> list[Face]:
    """Sorted by the area of their boxes."""
    return sorted(faces, key=lambda face: -face.width * face.height)
