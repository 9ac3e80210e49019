"""Which of the faces that were found are judged, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.faces.face import Face, largest_first

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Selection:
    """What a face has to be.

    Attributes:
        which: every face, or the largest of a picture.
        min_size: of the box's shorter side in pixels.
        min_sharpness: variance of the Laplacian of the box's pixels; 0 lets all pass.
            TorchFakes took 30.
    """

    which: Literal["all", "largest"] = "all"
    min_size: int = 40
    min_sharpness: float = 0.0

    def __post_init__(self) -> None:
        if self.min_size < 1:
            raise ValueError(f"min_size is {self.min_size}; it is at least 1 pixel")
        if not self.min_sharpness >= 0:  # NaN neither
            raise ValueError(f"min_sharpness is {self.min_sharpness}; it is at least 0")


@dataclass(frozen=True)
class Dropped:
    """A face that was found and not judged.

    Attributes:
        box: x, y, width, height in pixels.
        why: for people.
        time: of its frame in seconds; ``None`` in an image.
    """

    box: tuple[float, float, float, float]
    why: str
    time: float | None = None


def select(
    picture: Image.Image,
    faces: Sequence[Face],
    rule: Selection,
    *,
    time: float | None = None,
) -> tuple[list[Face], list[Dropped]]:
    """Part the faces of one picture into those to judge, the largest first, and the others."""
    kept: list[Face] = []
    dropped: list[Dropped] = []
    for face in largest_first(faces):
        if why := _unfit(picture, face, rule):
            dropped.append(Dropped(face.box, why, time))
        elif rule.which == "largest" and kept:
            dropped.append(Dropped(face.box, "not the largest", time))
        else:
            kept.append(face)
    return kept, dropped


def _unfit(picture: Image.Image, face: Face, rule: Selection) -> str:
    if face.size < rule.min_size:
        return f"{face.size:.0f} pixels, less than {rule.min_size}"
    if rule.min_sharpness > 0:
        found = sharpness(picture, face)
        if found < rule.min_sharpness:
            return f"blurred: sharpness {found:.1f}, less than {rule.min_sharpness:g}"
    return ""


def sharpness(picture: Image.Image, face: Face) -> float:
    """Variance of the Laplacian of a face's grey pixels, 0 for a face outside the picture.

    As OpenCV's ``Laplacian(grey, CV_64F).var()``: pixels in 0..255, the kernel with four
    neighbours, mirrored at the edge without repeating it.
    """
    box = (
        max(0, int(face.x)),
        max(0, int(face.y)),
        min(picture.width, int(face.x + face.width)),
        min(picture.height, int(face.y + face.height)),
    )
    if box[2] - box[0] < 2 or box[3] - box[1] < 2:
        return 0.0
    grey = np.asarray(picture.crop(box).convert("L"), np.float32)
    return float(laplacian(grey).var(dtype=np.float64))


def laplacian(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The Laplacian of a grey image [H, W], both at least 2."""
    padded = np.pad(grey, 1, "reflect")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    result: NDArray[np.float32] = around - 4 * grey
    return result
