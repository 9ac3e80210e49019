"""PNGs that tests put together by hand: of any size, with any chunks, whole or not."""

from __future__ import annotations

import struct
import zlib

END = (b"IEND", b"")


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A file of these chunks, each a kind and its data."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def size(width: int, height: int, depth: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    """The chunk that says how large the picture is, by default 24 bits a pixel."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG without its pixels: an image of that size to whoever reads the header."""
    return png(size(width, height, depth, colour), (b"IDAT", b""), END)
