"""Faces: found, chosen, and cut as the network's training faces were."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tiny_engine import TINY_INFO

from runtime.engine_info import EngineInfo
from runtime.errors import EngineError
from runtime.faces import Face, FaceCrop, Selection, YuNet, crop_face, select, sharpness
from runtime.faces.boxes import suppress
from runtime.faces.crop import covered, upright_square
from runtime.faces.face import overlap
from runtime.faces.selection import laplacian
from runtime.frames import load_image

#: How many people are on each photograph.
PEOPLE = {
    "obama.jpg": 1,
    "test_kate_siegel.jpg": 1,
    "test_paul_rudd.jpg": 1,
    "aligned_paul_rudd.png": 1,
    "two_people.jpg": 2,
    "multiface.jpg": 6,
}


def face_at(
    x: float, y: float, size: float, *, turn: float = 0.0, score: float = 0.9, height: float = 0
) -> Face:
    """A face around (x, y) whose eyes are ``size`` / 2 apart, clockwise by ``turn`` degrees."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    upright = np.array([[-0.25, -0.2], [0.25, -0.2], [0, 0.05], [-0.18, 0.3], [0.18, 0.3]]) * size
    marks = upright @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
    height = height or size
    box = x - size / 2, y - height / 2, size, height
    return Face(*box, score, marks.astype(np.float32))


def drawn(face: Face, size: tuple[int, int]) -> Image.Image:
    """A picture with red eyes and a blue mouth where the face has them."""
    picture = Image.new("RGB", size, (90, 90, 90))
    pen = ImageDraw.Draw(picture)
    for (x, y), colour in zip(face.landmarks, ["red", "red", "white", "blue", "blue"], strict=True):
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
    return picture


def middle_of(pixels: np.ndarray, channel: int) -> list[tuple[float, float]]:
    """(x, y) of the two spots of one colour, the left one first."""
    other = 2 - channel
    spots = (pixels[..., channel] > 180) & (pixels[..., other] < 80) & (pixels[..., 1] < 80)
    down, across = np.nonzero(spots)
    left = across < across.mean()
    return [(across[half].mean(), down[half].mean()) for half in (left, ~left)]


@pytest.fixture(scope="module")
def yunet(weights_dir: Path) -> YuNet:
    return YuNet(weights_dir / "face_detection_yunet_2023mar.onnx")


@pytest.fixture(scope="module")
def photos(weights_dir: Path) -> Path:
    return weights_dir.parent / "images" / "photos"


@pytest.mark.parametrize(("name", "people"), PEOPLE.items())
def test_yunet_finds_everyone_once(yunet: YuNet, photos: Path, name: str, people: int) -> None:
    picture = load_image(photos / name)
    faces = yunet.find(picture, 40)
    assert len(faces) == people
    assert [f.width * f.height for f in faces] == sorted(
        (f.width * f.height for f in faces), reverse=True
    )
    for face in faces:
        left_eye, right_eye, nose, *mouth = face.landmarks
        assert face.landmarks.dtype == np.float32
        assert 0.75 <= face.score <= 1
        assert left_eye[0] < right_eye[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(corner[1] for corner in mouth)
        x, y, width, height = face.box
        assert (face.landmarks >= (x, y)).all()
        assert (face.landmarks <= (x + width, y + height)).all()


def test_no_face_is_a_result(yunet: YuNet) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    for picture in (Image.fromarray(noise), Image.new("RGB", (1, 1)), Image.new("RGB", (3000, 2))):
        assert yunet.find(picture, 40) == []


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_boxes_follow_the_scale(yunet: YuNet, photos: Path, scale: float) -> None:
    picture = load_image(photos / "two_people.jpg")
    due = yunet.find(picture, 40)
    other = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    found = yunet.find(other, 40)
    assert len(found) == len(due) == 2
    for face in due:
        best = max(overlap(face.box, [v / scale for v in f.box]) for f in found)
        assert best > 0.85


def test_small_faces_of_a_large_picture_are_found(yunet: YuNet, photos: Path) -> None:
    group = load_image(photos / "multiface.jpg").resize((720, 378))  # faces of 45 to 58 pixels
    large = Image.new("RGB", (4200, 3000), (60, 90, 60))
    large.paste(group, (3200, 1900))
    faces = yunet.find(large, 40)
    assert len(faces) == 6
    assert all(f.x > 3200 and f.y > 1900 for f in faces)


@pytest.mark.parametrize("turn", [-30, 20])
def test_an_aligned_crop_is_upright(yunet: YuNet, photos: Path, turn: int) -> None:
    photo = load_image(photos / "obama.jpg")
    (straight,) = yunet.find(photo, 40)
    picture = photo.rotate(-turn, Image.Resampling.BICUBIC)
    (face,) = yunet.find(picture, 40)
    crop = Image.fromarray(crop_face(picture, face, FaceCrop()))
    (again,) = yunet.find(crop, 40)
    turned = upright_square(face, FaceCrop())[2] - upright_square(straight, FaceCrop())[2]
    assert abs(math.degrees(turned) - turn) < 8
    assert abs(math.degrees(upright_square(again, FaceCrop())[2])) < 8
    # The crop of the crop is the crop: centre and size are those of the recipe.
    assert covered(again, FaceCrop(), *crop.size) > 0.8


def test_another_onnx_is_refused(tiny_engine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not exist"):
        YuNet(tmp_path / "no.onnx")
    with pytest.raises(EngineError, match="not the YuNet"):
        YuNet(tiny_engine.path)
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(EngineError, match="not the YuNet"):
        YuNet(tmp_path / "text.onnx")


@pytest.mark.parametrize("turn", [0, 25, -70, 179])
def test_alignment_puts_eyes_and_mouth_in_their_places(turn: float) -> None:
    face = face_at(300, 250, 160, turn=turn)
    crop = crop_face(drawn(face, (600, 500)), face, FaceCrop(margin=0.15))
    # Eyes 80 apart, 80 above the mouth; the nose, 40 below the eyes, draws the centre to 32.
    side = round(2.2 * 80 * 1.3)
    assert crop.shape == (side, side, 3)
    eyes, mouth = middle_of(crop, 0), middle_of(crop, 2)
    middle = (side - 1) / 2
    np.testing.assert_allclose(
        eyes, [(middle - 40, middle - 32), (middle + 40, middle - 32)], atol=1
    )
    np.testing.assert_allclose(
        mouth, [(middle - 28.8, middle + 48), (middle + 28.8, middle + 48)], atol=1
    )


@pytest.mark.parametrize("place", [(5, 5), (395, 295), (200, 0), (-30, 150)])
def test_beyond_the_edge_the_picture_is_mirrored(place: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    # Never black: black could only come from beyond the picture.
    picture = Image.fromarray(rng.integers(120, 200, (300, 400, 3), dtype=np.uint8))
    crop = crop_face(picture, face_at(*place, 120), FaceCrop())
    assert crop.min() > 60
    assert crop.std() > 5


def test_an_unturned_crop_is_the_pixels_themselves() -> None:
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    face = face_at(150, 150, 100)
    (x, y), side, turn = upright_square(face, FaceCrop())
    assert turn == pytest.approx(0, abs=1e-6)
    crop = crop_face(Image.fromarray(pixels), face, FaceCrop())
    left, top = round(x - len(crop) / 2), round(y - len(crop) / 2)
    same = pixels[top : top + len(crop), left : left + len(crop)]
    assert round(side) == len(crop)
    # Its centre may lie between two pixels.
    if abs(x - len(crop) / 2 - left) < 0.01 and abs(y - len(crop) / 2 - top) < 0.01:
        np.testing.assert_array_equal(crop, same)


def test_a_box_is_cut_at_the_picture_with_its_margin() -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    face = face_at(100, 80, 40, height=60)
    as_found = FaceCrop(align=False, margin=0, square=False)
    np.testing.assert_array_equal(crop_face(picture, face, as_found), pixels[50:110, 80:120])
    wider = FaceCrop(align=False, margin=0.25, square=True)
    np.testing.assert_array_equal(crop_face(picture, face, wider), pixels[35:125, 55:145])
    corner = face_at(10, 10, 40)
    np.testing.assert_array_equal(crop_face(picture, corner, as_found), pixels[0:30, 0:30])
    assert crop_face(picture, face_at(-500, -500, 40), as_found).shape == (1, 1, 3)


@pytest.mark.weights
@pytest.mark.parametrize("label", ["df", "real"])
def test_afchars_own_crops_are_known_as_crops(
    yunet: YuNet, afchar_images: list[Path], photos: Path, label: str
) -> None:
    for path in afchar_images:
        if path.parent.name == label:
            picture = load_image(path)
            (face,) = yunet.find(picture, 40)
            assert covered(face, FaceCrop(), *picture.size) >= 0.5
    photo = load_image(photos / "obama.jpg")
    assert covered(yunet.find(photo, 40)[0], FaceCrop(), *photo.size) < 0.25


def test_faces_are_chosen_and_the_others_named() -> None:
    rng = np.random.default_rng(6)
    pixels = rng.integers(0, 256, (400, 600, 3), dtype=np.uint8)
    pixels[:, 300:] = 128  # no detail on the right
    picture = Image.fromarray(pixels)
    large, blurred, small = face_at(120, 120, 100), face_at(450, 200, 90), face_at(250, 350, 30)
    kept, dropped = select(picture, [small, blurred, large], Selection(min_size=40))
    assert kept == [large, blurred]
    assert [d.why for d in dropped] == ["30 pixels, less than 40"]
    rule = Selection(min_size=20, min_sharpness=30)
    kept, dropped = select(picture, [small, blurred, large], rule, time=1.5)
    assert kept == [large, small]
    assert dropped[0].why == "blurred: sharpness 0.0, less than 30"
    assert dropped[0].box == blurred.box
    assert dropped[0].time == 1.5
    kept, dropped = select(picture, [small, blurred, large], Selection("largest", min_size=1))
    assert kept == [large]
    assert [d.why for d in dropped] == ["not the largest"] * 2


def test_the_largest_is_the_largest_that_is_fit() -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    pixels[:, 150:] = 0
    blurred, sharp = face_at(230, 150, 100), face_at(70, 150, 80)
    rule = Selection("largest", min_sharpness=30)
    kept, dropped = select(Image.fromarray(pixels), [blurred, sharp], rule)
    assert kept == [sharp]
    assert dropped[0].why.startswith("blurred")


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    grey = np.random.default_rng(8).integers(0, 256, (20, 30), dtype=np.uint8)
    values = grey.astype(np.float64)
    due = np.empty_like(values)
    for y in range(20):
        for x in range(30):
            up, down = values[abs(y - 1), x], values[y + 1 if y < 19 else 18, x]
            left, right = values[y, abs(x - 1)], values[y, x + 1 if x < 29 else 28]
            due[y, x] = up + down + left + right - 4 * values[y, x]
    np.testing.assert_array_equal(laplacian(grey.astype(np.float32)), due)
    picture = Image.fromarray(np.stack([grey] * 3, axis=-1))
    whole = Face(0, 0, 30, 20, 1.0, np.zeros((5, 2), np.float32))
    assert sharpness(picture, whole) == pytest.approx(due.var())
    outside = Face(100, 100, 30, 20, 1.0, np.zeros((5, 2), np.float32))
    assert sharpness(picture, outside) == 0


def test_suppression_keeps_the_best_of_each_heap() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [0, 0, 4, 4]], np.float32)
    scores = np.array([0.8, 0.9, 0.5, 0.7], np.float32)
    assert suppress(boxes, scores, 0.3).tolist() == [1, 3, 2]
    # The small box lies within the large one almost whole.
    assert suppress(boxes, scores, 0.7, "smaller").tolist() == [1, 2]
    assert suppress(boxes[:0], scores[:0], 0.3).tolist() == []


def test_overlap() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (10, 0, 10, 10)) == 0


def test_a_sidecar_carries_the_crop_and_an_older_one_reads_as_afchars() -> None:
    crop = FaceCrop(align=False, margin=0.3, square=False)
    from dataclasses import replace

    text = replace(TINY_INFO, face_crop=crop).to_json()
    assert EngineInfo.from_json(text, "x").face_crop == crop
    older = json.loads(text)
    del older["face_crop"]
    assert EngineInfo.from_json(json.dumps(older), "x").face_crop == FaceCrop()
    older["face_crop"] = {"align": True, "margin": -1.0, "square": True}
    with pytest.raises(EngineError, match="margin"):
        EngineInfo.from_json(json.dumps(older), "x")


@pytest.mark.parametrize(
    "make",
    [
        lambda: FaceCrop(margin=-0.1),
        lambda: FaceCrop(margin=float("nan")),
        lambda: FaceCrop(align=True, square=False),
        lambda: Selection(min_size=0),
        lambda: Selection(min_sharpness=float("nan")),
    ],
)
def test_nonsense_is_refused(make) -> None:
    with pytest.raises(ValueError, match=r"margin|square|min_"):
        make()
