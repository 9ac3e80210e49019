"""Where the judged faces of a video are in the frames between those that were looked at."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import replace

from runtime.verdicts import FaceVerdict, MediaVerdict

#: Of the time between two looked-at frames: how much longer a face stands that no later
#: one of them could have shown. Frame times are not exact.
_SLACK = 1.2
#: A person who was missing for more looked-at frames than these was not there meanwhile.
_MISSED = 2


class FacesInTime:
    """The faces of each frame of a video, looked at or not.

    Between two sightings of one person the box moves evenly from the one to the other and
    the verdict is that of the nearer, unless the person was lost in between. Before the
    first and after the last one it stands for half the time between two looked-at frames,
    at the end of all until the next.

    Args:
        verdict: of the video.
        duration: of the video in seconds, where its file says.
    """

    def __init__(self, verdict: MediaVerdict, duration: float | None) -> None:
        people: dict[int | None, list[FaceVerdict]] = {}
        for face in verdict.faces:
            people.setdefault(face.track, []).append(face)
        self._people = [sorted(faces, key=_time) for faces in people.values()]
        looked = max(verdict.frames or 1, 1)
        self._end = max(map(_time, verdict.faces), default=0.0)
        self._step = (duration or self._end) / looked if looked > 1 else duration or self._end

    def at(self, time: float) -> list[FaceVerdict]:
        """The faces to be drawn into the frame of this time (seconds)."""
        found = (self._one(faces, time) for faces in self._people)
        return [face for face in found if face is not None]

    def _one(self, faces: Sequence[FaceVerdict], time: float) -> FaceVerdict | None:
        index = bisect.bisect_right(faces, time + 1e-6, key=_time)
        before = faces[index - 1] if index > 0 else None
        after = faces[index] if index < len(faces) else None
        if before is None or after is None:
            return self._alone(before or after, time)
        if _time(after) - _time(before) > _SLACK * (_MISSED + 1) * self._step:
            return self._alone(before, time) or self._alone(after, time)
        share = (time - _time(before)) / max(_time(after) - _time(before), 1e-9)
        nearer = before if share < 0.5 else after
        if before.box is None or after.box is None:
            return before  # the whole picture: nothing moves
        x, y, width, height = (
            one + share * (other - one) for one, other in zip(before.box, after.box, strict=True)
        )
        return replace(nearer, box=(x, y, width, height))

    def _alone(self, face: FaceVerdict | None, time: float) -> FaceVerdict | None:
        assert face is not None, "nobody has no face"
        last = _time(face) >= self._end and time >= _time(face)
        reach = _SLACK * self._step * (1.0 if last or face.box is None else 0.5)
        return face if abs(time - _time(face)) <= reach else None


def _time(face: FaceVerdict) -> float:
    return face.time or 0.0
