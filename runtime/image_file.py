"""Open an image that somebody else made: a closed list of formats, bounded memory and time.

A few kilobytes can ask for gigabytes, for minutes, or for another program: PostScript makes
Pillow run Ghostscript. So the format has to be one of `FORMATS`, what decoding takes is
reckoned from the header before a pixel is decoded, and all threads together take no more
than `MEMORY`.
"""

from __future__ import annotations

import io
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.files import MOST_IMAGE, open_regular, read_bytes
from runtime.image_memory import (
    MEMORY,
    SAYS_ORIENTATION,
    WITHOUT_DECODER,
    SharedMemory,
    bytes_due,
    is_wide,
    may_turn,
)
from runtime.text import printable

if TYPE_CHECKING:
    from PIL import Image

#: Formats that are read, by Pillow's names. None of them runs a program or opens another
#: file.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
#: Larger images are refused before a pixel is decoded: 12000 x 12000 is 576 MB in Pillow.
MAX_PIXELS = 144_000_000
#: Seconds of this thread's computing in which Pillow has to take a file apart. 144
#: megapixels need about 3; a file of a million empty parts, minutes.
SECONDS = 8.0
#: Too few bytes to keep Pillow busy; they are read without the accounts of `_Bounded`.
_SMALL = 1 << 15
#: EXIF data fits a segment of a JPEG. Pillow copies what each entry of it names, and all
#: may name the same bytes.
_MOST_EXIF = 1 << 16
_ORIENTATION = 0x0112
#: Values of a wide grey that are scaled at a time.
_AT_A_TIME = 1 << 20

_MEMORY = SharedMemory(MEMORY)


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of an image file that does not lie on disk by itself: a member of a tar.

    Attributes:
        name: for errors.
        data: the file's content.
    """

    name: str
    data: bytes = field(repr=False)


#: What can be opened.
Source: TypeAlias = "Path | EncodedImage | Image.Image"


def decode(
    source: Source, memory: ExitStack, more: Callable[[int, int], int] = lambda width, height: 0
) -> Image.Image:
    """An image as PIL RGB, upright (EXIF orientation applied), transparency dropped.

    16-bit and float greys are scaled to 8 bits, not clipped.

    Args:
        source: a file, its bytes, or a PIL image of any mode, which stays as it is.
        memory: keeps what this image takes from the memory that threads share.
        more: of the width and height in pixels, gives the bytes that the caller takes
            besides.

    Raises:
        ImageError: no image of `FORMATS`, damaged, too large, or it takes too much memory
            or time.
    """
    with _damage_named(source), _file_of(source) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(source, f"{width} x {height} is more than {MAX_PIXELS:,} pixels")
        besides = more(width, height)
        if may_turn(image):
            besides = max(besides, more(height, width))
        due = bytes_due(image) + besides
        if due > MEMORY:
            raise _too_large(
                source,
                f"{width} x {height} pixels of kind {image.mode} take {due:,} bytes;"
                f" at most {MEMORY:,} are taken",
            )
        memory.enter_context(_MEMORY.take(due))
        # Decoding first: a damaged file must fail here and not look like a black image.
        image.load()
        return _to_rgb(image, theirs=image is source)


def is_image(path: Path) -> bool:
    """Whether a file's first bytes are those of an image of `FORMATS`; no more is read."""
    from PIL import Image

    Image.init()  # the formats' readers register themselves
    try:
        with open_regular(path, error=ImageError) as file:
            first = file.read(16)  # as many as Pillow gives to `accept`
    except (ImageError, OSError):
        return False
    # A text instead of True says that this Pillow was built without the format.
    accepts = (Image.OPEN[name][1] for name in FORMATS if name in Image.OPEN)
    return any(accept is not None and accept(first) is True for accept in accepts)


def name_of(source: Source) -> str:
    """What to call it in errors."""
    if isinstance(source, Path):
        return printable(source)
    return printable(source.name) if isinstance(source, EncodedImage) else "the PIL image"


def _file_of(source: Source) -> AbstractContextManager[Image.Image]:
    """The image with its header read."""
    if isinstance(source, Path):
        data = read_bytes(source, most=MOST_IMAGE, error=ImageError)
    elif isinstance(source, EncodedImage):
        data = source.data
    else:
        _check_lazy(source)
        return nullcontext(source)
    if not data:
        raise _unreadable(source, "the file is empty")
    return _header(io.BytesIO(data) if len(data) < _SMALL else _Bounded(data))


def _check_lazy(image: Image.Image) -> None:
    """What PIL has opened and not decoded yet is decoded by us, and so by our rules."""
    if getattr(image, "tile", None) and image.format not in (*FORMATS, "MPO"):
        raise ImageError(
            f"the PIL image is of the format {image.format}, and not decoded yet",
            f"only {', '.join(FORMATS)} are decoded",
            "call its load() first, if you trust the file",
        )


#: Warning filters belong to the process: two threads changing them at once would leave
#: the change behind.
_FILTERS = threading.Lock()


def _unlock_filters() -> None:
    global _FILTERS
    _FILTERS = threading.Lock()


if hasattr(os, "register_at_fork"):
    # The thread that holds the lock is not there in a child.
    os.register_at_fork(after_in_child=_unlock_filters)


def _header(file: Any) -> Image.Image:
    """Read an image's header, no pixel yet."""
    from PIL import Image

    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we have our own limit
        return Image.open(file, formats=FORMATS)


class _Bounded(io.BytesIO):
    """Bytes that a parser can read neither for ever nor over and over.

    Pillow takes a file apart in Python: a part of a few bytes can be there a million times,
    and many parts can name the same megabytes.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = 8 * len(data) + (1 << 20)
        self._reads = 0
        self._end = time.thread_time() + SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._left -= len(data)
        self._reads += 1
        # The clock is looked at now and then: it costs as much as a read.
        if self._left < 0 or (self._reads % 64 == 0 and time.thread_time() > self._end):
            raise _EndlessError
        return data


class _EndlessError(Exception):
    """Of `_Bounded`."""


@contextmanager
def _damage_named(source: Source) -> Iterator[None]:
    """What PIL raises for a file that is no image, or a damaged one, as ImageError."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise _unreadable(source, f"it is none of {', '.join(FORMATS)}, or damaged") from None
    except Image.DecompressionBombError as error:
        raise _too_large(source, str(error)) from None
    except _EndlessError:
        why = f"taking it apart takes more than {SECONDS:.0f} s, or reads the same over and over"
        raise _unreadable(source, why) from None
    except MemoryError:
        raise _too_large(source, "there is too little memory") from None
    except Exception as error:
        # PIL's readers report damage with whatever the format's parser raised: OSError,
        # SyntaxError, ValueError, struct.error, IndexError, ...
        raise _unreadable(source, str(error) or type(error).__name__) from error


def _unreadable(source: Source, why: str) -> ImageError:
    return ImageError(f"{name_of(source)} is not an image that can be read", why)


def _too_large(source: Source, why: str) -> ImageError:
    return ImageError(f"{name_of(source)} is too large", why, "scale it down first")


def _to_rgb(image: Image.Image, *, theirs: bool) -> Image.Image:
    from PIL import Image

    picture = _upright(image)
    if is_wide(picture):
        picture = Image.fromarray(_to_8_bits(picture))
    if picture is image and theirs and "transparency" in image.info:
        picture = image.copy()
    picture.info.pop("transparency", None)  # is dropped; PIL would warn of it
    ours = picture is not image or (not theirs and image.format in WITHOUT_DECODER)
    if picture.mode != "RGB" or not ours:
        picture = picture.convert("RGB")  # RGB itself is copied
    for name in SAYS_ORIENTATION:  # nobody is to turn it again
        picture.info.pop(name, None)
    return picture


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; the same image where it says nothing.

    As PIL's exif_transpose, which would also write the EXIF data anew.
    """
    from PIL import Image

    for name in SAYS_ORIENTATION[:2]:
        if len(image.info.get(name) or b"") > _MOST_EXIF:
            raise ValueError(f"it has more than {_MOST_EXIF:,} bytes of EXIF data")
    orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation == 1:
        return image
    how = Image.Transpose
    turns = (how.FLIP_LEFT_RIGHT, how.ROTATE_180, how.FLIP_TOP_BOTTOM, how.TRANSPOSE,
             how.ROTATE_270, how.TRANSVERSE, how.ROTATE_90)  # fmt: skip
    turn = dict(enumerate(turns, 2)).get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_8_bits(image: Image.Image) -> NDArray[np.uint8]:
    """A wide grey as uint8 [H, W], 0..255; PIL's own conversion would clip at 255."""
    rows = max(1, _AT_A_TIME // image.width)
    bands = [(top, min(top + rows, image.height)) for top in range(0, image.height, rows)]

    def values(top: int, end: int) -> NDArray[Any]:
        return np.asarray(image.crop((0, top, image.width, end)))

    scale = 1.0
    if image.mode == "F":  # float greys are 0..1 or 0..255 by custom
        if not all(np.isfinite(values(*band)).all() for band in bands):
            raise ValueError("it has pixels that are no numbers")
        if max(float(values(*band).max()) for band in bands) <= 1.0:
            scale = 255.0
    made = np.empty((image.height, image.width), np.uint8)
    for top, end in bands:
        part = values(top, end)
        if image.mode == "F":
            made[top:end] = np.clip(np.rint(part * scale), 0, 255)
        else:
            made[top:end] = (np.clip(part, 0, 65535).astype(np.uint32) + 128) // 257
    return made
