"""What a certificate is measured on: real faces where there are some, and seeded frames."""

from __future__ import annotations

import csv
import io
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.engine_info import Preprocessing, file_sha256
from runtime.errors import ImageError
from runtime.frames import to_frame
from zoo.noise import seeded_frames

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"}

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
    """Every image below a folder or in a tar file.

    Args:
        path: a folder, a ``.tar`` or an image.
        how: the network's preprocessing.
        limit: evenly spread over the whole; all by default.

    Raises:
        ImageError: nothing there, no image in it, or one of them is damaged.
    """
    if not path.exists():
        raise ImageError(f"{path} does not exist", "", "give a folder, a .tar or an image")
    names = list(_names(path))
    if not names:
        raise ImageError(f"{path} has no images", f"looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    if limit is not None and limit < len(names):
        names = [names[i] for i in np.linspace(0, len(names) - 1, limit).astype(int)]
    frames = _room_for((len(names), how.height, how.width, 3))
    for index, frame in enumerate(_frames(path, names, how)):
        frames[index] = frame
    return Samples(frames, tuple(names), f"{len(names)} images of {path.name}")


def _room_for(shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """An array in memory, or in a file that vanishes with it where memory might not do."""
    if np.prod(shape, dtype=np.int64) < _MOST_IN_MEMORY:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _names(path: Path) -> Iterator[str]:
    """Names of the images, sorted, relative to the folder or as in the tar."""
    if path.is_dir():
        files = (p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        yield from sorted(str(p.relative_to(path)) for p in files)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            yield from sorted(
                m.name
                for m in archive
                if m.isfile() and Path(m.name).suffix.lower() in IMAGE_SUFFIXES
            )
    else:
        yield path.name


def _frames(path: Path, names: list[str], how: Preprocessing) -> Iterator[NDArray[np.uint8]]:
    if path.is_dir():
        yield from (to_frame(path / name, how) for name in names)
    elif not tarfile.is_tarfile(path):
        yield to_frame(path, how)
    else:
        from PIL import Image

        with tarfile.open(path) as archive:
            for name in names:
                member = archive.extractfile(name)
                assert member is not None, "only files are named"
                try:
                    with Image.open(io.BytesIO(member.read())) as image:
                        yield to_frame(image, how)
                except (OSError, SyntaxError, ValueError) as error:
                    raise ImageError(f"{path}: {name} is not an image", str(error)) from None


def read_goldens(path: Path, column: str) -> dict[str, float]:
    """The original's own output by image name, from a CSV with the columns ``file`` and more.

    Raises:
        ImageError: not such a CSV, or it has no such column.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
        if "file" not in columns:
            raise ValueError(f"its first line names {', '.join(columns[:4])}, not 'file'")
        if column not in columns:
            has = ", ".join(name for name in columns if name != "file")
            raise ImageError(f"{path} has no column '{column}'", f"it has {has}")
        return {row["file"]: float(row[column]) for row in rows}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise ImageError(f"{path} cannot be read as golden scores", str(error)) from None
