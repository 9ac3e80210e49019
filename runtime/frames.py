"""From an image to a frame, exactly as the original's own loader did it.

The resize is PIL's, because the networks were trained through it: OpenCV's and
torch's filters of the same names give other pixels.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.engine_info import Preprocessing
from runtime.errors import ImageError
from runtime.image_file import MAX_PIXELS, EncodedImage, Source, decode, name_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_PIXELS", "EncodedImage", "ImageLike", "load_image", "to_frame"]

#: What `load_image` takes: a path, the bytes of a file, a PIL image, or uint8 RGB
#: [H, W, 3] or grey [H, W].
ImageLike: TypeAlias = "str | os.PathLike[str] | EncodedImage | Image.Image | NDArray[np.uint8]"


def to_frame(image: ImageLike, how: Preprocessing) -> NDArray[np.uint8]:
    """One image as one frame.

    Args:
        image: a path, the bytes of a file, a PIL image of any mode, or uint8 RGB
            [H, W, 3] or grey [H, W].
        how: the network's preprocessing.

    Returns:
        uint8 [height, width, 3] RGB.

    Raises:
        ImageError: not an image, damaged, too large, or an array of another kind.
    """
    if isinstance(image, np.ndarray):
        return _frame(_from_array(image), how)
    source = _source(image)
    beside = partial(_beside, how=how, name=name_of(source))
    with ExitStack() as memory:
        # Without a name here, so that what it takes is free once it is resized.
        return _frame(decode(source, memory, beside), how)


def load_image(image: ImageLike) -> Image.Image:
    """Any image as PIL RGB, upright (EXIF orientation applied), transparency dropped.

    16-bit and float greys are scaled to 8 bits, not clipped.

    Raises:
        ImageError: see `to_frame`.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    with ExitStack() as memory:
        return decode(_source(image), memory)


def _source(image: ImageLike) -> Source:
    from PIL import Image

    if isinstance(image, str | os.PathLike):
        return Path(image)
    if isinstance(image, EncodedImage | Image.Image):
        return image
    raise ImageError(
        f"{type(image).__name__} is not an image",
        "it has to be a path, an EncodedImage, a PIL image or a uint8 array",
    )


def _from_array(array: NDArray[Any]) -> Image.Image:
    from PIL import Image

    return Image.fromarray(_checked_array(array))


def _frame(picture: Image.Image, how: Preprocessing) -> NDArray[np.uint8]:
    from PIL import Image

    resample = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
    }[how.resize]
    if how.shorter_side is not None:
        new = _scaled(picture.size, how.shorter_side)
        picture = picture if new == picture.size else picture.resize(new, resample)
        picture = _center(picture, how.height, how.width)
    elif picture.size != (how.width, how.height):
        picture = picture.resize((how.width, how.height), resample)
    return np.asarray(picture, np.uint8)


def _beside(width: int, height: int, *, how: Preprocessing, name: str) -> int:
    """Bytes that a frame takes besides the picture of that size that it is made of."""
    new_width, new_height = how.width, how.height
    if how.shorter_side is not None:
        new_width, new_height = _scaled((width, height), how.shorter_side, name)
    # PIL scales the rows first, the columns then.
    return 4 * new_width * (new_height + max(new_height, height))


def _scaled(size: tuple[int, int], shorter: int, name: str = "the image") -> tuple[int, int]:
    """The size that torchvision's Resize(int) makes of one, its rounding included.

    Raises:
        ImageError: a line of pixels, which would fill the memory.
    """
    width, height = size
    if width <= height:
        new = (shorter, int(shorter * height / width))
    else:
        new = (int(shorter * width / height), shorter)
    if new[0] * new[1] > MAX_PIXELS:
        raise ImageError(
            f"{name} is too long and narrow",
            f"{width} x {height}; its shorter side scaled to {shorter} makes {new[0]} x {new[1]}",
            "cut the face out first",
        )
    return new


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


def _center(image: Image.Image, height: int, width: int) -> Image.Image:
    """As torchvision's CenterCrop, its rounding included."""
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
