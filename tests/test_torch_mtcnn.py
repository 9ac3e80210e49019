"""MTCNN: from facenet-pytorch's weights to ONNX, and the faces that it finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from test_faces import PEOPLE
from tiny_engine import TinyEngine

import export.mtcnn as conversion
from export.mtcnn import build_network, load_network, mtcnn_folder
from runtime.errors import EngineError, ExportError, WeightsError
from runtime.faces import Mtcnn, YuNet
from runtime.faces.face import overlap
from runtime.frames import load_image
from zoo.cli import main

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Path:
    patch = pytest.MonkeyPatch()
    patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
    try:
        return mtcnn_folder()
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def mtcnn(folder: Path) -> Mtcnn:
    return Mtcnn(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "people"), PEOPLE.items())
def test_everyone_is_found_where_yunet_finds_them(
    mtcnn: Mtcnn, weights_dir: Path, name: str, people: int
) -> None:
    picture = load_image(weights_dir.parent / "images" / "photos" / name)
    found = mtcnn.find(picture, 40)
    other = YuNet(weights_dir / "face_detection_yunet_2023mar.onnx").find(picture, 40)
    assert len(found) == people
    for face in other:
        twin = max(found, key=lambda f: overlap(f.box, face.box))
        assert overlap(twin.box, face.box) > 0.7
        apart = np.linalg.norm(twin.landmarks - face.landmarks, axis=1)
        assert apart.max() < 0.2 * max(face.width, face.height)
        assert twin.score > 0.99


def test_pixels_are_averaged_as_torch_does(mtcnn: Mtcnn) -> None:
    from runtime.faces import mtcnn as arithmetic

    pixels = np.random.default_rng(0).integers(0, 256, (61, 97, 3), dtype=np.uint8)
    sums = arithmetic._sums(Image.fromarray(pixels))
    whole = torch.from_numpy(pixels).float().permute(2, 0, 1)[None]
    for left, top, right, bottom in ((0, 0, 97, 61), (5, 7, 20, 61), (90, 10, 93, 12)):
        for size in ((24, 24), (48, 31), (97, 61)):
            part = whole[:, :, top:bottom, left:right]
            due = torch.nn.functional.interpolate(part, size=size[::-1], mode="area")
            found = arithmetic._pixels(sums, [(left, top, right, bottom)], size)
            np.testing.assert_allclose(found, (due.numpy() - 127.5) / 128, atol=1e-5)


def test_a_very_large_picture_is_looked_at_smaller(
    mtcnn: Mtcnn, weights_dir: Path, monkeypatch
) -> None:
    picture = load_image(weights_dir.parent / "images" / "photos" / "two_people.jpg")
    due = mtcnn.find(picture, 80)
    monkeypatch.setattr("runtime.faces.mtcnn._MOST_PIXELS", 300_000)
    found = mtcnn.find(picture, 80)
    assert len(found) == len(due) == 2
    for face in due:
        assert max(overlap(face.box, twin.box) for twin in found) > 0.8


def test_nobody_is_found_where_nobody_is(mtcnn: Mtcnn) -> None:
    for picture in (Image.new("RGB", (300, 200), (90, 90, 90)), Image.new("RGB", (5, 900))):
        assert mtcnn.find(picture, 20) == []


def test_it_is_made_once(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(folder.parent))
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert mtcnn_folder() == folder
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_the_weights_of_another_network_are_refused(weights_dir: Path) -> None:
    with pytest.raises(WeightsError, match=r"pnet\.pt is not MTCNN's rnet"):
        load_network("rnet", weights_dir / "pnet.pt")


@pytest.mark.parametrize(
    ("name", "side", "shapes"),
    [
        ("pnet", 40, [(2, 15, 15), (2, 4, 15, 15)]),
        ("rnet", 24, [(2,), (2, 4)]),
        ("onet", 48, [(2,), (2, 4), (2, 10)]),
    ],
)
def test_outputs(name: str, side: int, shapes: list[tuple[int, ...]]) -> None:
    with torch.no_grad():
        found = build_network(name).eval()(torch.zeros(2, 3, side, side))
    assert [tuple(value.shape) for value in found] == shapes


def test_a_conversion_that_computes_something_else_fails(folder: Path) -> None:
    with pytest.raises(ExportError, match="something else than in torch"):
        conversion._compare(build_network("rnet").eval(), "rnet", folder / "rnet.onnx")


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"pnet\.onnx cannot be loaded"):
        Mtcnn(tmp_path)


@pytest.mark.slow
def test_the_command_finds_faces_by_it(
    folder: Path, weights_dir: Path, tiny_engine: TinyEngine, monkeypatch
) -> None:
    pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")
    monkeypatch.setenv("ZOO_CACHE", str(folder.parent))
    shared = weights_dir.parent
    files = (shared / "images" / "photos" / "two_people.jpg", shared / "videos" / "pair_real.mp4")
    words = [*map(str, files), "--engine", str(tiny_engine.path), "--finder", "mtcnn"]
    done = CliRunner().invoke(main, ["detect", *words, "--frames", "3", "--json"])
    assert done.exit_code == 0, done.output
    photo, clip = map(json.loads, done.stdout.splitlines())
    assert photo["settings"]["finder"] == "mtcnn"
    assert len(photo["faces"]) == 2
    assert all(face["found"] > 0.99 for face in photo["faces"])
    (track,) = clip["tracks"]
    assert track["verdict"]["faces"] == 3
