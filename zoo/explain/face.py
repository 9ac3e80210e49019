"""The face of a picture that a heat map is drawn of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.detector import Detector
from runtime.faces import FaceFinder, Selection, crop_face
from runtime.frames import load_image
from runtime.judge import Judge
from runtime.verdicts import FaceVerdict, MediaVerdict

if TYPE_CHECKING:
    from PIL import Image


def face_of(
    path: Path,
    detector: Detector,
    finder: FaceFinder | None,
    which: Literal["all", "largest"] = "all",
) -> tuple[NDArray[np.uint8], str]:
    """Find the face of an image to explain and cut it as the network was trained.

    Args:
        path: of the image.
        detector: an opened engine.
        finder: of faces; ``None`` takes the image for a face crop as it is.
        which: the most suspicious of all, or the largest.

    Returns:
        uint8 [H, W, 3], and what it is, in words for people.

    Raises:
        ImageError: the file is no image, damaged or too large.
        EngineError: the engine gives no number.
    """
    verdict = Judge(detector, finder, Selection(which)).image(path)
    picture, face = load_image(path), most_suspicious(verdict)
    if face is None:
        return np.asarray(picture), "no face found, taken for a face crop"
    if face.box is None:
        return np.asarray(picture), "the image as it is"
    place = f"face at {face.box[0]:.0f},{face.box[1]:.0f}"
    return cut_again(picture, face, detector, finder), place


def most_suspicious(verdict: MediaVerdict) -> FaceVerdict | None:
    """The judged face with the highest log-odds of "fake"; ``None`` where none was found."""
    return max(verdict.faces, key=lambda face: face.logit, default=None)


def cut_again(
    picture: Image.Image, face: FaceVerdict, detector: Detector, finder: FaceFinder | None
) -> NDArray[np.uint8]:
    """The crop that was judged: a verdict has the face's box, but not its landmarks.

    Args:
        picture: PIL RGB, the one that was judged.
        face: the verdict on one of its faces.
        detector: the engine that judged it.
        finder: the finder that found it.

    Returns:
        uint8 [H, W, 3]; the whole picture where that was judged.
    """
    if face.box is None or finder is None:
        return np.asarray(picture)
    x, y, width, height = face.box
    found = finder.find(picture, max(1, int(min(width, height))))
    same = min(found, key=lambda f: abs(f.x - x) + abs(f.y - y), default=None)
    if same is None:
        box = (round(x), round(y), round(x + width), round(y + height))
        return np.asarray(picture.crop(box))
    return crop_face(picture, same, detector.info.face_crop)
