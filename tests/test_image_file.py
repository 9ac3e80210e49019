"""Image files made to do harm: other programs, memory, time; each is named and none decoded."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import png_files
import pytest
from forks import in_child
from limits import within
from PIL import EpsImagePlugin, Image, ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from runtime import image_file
from runtime.engine_info import Preprocessing
from runtime.errors import ImageError
from runtime.frames import EncodedImage, load_image, to_frame
from runtime.image_file import is_image
from runtime.image_memory import MEMORY, SharedMemory, bytes_due

HOW = Preprocessing(8, 8, "nearest")
SIDE = 12_000


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def small() -> Image.Image:
    return Image.new("RGB", (8, 8), (200, 10, 10))


def tiff(width: int, height: int, pixels: bytes, *more: tuple[int, int]) -> bytes:
    """A grey TIFF of one part. Tags with 0 for a value get the place of the pixels."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, **dict(more)}
    start = 8 + 2 + 12 * len(tags) + 4
    entries = [
        struct.pack("<HHII", tag, 4, 1, value or start) for tag, value in sorted(tags.items())
    ]
    count = struct.pack("<H", len(entries))
    return b"II*\0" + struct.pack("<I", 8) + count + b"".join(entries) + bytes(4) + pixels


# Other programs.


@pytest.fixture
def postscript(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(
        EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript is run")
    )
    return encoded(small(), "EPS")


def test_postscript_is_no_image(tmp_path: Path, postscript: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(postscript)
    for source in (path, EncodedImage("photo.jpg", postscript)):
        for read in (load_image, lambda image: to_frame(image, HOW)):
            with pytest.raises(ImageError, match=r"photo\.jpg is not an image.*\n.*none of JPEG"):
                read(source)
    assert not is_image(path)


def test_postscript_that_pil_opened_is_not_decoded_for_it(postscript: bytes) -> None:
    with (
        Image.open(io.BytesIO(postscript)) as image,
        pytest.raises(ImageError, match="of the format EPS, and not decoded yet"),
    ):
        load_image(image)


def test_kinds_outside_the_list_are_refused(tmp_path: Path) -> None:
    for kind in ("TGA", "PCX", "ICO", "SGI"):
        (tmp_path / "x.png").write_bytes(encoded(small(), kind))
        with pytest.raises(ImageError, match="none of JPEG"):
            load_image(tmp_path / "x.png")


@pytest.mark.parametrize("kind", [*image_file.FORMATS, "MPO"])
def test_all_of_the_list_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    more = {"save_all": True, "append_images": [small()]} if kind == "MPO" else {}
    path.write_bytes(encoded(small(), kind, **more))
    assert is_image(path)
    frame = to_frame(path, HOW)
    assert np.abs(frame.astype(int) - (200, 10, 10)).max() < 12
    np.testing.assert_array_equal(to_frame(EncodedImage("x", path.read_bytes()), HOW), frame)
    with Image.open(path) as not_decoded:
        assert not_decoded.format == kind
        np.testing.assert_array_equal(to_frame(not_decoded, HOW), frame)


# Files that are none.


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, kind in ((tmp_path / "pipe.jpg", "a pipe"), (Path("/dev/zero"), "a device")):
        with within(5), pytest.raises(ImageError, match=f"is {kind}"):
            load_image(path)
        with within(5):
            assert not is_image(path)


def test_a_name_of_5000_characters_and_one_with_a_nul() -> None:
    with pytest.raises(ImageError, match="cannot be read") as caught:
        load_image("x" * 5000)
    assert len(str(caught.value)) < 1000
    with pytest.raises(ImageError, match="cannot be read"):
        load_image("x\0.png")


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.png").open("wb") as file:
        file.write(encoded(small(), "PNG"))
        file.truncate(10 << 30)
    with within(5), pytest.raises(ImageError, match="at most 268,435,456 are read"):
        load_image(tmp_path / "x.png")
    with within(5):
        assert is_image(tmp_path / "x.png"), "so that it is refused as an image, not as a video"


# Memory.


def jpeg_2000(side: int) -> bytes:
    """A few bytes that say they are an image of that size."""
    data = bytearray(encoded(Image.new("RGB", (64, 64)), "JPEG2000"))
    place = data.index(b"ihdr") + 4
    data[place : place + 8] = struct.pack(">II", side, side)
    place = data.index(b"\xff\x51") + 6
    data[place : place + 8] = struct.pack(">II", side, side)
    return bytes(data)


WIDE_TIFF = (258, 32), (278, SIDE), (273, 0), (279, 100), (339, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: jpeg_2000(SIDE),
        lambda: png_files.header(SIDE, SIDE, 16, 0),
        lambda: png_files.header(SIDE, SIDE, 8, 2),
        lambda: tiff(SIDE, SIDE, bytes(100), *WIDE_TIFF),
        # A tile of 900 million pixels in an image of 64 x 64.
        lambda: tiff(64, 64, bytes(100), (322, 30_000), (323, 30_000), (324, 0), (325, 100)),
    ],
    ids=["JPEG 2000", "16 bit", "turned RGB", "32 bit", "TIFF tile"],
)
def test_what_would_take_gigabytes_is_refused_undecoded(
    make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it is decoded"))
    data = make()
    assert len(data) < 2000
    with pytest.raises(ImageError, match=r"x is too large.*\n.* bytes; at most 1,073,741,824"):
        load_image(EncodedImage("x", data))


@pytest.mark.parametrize("how", [HOW, Preprocessing(8, 8, "nearest", "center", 8)])
def test_a_line_that_would_be_turned_and_widened_is_refused(
    how: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upright, each of its 100 million rows would become 8 pixels wide."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it is decoded"))
    line = EncodedImage("the image of x", png_files.header(100_000_000, 1, 8, 0))
    with pytest.raises(ImageError, match=r"^the image of x is too (large|long and narrow)\n"):
        to_frame(line, how)


@pytest.mark.parametrize(
    ("kind", "mode", "options", "due"),
    [
        ("JPEG", "RGB", {}, 4),
        ("JPEG", "RGB", {"progressive": True}, 4 + 3 * 2),  # coefficients
        ("PNG", "RGB", {}, 4 + 4),  # turned
        ("PNG", "I;16", {}, 2 + 2 + 1 + 4),  # turned, narrow, three colours
        ("BMP", "RGB", {}, 4 + 4),
        ("WEBP", "RGB", {}, 4 + 12),
        ("AVIF", "RGB", {}, 4 + 12),
        ("JPEG2000", "RGB", {}, 4 + 3 * 6),
    ],
)
def test_bytes_that_a_pixel_takes(kind: str, mode: str, options: dict[str, bool], due: int) -> None:
    data = encoded(Image.new(mode, (8, 8)), kind, **options)
    with Image.open(io.BytesIO(data)) as image:
        assert bytes_due(image) == 64 * due


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_telephones_make_is_within_the_limit() -> None:
    with Image.open(io.BytesIO(png_files.header(12_000, 9_000, 8, 2))) as image:
        assert bytes_due(image) <= MEMORY


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint16])
def test_wide_greys_are_made_narrow_without_wide_copies(dtype: type) -> None:
    wide = Image.fromarray(np.full((2000, 3000), 200, dtype))
    tracemalloc.start()
    try:
        load_image(wide)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A byte a pixel, and a piece at a time of what is wide.
    assert peak < 6_000_000 + 40_000_000


def test_wide_greys_are_scaled_by_all_of_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "_AT_A_TIME", 2)
    rows = np.array([[0, 1], [1, 1], [1, 200]], np.float32)
    np.testing.assert_array_equal(load_image(Image.fromarray(rows)).getchannel(0), rows)
    rows[2, 1] = np.nan
    with pytest.raises(ImageError, match="pixels that are no numbers"):
        load_image(Image.fromarray(rows))


def test_threads_share_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = 512
    path = tmp_path / "x.webp"
    Image.new("RGB", (side, side)).save(path)
    with Image.open(path) as image:
        due = bytes_due(image)
    monkeypatch.setattr(image_file, "_MEMORY", SharedMemory(2 * due))
    plain, lock = WebPImageFile.load, threading.Lock()
    running: list[int] = []
    most = 0

    def load(self: WebPImageFile) -> Any:
        nonlocal most
        with lock:
            running.append(1)
            most = max(most, len(running))
        time.sleep(0.02)
        try:
            return plain(self)
        finally:
            with lock:
                running.pop()

    monkeypatch.setattr(WebPImageFile, "load", load)
    with ThreadPoolExecutor(6) as pool:
        assert [picture.size for picture in pool.map(load_image, [path] * 6)] == [(side, side)] * 6
    assert most == 2


def test_one_that_needs_all_gets_its_turn() -> None:
    memory = SharedMemory(10)
    order = []

    def late() -> None:
        with memory.take(6):
            order.append("late")

    with within(5):
        with memory.take(100):
            pass
        with memory.take(5):
            thread = threading.Thread(target=late, daemon=True)
            thread.start()
            time.sleep(0.05)
            order.append("early")
        thread.join()
    assert order == ["early", "late"]


def test_a_child_does_not_wait_for_threads_that_it_has_not() -> None:
    memory = SharedMemory(10)
    with memory.take(10):
        assert in_child(lambda: memory.take(10).__enter__() is None)


def test_a_child_does_not_wait_for_a_header_that_its_parent_reads() -> None:
    with image_file._FILTERS:
        assert in_child(
            lambda: load_image(EncodedImage("x", encoded(small(), "PNG"))).size == (8, 8)
        )


def test_too_little_memory_is_an_error_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(ImageError, match="x is too large"):
        load_image(EncodedImage("x", encoded(small(), "PNG")))


# Time.


def gif_with_comments(count: int) -> bytes:
    data = encoded(Image.new("P", (8, 8)), "GIF")
    place = data.index(b",", 13 + (3 << ((data[10] & 7) + 1)))
    comment = b"\x21\xfe" + (b"\xff" + b"x" * 255) * count + b"\0"
    return data[:place] + comment + data[place:]


@pytest.mark.parametrize(
    "make",
    [
        lambda: gif_with_comments(1 << 14),
        lambda: (
            encoded(small(), "JPEG")[:2]
            + b"\xff\xe5\0\2" * (1 << 19)
            + encoded(small(), "JPEG")[2:]
        ),
        lambda: (
            encoded(small(), "PNG")[:33]
            + png_files.chunk(b"zzZz") * (1 << 18)
            + encoded(small(), "PNG")[33:]
        ),
    ],
    ids=["GIF comments", "JPEG segments", "PNG chunks"],
)
def test_a_file_of_a_million_parts_is_given_up(
    make: Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_file, "SECONDS", 0.1)
    path = tmp_path / "x"
    path.write_bytes(make())
    start = time.thread_time()
    with pytest.raises(ImageError, match=r"not an image that can be read.*\n.*taking it apart"):
        load_image(path)
    assert time.thread_time() - start < 1


def test_parts_that_all_name_the_same_bytes() -> None:
    """A TIFF of 1 MB whose 2,000 tags are each a megabyte of it."""
    count, size = 2000, 1 << 20
    entries = b"".join(struct.pack("<HHII", 1000 + n, 1, size, 16) for n in range(count))
    data = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", count) + entries + bytes(4)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="over and over"):
            load_image(EncodedImage("x", data + bytes(size)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_exif_data_beyond_measure() -> None:
    exif = b"Exif\0\0II*\0" + bytes(1 << 17)
    data = encoded(small(), "PNG", exif=exif)
    with pytest.raises(ImageError, match="more than 65,536 bytes of EXIF"):
        load_image(EncodedImage("x", data))


# What good images look like afterwards.


def test_nobody_turns_an_image_twice() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    once = load_image(EncodedImage("x", encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)))
    assert once.size == (20, 30)
    assert load_image(once).size == (20, 30)
    assert load_image(once.crop((0, 0, 10, 30))).size == (10, 30)


def test_an_image_of_the_user_is_copied() -> None:
    opened = Image.open(io.BytesIO(encoded(small(), "PNG")))
    for mine in (small(), opened):
        load_image(mine).putpixel((0, 0), (0, 0, 0))
        assert mine.getpixel((0, 0)) == (200, 10, 10)
    palette = small().convert("P")
    palette.info["transparency"] = 0
    assert "transparency" not in load_image(palette).info
    assert palette.info["transparency"] == 0


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "JPEG2000"])
def test_a_decoder_is_not_kept(kind: str) -> None:
    picture = load_image(EncodedImage("x", encoded(small(), kind)))
    assert not isinstance(picture, ImageFile.ImageFile)
