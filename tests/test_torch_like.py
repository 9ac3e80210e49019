"""`--like`: a user's checkpoint is treated as the published weights it was trained like."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

if "tensorflow" in sys.modules:
    pytest.skip("torchvision aborts a process that runs TensorFlow", allow_module_level=True)
torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
from click.testing import CliRunner  # noqa: E402
from PIL import Image  # noqa: E402

from export.verify import verify_engine  # noqa: E402
from runtime import Detector  # noqa: E402
from runtime.errors import WeightsError  # noqa: E402
from zoo.catalog import find_card  # noqa: E402
from zoo.cli import main  # noqa: E402
from zoo.noise import seeded_frames  # noqa: E402
from zoo.originals import load_original  # noqa: E402
from zoo.originals.torch_random import condition  # noqa: E402
from zoo.recipe import Said  # noqa: E402


def test_like_imagenet_is_what_torchvisions_transform_input_does(tmp_path: Path) -> None:
    """Fine-tuned from torchvision's weights, InceptionV3 turns ImageNet's normalisation back."""
    card = find_card("inception_v3")
    model = torchvision.models.inception_v3(weights=None, init_weights=False)
    model.fc = torch.nn.Linear(2048, 2)
    model.transform_input = True
    frames = seeded_frames(4, 299, 299, 3)
    # Outside the network every such project normalises with ImageNet's mean and std.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = ((frames / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    values = torch.from_numpy(normalised.copy())
    condition(model, "fc", values, seed=2)
    with torch.inference_mode():
        logits = model.eval()(values).double().numpy()
    due = logits[:, 1] - logits[:, 0]
    path = tmp_path / "mine.pth"
    torch.save(model.state_dict(), path)
    like = load_original(card, str(path), said=Said(fake_index=1), like="imagenet")
    np.testing.assert_allclose(like.scores(frames).logit, due, rtol=1e-3, atol=1e-3)
    # The card's own way is another one, and nothing in the file tells.
    plain = load_original(card, str(path), said=Said(fake_index=1)).scores(frames).logit
    assert np.abs(plain - due).max() > 0.05


def test_the_sidecar_says_it_and_the_original_is_found_again(tmp_path: Path) -> None:
    card = find_card("inception_resnet_v1")
    assert card.preprocessing.height == 160
    path = tmp_path / "mine.pth"
    torch.save(load_original(card, "random").module.state_dict(), path)
    words = ["export", card.name, "--weights", str(path), "--like", "torchfakes"]
    words += ["--builder", "none", "--out", str(tmp_path), "--name", "mine", "--json"]
    images = tmp_path / "photographs"
    images.mkdir()
    for seed in range(4):
        Image.fromarray(seeded_frames(1, 300, 300, seed)[0]).save(images / f"{seed}.png")
    words += ["--images", str(images)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    sidecar = json.loads((tmp_path / "mine.json").read_text())
    assert sidecar["weights"]["like"] == "torchfakes"
    assert sidecar["preprocessing"]["height"] == 256
    with Detector(tmp_path / "mine.onnx") as detector:
        assert detector.info.weights.like == "torchfakes"
        frames = seeded_frames(2, 256, 256, 4)
        fake = detector.score(frames)
    due = load_original(card, str(path), like="torchfakes").scores(frames)
    np.testing.assert_allclose(fake, due.fake, atol=1e-5)
    assert verify_engine(tmp_path / "mine.onnx", images=images, weights=str(path)).passed


@pytest.mark.parametrize(
    ("weights", "like", "said"),
    [
        ("FILE", "df", "no published weights of that name"),
        ("imagenet", "imagenet", "is on the card itself"),
        (None, "imagenet", "is on the card itself"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, weights: str | None, like: str, said: str
) -> None:
    if weights == "FILE":
        (tmp_path / "a.pth").write_bytes(b"never read")
        weights = str(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=said):
        load_original(find_card("resnet18"), weights, like=like)
