"""An engine made with flags is verified, benched and explained without saying them again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

if "tensorflow" in sys.modules:
    pytest.skip("torchvision aborts a process that runs TensorFlow", allow_module_level=True)
torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from small_torch import CARD, SmallNet, save  # noqa: E402

from benchmarks.peers.peer import Job, OriginalNetwork, PeerMissingError  # noqa: E402
from benchmarks.peers.pytorch import open_peer  # noqa: E402
from export.verify import verify_engine  # noqa: E402
from runtime import Detector  # noqa: E402
from runtime.engine_info import EngineInfo, Preprocessing, WeightsInfo  # noqa: E402
from runtime.errors import EngineError, ImageError  # noqa: E402
from zoo import catalog  # noqa: E402
from zoo.card import Head  # noqa: E402
from zoo.cli import main  # noqa: E402
from zoo.explain.heat_map import explain  # noqa: E402
from zoo.noise import seeded_frames  # noqa: E402
from zoo.originals import load_original  # noqa: E402
from zoo.originals.torch_random import condition  # noqa: E402
from zoo.recipe import Said, recipe_fields  # noqa: E402

SIDE = (20, 28)
FRAMES = seeded_frames(5, *SIDE, 3)
FLAGS = ["--size", "20x28", "--scale", "1/127.5", "--mean", "1", "--std", "0.9,1,1.1"]


@dataclass(frozen=True)
class Exported:
    """An engine of a file of the user's, and what its training program would say."""

    engine: Path
    weights: Path
    images: Path
    sidecar: dict[str, Any]
    printed: str
    logits: NDArray[np.float32]


def exported(folder: Path, outputs: int, *flags: str) -> Exported:
    model = SmallNet(outputs).eval()
    pixels = FRAMES / 127.5 - 1
    values = (pixels / [0.9, 1, 1.1]).astype(np.float32).transpose(0, 3, 1, 2).copy()
    condition(model, "fc", torch.from_numpy(values), seed=1)
    with torch.inference_mode():
        logits = model(torch.from_numpy(values)).numpy()
    weights = save(folder / "mine.pth", {f"backbone.{n}": t for n, t in model.state_dict().items()})
    images = folder / "images"
    images.mkdir()
    for index, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(images / f"{index}.png")
    words = ["export", "small", "--weights", str(weights), "--builder", "none", *FLAGS, *flags]
    words += ["--images", str(images), "--out", str(folder), "--name", "mine"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    sidecar = json.loads((folder / "mine.json").read_text())
    return Exported(folder / "mine.onnx", weights, images, sidecar, done.output, logits)


@pytest.fixture(scope="module", autouse=True)
def _in_the_catalog() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "CARDS", (*catalog.CARDS, CARD))
        yield


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Of one output that says 'real'."""
    return exported(tmp_path_factory.mktemp("one"), 1, "--says", "real")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Of two outputs, of which the first is 'fake', where the card has one first."""
    return exported(tmp_path_factory.mktemp("two"), 2, "--fake-index", "0")


def sigmoid(logit: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logit.astype(np.float64)))


def due(made: Exported) -> NDArray[np.float64]:
    """P(fake)."""
    if made.logits.shape[1] == 1:
        return sigmoid(-made.logits[:, 0])
    return sigmoid(made.logits[:, 0] - made.logits[:, 1])


def test_the_engine_says_what_the_flags_mean(one: Exported, two: Exported) -> None:
    for made in (one, two):
        assert due(made).std() > 0.05, "a constant would prove nothing"
        with Detector(made.engine) as detector:
            np.testing.assert_allclose(detector.score(FRAMES), due(made), atol=1e-5)


def test_what_was_assumed_is_printed_and_in_the_sidecar(one: Exported, two: Exported) -> None:
    side = one.sidecar
    assert side["normalisation"] == {
        "scale": 1 / 127.5, "mean": [1.0, 1.0, 1.0], "std": [0.9, 1.0, 1.1],
    }  # fmt: skip
    assert side["head"] == {"kind": "logit", "says": "real", "fake_index": None}
    assert side["fake_index"] is None
    assert side["sources"] == {
        "output": "the file",
        "polarity": "--says",
        "size": "--size",
        "crop": "--size",
        "resize": "card",
        "scale": "--scale",
        "mean": "--mean",
        "std": "--std",
        "face_crop": "card",
    }
    assert "names without their prefix 'backbone.'" in side["weights"]["source"]
    assert two.sidecar["head"] == {"kind": "logits", "says": None, "fake_index": 0}
    printed = " ".join(one.printed.split())
    for words in (
        f", weights {side['weights']['file']}",
        f"weights {side['weights']['source']}",
        "output one, a logit of 'real' (output: the file; polarity: --says)",
        "frame 20 x 28 RGB, bilinear, stretched, no crop (size, crop: --size; resize: card)",
        "pixels (x / 127.5 - 1) / [0.9, 1, 1.1]: -1.111 to 1.111 (scale: --scale; mean:",
        "faces a square with margin 0.15, eyes level (card)",
    ):
        assert words in printed, words
    assert "two, logits of (fake, real)" in two.printed


@pytest.mark.parametrize("name", ["one", "two"])
def test_it_is_verified_without_saying_it_again(name: str, request: Any) -> None:
    made: Exported = request.getfixturevalue(name)
    assert verify_engine(made.engine, images=made.images, weights=str(made.weights)).passed


@pytest.mark.parametrize("name", ["one", "two"])
def test_goldens_are_probabilities_of_the_original(name: str, request: Any, tmp_path: Path) -> None:
    """Of one output P of what it says, here 'real'; of two P(fake)."""
    made: Exported = request.getfixturevalue(name)
    own = due(made) if name == "two" else 1 - due(made)
    lines = [f"{index}.png,{p}" for index, p in enumerate(own)]
    table = tmp_path / "goldens.csv"
    table.write_text("\n".join(["file,mine", *lines]) + "\n")
    found = verify_engine(made.engine, images=made.images, goldens=table)
    assert found.passed, found.failures
    assert found.comparisons[0].max_p < 1e-5
    table.write_text("\n".join(["file,mine", *lines[:-1], "4.png,3.5"]) + "\n")
    with pytest.raises(ImageError, match="no probability") as refused:
        verify_engine(made.engine, images=made.images, goldens=table)
    assert "3.5" in refused.value.why


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_peer_runs_the_same_network(name: str, request: Any) -> None:
    """Its head and its frames' size are the engine's; of a user's file the numbers are not."""
    made: Exported = request.getfixturevalue(name)
    job = Job("torch", "", str(made.engine), json.dumps(made.sidecar))
    peer = open_peer(job)
    output = peer.prepare(FRAMES)()
    assert output.shape == made.logits.shape
    assert np.isnan(peer.fake(output)).all(), "these are others' numbers"
    network = OriginalNetwork(job.engine_info)
    values = network.values(FRAMES)
    np.testing.assert_allclose(
        values[..., 2], (FRAMES[..., 2] / 127.5 - 1) / 1.1, atol=1e-6, rtol=1e-5
    )


def test_a_peer_of_untrained_weights_says_what_their_original_says() -> None:
    """Of one output, where the card's first head has two."""
    assert CARD.head.outputs == 2
    said = Said(says="real", size=SIDE, scale=1 / 127.5, mean=(1.0,) * 3, std=(1.0,) * 3)
    original = load_original(CARD, "random", seed=4, said=said)
    info = EngineInfo("small", "", original.weights, **recipe_fields(original.recipe))
    peer = open_peer(Job("torch", "", "r.onnx", info.to_json()))
    due = original.scores(FRAMES).fake
    assert due.std() > 0.05
    np.testing.assert_allclose(peer.fake(peer.prepare(FRAMES)()), due, atol=1e-6)


def test_a_peer_of_two_outputs_is_opened_by_a_sidecar_of_before() -> None:
    """Which names no head: InceptionResnetV1's card has one output, and another head of two."""
    weights = WeightsInfo("custom", trained=True)
    how = Preprocessing(*SIDE, "bilinear")
    card = replace(CARD, name="before", head=Head("logit", says="fake"), other_head=CARD.head)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "CARDS", (card,))
        info = EngineInfo("before", "", weights, how, fake_index=1)
        peer = open_peer(Job("torch", "", "r.onnx", info.to_json()))
        assert peer.prepare(FRAMES)().shape == (len(FRAMES), 2)


def test_no_other_network_stands_in_for_one_that_a_file_carries() -> None:
    weights = WeightsInfo("custom", trained=True, file="mine.h5", own_network=True)
    info = EngineInfo("meso4", "", weights, Preprocessing(*SIDE, "nearest"))
    with pytest.raises(PeerMissingError, match=r"the network is mine\.h5's own"):
        OriginalNetwork(info).load()


def test_it_is_explained_without_saying_it_again(two: Exported) -> None:
    with Detector(two.engine) as detector:
        image = Image.fromarray(FRAMES[0])
        heat = explain(detector, image, "gradcam", weights=str(two.weights))
        assert heat.fake == pytest.approx(due(two)[0], abs=1e-5)
        save(two.weights.with_name("other.pth"), SmallNet(2).state_dict())
        with pytest.raises(EngineError, match="not the weights"):
            explain(detector, image, "gradcam", weights=str(two.weights.with_name("other.pth")))
