"""Download a published file through pooch, going on where an interruption left off.

pooch checks the hash and gives the file its name in one step, but starts over after
every interruption: 282 MB are too many for that. So the bytes gather in a ``.part``
file beside the target, and pooch is handed the whole of it.
"""

from __future__ import annotations

import re
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urldefrag

from runtime.locks import alone
from runtime.terminal import make_console, tell
from runtime.text import first_line, printable
from weights.manifest import Entry

#: To connect, and between two reads, in seconds.
_TIMEOUT = (10.0, 30.0)

#: A transfer may take so long and as many seconds more as it has bytes at this speed: one
#: that drips for ever is ended, and what came is kept.
_LEAST_SECONDS = 60.0
_LEAST_SPEED = 16_000

_BLOCK = 1 << 16

#: Of a header; Python refuses to read numbers of thousands of digits.
_NUMBER = r"[0-9]{1,18}"


class DownloadError(Exception):
    """Why a file could not be fetched; `todo` says what would help, where that is known."""

    def __init__(self, reason: str, todo: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.todo = todo


def download(due: Entry, folder: Path) -> Path:
    """Fetch a file into ``folder``, unless it is there whole already.

    Safe from several processes and threads at once: the second waits for the first and
    uses its file.

    Returns:
        The verified file, ``folder / due.name``.

    Raises:
        DownloadError: the server, the connection or the disk failed, or the bytes are
            not the published ones. What came of a broken connection is kept.
    """
    import requests
    import urllib3

    transfer = PurePosixPath(urldefrag(due.url).url).name
    downloader = ResumingDownloader(folder / f"{transfer}.part", due)

    def waiting() -> None:
        tell(f"waiting for another download of {transfer}", error=True)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / f"{transfer}.lock", waiting):
            try:
                return _retrieve(due, folder, downloader)
            except (ValueError, _OtherBytesError):
                if not downloader.resumed:
                    raise
            # What was kept may have belonged to another version; begin anew, once.
            return _retrieve(due, folder, ResumingDownloader(downloader.part, due))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        kept = _size(downloader.part)
        again = f"; {kept} of {due.transfer_bytes} bytes are kept for the next try" * bool(kept)
        raise DownloadError(_innermost(error) + again) from error
    except ValueError as error:  # pooch's word for a hash that does not fit
        raise DownloadError("the server sends other bytes than the published ones") from error
    except OSError as error:
        raise DownloadError(
            f"{folder} cannot be written ({error.strerror or error})",
            "ZOO_CACHE=DIR names another folder for downloads",
        ) from error


class _OtherBytesError(DownloadError):
    """What came is not what is published."""


class ResumingDownloader:
    """Called by ``pooch.retrieve`` as ``downloader(url, output_file, pooch)``.

    Args:
        part: where the bytes gather; kept when the connection breaks.
        due: the manifest's entry.

    Attributes:
        resumed: whether bytes of an earlier call were used.
    """

    def __init__(self, part: Path, due: Entry) -> None:
        self.part = part
        self.due = due
        self.resumed = False

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetch ``url`` into ``output_file``, a path that pooch has chosen.

        Raises:
            DownloadError: the server refuses or has another file.
            requests.RequestException: the connection failed; what came is kept.
        """
        size = self.due.transfer_bytes
        if _size(self.part) > size:
            self.part.unlink()
        have = _size(self.part)
        self.resumed = have > 0
        if have < size and not self._receive(url, have):
            self.part.unlink()  # no part of what the server has: ask for all of it
            self._receive(url, 0)
        if self.due.member is not None:
            self._extract(self.due.member, output_file)
        else:
            self.part.replace(output_file)

    def _receive(self, url: str, have: int) -> bool:
        """Ask for all bytes from ``have`` on; False where the server has none there."""
        import requests

        # A compressed transfer could neither be resumed nor its length compared.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        try:
            answer = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
        except requests.RequestException:
            raise
        except ValueError as error:  # as of an address that it is sent on to
            raise DownloadError(
                f"the server's answer makes no sense ({first_line(error)})"
            ) from None
        with answer:
            start, whole = _range_of(answer)
            if have and (answer.status_code == 416 or start not in (0, have)):
                return False
            if answer.status_code >= 400:
                reason = printable(answer.reason or "")
                raise DownloadError(f"the server answers {answer.status_code} {reason}".rstrip())
            size = self.due.transfer_bytes
            if whole is not None and whole != size:
                raise DownloadError(f"the server's file has {whole} bytes, {size} are due")
            self.resumed = start > 0
            self._write(answer, start)
        if _size(self.part) < size:
            raise requests.ConnectionError("the connection was closed early")
        return True

    def _write(self, answer: Any, start: int) -> None:
        import requests
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

        size = self.due.transfer_bytes
        columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
        console = make_console(error=True, quiet=not sys.stderr.isatty())
        have = start
        with (
            Progress(*columns, console=console) as bar,
            self.part.open("r+b" if start else "wb") as file,
        ):
            file.seek(start)
            task = bar.add_task(self.due.name, total=size, completed=start)
            end = time.monotonic() + _LEAST_SECONDS + (size - have) / _LEAST_SPEED
            # As it comes: a full block may be more than a bad connection ever brings at once.
            while block := answer.raw.read1(_BLOCK, decode_content=True):
                have += len(block)
                if have > size:
                    self.part.unlink()
                    raise DownloadError(f"the server sends more than the {size} bytes due")
                file.write(block)
                bar.advance(task, len(block))
                if time.monotonic() > end:
                    raise requests.Timeout(f"it comes too slowly, below {_LEAST_SPEED} bytes/s")

    def _extract(self, member: str, output_file: str) -> None:
        """Take the file out of the archive that was fetched, and drop the archive."""
        # Not straight into pooch's temporary file: that one is for its owner only.
        whole = self.part.with_name(f"{self.due.name}.unpacked")
        try:
            with whole.open("wb") as target:
                for block in self._unpacked(member):
                    target.write(block)
            whole.replace(output_file)
        finally:
            self.part.unlink()
            whole.unlink(missing_ok=True)

    def _unpacked(self, member: str) -> Iterator[bytes]:
        try:
            with zipfile.ZipFile(self.part) as archive:
                info = archive.getinfo(member)
                if info.file_size != self.due.bytes:
                    raise _OtherBytesError(f"{member} in the archive has another size")
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise _OtherBytesError(f"{member} in the archive is packed in an unusual way")
                with archive.open(info) as source:
                    while block := source.read(_BLOCK):
                        yield block
        except _OtherBytesError:
            raise
        except KeyError:
            raise _OtherBytesError(f"the server's archive does not hold {member}") from None
        except Exception as error:  # zipfile raises what it likes of damaged archives
            what = f"the server's archive, which should hold {member}, is damaged"
            raise _OtherBytesError(f"{what} ({first_line(error)})") from None


def _retrieve(due: Entry, folder: Path, downloader: ResumingDownloader) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the bar says it better
    return Path(
        pooch.retrieve(
            due.url,
            known_hash=f"{due.hash_kind}:{due.hash}",
            fname=due.name,
            path=folder,
            downloader=downloader,
        )
    )


def _range_of(answer: Any) -> tuple[int, int | None]:
    """First byte that the server sends, and the size of its file where it says so."""
    if answer.status_code == 206:
        said = re.match(
            rf"bytes ({_NUMBER})-\d+/({_NUMBER}|\*)", answer.headers.get("Content-Range", "")
        )
        if said is None:
            return -1, None
        return int(said[1]), None if said[2] == "*" else int(said[2])
    length = re.fullmatch(_NUMBER, answer.headers.get("Content-Length", ""))
    plain = answer.headers.get("Content-Encoding", "identity") == "identity"
    return 0, int(length[0]) if length is not None and plain else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _innermost(error: BaseException) -> str:
    """What requests and urllib3 wrap several times, in one line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return first_line(error)
