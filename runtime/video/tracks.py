"""Follow faces from frame to frame: each person of a shot has a track."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runtime.faces.face import Face
from runtime.video.appearance import alike, person, scene

if TYPE_CHECKING:
    from PIL import Image

#: Two pictures less alike than this have a cut between them.
_SAME_SCENE = 0.85
#: One person's looks are at least this much alike from one sighting to the next ...
_SAME_LOOKS = 0.86
#: ... and their boxes in size, by this factor.
_SAME_SIZE = 1.4
#: How far a face may lie from where its track is due, in sizes of the face: after a short
#: time or one missed frame, and after a longer absence. In doubt it is somebody new.
_REACH, _REACH_LATER = 1.0, 0.5
#: ... and so far where looks and size are nearly equal, within a short time (seconds): who
#: walks past a camera is several faces further on in the next frame that is looked at.
_FAR, _EQUAL_LOOKS, _EQUAL_SIZE, _SHORT = 3.5, 0.96, 1.15, 0.6
#: A person may be lost for so long (seconds) or so many of the looked-at frames.
_PATIENCE, _FRAMES = 3.0, 2
#: A movement is taken to go on for so long (seconds).
_GOES_ON = 0.6
#: The newest sighting's part in what a track looks like.
_NEWEST = 0.5


@dataclass
class _Track:
    number: int
    box: tuple[float, float, float, float]
    looks: NDArray[np.float64]
    time: float
    frame: int
    #: Pixels a second.
    speed: tuple[float, float] = (0.0, 0.0)

    def due(self, time: float) -> tuple[float, float]:
        """Where the middle of the face is expected."""
        x, y = middle(self.box)
        ahead = min(time - self.time, _GOES_ON)
        return x + ahead * self.speed[0], y + ahead * self.speed[1]

    def add(self, face: Face, looks: NDArray[np.float64], time: float, frame: int) -> None:
        gone = time - self.time
        if 0 < gone <= _GOES_ON:
            (x, y), (to_x, to_y) = middle(self.box), middle(face.box)
            self.speed = (to_x - x) / gone, (to_y - y) / gone
        else:
            self.speed = 0.0, 0.0
        self.looks = (1 - _NEWEST) * self.looks + _NEWEST * looks
        self.box, self.time, self.frame = face.box, time, frame


class Tracker:
    """Gives each face the number of its person's track, frame after frame.

    A face belongs to a track by where it is (the movement goes on for a while), its size,
    and the colours of head and shoulders. Pairs are taken the best first. A track whose
    person is lost waits for some seconds: a head turns away, somebody passes before it. At
    a cut all tracks end. Recognises nobody: who is seen again after a cut has a new track.
    """

    def __init__(self) -> None:
        self._open: list[_Track] = []
        self._scene: NDArray[np.float64] | None = None
        self._frame = 0
        self._next = 0

    def follow(self, faces: Sequence[Face], picture: Image.Image, time: float) -> list[int]:
        """The track of each face of the next frame, numbered from 0; also call it for none.

        Args:
            faces: of the picture.
            picture: RGB.
            time: of the frame in seconds, later than the one before.
        """
        self._frame += 1
        shown = scene(picture)
        if self._scene is not None and alike(self._scene, shown) < _SAME_SCENE:
            self._open = []
        self._scene = shown
        self._open = [
            track
            for track in self._open
            if time - track.time <= _PATIENCE or self._frame - track.frame <= _FRAMES + 1
        ]
        looks = [person(picture, face.box) for face in faces]
        pairs = [
            (how_far, index, track)
            for index, face in enumerate(faces)
            for track in self._open
            if (how_far := self._distance(track, face, looks[index], time)) is not None
        ]
        numbers: dict[int, int] = {}
        taken: set[int] = set()
        for _, index, track in sorted(pairs, key=lambda pair: pair[0]):
            if index in numbers or track.number in taken:
                continue
            numbers[index] = track.number
            taken.add(track.number)
            track.add(faces[index], looks[index], time, self._frame)
        for index, face in enumerate(faces):
            if index not in numbers:
                numbers[index] = self._next
                self._open.append(_Track(self._next, face.box, looks[index], time, self._frame))
                self._next += 1
        return [numbers[index] for index in range(len(faces))]

    def _distance(
        self, track: _Track, face: Face, looks: NDArray[np.float64], time: float
    ) -> float | None:
        """How badly a face fits a track, 0 perfectly; ``None`` not at all."""
        size, its = (math.sqrt(max(box[2] * box[3], 0.0)) for box in (track.box, face.box))
        if min(size, its) <= 0 or max(size, its) > _SAME_SIZE * min(size, its):
            return None
        likeness = alike(track.looks, looks)
        if likeness < _SAME_LOOKS:
            return None
        (x, y), (at_x, at_y) = track.due(time), middle(face.box)
        apart = math.hypot(at_x - x, at_y - y) / ((size + its) / 2)
        gone = time - track.time
        equal = likeness >= _EQUAL_LOOKS and max(size, its) <= _EQUAL_SIZE * min(size, its)
        missed = self._frame - track.frame - 1
        reach = _REACH if gone <= _SHORT or missed <= 1 else _REACH_LATER
        if apart > (_FAR if gone <= _SHORT and equal else reach):
            return None
        return apart / _REACH + (1 - likeness) / (1 - _SAME_LOOKS)


def middle(box: tuple[float, float, float, float]) -> tuple[float, float]:
    """The middle of a box given as x, y, width, height."""
    return box[0] + box[2] / 2, box[1] + box[3] / 2
