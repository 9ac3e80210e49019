"""Clips made to do harm: lists of other files, metadata of any bytes, frames beyond measure."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import png_files
import pytest
from click.testing import CliRunner
from limits import within
from tiny_engine import TinyEngine

pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")

import av
from video_files import write_video

from runtime.video import Sampling, Video, VideoError, decode
from zoo.cli import main

DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9S"
 profiles="urn:mpeg:dash:profile:isoff-main:2011" minBufferTime="PT1S"><Period><AdaptationSet
 mimeType="video/mp4"><Representation id="1" bandwidth="9"><BaseURL>{other}</BaseURL>
 <SegmentList duration="9"><SegmentURL media="{other}"/></SegmentList></Representation>
 </AdaptationSet></Period></MPD>"""
#: Each opens the file that it names, where ffmpeg takes it for what it is.
LISTS = {
    "list.mp4": "ffconcat version 1.0\nfile {other}\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
    "lists.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n{other}\n",
    "list.mpd": DASH,
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 9 RTP/AVP 96\n",
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("other", ["pipe.mp4", "itself", "clip.mp4"])
def test_a_list_of_other_files_is_no_video(tmp_path: Path, name: str, other: str) -> None:
    """Neither waits for a pipe, nor reads itself for ever, nor takes another file's pictures."""
    path = tmp_path / name
    os.mkfifo(tmp_path / "pipe.mp4")
    write_video(tmp_path / "clip.mp4", frames=3, size=(32, 32))
    path.write_text(LISTS[name].format(other=name if other == "itself" else other))
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with within(5), pytest.raises(VideoError, match=f"{name} is not a video"):
        Video(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - taken < 50_000  # kB


def test_a_kind_outside_the_list_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    for content in (LISTS["list.mp4"].encode(), LISTS["list.sdp"].encode(), png_files.header(9, 9)):
        path.write_bytes(content)
        with pytest.raises(VideoError, match=r"x\.mp4 is not a video.*\n.*none of the kinds mov"):
            Video(path)


def test_lists_of_lists_take_no_descriptors(tmp_path: Path) -> None:
    for number in range(20):
        text = LISTS["list.mp4"].format(other=f"{number + 1}.mp4")
        (tmp_path / f"{number}.mp4").write_text(text)
    before = len(os.listdir("/proc/self/fd"))
    with within(5), pytest.raises(VideoError):
        Video(tmp_path / "0.mp4")
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_playlist_does_not_end_a_run(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.mp4").write_text(LISTS["list.mp4"].format(other="pipe"))
    os.mkfifo(tmp_path / "b.mp4")
    write_video(tmp_path / "c.mp4", frames=3, size=(64, 48))
    typed = ["detect", str(tmp_path), "--faces", "none", "-e", str(tiny_engine.path)]
    with within(20):
        answer = CliRunner().invoke(main, typed)
    assert answer.exit_code == 2
    assert "3 files" in answer.stdout
    assert "2 failed" in answer.stdout


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, kind in ((tmp_path / "pipe.mp4", "a pipe"), (Path("/dev/zero"), "a device")):
        with within(5), pytest.raises(VideoError, match=f"is {kind}"):
            Video(path)
    with pytest.raises(VideoError, match="cannot be read"):
        Video("x" * 5000)


def test_metadata_that_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "marker of a title"
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for packet in stream.encode(av.VideoFrame(32, 32, "yuv420p")):
            container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    data = path.read_bytes()
    assert b"marker" in data
    path.write_bytes(data.replace(b"marker", b"\xff\xfe\xe9\x80\xc3("))
    with Video(path) as video:
        assert len(list(video.frames(Sampling("every", 1)))) == 1


def test_frames_beyond_8k_are_refused(tmp_path: Path) -> None:
    """Each would be in memory a dozen times: in the decoder's threads, and on their way."""
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as writer:
        stream: Any = writer.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 12_000, 12_000, "yuvj420p"
        stream.codec_context.open()
        packet = av.Packet(bytes(100))
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        packet.time_base = stream.codec_context.time_base
        writer.mux(packet)
    with pytest.raises(VideoError, match="12000 x 12000 is more than 36,000,000"):
        Video(path)


def test_times_beyond_every_clock_end_with_the_last_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "x.mp4", frames=4, size=(32, 32))
    monkeypatch.setattr(Video, "length", lambda self: 1e18)
    with Video(path) as video:
        (last,) = video.frames(Sampling("spread", 2))
        assert last.time == pytest.approx(0.12)
        assert video.damage == ["it ends at 0.1 s of 1000000000000000000.0 s"]


def test_a_frame_of_pixels_that_cannot_be_made_rgb_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "x.mp4", frames=4, size=(32, 32))
    count = iter(range(100))
    upright = decode._upright

    def odd(frame):
        if next(count) == 1:
            raise ValueError("Conversion is not supported")
        return upright(frame)

    monkeypatch.setattr(decode, "_upright", odd)
    with Video(path) as video:
        assert len(list(video.frames(Sampling("every", 1)))) == 3
        assert video.damage == ["Conversion is not supported"]
