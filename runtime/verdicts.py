"""What is said of a file: of each of its faces, of each person, and of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from runtime.faces.selection import Dropped
from runtime.mean_interval import mean_interval

#: Of one face.
Label = Literal["fake", "real"]
#: Of many faces, whose mean need not tell.
SummaryLabel = Literal["fake", "real", "uncertain"]


@dataclass(frozen=True)
class FaceVerdict:
    """One face in one picture.

    Attributes:
        box: x, y, width, height in pixels; ``None`` where the whole picture was judged.
        found: how sure the finder was of it, 0..1; ``None`` likewise.
        label, fake, logit: as `runtime.Verdict`.
        time: of its frame, seconds since the video's start; ``None`` in an image.
        track: the person's number in a video, another one after a cut; ``None`` in an image.
    """

    box: tuple[float, float, float, float] | None
    found: float | None
    label: Label
    fake: float
    logit: float
    time: float | None = None
    track: int | None = None


@dataclass(frozen=True)
class Summary:
    """The verdict over many faces.

    Attributes:
        label: "fake" or "real" where the whole interval lies on that side of the
            threshold, "uncertain" where the threshold lies inside it. Without an interval
            nothing is claimed beyond these very faces: "fake" where their mean reaches
            the threshold, else "real", as for a single face.
        faces: the number it rests on.
        mean, median: of P(fake).
        share: of the faces with P(fake) at or above the threshold. Afchar's pipeline
            judges a video by it.
        low, high: of a video, the 95 % interval of the mean: where the mean over more
            footage of the same people would lie. Frames of one second resemble each
            other, so tracks and whole seconds are resampled, not faces; see
            `runtime.mean_interval`. It tells how far the moments that were looked at
            may mislead, not how often the network is wrong. ``None`` where all faces
            lie within one second of one track, and in an image: its faces are all that
            there are.
    """

    label: SummaryLabel
    faces: int
    mean: float
    median: float
    share: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Track:
    """One person in one shot of a video: when (seconds), and the verdict over their faces."""

    track: int
    start: float
    end: float
    verdict: Summary


@dataclass(frozen=True)
class MediaVerdict:
    """What was found in one image or video.

    Attributes:
        kind: of file.
        width, height: of the upright picture in pixels.
        whole: the picture itself was judged as a face crop; no face was cut out of it.
        faces: judged ones, in order of time, the largest of a picture first.
        dropped: found and not judged, and why.
        overall: over all faces; ``None`` where there are none, which is no error.
        highest: P(fake) of the most suspicious person: of an image the face with the
            highest, of a video the track with the highest mean; where whole frames of a
            video were judged, their mean. Among several people one may be forged, and
            the mean over all not show it.
        tracks: of a video, the one with the most faces first.
        frames: looked at, of a video.
        duration: of a video in seconds, where its file says.
        damage: what could not be decoded; the verdict rests on the rest.
        seconds: of work by stage (``decode``, ``faces``, ``score``).
    """

    kind: Literal["image", "video"]
    width: int
    height: int
    whole: bool
    faces: tuple[FaceVerdict, ...]
    dropped: tuple[Dropped, ...]
    overall: Summary | None
    highest: float | None
    tracks: tuple[Track, ...] = ()
    frames: int | None = None
    duration: float | None = None
    damage: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def summarise(faces: Sequence[FaceVerdict], threshold: float) -> Summary:
    """The verdict over one face or more. The same faces give the same interval."""
    values = np.asarray([face.fake for face in faces], np.float64)
    mean = float(values.mean())
    times = [face.time for face in faces if face.time is not None]
    tracks = [face.track for face in faces]
    interval = mean_interval(values.tolist(), times, tracks) if times else None
    return Summary(
        _label(*(interval or (mean, mean)), threshold),
        len(values),
        mean,
        float(np.median(values)),
        float((values >= threshold).mean()),
        *(interval or (None, None)),
    )


def _label(low: float, high: float, threshold: float) -> SummaryLabel:
    if low < threshold <= high:
        return "uncertain"
    return "fake" if low >= threshold else "real"


def tracks_of(faces: Sequence[FaceVerdict], threshold: float) -> tuple[Track, ...]:
    """The tracks of a video's faces, the one with the most faces first."""
    people: dict[int, list[FaceVerdict]] = {}
    for face in faces:
        if face.track is not None:
            people.setdefault(face.track, []).append(face)
    found = [
        Track(
            number,
            min(face.time or 0.0 for face in own),
            max(face.time or 0.0 for face in own),
            summarise(own, threshold),
        )
        for number, own in people.items()
    ]
    return tuple(sorted(found, key=lambda t: (-t.verdict.faces, t.track)))
