"""From an image to a frame, exactly as the original's own loader did it.

The resize is PIL's, because the networks were trained through it: OpenCV's and
torch's filters of the same names give other pixels.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.engine_info import Preprocessing
from runtime.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

#: What `load_image` takes: a path, a PIL image, or uint8 RGB [H, W, 3] or grey [H, W].
ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[np.uint8]"

#: Larger images are refused before a pixel is decoded: 12000 x 12000 is 432 MB as RGB.
MAX_PIXELS = 144_000_000


def to_frame(image: ImageLike, how: Preprocessing) -> NDArray[np.uint8]:
    """One image as one frame.

    Args:
        image: a path, a PIL image of any mode, or uint8 RGB [H, W, 3] or grey [H, W].
        how: the network's preprocessing.

    Returns:
        uint8 [height, width, 3] RGB.

    Raises:
        ImageError: not an image, damaged, too large, or an array of another kind.
    """
    from PIL import Image

    name = str(image) if isinstance(image, str | os.PathLike) else "the image"
    picture = load_image(image)
    resample = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
    }[how.resize]
    if how.shorter_side is not None:
        picture = _shorter_side(picture, how.shorter_side, resample, name)
        picture = _center(picture, how.height, how.width)
    elif picture.size != (how.width, how.height):
        picture = picture.resize((how.width, how.height), resample)
    return np.asarray(picture, np.uint8)


def load_image(image: ImageLike) -> Image.Image:
    """Any image as PIL RGB, upright (EXIF orientation applied), transparency dropped.

    16-bit and float greys are scaled to 8 bits, not clipped.

    Raises:
        ImageError: see `to_frame`.
    """
    from PIL import Image

    if isinstance(image, np.ndarray):
        return Image.fromarray(_checked_array(image))
    if isinstance(image, Image.Image):
        with _damage_named("the PIL image"):
            return _to_rgb(image, "the PIL image")
    if not isinstance(image, str | os.PathLike):
        raise ImageError(
            f"{type(image).__name__} is not an image",
            "due are a path, a PIL image or a uint8 array",
        )
    path = Path(image)
    if path.is_dir():
        raise ImageError(f"{path} is a directory", "an image file is due", "name the files in it")
    if path.is_file() and path.stat().st_size == 0:
        raise ImageError(f"{path} is not an image that can be read", "the file is empty")
    with _damage_named(str(path)), _open(path) as opened:
        return _to_rgb(opened, str(path))


#: Warning filters belong to the process: two threads changing them at once would leave
#: the change behind.
_FILTERS = threading.Lock()


def _open(path: Path) -> Image.Image:
    """Read an image's header, no pixel yet."""
    from PIL import Image

    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we have our own limit
        return Image.open(path)


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """What PIL raises for a file that is no image, or a damaged one, as ImageError."""
    from PIL import Image

    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist", "", "check the path") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large", str(error), "scale it down first") from None
    except MemoryError:
        raise
    except Exception as error:
        # PIL's readers report damage with whatever the format's parser raised: OSError,
        # SyntaxError, ValueError, struct.error, IndexError, ...
        raise ImageError(
            f"{name} is not an image that can be read", str(error) or type(error).__name__
        ) from error


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    from PIL import Image, ImageOps

    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} is too large",
            f"{width} x {height} is more than {MAX_PIXELS:,} pixels",
            "scale it down first",
        )
    # Decoding first: a damaged file must fail here and not look like a black image.
    image.load()
    image = ImageOps.exif_transpose(image)  # a copy: the caller's image stays as it is
    image.info.pop("transparency", None)  # is dropped; PIL would warn of it
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = Image.fromarray(_to_8_bits(np.asarray(image), image.mode))
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(values: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """Wide greys to 0..255; PIL's own conversion would clip at 255."""
    if mode == "F":  # float greys are 0..1 or 0..255 by custom
        if not np.isfinite(values).all():
            raise ValueError("it has pixels that are no numbers")
        scale = 255.0 if float(values.max()) <= 1.0 else 1.0
        return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    return ((np.clip(values.astype(np.int64), 0, 65535) + 128) // 257).astype(np.uint8)


def _checked_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise ImageError(
            f"an image array has dtype {array.dtype}",
            "uint8 in 0..255 is due; scaling is inside the engine",
            "(image * 255).astype('uint8') for floats in 0..1",
        )
    if array.ndim == 2:
        array = np.stack([array] * 3, axis=-1)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ImageError(
            f"an image array has shape {array.shape}", "RGB [H, W, 3] or grey [H, W] is due"
        )
    return np.ascontiguousarray(array)


def _shorter_side(image: Image.Image, size: int, resample: Any, name: str) -> Image.Image:
    """As torchvision's Resize(int) on a PIL image, its rounding included."""
    width, height = image.size
    if width <= height:
        new = (size, int(size * height / width))
    else:
        new = (int(size * width / height), size)
    if new[0] * new[1] > MAX_PIXELS:  # a line of pixels would fill the memory
        raise ImageError(
            f"{name} is too long and narrow",
            f"{width} x {height}; its shorter side scaled to {size} makes {new[0]} x {new[1]}",
            "cut the face out first",
        )
    return image if new == image.size else image.resize(new, resample)


def _center(image: Image.Image, height: int, width: int) -> Image.Image:
    """As torchvision's CenterCrop, its rounding included."""
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
