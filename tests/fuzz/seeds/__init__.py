"""Small files that the fuzzers begin from, and the files that readers once fell over.

All are made here, from nothing. What is `hostile` need not be read, only told; the others
have to be read, or the fuzzer would try a reader's first check and no more.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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


def zeros(megabytes: int, wbits: int) -> bytes:
    """So many megabytes of zeros, packed, without packing each of them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (megabytes - 1) + packer.flush()


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
