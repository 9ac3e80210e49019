"""What a certificate is measured on: real faces where there are some, and seeded frames."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.image_tar import IMAGE_SUFFIXES, image_names, is_image_name, read_images
from runtime.engine_info import Preprocessing, file_sha256
from runtime.errors import ImageError
from runtime.frames import EncodedImage, to_frame
from runtime.image_file import is_image
from runtime.text import printable
from zoo.inputs import OUTSIDE, leads_out
from zoo.noise import seeded_frames

#: Afchar's four test images (github.com/DariusAf/MesoNet, ``test_images``), for which the
#: cards hold the original's scores. Only these very files are compared with them.
GOLDEN_IMAGES = {
    "df00204.jpg": "ab1e881cd875b295e0c33e46ca464bd34ab5bf8e7629e0d0621a84159020832d",
    "df01254.jpg": "825cfdefc02c917df65cae3b91883d3fa0eb080cedc87e9619866a603543ce17",
    "real00240.jpg": "cde8c693fbc0dd5366e64013c571cfd5da7a2927eab2b204b2fb0af18e122644",
    "real00772.jpg": "05ec7cf7d3df30b1c21c30128bf73dd6236d176a04dbf77af7560c7fd9435641",
}
_GOLDEN_PLACES = (
    Path(__file__).resolve().parents[1] / "weights" / "files" / "images",
    Path(__file__).resolve().parents[2] / "shared" / "images" / "afchar",
)
#: Their scores on seeded frames lie on both sides of the threshold for every network.
SEEDED_COUNT = 32
SEEDED_SEED = 2018
#: Bytes of frames that are kept in memory; a whole validation set goes to a file.
_MOST_IN_MEMORY = 256 << 20


@dataclass(frozen=True)
class Samples:
    """Frames with names, in the same order.

    Attributes:
        frames: uint8 [N, H, W, 3].
        names: of the images, ``seed:K`` for seeded ones.
        origin: for people.
    """

    frames: NDArray[np.uint8]
    names: tuple[str, ...]
    origin: str


def default_samples(how: Preprocessing, count: int = SEEDED_COUNT) -> Samples:
    """Afchar's four test images where they are at hand, and seeded frames everywhere."""
    seeded = seeded_frames(count, how.height, how.width, SEEDED_SEED)
    names = tuple(f"seed:{SEEDED_SEED}/{i}" for i in range(count))
    golden = find_golden_images()
    if not golden:
        return Samples(seeded, names, f"{count} seeded frames")
    faces = np.stack([to_frame(path, how) for path in golden])
    origin = f"{len(golden)} test images of Afchar et al. and {count} seeded frames"
    return Samples(np.concatenate([faces, seeded]), tuple(p.name for p in golden) + names, origin)


def find_golden_images() -> list[Path]:
    """Afchar's test images, those that are at hand and are the very files."""
    for place in _GOLDEN_PLACES:
        found = [
            path
            for name, digest in GOLDEN_IMAGES.items()
            for path in sorted(place.rglob(name))
            if file_sha256(path) == digest
        ]
        if found:
            return found
    return []


def read_samples(path: Path, how: Preprocessing, limit: int | None = None) -> Samples:
    """Every image below a folder or in a tar file, by name.

    Args:
        path: a folder, a tar (compressed or not) or an image.
        how: the network's preprocessing.
        limit: evenly spread over the whole; all by default.

    Raises:
        ImageError: nothing there, no image in it, or one of them is damaged or not in the
            folder (a link leads out).
    """
    read: Callable[[Path, list[str]], Iterable[tuple[str, EncodedImage | Path | ImageError]]]
    if os.path.isdir(path):  # noqa: PTH112  (takes any name, of 5,000 characters too)
        names, read = names_below(path), _read_below
    elif is_image_name(path.name) or is_image(path):
        names, read = [path.name], lambda path, names: [(path.name, path)]
    else:
        names, read = sorted(image_names(path)), read_images
    if not names:
        raise ImageError(
            f"{printable(path)} has no images", f"looked for {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if limit is not None:
        names = [names[i] for i in evenly(len(names), limit)]
    frames = _room_for((len(names), how.height, how.width, 3))
    place = {name: index for index, name in enumerate(names)}
    for name, image in read(path, names):
        if isinstance(image, ImageError):
            raise image
        frames[place[name]] = to_frame(image, how)
    return Samples(frames, tuple(names), f"{len(names)} images of {path.name}")


def evenly(count: int, most: int) -> NDArray[np.intp]:
    """Indices of at most ``most`` of ``count``, evenly spread, first and last among them."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.intp)


def _room_for(shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """An array in memory, or in a file that vanishes with it where memory might not do."""
    if np.prod(shape, dtype=np.int64) < _MOST_IN_MEMORY:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def names_below(folder: Path) -> list[str]:
    """Paths of the images from a folder on, sorted; links to folders are not followed."""
    return sorted(
        Path(place, file).relative_to(folder).as_posix()
        for place, _, files in os.walk(folder)
        for file in files
        if is_image_name(file)
    )


def path_below(folder: Path, name: str) -> Path | ImageError:
    """Where an image of a folder is; the error where a link leads out."""
    path = folder / name
    if leads_out(path, folder):
        return ImageError(f"{printable(path)} cannot be read", *OUTSIDE)
    return path


def _read_below(folder: Path, names: list[str]) -> Iterator[tuple[str, Path | ImageError]]:
    for name in names:
        yield name, path_below(folder, name)
