"""Small files that the fuzzers begin from, and the files that readers once fell over.

All are made here, from nothing. What is `hostile` need not be read, only told; the others
have to be read, or the fuzzer would try a reader's first check and no more.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

#: Bytes of a file beside the input, which no reader may bring back.
CANARY = b"the-canary-sings-of-what-it-saw"


@dataclass(frozen=True)
class Seed:
    """A file: its bytes, made when they are needed."""

    name: str
    make: Callable[[], bytes]
    hostile: bool = False


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
