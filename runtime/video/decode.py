"""Decode a video with PyAV: upright pictures with their times, and what was damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from runtime.text import printable
from runtime.video.opening import VideoError, open_container, short_reason, video_stream
from runtime.video.sampling import Sampling, spread_times

if TYPE_CHECKING:
    from PIL import Image

#: Larger frames are not decoded: 8192 x 4320 is 8K, and takes 50 MB of each of the
#: decoder's threads.
MAX_PIXELS = 36_000_000
#: Between two wanted frames further apart than this (seconds), jumping to the keyframe
#: before the next is cheaper than decoding all that lies between.
_JUMP = 4.0
#: A file that ends this long (seconds) before it says is cut off; a last frame that stands
#: still may take some of it.
_MISSING = 0.5
#: Errors of one file that are told; the others are counted.
_MOST_TOLD = 3


@dataclass(frozen=True)
class VideoFacts:
    """What a file says of itself; it need not be true.

    Attributes:
        width, height: of the upright picture in pixels.
        duration: in seconds; ``None`` where the file does not say.
        rate: frames per second, on average.
        codec: ffmpeg's name.
    """

    width: int
    height: int
    duration: float | None
    rate: float | None
    codec: str


@dataclass(frozen=True)
class Frame:
    """One decoded frame: seconds since the video's start, and the upright RGB picture."""

    time: float
    picture: Image.Image


class Video:
    """An opened video.

    Args:
        path: of the file.
        threads: of the decoder; 0 takes one a core.

    Attributes:
        facts: see `VideoFacts`.
        damage: what went wrong while decoding, for people; to be read after `frames`.

    Raises:
        VideoError: no file, empty, not a video, without a video stream, or too large.
        MissingPackageError: PyAV is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 0) -> None:
        self.path = Path(path)
        self.damage: list[str] = []
        self._errors = 0
        self._container = open_container(self.path)
        try:
            self._stream = video_stream(self.path, self._container)
            codec = self._stream.codec_context
            codec.thread_type = "AUTO"
            codec.thread_count = threads
            # A frame may be larger than the file says at its start.
            codec.options = {"max_pixels": str(MAX_PIXELS)}
            self._start = self._stream.start_time or 0
            self.facts = self._read_facts()
        except BaseException:
            self._container.close()
            raise

    def frames(self, sampling: Sampling) -> Iterator[Frame]:
        """The chosen frames in the order of time. May be called once.

        A damaged packet is left out and told in `damage`; only a file of which nothing
        can be decoded gives no frame.
        """
        if sampling.kind == "spread":
            chosen = self._spread(sampling.number)
        elif sampling.kind == "keyframes":
            codec = self._stream.codec_context
            codec.skip_frame = "NONKEY"
            # Several threads keep frames back until the end, and one damaged packet there
            # costs all that they hold: here, often the only frame there is.
            codec.thread_count = 1
            chosen = self._decoded(enough=lambda: True)
        else:
            chosen = self._every(sampling.number)
        for time, frame in chosen:
            picture = self._picture(frame)
            if picture is not None:
                yield Frame(time, picture)
        if self._errors > _MOST_TOLD:
            self.damage.append(f"{self._errors} parts of it could not be decoded")

    def length(self) -> float:
        """Seconds that it lasts, above 0. Not once `frames` has begun.

        Where the file does not say so, it is read to its end; nothing is decoded.
        """
        return self.facts.duration or self._measured_duration()

    def close(self) -> None:
        """Free the decoder. Not while `frames` runs in another thread."""
        self._container.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _picture(self, frame: Any) -> Image.Image | None:
        import av

        try:
            return _upright(frame)
        except (av.FFmpegError, OSError, ValueError) as error:  # a kind of pixels without RGB
            self._tell(short_reason(error))
            return None

    def _every(self, number: int) -> Iterator[tuple[float, Any]]:
        for index, found in enumerate(self._decoded()):
            if index % number == 0:
                yield found

    def _spread(self, number: int) -> Iterator[tuple[float, Any]]:
        """The first frame at or after each of the wanted times."""
        duration = self.length()
        wanted = spread_times(duration, number)
        at = 0.0
        last: tuple[float, Any] | None = None
        while wanted:
            if wanted[0] - at > _JUMP:
                self._seek(wanted[0])
            for time, frame in self._decoded(to_the_end=False):
                at, last = time, (time, frame)
                if time < wanted[0]:
                    continue
                while wanted and wanted[0] <= time:
                    wanted.pop(0)
                yield last
                last = None
                if not wanted:
                    return
                if wanted[0] - at > _JUMP:
                    break
            else:
                # The times may lie beyond a file that was cut off: its last frame stands
                # for them.
                if last is not None:
                    yield last
                if wanted[-1] - at > _MISSING:
                    self._tell(f"it ends at {at:.1f} s of {duration:.1f} s")
                return

    def _decoded(
        self, enough: Any = None, *, to_the_end: bool = True
    ) -> Iterator[tuple[float, Any]]:
        """Every frame that the decoder gives, with its time."""
        import av

        packets, at = 0, 0.0
        source = self._container.demux(self._stream)
        while True:
            try:
                packet = next(source)
            except StopIteration:
                break
            except (av.FFmpegError, OSError) as error:
                self._tell(short_reason(error))
                break
            packets += packet.size > 0
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError) as error:
                self._tell(short_reason(error))
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._tell("a frame is incomplete")
                    continue
                time = self._time(frame, at)
                at = max(at, time)
                yield time, frame
        if to_the_end:
            self._check_end(packets, at)

    def _time(self, frame: Any, before: float) -> float:
        """Seconds since the start. The frame's own stamp: the rate need not be constant."""
        if frame.pts is None or frame.time_base is None:
            return before + 1 / (self.facts.rate or 25.0)
        return max(0.0, float((frame.pts - self._start) * frame.time_base))

    def _check_end(self, packets: int, at: float) -> None:
        due, duration = self._stream.frames, self.facts.duration
        if due and packets < due:
            self._tell(f"it ends after {packets} of {due} frames")
        elif not due and duration and at < duration - max(2 * _MISSING, 0.02 * duration):
            self._tell(f"it ends at {at:.1f} s of {duration:.1f} s")

    def _seek(self, time: float) -> None:
        import av

        target = self._start + int(time / self._stream.time_base)
        try:
            self._container.seek(target, stream=self._stream, backward=True)
        except (av.FFmpegError, OSError, OverflowError):
            return  # a stream that cannot be entered elsewhere is decoded from here

    def _measured_duration(self) -> float:
        """The time of the last packet, where the file does not say; reads, decodes nothing."""
        import av

        last = 0
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None:
                    last = max(last, packet.pts + (packet.duration or 0) - self._start)
            self._container.seek(self._start, stream=self._stream, backward=True)
        except (av.FFmpegError, OSError) as error:
            self._tell(short_reason(error))
        return max(float(last * self._stream.time_base), 1e-3)

    def _tell(self, what: str) -> None:
        self._errors += 1
        if self._errors <= _MOST_TOLD and what not in self.damage:
            self.damage.append(what)

    def _read_facts(self) -> VideoFacts:
        import av

        stream, container = self._stream, self._container
        duration = None
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / av.time_base
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise VideoError(
                f"{printable(self.path)} is too large",
                f"{width} x {height} is more than {MAX_PIXELS:,} pixels",
                "scale it down first",
            )
        rate = float(stream.average_rate) if stream.average_rate else None
        return VideoFacts(width, height, duration, rate, stream.codec_context.name)


def _upright(frame: Any) -> Image.Image:
    """To PIL RGB, turned as the file's display matrix says (phones film lying down)."""
    from PIL import Image

    picture: Image.Image = frame.to_image()
    turn = round(frame.rotation / 90) % 4
    if turn == 0:
        return picture
    return picture.transpose(
        (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)[
            turn - 1
        ]
    )
