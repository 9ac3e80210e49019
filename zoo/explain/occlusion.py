"""Occlusion: cover a part of the frame and see how the verdict changes (Zeiler & Fergus 2014).

It works with every engine, plans included, because it asks for scores alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.detector import Detector

#: Side of the covered square and step between two of them, as parts of the frame's side.
_PATCH = 1 / 8
_STEP = 1 / 16
_BATCH = 32


def occlusion_heat(detector: Detector, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How many log-odds of "fake" each part of a frame brings.

    Args:
        detector: the opened engine.
        frame: uint8 [H, W, 3].

    Returns:
        float32 [H, W]: the mean, over the squares that cover a pixel, of the logit that is
        lost with them.
    """
    height, width, _ = frame.shape
    patch = max(1, round(height * _PATCH)), max(1, round(width * _PATCH))
    places = [
        (top, left)
        for top in _starts(height, patch[0], max(1, round(height * _STEP)))
        for left in _starts(width, patch[1], max(1, round(width * _STEP)))
    ]
    # The frame's own mean colour: black or grey would be a new edge on most faces.
    cover = frame.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    whole = float(detector.infer(frame[None])[0][0])
    total = np.zeros((height, width), np.float64)
    count = np.zeros((height, width), np.int64)
    for start in range(0, len(places), _BATCH):
        part = places[start : start + _BATCH]
        frames = np.repeat(frame[None], len(part), axis=0)
        for index, (top, left) in enumerate(part):
            frames[index, top : top + patch[0], left : left + patch[1]] = cover
        logits = detector.infer(frames)[0]
        for (top, left), logit in zip(part, logits, strict=True):
            inside = np.s_[top : top + patch[0], left : left + patch[1]]
            total[inside] += whole - float(logit)
            count[inside] += 1
    return (total / count).astype(np.float32)


def _starts(length: int, patch: int, step: int) -> list[int]:
    """Where patches begin, so that the last one ends at the edge."""
    last = length - patch
    return sorted({*range(0, last, step), last})
