"""Small files that the fuzzers begin from, and the files that readers once fell over.

All are made here, from nothing. What is `hostile` need not be read, only told; the others
have to be read, or the fuzzer would try a reader's first check and no more.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..mutators import zipped

#: Bytes of a file beside the input, which no reader may bring back.
CANARY = b"the-canary-sings-of-what-it-saw"


@dataclass(frozen=True)
class Seed:
    """A file: its bytes, made when they are needed.

    Attributes:
        name: for people.
        make: the bytes.
        hostile: it may be refused.
        place: puts something else than a file with these bytes at a path.
    """

    name: str
    make: Callable[[], bytes]
    hostile: bool = False
    place: Callable[[Path], object] | None = None


def good(*makers: Callable[[], bytes]) -> tuple[Seed, ...]:
    """Files that a reader takes."""
    return tuple(Seed(make.__name__, cache(make)) for make in makers)


def hostile(*makers: Callable[[], bytes]) -> tuple[Seed, ...]:
    """Files that it may refuse."""
    return tuple(Seed(make.__name__, cache(make), hostile=True) for make in makers)


def packed(wbits: int, *parts: tuple[bytes, int]) -> bytes:
    """Blocks so many times each, one behind the other, compressed once a block.

    Args:
        wbits: as zlib's: -15 is bare, 31 has the head of gzip and a checksum that is wrong.
        parts: block and count.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    content = b""
    for block, count in parts:
        first, again = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in "ab")
        content += first + again * (count - 1)
    return content + packer.flush()


def zip_bomb(name: str, members: dict[str, bytes], *parts: tuple[bytes, int]) -> bytes:
    """A zip archive, whole, in which one member consists of such blocks; see `packed`.

    Args:
        name: of that member.
        members: the others.
        parts: block and count.
    """
    body = packed(-15, *parts)
    content = bytearray(zipped({**members, name: body}))
    size, check = 0, 0
    for block, count in parts:
        for _ in range(count):
            size, check = size + len(block), zlib.crc32(block, check)
    for magic, fields, length in ((b"PK\3\4", 8, 30), (b"PK\1\2", 10, 46)):
        at = content.index(magic)
        while content[at + length :][: len(name)] != name.encode():
            at = content.index(magic, at + 1)
        content[at + fields : at + fields + 2] = b"\x08\0"
        packed_sizes = struct.pack("<III", check, len(body), size)
        content[at + fields + 6 : at + fields + 18] = packed_sizes
    return bytes(content)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 5 << 30)


def _place(name: str, put: Callable[[Path], object]) -> Seed:
    return Seed(name, bytes, hostile=True, place=put)


#: What may lie where a file is due.
PLACES = (
    _place("pipe", os.mkfifo),
    _place("folder", Path.mkdir),
    _place("device", lambda path: path.symlink_to("/dev/zero")),
    _place("link to itself", lambda path: path.symlink_to(path.name)),
    _place("nothing", lambda path: None),
    _place("5 GB of zeros", _sparse),
)
