"""Videos decoded upright and in time, whatever is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from video_files import cut, write_sound, write_video

pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")

from runtime.video import Sampling, Video, VideoError


def times(path: Path, sampling: Sampling) -> list[float]:
    with Video(path) as video:
        return [round(frame.time, 3) for frame in video.frames(sampling)]


def numbers(path: Path, sampling: Sampling) -> list[int]:
    """Which frames they are, by their brightness."""
    with Video(path) as video:
        pictures = [np.asarray(frame.picture) for frame in video.frames(sampling)]
    return [round((float(pixels[-20:, -20:].mean()) - 40) / 2) for pixels in pictures]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=100)


@pytest.mark.parametrize("step", [1, 7, 10, 1000])
def test_every_nth_frame(clip: Path, step: int) -> None:
    due = list(range(0, 100, step))
    np.testing.assert_allclose(numbers(clip, Sampling("every", step)), due, atol=1)
    assert times(clip, Sampling("every", step)) == pytest.approx([i / 25 for i in due], abs=0.002)


@pytest.mark.parametrize(
    ("count", "due"), [(1, [50]), (4, [13, 38, 63, 88]), (200, list(range(1, 100)))]
)
def test_frames_spread_evenly(clip: Path, count: int, due: list[int]) -> None:
    found = numbers(clip, Sampling("spread", count))
    assert len(found) == len(due)
    np.testing.assert_allclose(found, due, atol=2)


def test_spread_jumps_over_what_is_not_needed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", frames=1500, size=(64, 48))  # one minute
    with Video(path) as video:
        decoded = 0
        plain = video._time

        def counting(frame, before):
            nonlocal decoded
            decoded += 1
            return plain(frame, before)

        video._time = counting
        found = [frame.time for frame in video.frames(Sampling("spread", 4))]
        assert video.damage == []
    assert found == pytest.approx([7.5, 22.5, 37.5, 52.5], abs=0.05)
    assert decoded < 200


def test_keyframes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "k.mp4", frames=48, keyframe_every=16)
    found = times(path, Sampling("keyframes"))
    assert len(found) >= 3
    assert found[0] == 0
    assert set(found) < set(times(path, Sampling("every", 1)))


@pytest.mark.parametrize(
    ("rotation", "corner"),
    [(None, (0, 0)), (90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1)), (270, (0, -1))],
)
def test_rotation_metadata_is_obeyed(
    tmp_path: Path, rotation: int | None, corner: tuple[int, int]
) -> None:
    """Display rotation counts counter-clockwise, as PyAV and ffprobe tell it."""
    path = write_video(tmp_path / "r.mp4", rotation=rotation, frames=3)
    with Video(path) as video:
        frame = next(video.frames(Sampling("every", 1)))
    pixels = np.asarray(frame.picture)
    standing = rotation in (90, -90, 270)
    assert pixels.shape == ((160, 96, 3) if standing else (96, 160, 3))
    for place in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        y, x = (3 if p == 0 else -4 for p in place)
        red = pixels[y, x, 0] > 180 and pixels[y, x, 2] < 90
        assert red == (place == corner), place


def test_times_of_a_variable_frame_rate_are_the_frames_own(tmp_path: Path) -> None:
    milliseconds = [0, 40, 80, 500, 1000, 1040, 3000]
    path = write_video(tmp_path / "v.mkv", frames=7, milliseconds=milliseconds)
    assert times(path, Sampling("every", 1)) == [m / 1000 for m in milliseconds]
    assert times(path, Sampling("every", 3)) == [0.0, 0.5, 3.0]
    # Evenly over the time, not over the frames: 0.5, 1.5 and 2.5 seconds.
    assert times(path, Sampling("spread", 3)) == [1.0, 3.0]


def test_a_file_that_starts_late_starts_at_zero(tmp_path: Path) -> None:
    late = [5000 + 40 * i for i in range(10)]
    path = write_video(tmp_path / "late.mkv", frames=10, milliseconds=late)
    assert times(path, Sampling("every", 1)) == [i / 25 for i in range(10)]


@pytest.mark.parametrize("kind", ["every", "spread", "keyframes"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_truncated_file_gives_what_is_left_and_says_so(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    options = {"movflags": "faststart"} if suffix == "mp4" else None
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (96, 160, 3), dtype=np.uint8)
    whole = write_video(
        tmp_path / f"whole.{suffix}",
        frames=100,
        options=options,
        paint=lambda i: np.roll(noise, i, axis=1),
    )
    half = cut(whole, tmp_path / f"half.{suffix}", 0.5)
    with Video(whole) as video:
        everything = list(video.frames(Sampling(kind, 4)))
        assert video.damage == []
    with Video(half) as video:
        rest = list(video.frames(Sampling(kind, 4)))
        damage = video.damage
    assert 0 < len(rest) <= len(everything)
    assert rest[-1].time < 2.6
    if suffix != "ts":  # a transport stream does not say how long it is
        assert damage, "nothing was said"
    if suffix == "mp4" and kind == "every":
        assert "of 100 frames" in " ".join(damage)


def test_bytes_damaged_in_the_middle_cost_only_some_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "d.mkv", frames=100, codec="mpeg4", size=(320, 240))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    with Video(path) as video:
        found = list(video.frames(Sampling("every", 1)))
    assert len(found) > 50
    assert found[-1].time > 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none.mp4", "does not exist"),
        (lambda folder: folder, "is a directory"),
        (lambda folder: _written(folder / "empty.mp4", b""), "the file is empty"),
        (lambda folder: _written(folder / "text.mp4", b"hello\n" * 99), "not a video"),
        (lambda folder: write_sound(folder / "sound.m4a"), "no video stream"),
        (lambda folder: _written(folder / "list.m3u8", b"#EXTM3U\n/etc/hostname\n"), "not a video"),
    ],
)
def test_what_is_no_video_is_named(tmp_path: Path, make, words: str) -> None:
    path = make(tmp_path)
    with pytest.raises(VideoError, match=words) as caught:
        Video(path)
    assert str(path) in caught.value.what


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_giant_frame_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("runtime.video.decode.MAX_PIXELS", 160 * 96 - 1)
    path = write_video(tmp_path / "v.mp4", frames=1)
    with pytest.raises(VideoError, match="160 x 96"):
        Video(path)


def test_a_frame_larger_than_the_file_says_is_not_decoded(tmp_path: Path, monkeypatch) -> None:
    """Motion JPEG of 160 x 96, and then a picture of 2000 x 1500 in it."""
    import io

    import av

    path = tmp_path / "bomb.mkv"
    with av.open(str(path), "w") as writer:
        stream: Any = writer.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p"
        stream.codec_context.open()
        for number, size in enumerate([(160, 96)] * 3 + [(2000, 1500)]):
            jpeg = io.BytesIO()
            Image.new("RGB", size, (90, 0, 0)).save(jpeg, "JPEG")
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base = Fraction(1, 25)
            writer.mux(packet)
    with Video(path) as video:
        assert [frame.picture.size for frame in video.frames(Sampling("every", 1))] == [
            *[(160, 96)] * 3,
            (2000, 1500),
        ]
    monkeypatch.setattr("runtime.video.decode.MAX_PIXELS", 1_000_000)
    with Video(path) as video:
        sizes = [frame.picture.size for frame in video.frames(Sampling("every", 1))]
        assert sizes == [(160, 96)] * 3
        assert video.damage, "nothing was said"


def test_length_is_read_where_the_file_does_not_say(tmp_path: Path, monkeypatch) -> None:
    path = write_video(tmp_path / "v.mkv", frames=50)
    with Video(path) as video:
        assert video.length() == pytest.approx(2.0, abs=0.05)
    unsaid = replace(Video(path).facts, duration=None)
    monkeypatch.setattr(Video, "_read_facts", lambda self: unsaid)
    with Video(path) as video:
        assert video.facts.duration is None
        assert video.length() == pytest.approx(2.0, abs=0.05)
        assert len(list(video.frames(Sampling("every", 1)))) == 50


def test_a_name_that_is_no_utf8_and_looks_like_a_protocol(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "v.mp4", frames=3)
    odd = tmp_path / b"concat:a|b \xff\n.mp4".decode("utf-8", "surrogateescape")
    odd.write_bytes(plain.read_bytes())
    assert len(times(odd, Sampling("every", 1))) == 3
