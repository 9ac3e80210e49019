"""Seeded frames: what stands in for faces where there are none.

White noise alone would be a poor stand-in: a convolution averages it away. These
frames have the smooth, correlated content of photographs at several scales.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def seeded_frames(count: int, height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Random smooth images, the same for the same arguments on every machine.

    Args:
        count: number of frames.
        height, width: in pixels.
        seed: of NumPy's PCG64.

    Returns:
        uint8 [count, height, width, 3], full range 0..255.
    """
    rng = np.random.default_rng(seed)
    frames = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        image = np.full((height, width, 3), rng.uniform(60, 190), np.float32)
        # Octaves: each twice as fine and about half as strong as the one before.
        for cells in (2, 4, 8, 16, 32, 64):
            grid = rng.standard_normal((cells + 1, cells + 1, 3)).astype(np.float32)
            rows, columns = _interpolation(height, cells), _interpolation(width, cells)
            smooth = np.tensordot(np.tensordot(rows, grid, (1, 0)), columns, (1, 1))  # [H, 3, W]
            image += rng.uniform(40, 160) / cells * smooth.transpose(0, 2, 1)
        image += rng.normal(0, rng.uniform(0, 6), image.shape).astype(np.float32)
        frames[index] = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return frames


def _interpolation(size: int, cells: int) -> NDArray[np.float32]:
    """Matrix [size, cells + 1] that interpolates a grid linearly to ``size`` pixels."""
    position = np.linspace(0, cells, size, endpoint=False, dtype=np.float32)
    left = position.astype(np.int64)
    matrix = np.zeros((size, cells + 1), np.float32)
    rows = np.arange(size)
    matrix[rows, left] = 1 - (position - left)
    matrix[rows, left + 1] += position - left
    return matrix
