"""What every face detector does with its boxes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    limit: float,
    measure: Literal["union", "smaller"] = "union",
) -> NDArray[np.intp]:
    """Non-maximum suppression.

    Args:
        boxes: float32 [N, 4], left, top, right, bottom.
        scores: float32 [N].
        limit: a box goes where it overlaps a better one by more than this, 0..1.
        measure: overlap by the area of the union, or by that of the smaller box.

    Returns:
        Indices of what is kept, the best first.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while left.size:
        best, rest = left[0], left[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        other = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.clip(other - corner, 0, None).prod(axis=1)
        if measure == "union":
            whole = area[best] + area[rest] - shared
        else:
            whole = np.minimum(area[best], area[rest])
        left = rest[shared <= limit * whole]
    return np.array(kept, np.intp)
