"""Follow faces from frame to frame: each person has a track."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.faces.face import Face, overlap

#: Two boxes of one person overlap by this much at least (intersection over union) ...
_OVERLAP = 0.25
#: ... or, where a head moved on between two frames far apart, lie within this part of
#: their size and are alike in size by this factor.
_REACH, _ALIKE = 0.6, 1.5
#: A person may be lost for this many of the looked-at frames.
_PATIENCE = 2


@dataclass
class _Track:
    number: int
    box: tuple[float, float, float, float]
    seen: int


class Tracker:
    """Gives each face the number of its person's track, frame after frame.

    Pairs are taken the closest first. A face that fits no track begins a new one; a
    track that fitted no face for some frames has ended. Recognises nobody: who leaves
    and comes back has a new track.
    """

    def __init__(self) -> None:
        self._open: list[_Track] = []
        self._frame = 0
        self._next = 0

    def follow(self, faces: Sequence[Face]) -> list[int]:
        """The track of each face of the next frame, numbered from 0; also call it for none."""
        self._frame += 1
        self._open = [t for t in self._open if self._frame - t.seen <= _PATIENCE + 1]
        pairs = [
            (near, index, track)
            for index, face in enumerate(faces)
            for track in self._open
            if (near := closeness(track.box, face.box)) > 0
        ]
        numbers: dict[int, int] = {}
        taken: set[int] = set()
        for _, index, track in sorted(pairs, key=lambda pair: -pair[0]):
            if index in numbers or track.number in taken:
                continue
            numbers[index] = track.number
            taken.add(track.number)
            track.box, track.seen = faces[index].box, self._frame
        for index, face in enumerate(faces):
            if index not in numbers:
                numbers[index] = self._next
                self._open.append(_Track(self._next, face.box, self._frame))
                self._next += 1
        return [numbers[index] for index in range(len(faces))]


def closeness(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """How well two boxes can be one person's: 1 the same box, 0 not at all."""
    shared = overlap(one, other)
    if shared >= _OVERLAP:
        return shared
    size, its = math.sqrt(one[2] * one[3]), math.sqrt(other[2] * other[3])
    if min(size, its) <= 0 or max(size, its) > _ALIKE * min(size, its):
        return 0.0
    x, y = one[0] + one[2] / 2, one[1] + one[3] / 2
    apart = math.hypot(x - other[0] - other[2] / 2, y - other[1] - other[3] / 2)
    near = 1 - apart / (_REACH * (size + its) / 2)
    return _OVERLAP * near if near > 0 else 0.0
