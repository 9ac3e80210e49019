"""How a person looks, by colour: enough to tell neighbours in one shot apart, not to know anybody.

Histograms of brightness and colour of the head and the shoulders, compared by the
Bhattacharyya coefficient (Comaniciu, Ramesh and Meer, "Kernel-based object tracking", 2003).
Brightness is logarithmic, so that dark rooms are told apart too. Clothes tell people apart
where faces are small, and a head that turns changes little of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

#: Of brightness, red and blue.
_BINS = 8
#: Around the face's box, in its widths to both sides and its heights up and down.
_SIDE, _ABOVE, _BELOW = 0.3, 0.3, 0.7
_PIXELS = (24, 32)
_SCENE_PIXELS = (36, 27)


def person(picture: Image.Image, box: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """The looks of one person.

    Args:
        picture: RGB.
        box: of the face: x, y, width, height in pixels.

    Returns:
        float64 [512], the sum 1; of what lies inside the picture.
    """
    x, y, width, height = box
    area = (
        x - _SIDE * width,
        y - _ABOVE * height,
        x + (1 + _SIDE) * width,
        y + (1 + _BELOW) * height,
    )
    return _histogram(_cut(picture, area, _PIXELS))


def scene(picture: Image.Image) -> NDArray[np.float64]:
    """The looks of a whole picture: float64 [3, 512], its left, middle and right third."""
    third = picture.width / 3
    areas = [(i * third, 0.0, (i + 1) * third, float(picture.height)) for i in range(3)]
    return np.stack([_histogram(_cut(picture, area, _SCENE_PIXELS)) for area in areas])


def alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """0 nothing in common, 1 the same; of several histograms the mean."""
    return float(np.sqrt(one * other).sum(axis=-1).mean())


def _cut(
    picture: Image.Image, area: tuple[float, float, float, float], size: tuple[int, int]
) -> NDArray[np.float64]:
    """An area of a picture at another size; a part beyond the picture is left out."""
    from PIL import Image

    left, top = (max(0, int(side)) for side in area[:2])
    right = min(picture.width, max(left + 1, int(area[2])))
    bottom = min(picture.height, max(top + 1, int(area[3])))
    left, top = min(left, right - 1), min(top, bottom - 1)
    small = picture.resize(size, Image.Resampling.BOX, (left, top, right, bottom), reducing_gap=2.0)
    return np.asarray(small, np.float64)


def _histogram(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [512] of RGB in 0..255; each pixel counts in the neighbouring bins too."""
    total = pixels.sum(axis=2) + 24
    light = (np.log2(pixels.mean(axis=2) + 8) - 3) / 5
    red = ((pixels[..., 0] + 8) / total - 1 / 3 + 0.15) / 0.4
    blue = ((pixels[..., 2] + 8) / total - 1 / 3 + 0.2) / 0.35
    index = np.zeros(light.shape, np.int64)
    for value in (light, red, blue):
        index = index * _BINS + np.clip(value * _BINS, 0, _BINS - 1).astype(np.int64)
    counts = np.bincount(index.ravel(), minlength=_BINS**3).astype(np.float64)
    cube = counts.reshape(_BINS, _BINS, _BINS)
    for axis in range(3):
        wide = np.pad(cube, [(int(a == axis),) * 2 for a in range(3)], "edge")
        before, at, after = (wide.take(range(k, k + _BINS), axis) for k in range(3))
        cube = (before + 2 * at + after) / 4
    whole: NDArray[np.float64] = cube.ravel() / cube.sum()
    return whole
