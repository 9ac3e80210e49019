"""Downloads from servers that break off, drip, or send what nobody published."""

from __future__ import annotations

import bz2
import hashlib
import io
import re
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from weights import download as downloads
from weights.download import DownloadError, download
from weights.manifest import Entry

CONTENT = bytes(range(256)) * 400
#: Sends an answer, given where the client wants to go on.
Answer = Callable[[socket.socket, int], None]


class Server:
    """Answers each connection as it was told to, and closes it."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answer: Answer = whole
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/thing.bin"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(1 << 16)
                said = re.search(rb"Range: bytes=(\d+)-", request)
                start = int(said[1]) if said else 0
                self.asked.append(start)
                try:
                    self.answer(connection, start)
                except OSError:  # the client has gone
                    continue

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def head(start: int, size: int = len(CONTENT)) -> bytes:
    if not start:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    place = (start, size - 1, size, size - start)
    return (
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n"
        % place
    )


def whole(connection: socket.socket, start: int) -> None:
    connection.sendall(head(start) + CONTENT[start:])


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def due(server: Server) -> Entry:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Entry("thing.bin", server.url, len(CONTENT), "MIT", "here", sha256=digest)


def fails(due: Entry, folder: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        download(due, folder)
    assert caught.value.reason.isprintable()
    return caught.value.reason


def test_a_connection_that_always_breaks_off_gets_on(
    tmp_path: Path, server: Server, due: Entry
) -> None:
    """Twenty kilobytes a time, which is less than one block."""
    piece = 20_000

    def breaking(connection: socket.socket, start: int) -> None:
        connection.sendall(head(start) + CONTENT[start : start + piece])

    server.answer = breaking
    for number in range(1, 6):
        assert f"{number * piece} of {len(CONTENT)} bytes are kept" in fails(due, tmp_path)
    assert download(due, tmp_path).read_bytes() == CONTENT
    assert server.asked == [number * piece for number in range(6)]


def test_a_transfer_that_drips_is_ended_and_kept(
    tmp_path: Path, server: Server, due: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()

    def dripping(connection: socket.socket, start: int) -> None:
        connection.sendall(head(start))
        for place in range(start, len(CONTENT)):
            connection.sendall(CONTENT[place : place + 1])
            if stop.wait(0.01):
                return

    server.answer = dripping
    monkeypatch.setattr(downloads, "_LEAST_SECONDS", 0.2)
    monkeypatch.setattr(downloads, "_LEAST_SPEED", 1_000_000)
    try:
        assert "too slowly" in fails(due, tmp_path)
    finally:
        stop.set()
    assert 0 < (tmp_path / "thing.bin.part").stat().st_size < 200
    server.answer = whole
    assert download(due, tmp_path).read_bytes() == CONTENT
    assert server.asked[1] > 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "closed early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", ""),
        (b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/" + b"9" * 5000 + b"\r\n\r\n", ""),
        (b"HTTP/1.1 404 \x1b[2Jgone\r\n\r\n", "answers 404 \\x1b[2Jgone"),
        (b"HTTP/1.1 500\r\n\r\n", "answers 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[/\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://" + b"a" * 70 + b"..b/\r\n\r\n", ""),
        (b"\x00\xff\r\n\r\n", ""),
        (b"", "closed"),
    ],
)
def test_an_answer_that_makes_no_sense(
    tmp_path: Path, server: Server, due: Entry, answer: bytes, words: str
) -> None:
    server.answer = lambda connection, start: connection.sendall(answer)
    reason = fails(due, tmp_path)
    assert words in reason
    assert "other bytes" not in reason
    assert "cannot be written" not in reason
    assert not (tmp_path / "thing.bin").exists()


# Archives.


def packed(compression: int = zipfile.ZIP_DEFLATED, content: bytes = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("inside/thing.bin", content)
    return buffer.getvalue()


def changed(data: bytes, mark: bytes, offset: int, value: int) -> bytes:
    """Set two bytes behind each place where a header begins."""
    made = bytearray(data)
    for found in re.finditer(re.escape(mark), data):
        at = found.start() + offset
        made[at : at + 2] = value.to_bytes(2, "little")
    return bytes(made)


def flagged(flag: int) -> bytes:
    return changed(changed(packed(), b"PK\x03\x04", 6, flag), b"PK\x01\x02", 8, flag)


def method(number: int) -> bytes:
    return changed(changed(packed(), b"PK\x03\x04", 8, number), b"PK\x01\x02", 10, number)


def damaged() -> bytes:
    data = bytearray(packed())
    data[60:90] = bytes(30)
    return bytes(data)


def wrong_sum() -> bytes:
    return packed(zipfile.ZIP_STORED).replace(CONTENT[:256], CONTENT[1:256] + b"x", 1)


ARCHIVES = {
    "encrypted": (flagged(1), "encrypted"),
    "unknown method": (method(77), "unusual way"),
    "damaged stream": (damaged(), "damaged"),
    "another sum": (wrong_sum(), "damaged"),
    "bzip2": (packed(zipfile.ZIP_BZIP2), "unusual way"),
    "lzma": (packed(zipfile.ZIP_LZMA), "unusual way"),
    "bzip2 that is none": (
        packed(zipfile.ZIP_BZIP2).replace(bz2.compress(CONTENT)[:10], bytes(10)),
        "unusual way",
    ),
    "another name within": (packed().replace(b"inside/", b"aaaaaa/", 1), "damaged"),
    "no archive": (bytes(500), "damaged"),
    "cut short": (packed()[:-30], "damaged"),
    "a later version": (changed(packed(), b"PK\x01\x02", 6, 999), "damaged"),
    "another size": (packed(content=CONTENT + b"x"), "another size"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_is_not_the_published_one(
    tmp_path: Path, server: Server, due: Entry, name: str
) -> None:
    data, words = ARCHIVES[name]

    def archive(connection: socket.socket, start: int) -> None:
        connection.sendall(head(start, len(data)) + data[start:])

    server.answer = archive
    due = replace(due, url=f"{server.url}#inside/thing.bin", archive_bytes=len(data))
    reason = fails(due, tmp_path)
    assert words in reason
    assert "inside/thing.bin" in reason
    assert list(tmp_path.iterdir()) == []


def test_a_kept_part_of_another_archive_is_dropped(
    tmp_path: Path, server: Server, due: Entry
) -> None:
    data = packed()

    def archive(connection: socket.socket, start: int) -> None:
        connection.sendall(head(start, len(data)) + data[start:])

    server.answer = archive
    due = replace(due, url=f"{server.url}#inside/thing.bin", archive_bytes=len(data))
    (tmp_path / "thing.bin.part").write_bytes(b"x" * 100)
    assert download(due, tmp_path).read_bytes() == CONTENT
    assert server.asked == [100, 0]


def test_a_full_disk_is_not_the_archive_s_fault(
    tmp_path: Path, server: Server, due: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packed()
    server.answer = lambda connection, start: connection.sendall(head(0, len(data)) + data)
    due = replace(
        due, name="other.bin", url=f"{server.url}#inside/thing.bin", archive_bytes=len(data)
    )
    (tmp_path / "other.bin.unpacked").symlink_to("/dev/full")
    assert "cannot be written (No space left" in fails(due, tmp_path)
