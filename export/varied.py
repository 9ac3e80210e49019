"""Faces as cameras and codecs leave them: darker, brighter, flatter, harder, coarser, softer.

What half precision costs differs from face to face. A few samples show little of that; the
same few under other light and after other codecs show more, and no further images are
needed.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter


def _as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=25)
    return Image.open(file, formats=("JPEG",)).convert("RGB")


#: What is done to a frame, by name.
VARIATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.5),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.5),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.6),
    "JPEG of quality 25": _as_jpeg,
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
}


def varied(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every variation of every frame.

    Args:
        frames: uint8 [N, H, W, 3], RGB.

    Returns:
        uint8 [6 N, H, W, 3]; the variations of one frame stand together, in the order of
        `VARIATIONS`.
    """
    found = [
        np.asarray(change(Image.fromarray(frame)))
        for frame in frames
        for change in VARIATIONS.values()
    ]
    return np.stack(found) if found else frames[:0]
