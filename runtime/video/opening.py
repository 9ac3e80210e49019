"""Open a file as a video, or say why it is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from runtime.errors import MissingPackageError, ZooError
from runtime.files import open_regular
from runtime.text import printable

#: Kinds of files that are read, by ffmpeg's names: what cameras, telephones, editors and
#: the web make. Not among them: playlists and lists of files, which open others before
#: anybody can look at what they are; text drawn as pictures; single images.
FORMATS = (
    "mov",  # mp4, m4v, 3gp
    "matroska",  # webm
    "avi",
    "mpeg",
    "mpegts",
    "mpegvideo",
    "asf",  # wmv
    "flv",
    "ogg",
    "mxf",
    "nut",
    "dv",
    "rm",
    "wtv",
    "h264",
    "hevc",
    "m4v",
    "ivf",
    "obu",
    "yuv4mpegpipe",
)
#: Seconds that ffmpeg may take to open a file, and to find the next packet in it.
_TIMEOUT = 30.0


class VideoError(ZooError):
    """A file is not a video that can be judged."""


def open_container(path: Path) -> Any:
    """A PyAV container of a video file.

    It reads from the one file that was opened here, and can open no other.

    Raises:
        VideoError: no regular file, empty, or not a video.
        MissingPackageError: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingPackageError("av", f"reading {path.name}", "media") from None
    # PyAV's logging stays off, as it is by default: its callback takes the GIL in ffmpeg's
    # threads, and closing a file waits for those threads.
    unreadable = f"{printable(path)} is not a video that can be read"
    with open_regular(path, error=VideoError) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise VideoError(unreadable, "the file is empty")
        options = {
            "fd": str(file.fileno()),  # ffmpeg makes a descriptor of its own of it
            "protocol_whitelist": "fd",
            "format_whitelist": ",".join(FORMATS),
        }
        try:
            return av.open("fd:", options=options, metadata_errors="replace", timeout=_TIMEOUT)
        except av.ArgumentError:  # what ffmpeg says of a kind that is not in the list
            raise VideoError(
                unreadable,
                f"it is damaged, or of none of the kinds {', '.join(FORMATS)}",
                "convert it, to .mp4 for example",
            ) from None
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(unreadable, short_reason(error)) from None


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
        raise VideoError(f"{printable(path)} has no video stream", f"it holds {kinds}")
    if streams[0].codec_context is None or streams[0].time_base is None:
        raise VideoError(
            f"{printable(path)} cannot be decoded",
            "its codec or its clock is not known to ffmpeg here",
        )
    return streams[0]


def short_reason(error: Exception) -> str:
    """The first line of what an error says."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:200]
