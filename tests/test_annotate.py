"""Verdicts drawn into copies: boxes that follow the faces, labels that can be read."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_engine import TinyEngine

from runtime.verdicts import FaceVerdict, MediaVerdict
from zoo.annotate import _free_place, _meet, annotate, draw_faces
from zoo.detect_run import DetectRequest, DetectRun
from zoo.faces_in_time import FacesInTime


def face(
    x: float, time: float | None = None, fake: float = 0.2, track: int | None = 0
) -> FaceVerdict:
    label = "fake" if fake >= 0.5 else "real"
    return FaceVerdict((x, 40.0, 50.0, 60.0), 0.9, label, fake, 0.0, time, track)


def seen(*faces: FaceVerdict, frames: int = 5) -> MediaVerdict:
    return MediaVerdict("video", 640, 480, False, faces, (), None, None, frames=frames)


def test_a_box_moves_with_its_person_and_tells_the_nearer_verdict() -> None:
    faces = FacesInTime(seen(face(0, 0.0, 0.1), face(100, 1.0, 0.9)), 5.0)
    places = {time: faces.at(time)[0] for time in (0.0, 0.25, 0.6, 1.0)}
    assert [f.box[0] for f in places.values() if f.box] == pytest.approx([0, 25, 60, 100])
    assert [f.label for f in places.values()] == ["real", "real", "fake", "fake"]


def test_a_box_ends_when_a_later_look_would_have_shown_it() -> None:
    """Looked at each second: one is lost at 1 s, another comes at 3 s and stays."""
    verdict = seen(face(0, 0.0), face(0, 1.0), face(300, 3.0, track=1), face(300, 4.0, track=1))
    faces = FacesInTime(verdict, 5.0)
    tracks = {time: [f.track for f in faces.at(time)] for time in (1.4, 2.0, 2.6, 4.9)}
    assert tracks == {1.4: [0], 2.0: [], 2.6: [1], 4.9: [1]}


def test_whole_frames_stand_until_the_next_look() -> None:
    whole = [FaceVerdict(None, None, "real", fake, 0.0, t) for t, fake in ((0.0, 0.1), (1.0, 0.4))]
    faces = FacesInTime(seen(*whole, frames=2), 2.0)
    assert [faces.at(time)[0].fake for time in (0.9, 1.0, 1.9)] == [0.1, 0.4, 0.4]


def test_nobody_is_drawn_where_nobody_was_found() -> None:
    assert FacesInTime(seen(), 5.0).at(1.0) == []
    assert FacesInTime(seen(frames=0), None).at(0.0) == []


def test_labels_do_not_hide_each_other() -> None:
    taken: list[tuple[float, float, float, float]] = []
    for x in (100, 130, 160, 180):
        taken.append(_free_place(x, 200, 260, (120, 24), (640, 480), taken))
    assert not any(_meet(one, other) for one, other in combinations(taken, 2))
    assert taken[0][3] == 200
    for x, top in ((-20, 5), (630, 470), (600, 0)):
        left, upper, right, lower = _free_place(x, top, top + 60, (120, 24), (640, 480), [])
        assert left >= 0
        assert upper >= 0
        assert right <= 640
        assert lower <= 480


def test_labels_are_written_into_the_picture() -> None:
    picture = Image.new("RGB", (640, 480), (90, 90, 90))
    draw_faces(picture, [face(100, fake=0.9), face(130, fake=0.1, track=1)], trained=True)
    pixels = np.asarray(picture).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 80)
    green = (pixels[..., 1] > 150) & (pixels[..., 0] < 80)
    # A label is more than its box's outline, which is 2 pixels wide around 50 x 60.
    assert red.sum() > 2 * 440
    assert green.sum() > 2 * 440
    assert (pixels.min(axis=2) > 240).sum() > 100, "white letters"


def test_a_copy_tells_how_far_it_is_and_can_be_given_up(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import write_video

    clip = write_video(tmp_path / "c.mp4", frames=50)
    out = tmp_path / "out" / "c.mp4"
    parts: list[float] = []
    annotate(clip, seen(face(0, 0.0)), out, tmp_path / "out", True, parts.append)
    assert len(parts) == 50
    assert parts == sorted(parts)
    assert 0.9 < parts[-1] <= 1
    out.unlink()

    def stop(part: float) -> None:
        if part > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate(clip, seen(face(0, 0.0)), out, tmp_path / "out", True, stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_goes_on_while_a_copy_is_drawn(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import write_video

    clip = write_video(tmp_path / "c.mp4", frames=50)
    request = DetectRequest((clip,), tiny_engine.path, None, annotate=tmp_path / "out")
    parts: list[float] = []
    with DetectRun(request, lambda name: pytest.fail("no finder is due")) as run:
        (line,) = run.lines(lambda path, part: parts.append(part))
    assert line["error"] is None
    assert parts == sorted(parts)
    assert parts[-1] == 1
    assert sum(0.3 < part < 1 for part in parts) > 40, "one a frame of the copy"


def test_a_resumed_run_draws_the_copies_that_are_not_there(
    tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.new("RGB", (64, 64), (90, 20, 20)).save(tmp_path / "in" / f"{name}.png")

    def run(out: Path | None) -> list[dict]:
        request = DetectRequest(
            (tmp_path / "in",), tiny_engine.path, None, annotate=out, resume=tmp_path / "r.jsonl"
        )
        with DetectRun(request, lambda name: pytest.fail("no finder is due")) as opened:
            return list(opened.lines())

    plain, out = run(None), tmp_path / "out"
    drawn = run(out)
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "b.jpg"]
    assert [line["overall"]["mean"] for line in drawn] == [
        line["overall"]["mean"] for line in plain
    ]
    (out / "a.jpg").unlink()
    kept = (out / "b.jpg").stat().st_mtime_ns
    again = run(out)
    assert [line["annotated"] for line in again] == [line["annotated"] for line in drawn]
    assert (out / "a.jpg").exists()
    assert (out / "b.jpg").stat().st_mtime_ns == kept, "drawn once"
