"""A file of results, one JSON object a line, that an interrupted run is taken up from."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

from runtime.errors import ZooError
from runtime.text import printable
from runtime.typed_json import decode
from runtime.verdicts import MediaVerdict

#: Bytes of a line at most: a face in a frame takes 150, so a clip of 400,000.
_MOST_LINE = 64 << 20
_ANOTHER = "name another file with --resume"

#: A file is the same one while these are.
_KEY = ("path", "bytes", "modified")
#: What every line begins with.
_BEGIN = b'{"path": '


class ResultsFile:
    """Results that are done, and room for those to come.

    Args:
        path: of the file; made where it is not there.
        run: what every line has to say in ``run``: results of another engine or of other
            settings are not taken for results of these.

    A line that a kill cut short is removed, and its file judged again.

    Raises:
        ZooError: not such a file, of another run, or not to be written.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        #: Where each file's line begins, and its length.
        self._done: dict[tuple[Any, ...], tuple[int, int]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open(path)
        except OSError as error:
            why = error.strerror or str(error)
            raise ZooError(f"{_shown(path)} cannot be written", why, _ANOTHER) from None
        try:
            self._file.truncate(self._read(run))
        except BaseException:
            self._file.close()
            raise

    def done(self, path: Path) -> dict[str, Any] | None:
        """The result of a file that has not changed since."""
        place = self._done.get(tuple(mark(path).values()))
        if place is None:
            return None
        start, length = place
        line: dict[str, Any] = json.loads(os.pread(self._file.fileno(), length, start))
        return line

    def add(self, line: dict[str, Any]) -> None:
        """Keep a result; it is on disk when this returns."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self, run: str) -> int:
        """Take up the whole lines; how many bytes they are."""
        whole = 0
        for number, text in enumerate(iter(lambda: self._file.readline(_MOST_LINE), b""), 1):
            if not text.endswith(b"\n"):
                ours = whole > 0 or text[: len(_BEGIN)] == _BEGIN[: len(text)]
                if len(text) == _MOST_LINE or not ours:
                    raise self._none(f"line {number} is none that `zoo detect` wrote")
                break  # cut short by a kill
            try:
                line = json.loads(text)
                key = tuple(line[name] for name in _KEY)
                its = line["run"]
                if its == run:
                    _check(line)
                    self._done[key] = (whole, len(text))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                why = printable(str(error))[:200]
                raise self._none(f"line {number} is none that `zoo detect` wrote: {why}") from None
            if its != run:
                raise ZooError(
                    f"{_shown(self._path)} holds results of another engine or other settings",
                    f"line {number} is of run {printable(str(its))[:40]}, this one is {run}",
                    _ANOTHER,
                )
            whole += len(text)
        return whole

    def _none(self, why: str) -> ZooError:
        return ZooError(f"{_shown(self._path)} is no file of results", why, _ANOTHER)


def _open(path: Path) -> IO[bytes]:
    """For reading and appending; only a regular file, which nothing is waited for."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    fd = os.open(path, flags, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(0, "it is no regular file")
        return os.fdopen(fd, "r+b")
    except BaseException:
        os.close(fd)
        raise


def _check(line: dict[str, Any]) -> None:
    """See that a line has all that is printed of it."""
    kinds = (_Line,) if line["error"] is not None else (_Line, MediaVerdict)
    for kind in kinds:
        decode(kind, {field.name: line[field.name] for field in fields(kind)})


@dataclass(frozen=True)
class _Error:
    what: str
    why: str
    todo: str


@dataclass(frozen=True)
class _Line:
    """What each line has, besides the verdict."""

    path: str
    kind: str
    error: _Error | None


def _shown(path: Path) -> str:
    return printable(path)[:400]


def mark(path: Path) -> dict[str, Any]:
    """What a file is known by: its path, its size and when it was modified (ns)."""
    try:
        status = path.stat()
    except OSError:
        return dict(zip(_KEY, (str(path), None, None), strict=True))
    return dict(zip(_KEY, (str(path), status.st_size, status.st_mtime_ns), strict=True))
