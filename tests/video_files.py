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


def write_talkie(
    path: Path,
    codec: str,
    *,
    event: float = 1.2,
    begin: float = 0.0,
    rate: int = 48000,
    hole: tuple[float, float] = (0.0, 0.0),
) -> Path:
    """Two seconds of black and silence, white and a tone of 1 kHz from one moment on.

    Args:
        path: its suffix says the container.
        codec: of the sound.
        event: when, in seconds after the first frame.
        begin: time of the first frame and of the sound in the file's own clock.
        rate: samples a second.
        hole: from when to when the file has no sound at all, in seconds.
    """
    import av

    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound: Any = container.add_stream(codec, rate=rate, layout="mono")
        for number in range(50):
            bright = 255 if number / 25 >= event else 0
            frame: Any = av.VideoFrame.from_ndarray(np.full((96, 160, 3), bright, np.uint8))
            frame.pts, frame.time_base = number * 40 + round(1000 * begin), Fraction(1, 1000)
            container.mux(video.encode(frame))
            time = number / 25 + np.arange(rate // 25) / rate
            wave = np.where(time >= event, 0.5 * np.sin(2000 * np.pi * time), 0)
            heard: Any = av.AudioFrame.from_ndarray(
                (wave * 32767).astype(np.int16)[None], "s16", layout="mono"
            )
            heard.sample_rate, heard.time_base = rate, Fraction(1, rate)
            heard.pts = number * (rate // 25) + round(begin * rate)
            if not hole[0] <= number / 25 < hole[1]:
                container.mux(sound.encode(heard))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def heard_and_seen(path: Path) -> tuple[float, float]:
    """When the tone sets in and when the picture turns white, in the file's own seconds."""
    import av

    with av.open(str(path)) as container:
        heard = seen = float("nan")
        for frame in container.decode(audio=0):
            loud = np.abs(frame.to_ndarray()[0].astype(np.float64))
            loud = loud / (32767 if frame.format.name.startswith("s16") else 1)
            if (loud > 0.2).any():
                first = int(np.argmax(loud > 0.2))
                heard = float(frame.pts * frame.time_base) + first / frame.sample_rate
                break
        container.seek(0)
        for picture in container.decode(video=0):
            if picture.to_ndarray(format="gray")[:90].mean() > 128:
                seen = float(picture.pts * picture.time_base)
                break
    return heard, seen


def sound_of_ts(data: bytes | bytearray) -> list[int]:
    """Where the packets of sound are in an MPEG transport stream that ffmpeg wrote."""
    places = range(0, len(data), 188)
    return [at for at in places if data[at + 1] & 31 == 1 and data[at + 2] == 1]


def mark_damage(path: Path, out: Path) -> Path:
    """The same MPEG transport stream, one packet of its sound marked as received wrong."""
    data = bytearray(path.read_bytes())
    sound = sound_of_ts(data)
    data[sound[len(sound) // 2] + 1] |= 0x80
    out.write_bytes(data)
    return out


def cut(path: Path, out: Path, part: float) -> Path:
    """The first part of a file."""
    data = path.read_bytes()
    out.write_bytes(data[: int(len(data) * part)])
    return out
