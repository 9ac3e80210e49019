"""Make a set of files where nobody sees them half-written.

Files are made in a hidden folder beside their place and renamed when all of them are
whole and verified. A kill or a full disk leaves that folder at most, never half a file; the
next export removes it. Whether its maker lives is told by a lock in it, which the system
frees: numbers of processes repeat in containers, and mean nothing in another one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import ExportError
from runtime.locks import alone, hold, is_held

_PREFIX = ".exporting-"
#: In each folder; held while its maker lives.
_ALIVE = ".alive"
#: In ``out``; held while folders come and go, and while files are renamed.
_LOCK = ".exporting.lock"


@contextmanager
def staging(out: Path, name: str) -> Iterator[Path]:
    """A folder inside ``out`` to make the files of export ``name`` in; removed at the end.

    Raises:
        ExportError: ``out`` cannot be made or written, or the disk is full.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with alone(out / _LOCK):
            _remove_abandoned(out)
            folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-", dir=out))
            alive = hold(folder / _ALIVE)
    except OSError as error:
        raise _unwritable(out, error) from None
    try:
        yield folder
    except OSError as error:
        ours = (str(folder), str(out / _LOCK))
        if error.filename is not None and not str(error.filename).startswith(ours):
            raise
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(alive)


def publish(folder: Path, out: Path, names: Iterable[str]) -> None:
    """Give files their final names, in the order given, each in one step."""
    with publishing(out):
        for name in names:
            move(folder / name, out / name)


@contextmanager
def publishing(out: Path) -> Iterator[None]:
    """Rename files in ``out`` while no other export does."""
    with alone(out / _LOCK):
        yield


def move(made: Path, final: Path) -> None:
    """Give a file its final name, its bytes on the disk before."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(final)


def _unwritable(out: Path, error: OSError) -> ExportError:
    return ExportError(
        f"{out} cannot be written",
        error.strerror or str(error),
        "free some space, or choose another folder with --out",
    )


def _remove_abandoned(out: Path) -> None:
    """Remove what exports that were killed have left."""
    for folder in out.glob(f"{_PREFIX}*"):
        if folder.is_dir() and not is_held(folder / _ALIVE):
            shutil.rmtree(folder, ignore_errors=True)
