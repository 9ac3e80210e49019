"""How many tracks the people of real clips become, and whether a track holds one person.

    python -m benchmarks.tracks

People were told apart by eye, on every 10th frame of the clips in ``../shared/videos``. The
tracker of ``zoo detect`` is held against the boxes alone: overlap or nearness to the last
sighting, as trackers for every frame of a video do it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.environment import describe_machine
from benchmarks.result import write_files
from benchmarks.video_speed import RESULTS, find_clips
from runtime.errors import ZooError
from runtime.faces import Face, FaceFinder, Selection, YuNet, select
from runtime.faces.face import overlap
from runtime.terminal import tell
from runtime.video import Sampling, Tracker, Video
from runtime.video.tracks import middle
from weights.store import locate

if TYPE_CHECKING:
    from PIL import Image

EVERY = 10
#: Of each clip: the people of each looked-at frame from left to right, a letter each; and
#: the cuts, in seconds. One name for all frames: that person is in each of them.
PEOPLE: dict[str, tuple[str, tuple[float, ...]]] = {
    "pair_fake.mp4": ("A", ()),
    "pair_real.mp4": ("A", ()),
    "stage_one_face.mp4": (
        "L - AP AP P A A A AC L L L L L L L L L L L L L EFOID XEFOID XEFOI EFOI EFOI EFOI",
        (0.65, 2.72, 7.02),
    ),
    "street_many_faces.mp4": (
        "GSRKHNB WSGRHN WSRKHGN WRKHG WRH WRHM WRHNM WRHNM WRHNM WHM RHKNM",
        (),
    ),
}

Follow = Callable[[Sequence[Face], "Image.Image", float], list[int]]


@dataclass(frozen=True)
class Found:
    """What a tracker made of a clip.

    Attributes:
        tracks: how many.
        mixed: of them those that hold more than one person.
        over_cuts: of them those that go on after a cut.
        milliseconds: a frame.
    """

    tracks: int
    mixed: int
    over_cuts: int
    milliseconds: float


class ByBoxes:
    """The boxes alone: they overlap by a quarter, or lie within 0.6 of their size."""

    def __init__(self) -> None:
        #: By number: the last sighting, and the frame that it was in.
        self._last: dict[int, tuple[Face, int]] = {}
        self._frame = self._next = 0

    def follow(self, faces: Sequence[Face], picture: Image.Image, time: float) -> list[int]:
        """See `runtime.video.Tracker.follow`."""
        self._frame += 1
        self._last = {n: last for n, last in self._last.items() if self._frame - last[1] <= 3}
        pairs = sorted(
            (
                (near, index, number)
                for index, face in enumerate(faces)
                for number, (before, _) in self._last.items()
                if (near := _near(before, face)) > 0
            ),
            reverse=True,
        )
        numbers: dict[int, int] = {}
        for _, index, number in pairs:
            if index not in numbers and number not in numbers.values():
                numbers[index] = number
        for index, face in enumerate(faces):
            if index not in numbers:
                numbers[index], self._next = self._next, self._next + 1
            self._last[numbers[index]] = face, self._frame
        return [numbers[index] for index in range(len(faces))]


def _near(one: Face, other: Face) -> float:
    if (shared := overlap(one.box, other.box)) >= 0.25:
        return shared
    size, its = (math.sqrt(face.width * face.height) for face in (one, other))
    if min(size, its) <= 0 or max(size, its) > 1.5 * min(size, its):
        return 0.0
    return 0.25 * (1 - math.dist(middle(one.box), middle(other.box)) / (0.3 * (size + its)))


def main() -> int:
    """Measure, print and write ``results/tracks.json``; 1 where two people share a track."""
    videos = find_clips()
    finder = YuNet(locate("face_detection_yunet_2023mar.onnx").path)
    data: dict[str, Any] = {"machine": describe_machine(), "every": EVERY, "clips": {}}
    for name in PEOPLE:
        data["clips"][name] = measure(videos / name, finder)
        tell(f"{name}: {json.dumps(data['clips'][name])}")
    missed = check(data)
    write_files(RESULTS, "tracks", {".json": json.dumps(data, indent=1) + "\n"})
    for bar in missed:
        tell(f"missed: {bar}")
    return 1 if missed else 0


def measure(clip: Path, finder: FaceFinder) -> dict[str, Any]:
    """What both trackers make of one of the clips.

    Raises:
        ZooError: the finder sees other faces than those whose names are known.
    """
    frames: list[tuple[float, Image.Image, list[Face]]] = []
    chosen = Selection()
    with Video(clip) as video:
        for frame in video.frames(Sampling("every", EVERY)):
            found = finder.find(frame.picture, chosen.min_size)
            faces, _ = select(frame.picture, found, chosen)
            frames.append((frame.time, frame.picture, sorted(faces, key=lambda face: face.x)))
    names, cuts = PEOPLE[clip.name]
    people = ["" if n == "-" else n for n in names.split()]
    people = people * len(frames) if len(people) == 1 else people
    if [len(faces) for _, _, faces in frames] != [len(name) for name in people]:
        raise ZooError(
            f"the faces of {clip.name} are not those that were named",
            "another finder or decoder sees others",
            "name them again in benchmarks/tracks.py",
        )
    return {
        "frames": len(frames),
        "faces": sum(len(faces) for _, _, faces in frames),
        "people": len(set("".join(people))),
        "people_by_shot": len(
            {
                (name, sum(cut <= time for cut in cuts))
                for (time, _, _), seen in zip(frames, people, strict=True)
                for name in seen
            }
        ),
        "boxes_alone": asdict(_follow(ByBoxes().follow, frames, people, cuts)),
        "tracker": asdict(_follow(Tracker().follow, frames, people, cuts)),
    }


def _follow(
    follow: Follow,
    frames: Sequence[tuple[float, Image.Image, Sequence[Face]]],
    people: Sequence[str],
    cuts: Sequence[float],
) -> Found:
    held: dict[int, set[str]] = {}
    shots: dict[int, set[int]] = {}
    seconds = 0.0
    for (time, picture, faces), names in zip(frames, people, strict=True):
        start = perf_counter()
        numbers = follow(faces, picture, time)
        seconds += perf_counter() - start
        for number, name in zip(numbers, names, strict=True):
            held.setdefault(number, set()).add(name)
            shots.setdefault(number, set()).add(sum(cut <= time for cut in cuts))
    return Found(
        len(held),
        sum(len(names) > 1 for names in held.values()),
        sum(len(found) > 1 for found in shots.values()),
        round(1000 * seconds / max(1, len(frames)), 1),
    )


def check(data: dict[str, Any]) -> list[str]:
    """The bars that were missed: one person a track, one shot a track, few tracks a person."""
    missed = []
    for name, clip in data["clips"].items():
        found = clip["tracker"]
        if found["mixed"] or found["over_cuts"]:
            missed.append(
                f"{name}: {found['mixed']} tracks of several people, "
                f"{found['over_cuts']} over a cut"
            )
        if found["tracks"] > 1.5 * clip["people_by_shot"]:
            missed.append(f"{name}: {found['tracks']} tracks of {clip['people_by_shot']} people")
    return missed


if __name__ == "__main__":
    sys.exit(main())
