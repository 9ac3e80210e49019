"""Images of every kind and size, damaged ones too, as the pixels that a viewer shows."""

from __future__ import annotations

import io
import random
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import png_files
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from runtime.engine_info import Preprocessing
from runtime.errors import ImageError
from runtime.frames import MAX_PIXELS, to_frame

NEAREST = Preprocessing(12, 10, "nearest")
AS_IS = Preprocessing(24, 30, "nearest")

rng = np.random.default_rng(3)
PIXELS: NDArray[np.uint8] = rng.integers(0, 256, (24, 30, 3), np.uint8)
GREY = PIXELS[..., 0]


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


# Files that are none, and files that are damaged.


def test_truncated_image(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.bmp"):
        path = save(tmp_path / name, Image.fromarray(PIXELS))
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(ImageError, match=f"{name} is not an image that can be read"):
            to_frame(path, NEAREST)


def test_text_file_named_jpg(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no image at all")
    with pytest.raises(ImageError, match=r"text\.jpg is not an image that can be read") as caught:
        to_frame(path, NEAREST)
    assert "none of JPEG, PNG" in caught.value.why


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(ImageError, match=r"empty\.png.*\nthe file is empty"):
        to_frame(path, NEAREST)


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a directory"):
        to_frame(tmp_path, NEAREST)


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.png does not exist"):
        to_frame(str(tmp_path / "nowhere.png"), NEAREST)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "secret.png", Image.fromarray(PIXELS))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)  # the superuser may read every file
    with pytest.raises(ImageError, match="Permission denied"):
        to_frame(path, NEAREST)


@pytest.mark.parametrize("thing", [None, 3, b"a.jpg", [[1, 2], [3, 4]]])
def test_things_that_are_no_image(thing: Any) -> None:
    with pytest.raises(ImageError, match=f"{type(thing).__name__} is not an image"):
        to_frame(thing, NEAREST)


def test_lazily_opened_image_that_is_damaged(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(PIXELS))
    path.write_bytes(path.read_bytes()[:-300])
    with Image.open(path) as image, pytest.raises(ImageError, match="the PIL image is not"):
        to_frame(image, NEAREST)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, of damaged EXIF data
def test_damage_anywhere_is_an_image_error_or_an_image() -> None:
    """PIL raises half a dozen unrelated exceptions for damaged files; none may come through."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "description"
    files = []
    for kind in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "PPM", "BMP", "DDS"):
        options = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}
        buffer = io.BytesIO()
        Image.fromarray(PIXELS).save(buffer, kind, **options)
        files.append(buffer.getvalue())
    choose = random.Random(0)
    refused: set[type[BaseException] | None] = set()
    for _ in range(4000):
        data = bytearray(choose.choice(files))
        for _ in range(choose.choice((1, 2, 8))):
            data[choose.randrange(min(len(data), 300))] = choose.choice((0, 255, 40))
        try:
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height < 1_000_000:
                    to_frame(image, NEAREST)
        except ImageError as error:
            refused.add(type(error.__cause__))
        except Exception:  # of Image.open, which is not under test
            continue
    assert len(refused) >= 4, refused


# Sizes.


def test_one_pixel() -> None:
    image = Image.new("RGB", (1, 1), (10, 20, 30))
    for resize in ("nearest", "bilinear"):
        frame = to_frame(image, Preprocessing(12, 10, resize))
        assert frame.shape == (12, 10, 3)
        assert (frame == (10, 20, 30)).all()
    frame = to_frame(image, Preprocessing(8, 8, "bilinear", "center", 9))
    assert frame.shape == (8, 8, 3)
    assert (frame == (10, 20, 30)).all()


# Above our limit alone, and above PIL's own.
@pytest.mark.parametrize("size", [(12_001, 12_000), (60_000, 60_000)])
def test_huge_image_is_refused_undecoded(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_files.header(*size))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=r"huge\.png is too large"):
            to_frame(path, NEAREST)


def test_large_image_below_the_limit_comes_without_a_warning(tmp_path: Path) -> None:
    # PIL warns from 89 megapixels on; telephones make larger photographs. The pixels are
    # missing here, so that the test stays small: what fails is the decoding, not the limit.
    path = tmp_path / "large.png"
    path.write_bytes(png_files.header(12_000, 9_000))
    assert MAX_PIXELS > 12_000 * 9_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="is not an image that can be read"):
            to_frame(path, NEAREST)


def test_a_line_of_pixels_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "line.png", Image.new("RGB", (20_000, 1)))
    with pytest.raises(ImageError, match=r"line\.png is too long and narrow") as caught:
        to_frame(path, Preprocessing(224, 224, "bilinear", "center", 256))
    assert "5120000 x 256" in caught.value.why
    assert to_frame(path, NEAREST).shape == (12, 10, 3)  # stretched, it is no harm


def test_threads_leave_the_warning_filters_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS))
    real_open, pauses = Image.open, iter(range(10**6))

    def slow(*args: Any, **options: Any) -> Image.Image:
        time.sleep(0.002 * (next(pauses) % 3))
        return real_open(*args, **options)

    monkeypatch.setattr(Image, "open", slow)
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [to_frame(path, NEAREST) for _ in range(8)])
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# Modes.


def grey_of(image: Image.Image) -> NDArray[np.uint8]:
    """The one channel of a frame that must be grey."""
    frame = to_frame(image, Preprocessing(image.height, image.width, "nearest"))
    assert (frame == frame[..., :1]).all()
    return frame[..., 0]


def test_greyscale(tmp_path: Path) -> None:
    path = save(tmp_path / "grey.png", Image.fromarray(GREY))
    assert mode(path) == "L"
    np.testing.assert_array_equal(to_frame(path, AS_IS), np.stack([GREY] * 3, -1))


def test_black_and_white() -> None:
    bits = Image.fromarray(GREY > 127)
    assert bits.mode == "1"
    np.testing.assert_array_equal(grey_of(bits), np.where(GREY > 127, 255, 0))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"transparency": 0}, {"transparency": bytes(range(64))}])
def test_palette(tmp_path: Path, options: dict[str, Any]) -> None:
    """Transparency is dropped: the palette's own colours are what is seen."""
    palette = rng.integers(0, 256, (64, 3), np.uint8)
    indices = rng.integers(0, 64, (24, 30), np.uint8)
    image = Image.fromarray(indices).copy()
    image.putpalette(palette.tobytes())
    path = save(tmp_path / "palette.png", image, **options)
    assert mode(path) == "P"
    np.testing.assert_array_equal(to_frame(path, AS_IS), palette[indices])


def test_rgba_drops_the_transparency(tmp_path: Path) -> None:
    rgba = np.dstack([PIXELS, GREY])
    path = save(tmp_path / "rgba.png", Image.fromarray(rgba))
    assert mode(path) == "RGBA"
    np.testing.assert_array_equal(to_frame(path, AS_IS), PIXELS)


def test_la_drops_the_transparency(tmp_path: Path) -> None:
    path = save(tmp_path / "la.png", Image.merge("LA", [Image.fromarray(GREY)] * 2))
    assert mode(path) == "LA"
    np.testing.assert_array_equal(to_frame(path, AS_IS), np.stack([GREY] * 3, -1))


def test_cmyk(tmp_path: Path) -> None:
    """Without ink a page is white; full cyan leaves no red."""
    for ink, colour in (
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ):
        path = save(tmp_path / "cmyk.jpg", Image.new("CMYK", (30, 24), ink), quality=100)
        assert mode(path) == "CMYK"
        assert np.abs(to_frame(path, AS_IS).astype(int) - colour).max() <= 2


WIDE = np.asarray([[0, 1, 128, 129, 255, 256], [257, 1000, 32768, 50000, 65406, 65535]], np.uint16)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    due = np.rint(WIDE / 257)
    for name in ("wide.png", "wide.tif"):
        path = save(tmp_path / name, Image.fromarray(WIDE))
        assert mode(path).startswith("I")
        np.testing.assert_array_equal(to_frame(path, Preprocessing(2, 6, "nearest"))[..., 0], due)
    np.testing.assert_array_equal(grey_of(Image.fromarray(WIDE.astype(np.int32))), due)
    big_endian = Image.frombytes("I;16B", (6, 2), WIDE.astype(">u2").tobytes())
    np.testing.assert_array_equal(grey_of(big_endian), due)


def test_8_bits_widened_to_16_come_back_exactly() -> None:
    np.testing.assert_array_equal(grey_of(Image.fromarray(GREY.astype(np.uint16) * 257)), GREY)


def test_float_grey_images() -> None:
    unit = Image.fromarray((GREY / 255).astype(np.float32))
    assert unit.mode == "F"
    np.testing.assert_array_equal(grey_of(unit), GREY)
    np.testing.assert_array_equal(grey_of(Image.fromarray(GREY.astype(np.float32))), GREY)
    outside = Image.fromarray(np.asarray([[-5.0, 300.0]], np.float32))
    np.testing.assert_array_equal(grey_of(outside), [[0, 255]])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_grey_image_without_numbers(value: float) -> None:
    image = Image.fromarray(np.full((4, 4), value, np.float32))
    with pytest.raises(ImageError, match="pixels that are no numbers"):
        to_frame(image, NEAREST)


# As stored, for each EXIF orientation, so that PIXELS is what a viewer shows.
STORED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, 1),
    7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(PIXELS, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["png", "tif", "webp"])
def test_exif_orientation(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    path = save(tmp_path / f"turned.{kind}", stored, exif=exif, **options)
    np.testing.assert_array_equal(to_frame(path, AS_IS), PIXELS)
    with Image.open(path) as image:
        np.testing.assert_array_equal(to_frame(image, AS_IS), PIXELS)


def test_first_picture_of_an_animation(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (30, 24), c) for c in ((200, 0, 0), (0, 200, 0))]
    path = save(tmp_path / "a.gif", pictures[0], save_all=True, append_images=pictures[1:])
    assert (to_frame(path, AS_IS) == (200, 0, 0)).all()
