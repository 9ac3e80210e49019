"""From what a user names to the files to judge: images, videos, folders and globs, mixed."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.errors import ZooError
from runtime.image_file import is_image
from runtime.text import printable

_IMAGES = "jpg jpeg jpe jfif png webp bmp tif tiff gif ppm pgm jp2 avif"
_VIDEOS = "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts wmv flv 3gp ogv vob"
IMAGES, VIDEOS = (frozenset(f".{name}" for name in names.split()) for names in (_IMAGES, _VIDEOS))
#: Why what `leads_out` is not read, and the way out.
OUTSIDE = ("a link leads out of the folder that was named", "name its target, or copy it here")


@dataclass(frozen=True)
class Input:
    """One file to judge.

    Attributes:
        path: of the file.
        name: below the folder or beside the others that the user named; never leaves
            where it is put. Two inputs may have the same.
        kind: by its suffix, else by its first bytes.
        problem: why it cannot be judged, known without opening it.
        todo: what to do about that.
    """

    path: Path
    name: Path
    kind: Literal["image", "video"]
    problem: str = ""
    todo: str = "check the path"


def find_inputs(paths: Sequence[Path], leave_out: Path | None = None) -> list[Input]:
    """Every file to judge, each once, in the order of the arguments, folders sorted.

    Args:
        paths: files, folders (with all below them, each folder once; through symbolic
            links too, but none that leads out of it) and globs that the shell has left
            alone.
        leave_out: a folder of results, which are no inputs.

    Raises:
        ZooError: a folder or glob holds no image and no video.
    """
    found: dict[str, Input] = {}
    for path in paths:
        for item in _expand(path, leave_out):
            found.setdefault(str(item.path.absolute()), item)
    return list(found.values())


def _expand(path: Path, leave_out: Path | None) -> Iterator[Input]:
    if os.path.isdir(path):  # noqa: PTH112  (takes any name, of 5,000 characters too)
        inside = list(_walk(path, leave_out))
        if not inside:
            raise ZooError(
                f"{printable(path)} has no image and no video in it",
                f"files are taken by their suffix: {' '.join(sorted(IMAGES | VIDEOS))}",
                "name a file itself to have it judged whatever its suffix",
            )
        yield from inside
    elif not os.path.lexists(path) and glob.has_magic(str(path)):
        # Path.glob takes no absolute pattern.
        matches = sorted(glob.glob(str(path), recursive=True), key=os.fsencode)  # noqa: PTH207
        if not matches:
            raise ZooError(f"{printable(path)} matches no file", "", "check the pattern")
        for match in map(Path, matches):
            if os.path.isdir(match):  # noqa: PTH112
                yield from _walk(match, leave_out)
            elif kind := _kind(match):
                yield _file(match, Path(match.name), kind)
    else:
        yield _file(path, Path(path.name), _kind(path))


def _walk(folder: Path, leave_out: Path | None) -> Iterator[Input]:
    """Files below a folder by their suffix, sorted. A loop of links ends where it closes."""
    seen: set[tuple[int, int]] = set()
    unreadable: list[OSError] = []
    beyond = leave_out.resolve() if leave_out is not None else None
    walk = os.walk(folder, followlinks=True, onerror=unreadable.append)
    for here, folders, files in walk:
        place = Path(here).stat()
        if (place.st_dev, place.st_ino) in seen or Path(here).resolve() == beyond:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders.sort(key=os.fsencode)
        for name in [name for name in folders if leads_out(Path(here, name), folder)]:
            folders.remove(name)
            yield _outside(Path(here, name), folder, "image")
        for file in sorted(files, key=os.fsencode):
            path = Path(here, file)
            if kind := _kind(path):
                if leads_out(path, folder):
                    yield _outside(path, folder, kind)
                else:
                    yield _file(path, path.relative_to(folder), kind)
    for error in unreadable:
        path = Path(os.fsdecode(error.filename))
        yield Input(path, Path(path.name), "image", error.strerror or str(error))


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is a symbolic link to something that is not.

    A folder may come from somebody else: what lies beside it is not theirs to show.
    """
    if not path.is_symlink():
        return False
    target = os.path.realpath(path)
    return not Path(target).is_relative_to(os.path.realpath(folder))


def _outside(path: Path, folder: Path, kind: Literal["image", "video"]) -> Input:
    return Input(path, path.relative_to(folder), kind, *OUTSIDE)


def _kind(path: Path) -> Literal["image", "video"] | None:
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGES else "video" if suffix in VIDEOS else None


def _file(path: Path, name: Path, kind: Literal["image", "video"] | None) -> Input:
    problem = ""
    try:
        if not path.exists():
            problem = "it does not exist" if not path.is_symlink() else "its link leads nowhere"
        elif not path.is_file():  # a pipe would be waited for without end
            problem = "it is neither a file nor a folder"
        elif kind is None:
            kind = "image" if is_image(path) else "video"
    except OSError as error:
        problem = error.strerror or str(error)
    return Input(path, name, kind or "image", problem)
