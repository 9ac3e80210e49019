"""Images in a tar, plain or compressed: read in its order, in bounded memory and time.

A tar of 30 kB can say that a file of it has gigabytes (sparse, or compressed), that a name
has, or hold a million files. So it is read as a stream: a part is refused where it is larger
than what a dataset has, and nothing but images is taken out. Nothing is written to disk.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from runtime.errors import ImageError
from runtime.files import open_regular
from runtime.frames import EncodedImage
from runtime.text import printable

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"}
#: Larger images in a tar are left out: dozens of them are in memory at a time.
MAX_BYTES = 32_000_000
#: Files, folders and links. Python takes 8 s for so many.
MAX_MEMBERS = 300_000
#: Those of them that are no images: a tar of images holds few others.
MAX_OTHERS = 100_000
#: Bytes of the headers of one file: its name is in them.
_MOST_HEADER = 1 << 20
#: Bytes of an image that are read at a time; more at once is a header.
_BLOCK = 1 << 16
#: Images hardly get smaller by compression: what grows more than so many times is a bomb.
_MOST_TIMES, _GROWTH_ALLOWED = 100, 256 << 20

_COMPRESSED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


def is_image_name(name: str) -> bool:
    """Whether a path is taken for an image, by its suffix."""
    pure = PurePosixPath(name)
    # "._x.jpg" is what a Mac adds beside x.jpg in a tar: not an image.
    return pure.suffix.lower() in IMAGE_SUFFIXES and not pure.name.startswith(".")


def image_names(path: Path) -> list[str]:
    """Names of the images of a tar in its order, each once.

    Raises:
        ImageError: no tar, damaged, cut off, or larger than a tar of images may be.
    """
    with _opened(path) as archive:
        names = (member.name for member in _members(archive, path))
        return list(dict.fromkeys(name for name in names if is_image_name(name)))


def read_images(
    path: Path, names: Collection[str]
) -> Iterator[tuple[str, EncodedImage | ImageError]]:
    """Images of a tar in its order, one at a time.

    Args:
        path: of the tar.
        names: which ones; a name that is there twice is read where it comes first.

    Yields:
        Name and content; an image larger than `MAX_BYTES` as the error.

    Raises:
        ImageError: as `image_names`, or one of the names is no longer there.
    """
    wanted = set(names)
    with _opened(path) as archive:
        for member in _members(archive, path):
            if member.name in wanted:
                wanted.remove(member.name)
                yield member.name, _content(archive, member, path)
            if not wanted:
                return
    raise ImageError(
        f"{printable(path)} changed while it was read",
        f"{printable(min(wanted))} is no longer in it",
        "start again",
    )


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    with open_regular(path, error=ImageError) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        start = file.read(6)
        file.seek(0)
        opener = next((o for magic, o in _COMPRESSED.items() if start.startswith(magic)), None)
        plain = file if opener is None else opener(file)
        most = None if opener is None else _GROWTH_ALLOWED + _MOST_TIMES * size
        source: Any = _Stream(plain, most)
        with _damage_named(path):
            archive = tarfile.TarFile(fileobj=source)
        with archive:
            yield archive


class _Stream:
    """The plain bytes of a tar, as `tarfile` wants them, with limits."""

    def __init__(self, file: IO[bytes], most: int | None) -> None:
        self._file, self._most = file, most

    def read(self, size: int) -> bytes:
        if size > _MOST_HEADER:
            raise _TooMuchError(f"a name or header of {size:,} bytes")
        return self._file.read(size)

    def seek(self, place: int) -> int:
        if self._most is not None and place > self._most:
            raise _TooMuchError(f"it grows to more than {self._most:,} bytes")
        return self._file.seek(place)

    def tell(self) -> int:
        return self._file.tell()


class _TooMuchError(Exception):
    """More than a tar of images has."""


def _members(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """The files of an archive in its order."""
    last, others = -1, 0
    for _ in range(MAX_MEMBERS):
        with _damage_named(path):
            member = archive.next()
            if member is None:
                _check_end(archive)
                return
            if member.offset <= last:
                raise ValueError("its parts follow each other in a circle")
            last = member.offset
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
        others += not is_image_name(member.name)
        if others > MAX_OTHERS:
            raise _too_much(path, f"more than {MAX_OTHERS:,} parts that are no images")
        if member.isfile():
            yield member
    raise _too_much(path, f"more than {MAX_MEMBERS:,} files and folders")


def _too_much(path: Path, why: str) -> ImageError:
    return ImageError(f"{printable(path)} holds too much", why, "unpack it, and give the folder")


def _check_end(archive: tarfile.TarFile) -> None:
    """See that a tar ends as one does: behind a header that is none, tarfile stops silently."""
    source: Any = archive.fileobj
    source.seek(archive.offset)
    rest = source.read(tarfile.BLOCKSIZE)
    if rest not in (b"", bytes(tarfile.BLOCKSIZE)):
        raise EOFError("it is cut off, or damaged in the middle")


def _content(
    archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path
) -> EncodedImage | ImageError:
    name = f"{path}: {member.name}"
    if member.size > MAX_BYTES:
        return ImageError(
            f"{printable(name)} is too large",
            f"{member.size:,} bytes, more than the {MAX_BYTES:,} that are read out of a tar",
        )
    with _damage_named(path):
        stream = archive.extractfile(member)
        assert stream is not None, "it is a file"
        return EncodedImage(name, b"".join(iter(lambda: stream.read(_BLOCK), b"")))


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """What tarfile and the decompressors raise for a damaged tar, as ImageError."""
    try:
        yield
    except _TooMuchError as error:
        raise _too_much(path, str(error)) from None
    except Exception as error:  # each decompressor has errors of its own
        raise ImageError(
            f"{printable(path)} is not a tar that can be read whole",
            printable(str(error) or type(error).__name__),
            "give a folder or a .tar of face crops; fetch it again if it was cut off",
        ) from None
