"""Images, videos and playlists."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import good, hostile


def _picture(mode: str = "RGB") -> Any:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 16, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels).convert(mode)


def _image(kind: str, mode: str = "RGB", **options: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        _picture(mode).save(file, kind, **options)
        return file.getvalue()

    make.__name__ = f"{kind}_{mode}".lower().replace(";", "")
    return make


_IMAGES = (
    _image("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    _image("JPEG", "CMYK"),
    _image("PNG", "RGBA"),
    _image("PNG", "I;16"),
    _image("WEBP"),
    _image("TIFF", compression="tiff_lzw"),
    _image("TIFF", "F"),
    _image("GIF", "P"),
    _image("BMP"),
    _image("PPM"),
    _image("JPEG2000"),
    _image("AVIF"),
)


def postscript() -> bytes:
    """Pillow would run Ghostscript."""
    box = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    return box + b"showpage\n%%EOF\n"


def _large_tiff(bits: int, side: int, kind: int) -> bytes:
    """Grey, in deflate, every strip the same."""
    rows = 100
    strip = zlib.compress(bytes(rows * side * bits // 8), 1)
    count = side // rows
    entries = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, bits), (259, 3, 1, 8),
               (262, 3, 1, 1), (277, 3, 1, 1), (278, 4, 1, rows), (339, 3, 1, kind)]  # fmt: skip
    at = 8 + len(strip)
    offsets, sizes = (
        struct.pack(f"<{count}I", *[8] * count),
        struct.pack(f"<{count}I", *[len(strip)] * count),
    )
    entries += [(273, 4, count, at), (279, 4, count, at + len(offsets))]
    fields = b"".join(
        struct.pack("<HHI", tag, t, n)
        + (struct.pack("<HH", v, 0) if t == 3 and n == 1 else struct.pack("<I", v))
        for tag, t, n, v in sorted(entries)
    )
    ifd = struct.pack("<H", len(entries)) + fields + bytes(4)
    start = at + len(offsets) + len(sizes)
    return b"II*\0" + struct.pack("<I", start) + strip + offsets + sizes + ifd


def tiff_16_bit_12000() -> bytes:
    """144 million greys of 16 bits in half a megabyte."""
    return _large_tiff(16, 12000, 1)


def tiff_32_bit_12000() -> bytes:
    """The same as 32-bit integers."""
    return _large_tiff(32, 12000, 2)


def tiff_float_12000() -> bytes:
    """The same as floats."""
    return _large_tiff(32, 12000, 3)


def jpeg2000_of_12000() -> bytes:
    """A header that says 12000 x 12000, of which nothing is there."""
    data = bytearray(_image("JPEG2000")())
    siz = data.index(b"\xff\x51")
    for at in (siz + 6, siz + 10, siz + 22, siz + 26):
        data[at : at + 4] = struct.pack(">I", 12000)
    box = data.index(b"ihdr")
    data[box + 4 : box + 12] = struct.pack(">II", 12000, 12000)
    return bytes(data)


def _video(kind: str, codec: str) -> Callable[[], bytes]:
    def make() -> bytes:
        from video_files import write_video

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"x.{kind}")
            return write_video(path, frames=5, size=(48, 32), codec=codec).read_bytes()

    make.__name__ = kind
    return make


_VIDEOS = (
    _video("mp4", "mpeg4"),
    _video("mkv", "mpeg4"),
    _video("avi", "mpeg4"),
    _video("webm", "libvpx"),
    _video("ts", "mpeg4"),
)


def mkv_odd_metadata() -> bytes:
    """A title that is not UTF-8."""
    data = _VIDEOS[1]()
    at = data.index(b"Lavf")
    return data[:at] + b"\xff\xfe\xfd\xfc" + data[at + 4 :]


def concat_pipe() -> bytes:
    """A playlist that names a pipe."""
    return b"ffconcat version 1.0\nfile pipe\n"


def concat_itself() -> bytes:
    """A playlist that names itself twice."""
    return b"ffconcat version 1.0\n" + b"file input.mp4\n" * 2


def hls_canary() -> bytes:
    """A playlist that names other files."""
    return (
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npipe\n#EXTINF:1,\ncanary\n#EXT-X-ENDLIST\n"
    )


def dash_file() -> bytes:
    """An MPD that names other files."""
    return (b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
            b'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
            b'<Representation id="1" bandwidth="1"><BaseURL>pipe</BaseURL></Representation>'
            b"</AdaptationSet></Period></MPD>")  # fmt: skip


def sdp() -> bytes:
    """A session that waits for the network."""
    return (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            b"m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n")  # fmt: skip


IMAGES = good(*_IMAGES) + hostile(
    postscript, jpeg2000_of_12000, tiff_16_bit_12000, tiff_32_bit_12000, tiff_float_12000
)
VIDEOS = good(*_VIDEOS) + hostile(mkv_odd_metadata)
PLAYLISTS = hostile(concat_pipe, concat_itself, hls_canary, dash_file, sdp)
