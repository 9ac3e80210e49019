"""What is said of a file: of each of its faces, of each person, and of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from runtime.faces.selection import Dropped

Label = Literal["fake", "real"]
#: Of the bootstrap.
RESAMPLES, CONFIDENCE, SEED = 1000, 0.95, 0


@dataclass(frozen=True)
class FaceVerdict:
    """One face in one picture.

    Attributes:
        box: x, y, width, height in pixels; ``None`` where the whole picture was judged.
        found: how sure the finder was of it, 0..1; ``None`` likewise.
        label, fake, logit: as `runtime.Verdict`.
        time: of its frame, seconds since the video's start; ``None`` in an image.
        track: the person's number in a video; ``None`` in an image.
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
        label: "fake" where the mean reaches the threshold.
        faces: the number it rests on.
        mean, median: of P(fake).
        share: of the faces with P(fake) at or above the threshold. Afchar's pipeline
            judges a video by it.
        low, high: 95 % interval of the mean by bootstrap over the faces; ``None`` for a
            single face. Neighbouring frames resemble each other, so the true uncertainty
            is rather larger.
    """

    label: Label
    faces: int
    mean: float
    median: float
    share: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Track:
    """One person in a video: when (seconds), and the verdict over their faces."""

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
            highest, of a video the track with the highest mean. Among several people one
            may be forged, and the mean over all not show it.
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


def summarise(fake: Sequence[float], threshold: float) -> Summary:
    """The verdict over P(fake) of one face or more. The same numbers give the same interval."""
    values = np.asarray(fake, np.float64)
    mean = float(values.mean())
    low: float | None = None
    high: float | None = None
    if len(values) > 1:
        rng = np.random.default_rng(SEED)
        # One resample at a time: all at once would take 8 kB a face.
        means = [
            values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)
        ]
        tail = 50 * (1 - CONFIDENCE)
        low, high = (float(v) for v in np.percentile(means, [tail, 100 - tail]))
    return Summary(
        "fake" if mean >= threshold else "real",
        len(values),
        mean,
        float(np.median(values)),
        float((values >= threshold).mean()),
        low,
        high,
    )


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
            summarise([face.fake for face in own], threshold),
        )
        for number, own in people.items()
    ]
    return tuple(sorted(found, key=lambda t: (-t.verdict.faces, t.track)))
