"""A file of results, one JSON object a line, that an interrupted run is taken up from."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from runtime.errors import ZooError
from runtime.text import printable

#: A file is the same one while these are.
_KEY = ("path", "bytes", "modified")


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
        self._done: dict[tuple[Any, ...], dict[str, Any]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            self._file.seek(0)
            whole = self._read(self._file.read(), run)
            self._file.truncate(whole)
        except OSError as error:
            raise ZooError(
                f"{printable(path)} cannot be written", error.strerror or str(error)
            ) from None

    def done(self, path: Path) -> dict[str, Any] | None:
        """The result of a file that has not changed since."""
        return self._done.get(tuple(mark(path).values()))

    def add(self, line: dict[str, Any]) -> None:
        """Keep a result; it is on disk when this returns."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _read(self, data: bytes, run: str) -> int:
        """Take up the whole lines; how many bytes they are."""
        whole = data.rfind(b"\n") + 1
        for number, text in enumerate(data[:whole].splitlines(), 1):
            try:
                line = json.loads(text)
                key = tuple(line[name] for name in _KEY)
                its = line["run"]
            except (ValueError, KeyError, TypeError):
                raise ZooError(
                    f"{printable(self._path)} is no file of results",
                    f"line {number} is not a line that `zoo detect` wrote",
                    "name another file with --resume",
                ) from None
            if its != run:
                raise ZooError(
                    f"{printable(self._path)} holds results of another engine or other settings",
                    f"line {number} is of run {its}, this one is {run}",
                    "name another file with --resume",
                )
            self._done[key] = line
        if whole == 0 and data and not data.startswith(b'{"path": '):
            raise ZooError(
                f"{printable(self._path)} is no file of results",
                "it holds something else",
                "name another file with --resume",
            )
        return whole


def mark(path: Path) -> dict[str, Any]:
    """What a file is known by: its path, its size and when it was modified (ns)."""
    try:
        status = path.stat()
    except OSError:
        return dict(zip(_KEY, (str(path), None, None), strict=True))
    return dict(zip(_KEY, (str(path), status.st_size, status.st_mtime_ns), strict=True))
