"""From images to frames: arrays and PIL images, resize and crop."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from published import SHARED

from runtime.engine_info import Preprocessing
from runtime.errors import ImageError
from runtime.frames import load_image, to_frame
from zoo.catalog import CARDS

NEAREST = Preprocessing(12, 10, "nearest")
AS_IS = Preprocessing(24, 30, "nearest")

rng = np.random.default_rng(3)
PIXELS: NDArray[np.uint8] = rng.integers(0, 256, (24, 30, 3), np.uint8)
GREY = PIXELS[..., 0]


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


# Arrays and PIL images.


def test_arrays_and_pil_images() -> None:
    np.testing.assert_array_equal(to_frame(PIXELS, AS_IS), PIXELS)
    np.testing.assert_array_equal(to_frame(Image.fromarray(PIXELS), AS_IS), PIXELS)
    np.testing.assert_array_equal(to_frame(GREY, AS_IS), np.stack([GREY] * 3, -1))
    turned = PIXELS[::-1, :, ::-1]  # BGR upside down: a view without C order
    np.testing.assert_array_equal(to_frame(turned, AS_IS), turned)
    assert to_frame(PIXELS, AS_IS).dtype == np.uint8


def test_the_users_image_is_left_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(PIXELS)
    image.getexif().update(exif)
    pixels = PIXELS.copy()
    to_frame(image, NEAREST)
    to_frame(pixels, NEAREST)
    assert image.size == (30, 24)
    np.testing.assert_array_equal(np.asarray(image), PIXELS)
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16, bool])
def test_arrays_of_another_dtype(dtype: type) -> None:
    with pytest.raises(ImageError, match=f"dtype {np.dtype(dtype)}"):
        to_frame(PIXELS.astype(dtype), NEAREST)


@pytest.mark.parametrize(
    "shape", [(24,), (24, 30, 4), (24, 30, 1), (3, 24, 30), (0, 30, 3), (0, 3)]
)
def test_arrays_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"shape \(" + ", ".join(map(str, shape))):
        to_frame(np.zeros(shape, np.uint8), NEAREST)
    with pytest.raises(ImageError, match=r"shape \(2, 24, 30, 3\)"):
        to_frame(np.zeros((2, 24, 30, 3), np.uint8), NEAREST)


# Resize and crop.


def test_nearest_takes_the_pixel_in_the_middle_of_each_cell() -> None:
    frame = to_frame(PIXELS, Preprocessing(8, 10, "nearest"))
    np.testing.assert_array_equal(frame, PIXELS[1::3, 1::3])  # 24 x 30: cells of 3 x 3
    frame = to_frame(PIXELS, Preprocessing(12, 15, "nearest"))
    np.testing.assert_array_equal(frame, PIXELS[1::2, 1::2])  # cells of 2 x 2, rounding up
    frame = to_frame(PIXELS, Preprocessing(48, 60, "nearest"))
    np.testing.assert_array_equal(frame, PIXELS.repeat(2, 0).repeat(2, 1))


def test_bilinear_averages_when_it_shrinks() -> None:
    checks = (np.indices((24, 30)).sum(0) % 2 * 255).astype(np.uint8)
    frame = to_frame(checks, Preprocessing(6, 6, "bilinear"))
    assert np.abs(frame.astype(int) - 127).max() < 20
    nearest = to_frame(checks, Preprocessing(6, 6, "nearest"))
    assert set(np.unique(nearest)) <= {0, 255}


def coordinates(height: int, width: int) -> NDArray[np.uint8]:
    """An image whose red is the row and whose green is the column."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "crop", "top", "left"),
    [
        (10, 10, (10, 10), 0, 0),
        (10, 14, (10, 10), 0, 2),
        (14, 10, (10, 10), 2, 0),
        (10, 11, (10, 10), 0, 0),  # half a pixel rounds to the even neighbour: 0.5 -> 0,
        (10, 13, (10, 10), 0, 2),  # 1.5 -> 2,
        (10, 15, (10, 10), 0, 2),  # 2.5 -> 2
        (10, 12, (8, 7), 1, 2),  # 2.5 -> 2
        (10, 12, (7, 8), 2, 2),  # 1.5 -> 2
    ],
)
def test_center_crop(height: int, width: int, crop: tuple[int, int], top: int, left: int) -> None:
    how = Preprocessing(*crop, "bilinear", "center", min(height, width))  # nothing to resize
    frame = to_frame(coordinates(height, width), how)
    assert frame.shape == (*crop, 3)
    assert frame[0, 0].tolist() == [top, left, 0]
    assert frame[-1, -1].tolist() == [top + crop[0] - 1, left + crop[1] - 1, 0]


@pytest.mark.parametrize(
    ("size", "shorter", "resized", "corner"),
    [
        ((30, 24), 12, (15, 12), (4, 2)),  # left (15 - 8) / 2 = 3.5 -> 4, top (12 - 8) / 2
        ((24, 30), 12, (12, 15), (2, 4)),
        ((31, 24), 12, (15, 12), (4, 2)),  # 12 * 31 / 24 = 15.5, cut off to 15
        ((7, 12), 10, (10, 17), (1, 4)),  # 10 * 12 / 7 = 17.1; 4.5 -> 4
        ((333, 500), 256, (256, 384), (124, 188)),  # 384.4
        ((24, 24), 12, (12, 12), (2, 2)),
    ],
)
@pytest.mark.parametrize("resize", ["nearest", "bilinear"])
def test_shorter_side_and_center_crop(
    size: tuple[int, int],
    shorter: int,
    resized: tuple[int, int],
    corner: tuple[int, int],
    resize: Any,
) -> None:
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    filters = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
    whole = np.asarray(image.resize(resized, filters[resize]))
    left, top = corner
    frame = to_frame(image, Preprocessing(8, 8, resize, "center", shorter))
    np.testing.assert_array_equal(frame, whole[top : top + 8, left : left + 8])


KERAS = """
import sys, numpy as np
from keras.utils import load_img
paths = sys.argv[2:]
np.savez(sys.argv[1], **{
    f"{resize} {index}": np.asarray(
        load_img(path, target_size=(int(height), int(width)), interpolation=resize)
    )
    for index, spec in enumerate(paths)
    for path, height, width in [spec.rsplit(":", 2)]
    for resize in ("nearest", "bilinear")
})
"""


NO_KERAS = pytest.mark.skipif(
    find_spec("keras") is None, reason="Keras is not installed (extra 'keras')"
)


def same_as_keras(folder: Path, files: list[Path], sizes: list[tuple[int, int]]) -> None:
    """`to_frame` gives the pixels of Keras' own loader, stretched to these heights and widths."""
    cases = [(file, size) for file in files for size in sizes]
    output = folder / "keras.npz"
    specs = [f"{file}:{height}:{width}" for file, (height, width) in cases]
    subprocess.run([sys.executable, "-c", KERAS, str(output), *specs], check=True)
    with np.load(output) as theirs:
        for index, (file, (height, width)) in enumerate(cases):
            for resize in ("nearest", "bilinear"):
                ours = to_frame(file, Preprocessing(height, width, resize))
                np.testing.assert_array_equal(
                    ours, theirs[f"{resize} {index}"], f"{file.name} {height} {width} {resize}"
                )


@pytest.mark.slow
@NO_KERAS
def test_resize_is_that_of_keras(tmp_path: Path) -> None:
    """The same pixels as Keras' own loader, for all kinds of files it reads alike."""
    photograph = Image.fromarray(rng.integers(0, 256, (301, 257, 3), np.uint8))
    rgba = Image.fromarray(np.dstack([PIXELS, GREY]))
    files = [
        save(tmp_path / "a.jpg", photograph),
        save(tmp_path / "b.png", photograph),
        save(tmp_path / "grey.png", Image.fromarray(GREY)),
        save(tmp_path / "palette.png", photograph.quantize(32)),
        save(tmp_path / "rgba.png", rgba),
        save(tmp_path / "cmyk.jpg", photograph.convert("CMYK")),
        save(tmp_path / "one.png", Image.new("RGB", (1, 1), (9, 8, 7))),
        save(tmp_path / "as-is.png", photograph.resize((256, 256))),
    ]
    same_as_keras(tmp_path, files, [(256, 256), (300, 299), (31, 17)])


@pytest.mark.slow
@pytest.mark.weights
@NO_KERAS
def test_resize_is_that_of_keras_on_photographs(tmp_path: Path) -> None:
    assert SHARED is not None  # the marker has skipped the test otherwise
    photographs = sorted((SHARED / "images" / "photos").iterdir())
    keras = {card.preprocessing for card in CARDS if card.framework == "keras"}
    sizes = sorted({(how.height, how.width) for how in keras})
    assert len(photographs) >= 3
    assert sizes == [(256, 256), (299, 299)]
    same_as_keras(tmp_path, photographs, sizes)


@pytest.mark.weights
def test_published_faces_are_read_upright(afchar_images: list[Path]) -> None:
    for path in afchar_images:
        with Image.open(path) as image:
            frame = to_frame(path, Preprocessing(image.height, image.width, "nearest"))
            np.testing.assert_array_equal(frame, np.asarray(image.convert("RGB")))
        assert load_image(path).mode == "RGB"
