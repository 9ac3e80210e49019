"""Open a file as a video, or say why it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.errors import MissingPackageError, ZooError

#: What ffmpeg opens and is no video file: text drawn as pictures, lists of other files and
#: addresses, single images.
_NOT_VIDEOS = frozenset({"tty", "concat", "hls", "dash", "image2", "lavfi"})


class VideoError(ZooError):
    """A file is not a video that can be judged."""


def open_container(path: Path) -> Any:
    """A PyAV container of a video file.

    Raises:
        VideoError: no file, empty, or not a video.
        MissingPackageError: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingPackageError("av", f"reading {path.name}", "media") from None
    # PyAV's logging stays off, as it is by default: its callback takes the GIL in ffmpeg's
    # threads, and closing a file waits for those threads.
    if path.is_dir():
        raise VideoError(f"{path} is a directory", "a video file is due", "name the files in it")
    if not path.is_file():
        raise VideoError(f"{path} does not exist", "", "check the path")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is not a video that can be read", "the file is empty")
    try:
        # "file:" keeps a name with a colon from being taken for a protocol; a playlist
        # must not fetch from the network.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path} is not a video that can be read", short_reason(error)) from None
    names = set(container.format.name.split(","))
    if names & _NOT_VIDEOS or container.format.name.endswith("_pipe"):
        container.close()
        raise VideoError(f"{path} is not a video", f"it is of the kind '{container.format.name}'")
    return container


def video_stream(path: Path, container: Any) -> Any:
    """The first stream of moving pictures.

    Raises:
        VideoError: there is none, or ffmpeg does not know its codec.
    """
    from av.stream import Disposition

    # A cover picture in a sound file is a video stream to ffmpeg.
    cover = Disposition.attached_pic
    streams = [s for s in container.streams.video if cover not in Disposition(s.disposition)]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise VideoError(f"{path} has no video stream", f"it holds {kinds}")
    if streams[0].codec_context is None:
        raise VideoError(f"{path} cannot be decoded", "its codec is not known to ffmpeg here")
    return streams[0]


def short_reason(error: Exception) -> str:
    """The first line of what an error says."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:200]
