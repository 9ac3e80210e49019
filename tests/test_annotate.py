"""Verdicts drawn into copies: boxes that follow the faces, labels that can be read."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_engine import TinyEngine

from runtime.errors import ZooError
from runtime.verdicts import FaceVerdict, MediaVerdict, Summary, SummaryLabel
from zoo.annotate import annotate
from zoo.detect_run import DetectRequest, DetectRun
from zoo.drawing import _free_place, _meet, clip_words, draw_faces, strip_below, strip_height
from zoo.faces_in_time import FacesInTime
from zoo.sound import Sound


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


def test_no_box_glides_through_the_time_in_which_its_person_was_lost() -> None:
    """Looked at each second: lost for one look, and for five."""
    verdict = seen(face(0, 0.0), face(90, 2.0), face(300, 8.0), frames=10)
    faces = FacesInTime(verdict, 10.0)
    assert faces.at(1.0)[0].box == pytest.approx((45, 40, 50, 60))
    assert [len(faces.at(time)) for time in (2.4, 3.5, 5.0, 7.0, 7.6)] == [1, 0, 0, 0, 1]


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


@pytest.mark.parametrize(
    ("name", "codec", "begin", "rate", "due"),
    [
        ("copied.mp4", "aac", 0.0, 44100, "aac"),
        ("copied-later.ts", "aac", 5.0, 48000, "aac"),
        ("copied.mkv", "libopus", 0.0, 48000, "opus"),
        ("encoded-later.mkv", "pcm_s16le", 3.0, 22050, "aac"),
        ("encoded.mkv", "flac", 0.0, 96000, "aac"),
        ("no-rate-of-aac.mkv", "pcm_s16le", 0.0, 20000, "aac"),
    ],
)
def test_the_sound_is_kept_in_step(
    tmp_path: Path, name: str, codec: str, begin: float, rate: int, due: str
) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import heard_and_seen, write_talkie

    if codec not in av.codecs_available:
        pytest.skip(f"ffmpeg has no {codec} here")
    clip = write_talkie(tmp_path / name, codec, begin=begin, rate=rate)
    assert heard_and_seen(clip) == pytest.approx((1.2 + begin, 1.2 + begin), abs=0.005)
    out = tmp_path / "out" / "c.mp4"
    assert annotate(clip, seen(face(0, 0.0)), out, tmp_path / "out", True) is None
    assert heard_and_seen(out) == pytest.approx((1.2, 1.2), abs=0.005)
    with av.open(str(out)) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == due
        assert 1.99 < float(sound.duration * sound.time_base) < 2.06


def test_sound_is_written_beside_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not yet written waits in memory; a long clip has much of it."""
    pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import write_talkie

    clip = write_talkie(tmp_path / "c.mp4", "aac")
    told: list[float | None] = []
    left: list[float] = []
    carry = Sound.carry

    def watched(self: Sound, until: float | None = None) -> None:
        carry(self, until)
        told.append(until)
        if self._waiting is not None:
            left.append(self._waiting[0] - (until or 0.0))

    monkeypatch.setattr(Sound, "carry", watched)
    annotate(clip, seen(face(0, 0.0)), tmp_path / "out" / "c.mp4", tmp_path / "out", True)
    assert told == [*(pytest.approx(number / 25) for number in range(50)), None]
    assert len(left) >= 48
    assert all(0 < ahead < 0.03 for ahead in left), "the next packet waits, no earlier one"


def test_a_hole_in_the_sound_does_not_shift_what_follows(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import heard_and_seen, write_talkie

    clip = write_talkie(tmp_path / "c.mkv", "pcm_s16le", hole=(0.4, 0.9))
    out = tmp_path / "out" / "c.mp4"
    assert annotate(clip, seen(face(0, 0.0)), out, tmp_path / "out", True) is None
    assert heard_and_seen(out) == pytest.approx((1.2, 1.2), abs=0.005)
    with av.open(str(out)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples == pytest.approx(2 * 48000, abs=2048), "players count them"


def test_a_clip_without_sound_has_a_copy_without(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import write_video

    out = tmp_path / "out" / "c.mp4"
    clip = write_video(tmp_path / "c.mp4", frames=5)
    assert annotate(clip, seen(face(0, 0.0)), out, tmp_path / "out", True) is None
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_sound_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import sound_of_ts, write_talkie

    clip, out = write_talkie(tmp_path / "c.ts", "aac"), tmp_path / "out" / "c.mp4"
    data = clip.read_bytes()
    sound = set(sound_of_ts(data))
    parts = (data[at : at + 188] for at in range(0, len(data), 188) if at not in sound)
    clip.write_bytes(b"".join(parts))
    told = annotate(clip, seen(face(0, 0.0)), out, tmp_path / "out", True)
    assert told is not None
    assert "are not known to ffmpeg" in told
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_damaged_sound_is_left_out_and_told(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import heard_and_seen, mark_damage, write_talkie

    clip = mark_damage(write_talkie(tmp_path / "w.ts", "aac", event=0.4), tmp_path / "c.ts")
    out = tmp_path / "out" / "c.mp4"
    told = annotate(clip, seen(face(0, 0.0)), out, tmp_path / "out", True)
    assert told == "not all of its sound is in the copy: a part of it is damaged"
    assert heard_and_seen(out) == pytest.approx((0.4, 0.4), abs=0.005)


def test_sound_that_cannot_be_carried_is_told(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import write_talkie

    clip = write_talkie(tmp_path / "c.mkv", "pcm_s16le")
    data = clip.read_bytes()
    assert b"A_PCM/INT/LIT" in data
    clip.write_bytes(data.replace(b"A_PCM/INT/LIT", b"A_ODD/INT/LIT"))
    request = DetectRequest((clip,), tiny_engine.path, None, annotate=tmp_path / "out")
    with DetectRun(request, lambda name: pytest.fail("no finder is due")) as run:
        (line,) = run.lines()
    assert line["error"] is None
    assert any("its sound is" in what for what in line["damage"])
    with av.open(line["annotated"]) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_a_clip_that_was_cut_off_keeps_the_sound_until_then(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import cut, heard_and_seen, write_talkie

    whole = write_talkie(tmp_path / "w.mkv", "flac", event=0.4)
    clip, out = cut(whole, tmp_path / "c.mkv", 0.6), tmp_path / "out" / "c.mp4"
    annotate(clip, seen(face(0, 0.0)), out, tmp_path / "out", True)
    assert heard_and_seen(out) == pytest.approx((0.4, 0.4), abs=0.005)


def test_an_encoder_that_fails_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import write_video

    def broken(*_: object) -> None:
        raise av.error.ExternalError(542398533, "Generic error in an external library")

    monkeypatch.setattr("zoo.annotate.draw_faces", broken)
    clip, out = write_video(tmp_path / "c.mp4", frames=5), tmp_path / "out" / "c.mp4"
    with pytest.raises(ZooError, match="no copy of it") as told:
        annotate(clip, seen(face(0, 0.0)), out, tmp_path / "out", True)
    assert "Generic error" in told.value.why
    assert list((tmp_path / "out").iterdir()) == []


def overall(label: SummaryLabel, low: float | None = 0.4, high: float | None = 0.7) -> Summary:
    return Summary(label, 30, 0.62, 0.6, 0.7, low, high)


def test_the_clips_verdict_stands_below_every_frame(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import write_video

    from runtime.video import Sampling, Video

    clip, out = write_video(tmp_path / "c.mp4", frames=12), tmp_path / "out" / "c.mp4"
    for label, ground in (("fake", (230, 40, 40)), ("uncertain", (250, 200, 40))):
        verdict = replace(seen(face(0, 0.0)), overall=overall(label))
        annotate(clip, verdict, out, tmp_path / "out", True)
        with Video(out) as video:
            frames = [np.asarray(f.picture) for f in video.frames(Sampling("every", 1))]
        assert len(frames) == 12
        for pixels in frames:
            assert pixels.shape == (96 + strip_height((160, 96)), 160, 3)
            corner = pixels[-8:, -8:].astype(int)
            assert np.abs(corner - ground).mean() < 12
            assert np.abs(pixels[:24, :40].astype(int) - (255, 0, 0)).mean() < 12, "as it was"


def test_a_frame_of_odd_size_does_not_reach_into_the_strip(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    from video_files import write_video

    from runtime.video import Sampling, Video

    clip = write_video(tmp_path / "c.mp4", size=(161, 97), frames=3)
    out = tmp_path / "out" / "c.mp4"
    annotate(clip, replace(seen(), overall=overall("fake")), out, tmp_path / "out", True)
    with Video(out) as video:
        (first, *_) = (np.asarray(frame.picture) for frame in video.frames(Sampling("every", 1)))
    assert first.shape == (96 + strip_height((160, 96)), 160, 3)
    assert np.abs(first[96, -40:].astype(int) - (230, 40, 40)).mean() < 30


def test_the_strip_says_the_verdict_and_its_interval() -> None:
    assert clip_words(overall("uncertain"), True) == "uncertain 0.62 (0.40 to 0.70)"
    assert clip_words(overall("fake", None, None), True) == "fake 0.62"
    assert clip_words(overall("real"), False) == "untrained: real 0.62 (0.40 to 0.70)"
    assert clip_words(None, False) == "no face found"


@pytest.mark.parametrize("size", [(1920, 1080), (64, 640), (16, 16)])
def test_the_strip_is_no_wider_than_the_picture(size: tuple[int, int]) -> None:
    picture = strip_below(size, overall("uncertain"), True)
    assert picture.size == (size[0], size[1] + strip_height(size))
    other = strip_below(size, overall("uncertain", high=0.75), True)
    if size[0] > 16:
        assert picture.tobytes() != other.tobytes(), "to its last digit"


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
