"""Videos that tests make for themselves."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Painter = Callable[[int], NDArray[np.uint8]]


def numbered(width: int, height: int) -> Painter:
    """Grey frames, 40 and twice their number bright, with a red spot at the top left."""

    def paint(number: int) -> NDArray[np.uint8]:
        pixels = np.full((height, width, 3), 40 + 2 * (number % 100), np.uint8)
        pixels[: height // 4, : width // 4] = (255, 0, 0)
        return pixels

    return paint


def write_video(
    path: Path,
    *,
    frames: int = 30,
    size: tuple[int, int] = (160, 96),
    paint: Painter | None = None,
    milliseconds: Sequence[int] | None = None,
    rotation: int | None = None,
    keyframe_every: int = 12,
    codec: str = "mpeg4",
    options: dict[str, str] | None = None,
) -> Path:
    """A video of 25 frames a second, or with frames at the given times."""
    import av

    paint = paint or numbered(*size)
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.bit_rate = 8_000_000
        stream.codec_context.gop_size = keyframe_every
        stream.codec_context.thread_count = 1
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame: Any = av.VideoFrame.from_ndarray(paint(number), "rgb24")
            frame.pts = milliseconds[number] if milliseconds else number * 40
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, *, cover: bool = False) -> Path:
    """Half a second of sound and no moving picture; on request with a picture of its cover."""
    import av
    from av.stream import Disposition

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000, layout="mono")
        if cover:
            picture: Any = container.add_stream("mjpeg", rate=25)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            picture.codec_context.open()
            jpeg = io.BytesIO()
            Image.new("RGB", (64, 64), (90, 0, 0)).save(jpeg, "JPEG")
            packet: Any = av.Packet(jpeg.getvalue())
            packet.stream, packet.pts, packet.dts = picture, 0, 0
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
        for start in range(0, 8192, 1024):
            frame: Any = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), "fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path: Path, out: Path, part: float) -> Path:
    """The first part of a file."""
    data = path.read_bytes()
    out.write_bytes(data[: int(len(data) * part)])
    return out
