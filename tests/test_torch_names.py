"""Checkpoints whose names other people chose: prefixes, heads of their own, one output or two."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if "tensorflow" in sys.modules:
    pytest.skip("torchvision aborts a process that runs TensorFlow", allow_module_level=True)
torch = pytest.importorskip("torch")
from small_torch import CARD, SmallNet, save, state  # noqa: E402

from runtime.errors import WeightsError  # noqa: E402
from zoo.catalog import find_card  # noqa: E402
from zoo.noise import seeded_frames  # noqa: E402
from zoo.originals import load_original  # noqa: E402
from zoo.originals.torch_checkpoint import Checkpoint  # noqa: E402
from zoo.originals.torch_fit import Due, fit  # noqa: E402
from zoo.recipe import Said  # noqa: E402

FRAMES = seeded_frames(3, 24, 24, 1)
FAKE = Said(says="fake")


def load(path: Path, said: Said | None = FAKE) -> Any:
    return load_original(CARD, str(path), said=said)


def due_logit(tensors: dict[str, Any], outputs: int) -> np.ndarray:
    """What the network of a training program says, without anything of ours but the pixels."""
    model = SmallNet(outputs)
    model.load_state_dict(tensors)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    values = ((FRAMES / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2).copy()
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(values)).numpy()


def renamed(tensors: dict[str, Any], prefix: str, head: str) -> dict[str, Any]:
    """As a module that keeps the network under ``prefix`` and has its head as ``head``."""
    return {
        name.replace("fc.", f"{head}.") if name.startswith("fc.") else prefix + name: tensor
        for name, tensor in tensors.items()
    }


def test_one_output_and_two_are_told_by_the_file(tmp_path: Path) -> None:
    one, two = state(1), state(2)
    save(tmp_path / "one.pth", one)
    save(tmp_path / "two.pth", two)
    logit = due_logit(one, 1)[:, 0]
    found = load(tmp_path / "one.pth").scores(FRAMES).logit
    np.testing.assert_allclose(found, logit, rtol=1e-4, atol=1e-6)
    real = load(tmp_path / "one.pth", Said(says="real")).scores(FRAMES).logit
    np.testing.assert_array_equal(real, -found)
    logits = due_logit(two, 2)
    found = load(tmp_path / "two.pth", Said(fake_index=0)).scores(FRAMES).logit
    np.testing.assert_allclose(found, logits[:, 0] - logits[:, 1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["inception_v3", "resnet18", "vgg16"])
def test_torchvisions_networks_judge_by_one_output_or_two(name: str) -> None:
    card = find_card(name)
    assert card.other_head is not None
    assert {card.head.outputs, card.other_head.outputs} == {1, 2}
    assert not card.head.known
    assert not card.other_head.known


def test_what_means_fake_has_to_be_said(tmp_path: Path) -> None:
    save(tmp_path / "one.pth", state(1))
    save(tmp_path / "two.pth", state(2))
    with pytest.raises(WeightsError, match=r"one output of .*one\.pth means") as refused:
        load(tmp_path / "one.pth", None)
    assert refused.value.todo == "--says fake or --says real"
    with pytest.raises(WeightsError, match="which of the two outputs"):
        load(tmp_path / "two.pth", None)
    with pytest.raises(WeightsError, match="--fake-index is for two outputs") as refused:
        load(tmp_path / "one.pth", Said(fake_index=1))
    assert "--says" in refused.value.todo
    with pytest.raises(WeightsError, match="--says is for one output") as refused:
        load(tmp_path / "two.pth", FAKE)
    assert "--fake-index" in refused.value.todo


def test_another_network_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    other = {"conv1.weight": torch.ones(8, 3, 3, 3), "fc.weight": torch.ones(2, 6)}
    save(tmp_path / "a.pth", other)
    with pytest.raises(WeightsError, match="does not fit SmallNet"):
        load(tmp_path / "a.pth", None)


@pytest.mark.parametrize("prefix", ["resnet.", "backbone.", "net.", "encoder.", "a.b.module.", ""])
@pytest.mark.parametrize("head", ["fc", "classifier", "last_linear", "fc.1", "backbone.fc"])
def test_prefixes_and_other_heads_are_resolved_and_said(
    tmp_path: Path, prefix: str, head: str
) -> None:
    tensors = state(1)
    save(tmp_path / "a.pth", renamed(tensors, prefix, head))
    original = load(tmp_path / "a.pth")
    found = original.scores(FRAMES).logit
    np.testing.assert_allclose(found, due_logit(tensors, 1)[:, 0], rtol=1e-4, atol=1e-6)
    source = original.weights.source
    assert (f"prefix '{prefix}'" in source) == bool(prefix)
    assert (f"'{head}' is its head 'fc'" in source) == (head != prefix + "fc")


def test_several_ways_to_read_the_names_are_refused_by_name(tmp_path: Path) -> None:
    twice = {**renamed(state(1), "rgb.", "fc"), **renamed(state(1), "depth.", "fc")}
    with pytest.raises(WeightsError, match="holds SmallNet 2 times") as refused:
        load(save(tmp_path / "a.pth", twice))
    assert "rgb., depth." in refused.value.why
    heads = {**renamed(state(1), "net.", "a"), **renamed(state(2), "net.", "b")}
    with pytest.raises(WeightsError, match="2 layers that could be the head") as refused:
        load(save(tmp_path / "b.pth", heads))
    assert refused.value.why == "a [1, 6], b [2, 6]"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"classifier.0.weight": (4, 6), "classifier.2.weight": (1, 4)}, "left over: classifier"),
        ({"mixer.weight": (3, 3)}, "left over: mixer.weight"),
        ({"fc.weight": (1000, 6), "fc.bias": (1000,)}, "1000 outputs"),
    ],
)
def test_more_than_a_head_is_another_network(
    tmp_path: Path, extra: dict[str, tuple[int, ...]], said: str
) -> None:
    tensors = state(1)
    if "classifier.0.weight" in extra:
        tensors = {n: t for n, t in tensors.items() if not n.startswith("fc.")}
    tensors |= {name: torch.ones(shape) for name, shape in extra.items()}
    with pytest.raises(WeightsError) as refused:
        load(save(tmp_path / "a.pth", tensors))
    assert said in refused.value.why


def test_an_auxiliary_head_under_a_prefix_makes_no_difference(tmp_path: Path) -> None:
    tensors = renamed(state(1), "net.", "net.fc")
    without = {name: t for name, t in tensors.items() if ".aux." not in name}
    odd = {**tensors, "net.aux.weight": torch.ones(7, 2)}
    found = [
        load(save(tmp_path / f"{i}.pth", one)).scores(FRAMES).logit
        for i, one in enumerate((tensors, without, odd))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_head_of_ones_own_behind_facenets_features_is_refused() -> None:
    """Without classify=True facenet-pytorch normalises them first: the file cannot tell."""
    from zoo.originals import inception_resnet_v1 as facenet

    with torch.device("meta"):
        tensors = dict(facenet.build_inception_resnet_v1(1).state_dict())
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    network = facenet._NETWORK
    due = Due("InceptionResnetV1", shapes, network.head, (), network.other_head)

    def fitted(prefix: str, head: str) -> Checkpoint:
        names = {
            n: n.replace("logits.", f"{head}.") if n.startswith("logits.") else prefix + n
            for n in tensors
        }
        return fit(Checkpoint(_NoFile(), {names[n]: t for n, t in tensors.items()}, ()), due)

    assert set(fitted("resnet.", "resnet.logits").tensors) == set(tensors)
    for head in ("fc", "logits"):  # outside of the network, whatever it is called
        with pytest.raises(WeightsError, match="has a head of its own") as refused:
            fitted("resnet.", head)
        assert "classify=True" in refused.value.why


class _NoFile:
    path = Path("mine.pth")


def test_what_lightning_says_of_its_network_is_named(tmp_path: Path) -> None:
    content = {
        "state_dict": renamed(state(1), "net.", "net.fc"),
        "hyper_parameters": {"arch": "resnet\x1b[31m", "image_size": 224, "labels": ["a", "b"]},
    }
    source = load(save(tmp_path / "a.ckpt", content)).weights.source
    assert (
        "'hyper_parameters' of the file, not used: arch=resnet\\x1b[31m, image_size=224" in source
    )


# Files that people have.


@pytest.mark.weights
@pytest.mark.parametrize("network", ["meso4", "resnet18"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shashwat_meso4_lightning.ckpt", "32 parameters of an unknown network"),
        ("honggu_best.pkl", "another network than Afchar's"),
        ("MiniFASNetV2.pth", "334 parameters of an unknown network"),
    ],
)
def test_other_networks_are_named_before_anything_is_asked_of_them(
    network: str, name: str, said: str, weights_dir: Path
) -> None:
    with pytest.raises(WeightsError) as refused:
        load_original(find_card(network), str(weights_dir / "users" / name))
    assert said in refused.value.why
    assert "--says" not in str(refused.value)
    assert "--fake-index" not in str(refused.value)


@pytest.mark.weights
@pytest.mark.parametrize("network", ["meso4", "resnet18", "inception_resnet_v1"])
def test_a_pickled_module_is_refused_with_the_way_to_save_one(
    network: str, weights_dir: Path
) -> None:
    path = weights_dir / "users" / "honggu_Meso4_deepfake.pkl"
    with pytest.raises(WeightsError, match="a program, not only weights") as refused:
        load_original(find_card(network), str(path))
    assert "torch.save(model.state_dict()" in refused.value.todo


def test_a_resnet18_of_one_output_behind_a_wrapper_says_what_torchvision_says(
    tmp_path: Path,
) -> None:
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.resnet18(num_classes=1).eval()
    names = renamed(model.state_dict(), "encoder.", "classifier.2")
    save(tmp_path / "a.pth", names)
    said = Said(says="real", size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    original = load_original(find_card("resnet18"), str(tmp_path / "a.pth"), said=said)
    frames = seeded_frames(4, 64, 64, 2)
    values = ((frames / 255 - 0.5) / 0.5).astype(np.float32).transpose(0, 3, 1, 2).copy()
    with torch.inference_mode():
        due = -model(torch.from_numpy(values)).numpy()[:, 0]
    assert due.std() > 1e-3
    np.testing.assert_allclose(original.scores(frames).logit, due, atol=1e-5)
