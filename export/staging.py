"""Write a set of files so that none of them is ever seen half-written.

Files are made in a hidden folder beside their place and renamed when all of them are
whole and verified. A kill or a full disk leaves that folder at most, never a final name;
the next export removes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import ExportError
from runtime.processes import is_alive

_PREFIX = ".exporting-"


@contextmanager
def staging(out: Path, name: str) -> Iterator[Path]:
    """A folder inside ``out`` to make the files of export ``name`` in; removed at the end.

    Raises:
        ExportError: ``out`` cannot be made or written, or the disk is full.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(out)
        folder = out / f"{_PREFIX}{name}-{os.getpid()}"
        folder.mkdir()
    except OSError as error:
        raise _unwritable(out, error) from None
    try:
        yield folder
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(folder)):
            raise
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, out: Path, names: Iterable[str]) -> None:
    """Give files their final names, in the order given, each in one step.

    The sidecar comes last: until then it does not fit the new engines, and a Detector
    says so.
    """
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
        (folder / name).replace(out / name)


def _unwritable(out: Path, error: OSError) -> ExportError:
    return ExportError(
        f"{out} cannot be written",
        error.strerror or str(error),
        "free some space, or choose another folder with --out",
    )


def _remove_abandoned(out: Path) -> None:
    """Remove what exports that were killed have left."""
    for folder in out.glob(f"{_PREFIX}*"):
        pid = folder.name.rpartition("-")[2]
        if folder.is_dir() and pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
