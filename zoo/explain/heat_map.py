"""The heat map, and the two ways to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.detector import Detector
from runtime.frames import ImageLike, to_frame

Method = Literal["occlusion", "gradcam"]


@dataclass(frozen=True)
class HeatMap:
    """What the parts of one frame contribute.

    Attributes:
        frame: uint8 [H, W, 3], what the network saw.
        heat: float32 [H, W]; above 0 where the frame speaks for "fake", below 0 where it
            speaks for "real". By occlusion in log-odds; by Grad-CAM without a unit.
        fake, logit: the engine's score of the whole frame.
        method: how it was found.
    """

    frame: NDArray[np.uint8]
    heat: NDArray[np.float32]
    fake: float
    logit: float
    method: Method


def explain(
    detector: Detector,
    image: ImageLike,
    method: Method = "occlusion",
    *,
    weights: str | None = None,
) -> HeatMap:
    """Find out what an engine looks at.

    Args:
        detector: the opened engine.
        image: a face crop.
        method: ``occlusion`` asks the engine itself, a few hundred times; ``gradcam`` asks
            the original, in its own framework, for gradients.
        weights: for ``gradcam``: the file, of an engine that was made from a user's file.

    Raises:
        ZooError: not an image; for ``gradcam``, the original cannot be loaded.
    """
    frame = to_frame(image, detector.info.preprocessing)
    logit, fake = detector.infer(frame[None])
    if method == "occlusion":
        from zoo.explain.occlusion import occlusion_heat

        heat = occlusion_heat(detector, frame)
    else:
        from zoo.explain.gradcam import gradcam_heat
        from zoo.originals.inside import load_original_of

        heat = gradcam_heat(load_original_of(detector.path, detector.info, weights), frame)
    return HeatMap(frame, heat, float(fake[0]), float(logit[0]), method)
