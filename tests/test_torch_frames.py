"""Resize and crop against torchvision's transforms, which the networks were trained through."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published import SHARED

if "tensorflow" in sys.modules:
    pytest.skip("torchvision aborts a process that runs TensorFlow", allow_module_level=True)
pytest.importorskip("torchvision")
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from runtime.engine_info import Preprocessing, Resize
from runtime.frames import to_frame
from zoo.catalog import CARDS
from zoo.noise import seeded_frames

CROPPED = [card for card in CARDS if card.preprocessing.crop == "center"]
#: Wider, higher, square, odd, smaller than the frame, and already of its size.
SIZES = [(480, 641), (641, 480), (500, 500), (333, 1001), (120, 90), (299, 299), (256, 256)]
PHOTOS = sorted((SHARED / "images" / "photos").glob("*")) if SHARED else []


def theirs(picture: Image.Image, how: Preprocessing) -> np.ndarray:
    mode = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
    size = how.shorter_side if how.shorter_side is not None else (how.height, how.width)
    steps = [transforms.Resize(size, mode[how.resize])]
    if how.crop == "center":
        steps.append(transforms.CenterCrop((how.height, how.width)))
    return np.asarray(transforms.Compose(steps)(picture))


def compare(picture: Image.Image, how: Preprocessing) -> None:
    ours, due = to_frame(picture, how).astype(int), theirs(picture, how).astype(int)
    assert ours.shape == due.shape == (how.height, how.width, 3)
    assert due.std() > 5, "a flat image would prove nothing"
    assert np.abs(ours - due).max() <= (0 if how.resize == "nearest" else 1)


def kinds() -> list[Preprocessing]:
    of_cards = {card.preprocessing for card in CROPPED}
    resizes: tuple[Resize, ...] = ("nearest", "bilinear")
    more = {Preprocessing(256, 256, resize) for resize in resizes}
    more |= {Preprocessing(224, 224, r, "center", 256) for r in resizes}
    more |= {Preprocessing(99, 160, r, "center", 160) for r in resizes}
    return sorted(of_cards | more, key=str)


def ids(how: Preprocessing) -> str:
    return f"{how.height}x{how.width}-{how.resize}-{how.shorter_side}"


@pytest.mark.parametrize("how", kinds(), ids=ids)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_seeded_images(how, size):
    compare(Image.fromarray(seeded_frames(1, *size, seed=3)[0]), how)


@pytest.mark.weights
@pytest.mark.parametrize("how", kinds(), ids=ids)
@pytest.mark.parametrize("photo", PHOTOS or [Path("none")], ids=lambda path: path.name)
def test_real_photographs(how, photo):
    with Image.open(photo) as opened:
        compare(opened.convert("RGB"), how)
