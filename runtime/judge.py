"""From a file to a verdict: decode, find faces, cut them, score them.

A video goes through three threads with short queues between them, so that the engine
works while the next frames are decoded, and a picture of any size exists only a few
times: decoder -> [pictures] -> face finder -> [face crops] -> engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runtime.detector import Detector
from runtime.faces.crop import covered, crop_face
from runtime.faces.face import Face, FaceFinder
from runtime.faces.selection import Dropped, Selection, select
from runtime.frames import load_image, to_frame
from runtime.stage import Stage
from runtime.text import printable
from runtime.verdicts import FaceVerdict, MediaVerdict, summarise, tracks_of
from runtime.video.decode import Video
from runtime.video.opening import VideoError
from runtime.video.sampling import Sampling
from runtime.video.tracks import Tracker

if TYPE_CHECKING:
    from PIL import Image

#: Pictures that wait for the face finder, each up to 100 MB in 8K.
PICTURES_WAITING = 2
#: Looked-at pictures whose crops wait for the engine, each crop 200 kB.
CROPS_WAITING = 16
#: Faces that the engine takes at once, where so many wait.
BATCH = 32
#: An image is its face's crop already where the two cover each other by this much
#: (intersection over union). Of 500 images of Afchar's validation set 98 % reach it, of
#: photographs only close portraits, and those are seldom square.
CROP_ALREADY = 0.5
_SQUARE = 0.02


@dataclass
class _Looked:
    """The faces of one picture, cut and ready for the engine."""

    frames: list[NDArray[np.uint8]]
    faces: list[Face | None]
    dropped: list[Dropped]
    time: float | None = None
    tracks: list[int] = field(default_factory=list)


class Judge:
    """Judges images and videos with one detector. May be used by several threads at once.

    Args:
        detector: stays the caller's to close.
        finder: of faces; ``None`` takes each picture for a face crop as it is.
        selection: which faces are judged.
        sampling: which frames of a video.
        threads: of a video's decoder; 0 takes one a core.
    """

    def __init__(
        self,
        detector: Detector,
        finder: FaceFinder | None,
        selection: Selection = Selection(),  # noqa: B008  (frozen)
        sampling: Sampling = Sampling(),  # noqa: B008
        *,
        threads: int = 0,
    ) -> None:
        self._detector = detector
        self._finder = finder
        self._selection = selection
        self._sampling = sampling
        self._threads = threads

    def image(self, path: str | os.PathLike[str]) -> MediaVerdict:
        """Judge an image.

        Raises:
            ImageError: the file is no image, damaged or too large.
            EngineError: the engine gives no score, or is closed.
        """
        seconds = dict.fromkeys(("decode", "faces", "score"), 0.0)
        with _timed(seconds, "decode"):
            picture = load_image(path)
        with _timed(seconds, "faces"):
            looked = self._look(picture, crops_too=True)
        with _timed(seconds, "score"):
            faces = self._score([looked])
        return MediaVerdict(
            "image",
            picture.width,
            picture.height,
            any(face.box is None for face in faces),
            tuple(faces),
            tuple(looked.dropped),
            summarise(faces, self._detector.info.threshold) if faces else None,
            max((face.fake for face in faces), default=None),
            seconds=seconds,
        )

    def video(
        self,
        path: str | os.PathLike[str],
        progress: Callable[[float], None] = lambda part: None,
    ) -> MediaVerdict:
        """Judge a video.

        Args:
            path: of the file.
            progress: called now and then with the part that is done, 0..1 (0 where the
                file does not say how long it is); what it raises ends the work.

        Raises:
            VideoError: the file is no video, or nothing of it can be decoded.
            EngineError: the engine gives no score, or is closed.
        """
        seconds = dict.fromkeys(("decode", "faces", "score"), 0.0)
        faces: list[FaceVerdict] = []
        dropped: list[Dropped] = []
        frames, size = 0, (0, 0)
        with Video(path, threads=self._threads) as video:
            tracker = Tracker()

            def decode() -> Iterator[tuple[float, Image.Image]]:
                nonlocal size
                source = video.frames(self._sampling)
                while True:
                    with _timed(seconds, "decode"):
                        frame = next(source, None)
                    if frame is None:
                        return
                    size = frame.picture.size
                    yield frame.time, frame.picture

            def look(pictures: Iterator[tuple[float, Image.Image]]) -> Iterator[_Looked]:
                for time, picture in pictures:
                    with _timed(seconds, "faces"):
                        looked = self._look(picture, time=time)
                        known = [face for face in looked.faces if face is not None]
                        if self._finder is not None:
                            looked.tracks = tracker.follow(known, picture, time)
                    yield looked

            with (
                Stage(decode(), PICTURES_WAITING) as pictures,
                Stage(look(iter(pictures)), CROPS_WAITING) as crops,
            ):
                for batch in _batches(crops):
                    frames += len(batch)
                    for looked in batch:
                        dropped += looked.dropped
                    with _timed(seconds, "score"):
                        faces += self._score(batch)
                    length = video.facts.duration
                    progress(min(1.0, (batch[-1].time or 0) / length) if length else 0.0)
            damage, duration = tuple(video.damage), video.facts.duration
        if frames == 0:
            raise VideoError(
                f"{printable(os.fspath(path))} is not a video that can be judged",
                "; ".join(damage) or "it has no frame",
            )
        threshold = self._detector.info.threshold
        tracks = tracks_of(faces, threshold)
        overall = summarise(faces, threshold) if faces else None
        return MediaVerdict(
            "video",
            *size,
            self._finder is None,
            tuple(faces),
            tuple(dropped),
            overall,
            # Whole frames have no tracks.
            max((t.verdict.mean for t in tracks), default=overall.mean if overall else None),
            tracks,
            frames,
            duration,
            damage,
            seconds,
        )

    def _look(
        self, picture: Image.Image, *, time: float | None = None, crops_too: bool = False
    ) -> _Looked:
        """The faces of a picture as frames for the engine."""
        how, recipe = self._detector.info.preprocessing, self._detector.info.face_crop
        if self._finder is None:
            return _Looked([to_frame(picture, how)], [None], [], time)
        found = self._finder.find(picture, self._selection.min_size)
        if crops_too and len(found) == 1:
            squarish = abs(picture.width - picture.height) <= _SQUARE * picture.height
            fits = covered(found[0], recipe, *picture.size) >= CROP_ALREADY
            if fits and (squarish or not recipe.square):
                return _Looked([to_frame(picture, how)], [None], [], time)
        kept, dropped = select(picture, found, self._selection, time=time)
        frames = [to_frame(crop_face(picture, face, recipe), how) for face in kept]
        return _Looked(frames, list(kept), dropped, time)

    def _score(self, batch: list[_Looked]) -> list[FaceVerdict]:
        frames = [frame for looked in batch for frame in looked.frames]
        if not frames:
            return []
        threshold = self._detector.info.threshold
        scores = zip(*self._detector.infer(np.stack(frames)), strict=True)
        verdicts: list[FaceVerdict] = []
        for looked in batch:
            tracks: list[int | None] = [*looked.tracks] or [None] * len(looked.faces)
            for face, track in zip(looked.faces, tracks, strict=True):
                logit, fake = (float(value) for value in next(scores))
                verdicts.append(
                    FaceVerdict(
                        None if face is None else face.box,
                        None if face is None else face.score,
                        "fake" if fake >= threshold else "real",
                        fake,
                        logit,
                        looked.time,
                        track,
                    )
                )
        return verdicts


class _timed:  # noqa: N801  (reads as a statement)
    """Adds the time of its block to a stage's seconds."""

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self._seconds, self._stage = seconds, stage

    def __enter__(self) -> None:
        self._start = perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._stage] += perf_counter() - self._start


def _batches(stage: Stage[_Looked]) -> Iterator[list[_Looked]]:
    """All that waits at once: the engine is never idle for a batch to fill up."""
    for first in stage:
        batch = [first]
        while sum(len(looked.frames) for looked in batch) < BATCH:
            more = stage.take_waiting(1)
            if not more:
                break
            batch += more
        yield batch
