"""The one way to read a file that somebody else made, and text made fit to show."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from runtime.confined import ConfinedError, read_confined
from runtime.errors import ImageError, WeightsError
from runtime.files import open_regular, read_bytes, read_text, snapshot
from runtime.text import printable


def test_snapshot_keeps_bytes_that_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"first" * 1000)
    with snapshot(path) as taken:
        path.write_bytes(b"other")
        assert taken.read() == b"first" * 1000
        assert Path(taken.name).read_bytes() == b"first" * 1000
        assert taken.sha256 == hashlib.sha256(b"first" * 1000).hexdigest()
        assert taken.size == 5000


def test_a_file_of_holes_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek((40 << 20) - 3)
        file.write(b"middle")
        file.truncate((64 << 20) + 7)
    with snapshot(path) as taken:
        assert taken.size == (64 << 20) + 7
        assert os.fstat(taken.fd).st_blocks * 512 < 8 << 20
        assert taken.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert taken.read() == path.read_bytes()


def test_files_of_a_snapshot_have_positions_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with snapshot(tmp_path / "a") as taken, taken.open() as one, taken.open() as two:
        assert one.read(4) == b"0123"
        assert two.read(2) == b"01"


def test_a_closed_snapshot_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        snapshot(tmp_path / "a").close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.timeout(10)
@pytest.mark.parametrize("read", [snapshot, read_bytes, open_regular])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, read: object) -> None:
    assert callable(read)
    os.mkfifo(tmp_path / "pipe")
    for path, what in (
        (tmp_path / "pipe", "a pipe"),
        (tmp_path, "a directory"),
        (Path("/dev/zero"), "a device"),
        (tmp_path / "none", "does not exist"),
        (tmp_path / ("x" * 5000), "cannot be read"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(ImageError, match=what) as caught:
            read(path, error=ImageError)
        assert len(caught.value.what) < 600


def test_a_small_file_takes_little_memory_whatever_its_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    tracemalloc.start()
    try:
        assert read_bytes(tmp_path / "x", most=64 << 20) == b"abc"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_file_over_the_limit_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(50 << 30)
    for read in (snapshot, read_bytes):
        with pytest.raises(WeightsError, match="too large"):
            read(tmp_path / "sparse", error=WeightsError)


@pytest.mark.parametrize("read", [snapshot, read_bytes])
def test_a_file_that_is_larger_than_its_size_says(read: object) -> None:
    """Files of /proc say that they have no bytes, as one does that grows meanwhile."""
    assert callable(read)
    with pytest.raises(WeightsError, match="too large"):
        read(Path("/proc/kallsyms"), most=1000, error=WeightsError)


def test_text_has_to_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"file\xff")
    with pytest.raises(ImageError, match="is not UTF-8"):
        read_text(tmp_path / "a.csv", error=ImageError)
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbffile")  # as spreadsheets save it
    assert read_text(tmp_path / "b.csv") == "file"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("übung.jpg", "übung.jpg"),
        ("a\x1b[31mb\nc", "a\\x1b[31mb\\nc"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        (os.fsdecode(b"\xff.jpg"), "\\xff.jpg"),
        ("\ud800", "\\ud800"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()


def _read(file, do: str):  # type: ignore[no-untyped-def]
    match do:
        case "hang":
            while True:
                pass
        case "swell":
            np.ones(1 << 30)
        case "crash":
            os.abort()
        case "refuse":
            raise WeightsError("what", "why", "todo")
        case "fail":
            raise KeyError("no such thing")
    return {"bytes": len(file.read())}, {"a/b": np.arange(6.0).reshape(2, 3)}


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("confined") / "a"
    path.write_bytes(b"12345")
    with snapshot(path) as taken:
        yield taken


def test_a_confined_reader_gives_its_answer(taken) -> None:  # type: ignore[no-untyped-def]
    for _ in range(2):
        value, arrays = read_confined("tests.test_files:_read", taken, do="read")
        assert value == {"bytes": 5}
        np.testing.assert_array_equal(arrays["a/b"], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("do", "says"),
    [
        ("hang", "did not end within 1 s"),
        ("swell", "takes more than"),
        ("crash", "crashed \\(SIGABRT\\)"),
        ("fail", "no such thing"),
    ],
)
def test_a_confined_reader_that_fails_is_one_error(taken, do: str, says: str) -> None:  # type: ignore[no-untyped-def]
    seconds = 1 if do == "hang" else 60
    with pytest.raises(ConfinedError, match=says):
        read_confined("tests.test_files:_read", taken, seconds=seconds, memory=1 << 30, do=do)


def test_a_confined_reader_raises_as_itself(taken) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WeightsError) as caught:
        read_confined("tests.test_files:_read", taken, do="refuse")
    assert (caught.value.what, caught.value.why, caught.value.todo) == ("what", "why", "todo")
