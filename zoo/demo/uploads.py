"""Files that were dropped on the page: how many may wait, and when each is deleted.

Gradio keeps an upload in a folder named by the hash of its bytes, so whoever brings the
same file shares it with who brought it before. It is counted here, and deleted when each
of them has an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

#: Bytes of one upload, and of all that wait or arrive; and how many may wait.
MOST_BYTES = 50 * 2**20
MOST_WAITING_BYTES = 8 * MOST_BYTES
MOST_WAITING = 64


class Uploads:
    """The files in a folder that nobody else writes to; safe from several threads.

    Args:
        folder: where Gradio puts them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._due: Counter[Path] = Counter()
        self._arriving: list[int] = []

    def begin(self, size: int) -> bool:
        """Make room for an upload of ``size`` bytes; whether there is any.

        Each that there was room for is ended by `end`.
        """
        with self._lock:
            self._sweep()
            waiting = sum(_size(path) for path in self._due) + sum(self._arriving)
            count = self._due.total() + len(self._arriving)
            if waiting + size > MOST_WAITING_BYTES or count >= MOST_WAITING:
                return False
            self._arriving.append(size)
            return True

    def arrived(self, path: Path) -> None:
        """A file is there, and whoever brought it waits for an answer."""
        with self._lock:
            self._due[path] += 1

    def end(self, size: int) -> None:
        """An upload is over, whether it arrived or not."""
        with self._lock:
            self._arriving.remove(size)
            self._sweep()

    @contextmanager
    def answering(self, path: Path) -> Iterator[None]:
        """While the answer for one who brought the file is made; then it may go."""
        try:
            yield
        finally:
            with self._lock:
                self._due[path] -= 1
                self._sweep()

    def _sweep(self) -> None:
        """Delete what nobody waits for.

        Not while something arrives: it has a name of its own only at the end, and may be the
        very file that has been answered.
        """
        if self._arriving:
            return
        # Gradio deletes what has waited for too long.
        self._due = Counter({path: n for path, n in self._due.items() if n > 0 and path.exists()})
        inside = sorted(self._folder.rglob("*"), reverse=True)  # files before their folder
        for path in inside:
            if path not in self._due:
                with suppress(OSError):  # a folder that is not empty
                    path.rmdir() if path.is_dir() else path.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
