"""Carry the sound of a video into its annotated copy, in step with the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.video.opening import open_container, short_reason, video_stream

#: Of ffmpeg's codecs: those that an MP4 holds as they are and players know in it. Others
#: are encoded again.
_AS_IT_IS = frozenset({"aac", "ac3", "alac", "eac3", "mp3", "opus"})
_CODEC = "aac"
#: Samples a second of AAC that players know; others become this many.
_RATES, _RATE = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000), 48000


class Sound:
    """The first sound track of a video, on its way into an MP4.

    Packets are copied where MP4 holds their codec, else decoded and encoded as AAC. They
    are carried in step with the frames: a container wants both about the same time.

    Args:
        source: the video. It is opened a second time: its frames and its sound are read at
            their own pace.

    Attributes:
        missing: why sound was left out, for people; ``None`` while nothing was.

    Raises:
        VideoError: the file is no video.
    """

    def __init__(self, source: Path) -> None:
        self.missing: str | None = None
        self._packets: Iterator[tuple[float, Any]] = iter(())
        self._waiting: tuple[float, Any] | None = None
        self._container = open_container(source)
        try:
            pictures = video_stream(source, self._container)
            # Frames are timed from the first of them; so is the sound.
            self._start = float((pictures.start_time or 0) * pictures.time_base)
        except BaseException:
            self._container.close()
            raise

    def begin(self, out: Any) -> None:
        """Add the sound's stream to an output container, before anything is written to it."""
        import av

        tracks = self._container.streams.audio
        if not tracks:
            return
        track: Any = tracks[0]
        codec = track.codec_context
        if codec is None or not codec.sample_rate or not codec.channels:
            self._leave_out("its codec, its rate or its channels are not known to ffmpeg here")
            return
        self._out = out
        # Not the decoder's own name: "mp3float" decodes "mp3".
        if codec.codec.canonical_name in _AS_IT_IS:
            self._stream = out.add_stream_from_template(track)
            self._packets = self._copied(track)
            return
        try:
            codec.open()
        except (av.FFmpegError, ValueError) as error:
            self._leave_out(short_reason(error))
            return
        rate = codec.sample_rate if codec.sample_rate in _RATES else _RATE
        layout = "mono" if codec.channels == 1 else "stereo"
        self._stream = out.add_stream(_CODEC, rate=rate, layout=layout)
        self._packets = self._encoded(track)

    def carry(self, until: float | None = None) -> None:
        """Write the sound up to a time (seconds since the first frame), or all that is left."""
        while True:
            found = self._waiting or next(self._packets, None)
            self._waiting = None
            if found is None:
                return
            time, packet = found
            if until is not None and time > until:
                self._waiting = found
                return
            try:
                self._out.mux(packet)
            except ValueError as error:  # not OSError: a full disk ends the copy
                self._leave_out(short_reason(error))

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _copied(self, track: Any) -> Iterator[tuple[float, Any]]:
        last: int | None = None
        for packet in self._read(track):
            if packet.size == 0:  # the end
                continue
            stamp = packet.pts if packet.dts is None else packet.dts
            # A muxer takes rising times alone; a damaged file may have others.
            if packet.is_corrupt or stamp is None or (last is not None and stamp <= last):
                self._leave_out("a part of it is damaged")
                continue
            last = stamp
            shift = round(self._start / packet.time_base)
            packet.pts = stamp - shift if packet.pts is None else packet.pts - shift
            packet.dts = stamp - shift
            packet.stream = self._stream
            yield float(packet.dts * packet.time_base), packet

    def _encoded(self, track: Any) -> Iterator[tuple[float, Any]]:
        """All samples again as AAC; PyAV gives them the form and number that it wants."""
        import av

        graph: Any = None
        for packet in self._read(track):
            try:
                for frame in packet.decode():
                    if frame.pts is None:
                        continue
                    frame.pts -= round(self._start / frame.time_base)
                    graph = graph or _without_holes(frame)
                    graph.push(frame)
            except (av.FFmpegError, ValueError) as error:
                self._leave_out(short_reason(error))
                continue
            yield from self._pulled(graph)
        if graph is not None:
            graph.push(None)
            yield from self._pulled(graph)
            yield from self._timed(None)

    def _pulled(self, graph: Any) -> Iterator[tuple[float, Any]]:
        import av

        while graph is not None:
            try:
                frame = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            except (av.FFmpegError, ValueError) as error:
                self._leave_out(short_reason(error))
                return
            yield from self._timed(frame)

    def _timed(self, frame: Any) -> Iterator[tuple[float, Any]]:
        for packet in self._stream.encode(frame):
            yield float((packet.dts or 0) * packet.time_base), packet

    def _read(self, track: Any) -> Iterator[Any]:
        import av

        try:
            yield from self._container.demux(track)
        except (av.FFmpegError, OSError) as error:
            self._leave_out(short_reason(error))

    def _leave_out(self, why: str) -> None:
        self.missing = self.missing or f"not all of its sound is in the copy: {why}"


def _without_holes(frame: Any) -> Any:
    """A filter that fills holes with silence: players play AAC without a break."""
    from av.filter import Graph

    graph: Any = Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate,
        format=frame.format.name,
        layout=frame.layout.name,
        time_base=frame.time_base,
    )
    graph.link_nodes(source, graph.add("aresample", "async=1"), graph.add("abuffersink"))
    graph.configure()
    return graph
