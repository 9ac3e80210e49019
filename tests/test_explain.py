"""`zoo explain`: heat maps that show what decides, and pictures of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from tiny_engine import TINY_INFO, TinyEngine, random_frames

from runtime import Detector
from runtime.engine_info import WeightsInfo
from runtime.errors import EngineError, ImageError, ZooError
from zoo.catalog import find_card
from zoo.cli import main
from zoo.explain.face import face_of
from zoo.explain.gradcam import _keras_gradients, gradcam_heat
from zoo.explain.heat_map import HeatMap, explain
from zoo.explain.occlusion import occlusion_heat
from zoo.explain.picture import save_heat_map
from zoo.noise import seeded_frames
from zoo.originals import load_original
from zoo.originals.inside import load_original_of


class Corner:
    """A detector whose log-odds are the brightness of the right bottom quarter."""

    def __init__(self, sign: float) -> None:
        self.sign = sign
        self.largest = 0

    def infer(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.largest = max(self.largest, len(frames))
        _, height, width, _ = frames.shape
        corner = frames[:, height // 2 :, width // 2 :].mean((1, 2, 3))
        logit = (self.sign * corner / 10).astype(np.float32)
        return logit, logit


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("size", [(64, 64), (75, 91), (8, 8)])
def test_occlusion_is_hot_where_the_score_comes_from(sign: float, size: tuple[int, int]) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    frame[size[0] // 2 :, size[1] // 2 :] = 200
    detector = Corner(sign)
    heat: NDArray[np.float32] = occlusion_heat(detector, frame)  # type: ignore[arg-type]
    assert heat.shape == size
    assert heat.dtype == np.float32
    assert np.isfinite(heat).all(), "every pixel was covered"
    assert detector.largest <= 32
    middle = sign * heat[size[0] * 3 // 4, size[1] * 3 // 4]
    assert middle > 0
    # Further than a patch from the quarter nothing counts.
    away = heat[: size[0] // 2 - size[0] // 8 - 1, :]
    assert np.abs(away).max() == 0


def test_explain_gives_the_engines_score(tiny_engine: TinyEngine) -> None:
    frame = random_frames(1)[0]
    with Detector(tiny_engine.path) as detector:
        found = explain(detector, frame)
        logit, fake = detector.infer(frame[None])
    assert (found.logit, found.fake) == (float(logit[0]), float(fake[0]))
    assert (found.frame == frame).all()
    assert found.method == "occlusion"


@pytest.mark.parametrize("name", ["meso4", "mesoinception4"])
def test_gradcam_accounts_for_the_logit(name: str) -> None:
    """Behind the features the network is linear by pieces: heat and biases make the logit."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed (extra: keras)")
    original = load_original(find_card(name), "random", seed=3)
    (frame,) = seeded_frames(1, 256, 256, 8)
    features, gradients = _keras_gradients(original, original.normalise(frame[None]))
    assert features.shape == gradients.shape == (8, 8, 16)
    hidden, last = [layer for layer in original.module.layers if type(layer).__name__ == "Dense"]
    w1, b1 = hidden.get_weights()
    w2, b2 = last.get_weights()
    before = features.reshape(-1) @ w1 + b1
    slope = np.where(before > 0, 1.0, 0.1)
    from_biases = -((slope * b1) @ w2[:, 0] + b2[0])  # the network says "real": minus
    due = original.scores(frame[None]).logit[0]
    assert (features * gradients).sum() + from_biases == pytest.approx(due, abs=1e-4)
    assert abs((features * gradients).sum()) > 0.1
    heat = gradcam_heat(original, frame)
    assert heat.shape == (256, 256)


@pytest.mark.weights
def test_gradcam_of_published_weights_points_to_the_verdict(afchar_images: list[Path]) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed (extra: keras)")
    original = load_original(find_card("meso4"))
    sums = []
    for path in afchar_images:
        with Image.open(path) as image:
            frame = np.asarray(image.convert("RGB").resize((256, 256)), np.uint8)
        sums.append(float(gradcam_heat(original, frame).sum()))
    assert min(sums[:2]) > max(sums[2:])


def test_gradcam_refuses_other_weights(tmp_path: Path) -> None:
    inside = WeightsInfo("custom", trained=True, file="mine.h5", sha256="1" * 64)
    engine = TinyEngine.write(tmp_path, info=replace(TINY_INFO, network="meso4", weights=inside))
    with Detector(engine.path) as detector:
        with pytest.raises(EngineError, match="made from a file of yours") as error:
            load_original_of(detector.path, detector.info, None)
        assert "mine.h5" in error.value.todo
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed (extra: keras)")
        with pytest.raises(EngineError, match="not the weights that are in"):
            load_original_of(detector.path, detector.info, "random")


def heat_map(**changes: Any) -> HeatMap:
    frame = random_frames(1)[0]
    plain = HeatMap(frame, np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8), 0.7, 0.8,
                    "occlusion")  # fmt: skip
    return replace(plain, **changes)


def test_the_picture_shows_orange_for_fake_and_blue_for_real(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")
    sums = {}
    for name, sign in (("fake", 1), ("real", -1)):
        heat = np.full((8, 8), sign, np.float32)
        grey = np.full((8, 8, 3), 128, np.uint8)
        path = tmp_path / f"{name}.png"
        save_heat_map(heat_map(frame=grey, heat=heat), "a $title$ with _signs^", path)
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), np.int64)
        height, width, _ = pixels.shape
        sums[name] = pixels[height // 2, width * 2 // 3]  # inside the right frame
    assert sums["fake"][0] > sums["fake"][2] + 60
    assert sums["real"][2] > sums["real"][0] + 60


def test_a_heat_of_nothing_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")
    save_heat_map(heat_map(heat=np.zeros((8, 8), np.float32)), "flat", tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text().startswith("<?xml")


def test_pictures_that_cannot_be_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")
    with pytest.raises(ZooError, match="no kind of picture"):
        save_heat_map(heat_map(), "x", tmp_path / "heat.txt")
    with pytest.raises(ZooError, match="cannot be written"):
        save_heat_map(heat_map(), "x", tmp_path / "no" / "heat.png")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")
    image, out = tmp_path / "face.png", tmp_path / "heat.png"
    Image.fromarray(random_frames(1)[0]).save(image)
    base = ["explain", str(image), "-e", str(tiny_engine.path), "--out", str(out)]
    base += ["--faces", "none"]
    answer = CliRunner().invoke(main, base)
    assert answer.exit_code == 0, answer.output
    assert "the image as it is" in answer.output
    with Image.open(out) as picture:
        assert picture.width > 800
    image.write_bytes(b"nothing")
    answer = CliRunner().invoke(main, base)
    assert answer.exit_code == 2
    with Detector(tiny_engine.path) as detector, pytest.raises(ImageError):
        explain(detector, image)


@pytest.mark.weights
def test_the_face_of_a_photograph_is_explained(
    weights_dir: Path, afchar_images: list[Path], tiny_engine: TinyEngine
) -> None:
    from runtime.faces import YuNet
    from runtime.judge import Judge

    finder = YuNet(weights_dir / "face_detection_yunet_2023mar.onnx")
    photo = weights_dir.parent / "images" / "photos" / "two_people.jpg"
    with Detector(tiny_engine.path) as detector:
        judged = Judge(detector, finder).image(photo).faces
        assert len(judged) == 2
        for which, due in (("all", max(judged, key=lambda f: f.logit)), ("largest", judged[0])):
            crop, what = face_of(photo, detector, finder, which)  # type: ignore[arg-type]
            assert due.box is not None
            assert what == f"face at {due.box[0]:.0f},{due.box[1]:.0f}"
            assert explain(detector, crop).logit == pytest.approx(due.logit, abs=1e-4)
        crop, what = face_of(afchar_images[0], detector, finder)
        with Image.open(afchar_images[0]) as image:
            assert crop.shape == (image.height, image.width, 3)
        assert what == "the image as it is"


def test_a_picture_without_a_face_is_taken_for_one_and_says_so(
    tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    class Nobody:
        name = "nobody"

        def find(self, picture: Image.Image, min_size: int) -> list[Any]:
            return []

    Image.fromarray(random_frames(1)[0]).save(tmp_path / "wall.png")
    with Detector(tiny_engine.path) as detector:
        crop, what = face_of(tmp_path / "wall.png", detector, Nobody())
    assert (crop == random_frames(1)[0]).all()
    assert "no face found" in what
