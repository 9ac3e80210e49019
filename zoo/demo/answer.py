"""From a file to what the page shows: the picture with its faces, the scores, a heat map."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.detector import Detector
from runtime.errors import ZooError
from runtime.faces import FaceFinder
from runtime.frames import load_image
from runtime.judge import Judge
from runtime.verdicts import MediaVerdict
from runtime.video import Sampling, Video
from zoo.drawing import draw_faces
from zoo.explain.face import cut_again, most_suspicious
from zoo.explain.heat_map import HeatMap, explain
from zoo.explain.picture import draw_heat_map

if TYPE_CHECKING:
    from PIL import Image

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
#: A clip may last this long, in seconds, and this many of its frames are looked at.
MAX_SECONDS = 60.0
SAMPLING = Sampling("spread", 24)
#: Longer side of the picture that is shown.
_SHOWN = 900


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        verdict: of the file.
        picture: PNG, with boxes; of a clip the frame with the most suspicious face.
        heat: PNG of that face's heat map; ``None`` where there is no face.
    """

    verdict: MediaVerdict
    picture: bytes
    heat: bytes | None


def answer(path: Path, detector: Detector, finder: FaceFinder | None) -> Answer:
    """Judge a file and draw it.

    Args:
        path: an image or a clip, told apart by the suffix.
        detector: an opened engine.
        finder: of faces; ``None`` takes the whole picture for a face crop.

    Raises:
        ZooError: the file cannot be judged, or the clip is too long.
    """
    judge = Judge(detector, finder, sampling=SAMPLING)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        check_length(path)
        verdict = judge.video(path)
        worst = most_suspicious(verdict)
        picture = _frame_at(path, worst.time if worst else None)
    else:
        verdict = judge.image(path)
        worst = most_suspicious(verdict)
        picture = load_image(path)
    heat = None
    if worst is not None:
        crop = cut_again(picture, worst, detector, finder)
        heat = _heat_png(explain(detector, crop), detector.path.name)
    same_frame = [f for f in verdict.faces if worst is not None and f.time == worst.time]
    draw_faces(picture, same_frame, detector.info.weights.trained)
    picture.thumbnail((_SHOWN, _SHOWN))
    return Answer(verdict, _png(picture), heat)


def check_length(path: Path) -> None:
    """Refuse a clip that is too long.

    Raises:
        ZooError: it lasts longer than `MAX_SECONDS`, or is no video.
    """
    with Video(path) as video:
        seconds = video.length()
    if seconds > MAX_SECONDS:
        raise ZooError(
            f"the clip lasts {seconds:.0f} s",
            f"the page takes {MAX_SECONDS:.0f} s at most",
            "cut it, or use: zoo detect CLIP --engine ENGINE",
        )


def _frame_at(path: Path, time: float | None) -> Image.Image:
    """The looked-at frame of that time; the first one where there is no face."""
    with Video(path) as video:
        first = None
        for frame in video.frames(SAMPLING):
            if time is None or frame.time == time:
                return frame.picture
            first = first or frame.picture
    assert first is not None, "judged before"
    return first


def _heat_png(heat_map: HeatMap, engine: str) -> bytes:
    buffer = io.BytesIO()
    draw_heat_map(heat_map, f"the most suspicious face, {engine}").savefig(buffer, dpi=100)
    return buffer.getvalue()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
