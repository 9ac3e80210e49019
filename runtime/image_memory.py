"""What decoding an image takes, known from its header, and how threads share the memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

#: Bytes that decoding may take: one image, and all threads of the process together.
MEMORY = 1 << 30
#: Bytes per pixel that Pillow keeps an image of a mode in; four in all other modes.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
#: Bytes per pixel that decoders take besides, from above: measured with Pillow 12.3.
_DECODER = {"WEBP": 12, "AVIF": 12}
_DECODER_EACH_BAND = {"JPEG2000": 6}
#: Their images keep no decoder, and with it its memory, once they are decoded.
WITHOUT_DECODER = ("JPEG", "PNG")
#: Where Pillow finds an orientation, in `Image.info`.
SAYS_ORIENTATION = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
#: Numbers of a TIFF's tags.
_BITS, _ROWS, _TILE_WIDTH, _TILE_LENGTH = 258, 278, 322, 323


def bytes_due(image: Image.Image) -> int:
    """Bytes that an image takes at its peak until it is upright RGB, from above.

    Args:
        image: opened, not decoded.
    """
    from PIL import Image

    kind = image.format or ""
    stored, bands = _STORED.get(image.mode, 4), len(image.getbands())
    decoder = _DECODER.get(kind, 0) + _DECODER_EACH_BAND.get(kind, 0) * bands
    # A progressive JPEG's coefficients are kept until its end; decoders written in Python
    # make the pixels as bytes first.
    if image.info.get("progressive") or _codec(image) in Image.DECODERS:
        decoder = 2 * bands
    # A turned copy; one of 8 bits; one of three colours, or without the decoder.
    made = stored if may_turn(image) else 0
    made += 1 if is_wide(image) else 0
    made += 0 if image.mode == "RGB" and kind in WITHOUT_DECODER else 4
    return image.width * image.height * (stored + max(decoder, made)) + _tiff_part(image)


def is_wide(image: Image.Image) -> bool:
    """Whether it is a grey of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def may_turn(image: Image.Image) -> bool:
    """Whether it may be turned to stand upright: a PNG may say so behind its pixels."""
    says = any(image.info.get(name) for name in SAYS_ORIENTATION)
    return says or image.format in ("PNG", "TIFF")


def _codec(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None)
    return str(tiles[0][0]) if tiles else ""


def _tiff_part(image: Image.Image) -> int:
    """Bytes of one tile or strip of a TIFF: a tile may be larger than the image."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return 0
    width, height = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH)
    if not (isinstance(width, int) and isinstance(height, int)):
        rows = tags.get(_ROWS)
        width = image.width
        height = min(image.height, rows) if isinstance(rows, int) else image.height
    bits = tags.get(_BITS, 8)
    pixel = sum(bits) if isinstance(bits, tuple) else bits * len(image.getbands())
    return int(width * height * max(4, -(-pixel // 8)))


class SharedMemory:
    """An amount of memory that threads share: one waits until there is room."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._given_back = threading.Condition()
        self._taken = 0
        if hasattr(os, "register_at_fork"):
            # What other threads took is not taken in a child: they are not there.
            os.register_at_fork(after_in_child=self._forget)

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Wait until so many bytes are free, and count them as taken for the block."""

        def room() -> Any:
            return self._taken == 0 or self._taken + amount <= self._total

        with self._given_back:
            self._given_back.wait_for(room)
            self._taken += amount
        try:
            yield
        finally:
            with self._given_back:
                self._taken -= amount
                self._given_back.notify_all()

    def _forget(self) -> None:
        self._given_back = threading.Condition()
        self._taken = 0
