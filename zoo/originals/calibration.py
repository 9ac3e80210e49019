"""The batch that random weights are conditioned on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zoo.noise import seeded_frames

#: Enough for the statistics of a BatchNorm, few enough for VGG16 on two cores.
CALIBRATION_FRAMES = 16
_DISCS = 40


def calibration_frames(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Seeded frames, half of them with sharp-edged discs on top.

    Smooth frames alone know no edges. A network conditioned on them meets edges for the
    first time in a photograph, and deep down that grows: logits of faces went to 37
    where those of the batch had a spread of 2. Discs that cover each other have the
    statistics of natural images (the dead leaves model).

    Args:
        height, width: in pixels.
        seed: of NumPy's PCG64.

    Returns:
        uint8 [CALIBRATION_FRAMES, height, width, 3], full range 0..255.
    """
    frames = seeded_frames(CALIBRATION_FRAMES, height, width, seed)
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:height, :width]
    for frame in frames[CALIBRATION_FRAMES // 2 :]:
        for _ in range(_DISCS):
            # Small discs are the most frequent, as in nature.
            radius = min(height, width) / 2 * rng.uniform(0.05, 1) ** 2
            disc = (rows - rng.uniform(0, height)) ** 2 + (
                columns - rng.uniform(0, width)
            ) ** 2 < radius**2
            colour = rng.uniform(0, 180) + rng.normal(0, 25, 3)
            # Some of what lies below stays: real surfaces are not flat.
            frame[disc] = np.clip(frame[disc] * 0.3 + colour, 0, 255).astype(np.uint8)
    return frames
