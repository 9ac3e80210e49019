"""Find a published file or fetch it, and verify it before anything reads it.

Looked for in this order: ``$ZOO_WEIGHTS`` (folders, separated as in ``$PATH``),
``weights/files/`` in the checkout, ``../shared/weights`` beside it, the user's cache
(``$ZOO_CACHE``). Then downloaded, unless ``$ZOO_OFFLINE`` is set. A file that is found
but does not match its hash stops the search: going on would hide that it is damaged.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.errors import WeightsError
from runtime.files import open_regular
from weights.manifest import Entry, HashKind, entries, entry

_CHECKOUT = Path(__file__).resolve().parents[1]
_CACHE = "cache"


@dataclass(frozen=True)
class LocatedFile:
    """A verified file on disk.

    Attributes:
        path: where it is.
        sha256: of its bytes. The manifest's, or where that pins another hash, which the
            file then has, computed from the file.
        origin: which place it was found in, for people.
        source, licence: from the manifest.
    """

    path: Path
    sha256: str
    origin: str
    source: str
    licence: str


@dataclass(frozen=True)
class FileStatus:
    """A file of the manifest and how it stands on this machine.

    Attributes:
        status: ``ok`` (verified), ``present`` (of the right size, not read), ``missing``,
            or ``damaged``.
        path, origin: where it was found.
        problem: of a damaged file, what is wrong with it.
    """

    name: str
    bytes: int
    licence: str
    status: Literal["ok", "present", "missing", "damaged"]
    path: str | None = None
    origin: str | None = None
    problem: str | None = None


def cache_folder() -> Path:
    """Where downloads go: ``$ZOO_CACHE``, or the platform's cache folder."""
    if folder := os.environ.get("ZOO_CACHE"):
        return Path(folder).expanduser()
    import pooch

    return Path(pooch.os_cache("deepfake-zoo"))


def places() -> Iterator[tuple[str, Path]]:
    """Folders that are looked in, in order, with what to call them."""
    for folder in os.environ.get("ZOO_WEIGHTS", "").split(os.pathsep):
        if folder:
            yield "$ZOO_WEIGHTS", Path(folder).expanduser()
    if _CHECKOUT.name not in ("site-packages", "dist-packages"):
        yield "weights/files", _CHECKOUT / "weights" / "files"
        yield "../shared/weights", _CHECKOUT.parent / "shared" / "weights"
    yield _CACHE, cache_folder()


def locate(name: str, *, download: bool = True) -> LocatedFile:
    """A verified file, found or fetched.

    Args:
        name: of the manifest.
        download: whether it may be fetched where it is not found.

    Raises:
        WeightsError: no such name; found but damaged; or neither found nor to be had,
            with the URL, the hash, where to put it, and how to go on without.
    """
    due = entry(name)
    found = _find(due)
    if found is None:
        if not download:
            raise _not_to_be_had(due, "this was asked to do without downloads")
        return fetch(name)
    origin, path = found
    if problem := _problem(path, due, read=True):
        raise _damaged(path, due, origin, problem)
    return _located(path, due, origin)


def fetch(name: str) -> LocatedFile:
    """Download a file into the cache, unless this machine has it whole already.

    A damaged file in the cache is replaced; elsewhere it is the user's to replace.

    Raises:
        WeightsError: no such name, a damaged file is in the way, downloads are
            forbidden, or the download failed.
    """
    from weights.download import DownloadError, download

    due = entry(name)
    if found := _find(due):
        origin, path = found
        problem = _problem(path, due, read=True)
        if problem is None:
            return _located(path, due, origin)
        if origin != _CACHE or path.is_dir():
            raise _damaged(path, due, origin, problem)
    if os.environ.get("ZOO_OFFLINE", "0") not in ("", "0"):
        raise _not_to_be_had(due, "downloads are forbidden by $ZOO_OFFLINE")
    try:
        return _located(download(due, cache_folder()), due, "download")
    except DownloadError as error:
        raise _not_to_be_had(due, error.reason, error.todo) from error


def list_files(verify: bool = False) -> list[FileStatus]:
    """Every file of the manifest: found where, and with ``verify`` whether it is whole."""
    return [_status(due, verify) for due in entries().values()]


def check() -> list[FileStatus]:
    """Read every file that is there and compare its hash."""
    return list_files(verify=True)


def hash_of(path: Path, kind: HashKind) -> str:
    """Hash of a file, as hexadecimal digits.

    Raises:
        WeightsError: it is no regular file, or cannot be read.
    """
    digest = hashlib.new(kind)
    with open_regular(path, error=WeightsError) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _find(due: Entry) -> tuple[str, Path] | None:
    """The first place that has a file of that name, whatever is in it."""
    for origin, folder in places():
        path = folder / due.name
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _damaged(path, due, origin, f"it cannot be read ({error.strerror})") from error
        return origin, path
    return None


def _problem(path: Path, due: Entry, read: bool) -> str | None:
    """What is wrong with a file: by its size, and with ``read`` by its hash."""
    what = path.stat()
    if not stat.S_ISREG(what.st_mode):
        kind = "a directory" if stat.S_ISDIR(what.st_mode) else "a pipe or a device"
        return f"it is {kind}, a file is due"
    size = what.st_size
    if size != due.bytes:
        return f"it has {size} bytes, {due.bytes} are due"
    if not read:
        return None
    try:
        found = hash_of(path, due.hash_kind)
    except (OSError, WeightsError) as error:
        why = error.why if isinstance(error, WeightsError) else error.strerror
        return f"it cannot be read ({why})"
    return None if found == due.hash else f"its {due.hash_kind} is {found}, {due.hash} is due"


def _status(due: Entry, verify: bool) -> FileStatus:
    try:
        found = _find(due)
    except WeightsError as error:
        return FileStatus(due.name, due.bytes, due.licence, "damaged", problem=error.why)
    if found is None:
        return FileStatus(due.name, due.bytes, due.licence, "missing")
    origin, path = found
    problem = _problem(path, due, verify)
    status: Literal["ok", "present", "damaged"] = "ok" if verify else "present"
    return FileStatus(
        due.name,
        due.bytes,
        due.licence,
        status if problem is None else "damaged",
        str(path),
        origin,
        problem,
    )


def _located(path: Path, due: Entry, origin: str) -> LocatedFile:
    sha256 = due.sha256 or hash_of(path, "sha256")
    return LocatedFile(path, sha256, origin, due.source, due.licence)


def _damaged(path: Path, due: Entry, origin: str, problem: str) -> WeightsError:
    # Only a file in the cache is ours to write over.
    first = "" if origin == _CACHE and not path.is_dir() else f"remove {path}, then "
    return WeightsError(
        f"{path} is not the published file", problem, f"{first}zoo weights fetch {due.name}"
    )


def _not_to_be_had(due: Entry, why: str, todo: str = "") -> WeightsError:
    looked = "; ".join(
        str(folder) + ("" if folder.is_dir() else " (no such folder)") for _, folder in places()
    )
    without = ["go on without: --weights random"] if due.use == "network" else []
    ways = [todo, "put it into one of these folders", *without]
    return WeightsError(
        f"{due.name} is not on this machine and could not be fetched from {due.url}",
        f"{why} ({due.hash_kind} {due.hash}, {due.bytes} bytes; looked in {looked})",
        ", or ".join(way for way in ways if way),
    )
