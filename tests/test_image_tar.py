"""Tars made to do harm, given to verify and to evaluate: both read them in one way."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from limits import within
from PIL import Image

from benchmarks.evaluation.dataset import open_dataset
from export import image_tar
from export.image_tar import image_names, read_images
from export.samples import read_samples
from runtime.engine_info import Preprocessing
from runtime.errors import ImageError
from runtime.frames import EncodedImage

HOW = Preprocessing(8, 8, "nearest")


def png(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def member(name: str, data: bytes = b"", **fields: object) -> bytes:
    """A file as it lies in a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


GOOD = member("fake/a.png", png(40)) + member("real/b.png", png(80))


def read(path: Path) -> dict[str, EncodedImage | ImageError]:
    return dict(read_images(path, image_names(path)))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content + bytes(1024))
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_plain_and_compressed(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "set.tar"
    path.write_bytes(pack(GOOD + bytes(1024)))
    assert image_names(path) == ["fake/a.png", "real/b.png"]
    found = read_samples(path, HOW)
    assert [int(frame[0, 0, 0]) for frame in found.frames] == [40, 80]
    assert [image.name for image in open_dataset(path).images] == list(found.names)


def test_in_the_tars_order_whatever_the_names(tmp_path: Path) -> None:
    parts = [member(f"{n}.png", png(n)) for n in (3, 1, 2)]
    path = write(tmp_path / "x.tar", b"".join([*parts, member("1.png", png(99))]))
    assert image_names(path) == ["3.png", "1.png", "2.png"]
    found = read_samples(path, HOW)
    assert [int(frame[0, 0, 0]) for frame in found.frames] == [1, 2, 3]


def test_what_is_no_file_of_its_own_is_left_out(tmp_path: Path) -> None:
    links = member("link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    links += member("pipe.png", type=tarfile.FIFOTYPE) + member("._mac.png", b"x")
    assert image_names(write(tmp_path / "x.tar", links + GOOD)) == ["fake/a.png", "real/b.png"]


def test_an_image_larger_than_a_header_may_be_is_read(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    found = read(write(tmp_path / "x.tar", member("a.png", data)))["a.png"]
    assert isinstance(found, EncodedImage)
    assert found.data == data


def sparse(size: int) -> bytes:
    """A file of a few bytes that says it has ``size``, nearly all of them a hole."""
    head = bytearray(member("fake/hole.png", type=tarfile.GNUTYPE_SPARSE))
    head[386:410] = b"%011o\0%011o\0" % (0, 0)
    head[483:495] = b"%011o " % size
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head[:512])
    return bytes(head)


def test_a_hole_of_gigabytes_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", sparse(6 << 30) + GOOD)
    found = read(path)
    assert "6,442,450,944 bytes, more than" in str(found["fake/hole.png"])
    assert isinstance(found["real/b.png"], EncodedImage)
    with within(5), pytest.raises(ImageError, match=r"hole\.png is too large"):
        read_samples(path, HOW)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_of_gigabytes_is_not_read(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "x.tar.gz"
    head = tarfile.TarInfo("long")
    head.type, head.size = kind, 2 << 30
    path.write_bytes(gzip.compress(head.tobuf(tarfile.GNU_FORMAT) + bytes(64 << 20), 1))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"x\.tar\.gz holds too much\na name or header"):
            image_names(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_many_members_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_tar, "MAX_MEMBERS", 100)
    path = write(tmp_path / "x.tar", b"".join(member(str(n)) for n in range(200)) + GOOD)
    with pytest.raises(ImageError, match="more than 100 files and folders"):
        image_names(path)


def test_a_tar_of_much_that_is_no_image_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_tar, "MAX_OTHERS", 100)
    path = tmp_path / "x.tar"
    path.write_bytes(member("notes.txt", b"x") * 100 + GOOD + bytes(1024))
    assert image_names(path)
    path.write_bytes(member("notes.txt", b"x") * 101 + GOOD + bytes(1024))
    with pytest.raises(ImageError, match="more than 100 parts that are no images"):
        image_names(path)


def test_members_are_not_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", member("a") * 1000)
    image_names(path)
    tracemalloc.start()
    try:
        image_names(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_what_grows_a_thousandfold_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_tar, "_GROWTH_ALLOWED", 1 << 20)
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(member("zeros", bytes(32 << 20)) + GOOD + bytes(1024), 9))
    with pytest.raises(ImageError, match="it grows to more than"):
        image_names(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_that_was_cut_off_is_named(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    content = member("fake/a.png", png() + os.urandom(4000)) + GOOD
    packed = pack(content + bytes(1024))
    path = tmp_path / "cut.tar"
    for part in (0.3, 0.7):
        path.write_bytes(packed[: int(len(content if pack is bytes else packed) * part)])
        for reader in (read, lambda path: read_samples(path, HOW), open_dataset):
            with pytest.raises(ImageError, match=r"cut\.tar is not a tar that can be read whole"):
                reader(path)


@pytest.mark.parametrize(
    "damage",
    [b"\x1f\x8b\x08" + b"\xff" * 90, b"BZh9" + b"x" * 90, b"x"],
    ids=["gzip", "bzip2", "text"],
)
def test_what_is_no_tar_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "set.tar"
    path.write_bytes(damage)
    for reader in (image_names, lambda path: read_samples(path, HOW), open_dataset):
        with pytest.raises(ImageError, match=r"set\.tar is not a tar that can be read whole"):
            reader(path)


def test_damage_in_the_middle_is_no_end(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", member("a.png", png()) + b"?" * 512 + GOOD)
    with pytest.raises(ImageError, match=r"x\.tar is not a tar that can be read whole"):
        image_names(path)


def test_a_pipe_or_a_device_in_place_of_a_tar(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    for path in (tmp_path / "pipe.tar", Path("/dev/zero")):
        for reader in (image_names, lambda path: read_samples(path, HOW), open_dataset):
            with within(5), pytest.raises(ImageError, match="a regular file is due"):
                reader(path)


def test_headers_in_headers_without_end(tmp_path: Path) -> None:
    long = member("././@LongLink", b"x", type=tarfile.GNUTYPE_LONGNAME)
    path = write(tmp_path / "x.tar", long * 5000 + GOOD)
    with pytest.raises(ImageError, match="not a tar that can be read whole"):
        image_names(path)


def test_parts_that_follow_each_other_in_a_circle(tmp_path: Path) -> None:
    head = tarfile.TarInfo("a.png")
    head.size = -512
    path = write(tmp_path / "x.tar", GOOD + head.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(ImageError, match="in a circle"):
        image_names(path)


def test_a_tar_that_changes_between_two_looks(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", GOOD)
    names = image_names(path)
    path.write_bytes(GOOD[: GOOD.rindex(b"IEND")])
    with pytest.raises(ImageError, match="not a tar that can be read whole"):
        list(read_images(path, names))
    write(path, member("fake/a.png", png()))
    with pytest.raises(ImageError, match=r"changed while it was read\nreal/b\.png"):
        list(read_images(path, names))
