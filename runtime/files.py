"""The one way to read a file that somebody else made.

Such a file may be a pipe that never ends, a device, a hundred gigabytes of zeros, or
replaced between two looks at it. So it is opened once, without waiting; it has to be a
regular file of no more than a stated size; and what is hashed are the very bytes that are
used, see `Snapshot`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from runtime.errors import ZooError
from runtime.text import printable

_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)
#: Texts that people write or programs of ours: sidecars, results, tables of scores.
MOST_TEXT = 64 << 20
#: An encoded image.
MOST_IMAGE = 256 << 20
#: Weights and engines: above what an ONNX file can hold (2 GB), and any network of the zoo.
MOST_NETWORK = 4 << 30


class Snapshot:
    """The bytes of a file at one moment, in memory, with their hash.

    What a program reads from here is what was hashed, whatever happens to the file
    meanwhile. Libraries take the bytes as they like them: `open` gives a file object of
    its own each time, `name` a path that stands for these bytes in this process, which may
    be mapped without a second copy.

    Attributes:
        path: of the file, for messages.
        size: in bytes.
        sha256: as 64 hexadecimal digits.
        fd: descriptor of the bytes, for a child process.
        name: a path to these bytes, good in this process until `close`.
    """

    def __init__(self, path: Path, fd: int, name: str, size: int, sha256: str) -> None:
        self.path = path
        self.fd = fd
        self.name = name
        self.size = size
        self.sha256 = sha256
        self._closed = False

    def open(self) -> IO[bytes]:
        """The bytes from their start, as a file with a position of its own."""
        return Path(self.name).open("rb")

    def read(self) -> bytes:
        """All bytes."""
        with self.open() as file:
            return file.read()

    def close(self) -> None:
        """Give the memory back, unless something still maps it."""
        if not self._closed:
            self._closed = True
            _forget(self.fd, self.name)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def snapshot(path: Path, *, most: int = MOST_NETWORK, error: type[ZooError] = ZooError) -> Snapshot:
    """Take the bytes of a file once.

    Args:
        path: of the file.
        most: bytes it may have.
        error: what to raise.

    Raises:
        ZooError: of the kind ``error``: it does not exist, cannot be read, is no regular
            file, or is larger than ``most``.
    """
    with open_regular(path, most=most, error=error) as source:
        kept, name = _memory()
        try:
            digest = hashlib.sha256()
            size = 0
            while block := _read(source, path, min(_BLOCK, most + 1 - size), error):
                size += len(block)
                if size > most:  # it grew since its size was looked at
                    raise _too_large(path, size, most, error)
                digest.update(block)
                if block == _ZEROS:
                    # A file of holes takes no room on a disk, and none in memory then.
                    os.lseek(kept, _BLOCK, os.SEEK_CUR)
                else:
                    _write(kept, block)
            os.ftruncate(kept, size)
        except BaseException:
            _forget(kept, name)
            raise
    return Snapshot(path, kept, name, size, digest.hexdigest())


def read_bytes(path: Path, *, most: int = MOST_TEXT, error: type[ZooError] = ZooError) -> bytes:
    """The bytes of a file that is small enough to be taken whole; see `snapshot`."""
    with open_regular(path, most=most, error=error) as source:
        size = os.fstat(source.fileno()).st_size
        # Room for the whole limit would be taken first, however small the file.
        content = _read(source, path, min(size, most) + 1, error)
        if len(content) > size:  # it grows, or its size is not told, as below /proc
            content += _read(source, path, most + 1 - len(content), error)
    if len(content) > most:
        raise _too_large(path, len(content), most, error)
    return content


def read_text(path: Path, *, most: int = MOST_TEXT, error: type[ZooError] = ZooError) -> str:
    """The text of a UTF-8 file; see `snapshot`."""
    try:
        return read_bytes(path, most=most, error=error).decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise error(
            f"{printable(path)} is not UTF-8 text",
            f"byte {wrong.start} is {wrong.object[wrong.start]:#04x}",
            "give a text file, saved as UTF-8",
        ) from None


def read_json(path: Path, *, most: int = MOST_TEXT, error: type[ZooError] = ZooError) -> Any:
    """What a JSON file holds; see `snapshot`."""
    text = read_text(path, most=most, error=error)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as wrong:  # brackets in brackets, thousands deep
        raise error(f"{printable(path)} is not JSON", printable(str(wrong))) from None


def open_regular(
    path: Path, *, most: int | None = None, error: type[ZooError] = ZooError
) -> IO[bytes]:
    """Open a regular file for reading, and nothing that could be waited for without end.

    Args:
        path: of the file; links are followed.
        most: bytes it may have; any number by default.
        error: what to raise.

    Raises:
        ZooError: see `snapshot`.
    """
    try:
        # Opening a pipe would wait for somebody to write to it.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise error(f"{printable(path)} does not exist", "", "check the path") from None
    except (OSError, ValueError) as wrong:  # ValueError: a NUL in the name
        raise _unreadable(path, wrong, error) from None
    try:
        what = os.fstat(fd)
        if not stat.S_ISREG(what.st_mode):
            raise error(
                f"{printable(path)} is {_kind(what.st_mode)}",
                "a regular file is due",
                "give the file itself",
            )
        if most is not None and what.st_size > most:
            raise _too_large(path, what.st_size, most, error)
        os.set_blocking(fd, True)
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def _memory() -> tuple[int, str]:
    """A descriptor of memory that behaves as a file, and a path to it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("snapshot", os.MFD_CLOEXEC)
        return fd, f"/proc/self/fd/{fd}"
    return tempfile.mkstemp(prefix="zoo-snapshot-")


def _forget(fd: int, name: str) -> None:
    os.close(fd)
    if not name.startswith("/proc/"):
        Path(name).unlink(missing_ok=True)


def _read(source: IO[bytes], path: Path, count: int, error: type[ZooError]) -> bytes:
    try:
        return source.read(count)
    except OSError as wrong:
        raise _unreadable(path, wrong, error) from None


def _write(fd: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "no file")


def _unreadable(path: Path, wrong: Exception, error: type[ZooError]) -> ZooError:
    why = getattr(wrong, "strerror", None) or str(wrong)
    # A name of thousands of characters is told by its beginning.
    shown = printable(path)
    shown = shown if len(shown) <= 400 else f"{shown[:400]}..."
    return error(f"{shown} cannot be read", why, "check the path and its permissions")


def _too_large(path: Path, size: int, most: int, error: type[ZooError]) -> ZooError:
    return error(
        f"{printable(path)} is too large",
        f"it has {size:,} bytes; at most {most:,} are read",
        "check that it is the file you mean",
    )
