"""One recipe: who is believed about pixels, size and what means "fake", and where it is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import click
import numpy as np
import pytest
from click.testing import CliRunner

from runtime.engine_info import EngineInfo, Preprocessing, WeightsInfo
from runtime.errors import EngineError, WeightsError
from runtime.faces.recipe import FaceCrop
from runtime.recipe import Head, Normalisation
from zoo.assumptions import assumptions, pixels_in_words
from zoo.card import WeightsCard
from zoo.catalog import CARDS, find_card
from zoo.cli import main
from zoo.commands.said import says
from zoo.originals.told import FileTold
from zoo.recipe import PARTS, Recipe, Said, recipe_fields, recipe_of_engine, resolve
from zoo.scores import fake_scores, golden_scores, sigmoid

RESNET = find_card("resnet18")
MESO = find_card("meso4")
FACENET = find_card("inception_resnet_v1")
FILE = {"file": "mine.pth"}
ONE = FileTold(head=Head("logit"))


def engine(recipe: Recipe, network: str = "resnet18", name: str = "custom") -> EngineInfo:
    weights = WeightsInfo(name, trained=True)
    return EngineInfo(network, network, weights, **recipe_fields(recipe))


def test_the_card_says_all_that_nobody_else_says() -> None:
    recipe = resolve(MESO, **FILE)
    assert recipe.preprocessing == MESO.preprocessing
    assert recipe.normalisation == MESO.normalisation
    assert recipe.head == MESO.head
    assert dict(recipe.sources) == dict.fromkeys(PARTS, "card")


def test_whoever_speaks_later_is_believed_and_remembered() -> None:
    published = WeightsCard(
        "p", "p.pth", "", normalisation=Normalisation(0.5), face_crop=FaceCrop(margin=1.0)
    )
    told = FileTold(100, 120, Head("logit"))
    said = Said(says="real", std=(2.0, 3.0, 4.0), resize="nearest")
    recipe = resolve(
        RESNET, published=published, published_by="--like p", told=told, said=said, **FILE
    )
    how = recipe.preprocessing
    assert (how.height, how.width, how.resize, how.crop) == (100, 120, "nearest", "center")
    assert recipe.normalisation == Normalisation(0.5, (0.0, 0.0, 0.0), (2.0, 3.0, 4.0))
    assert recipe.head == Head("logit", says="real")
    assert recipe.face_crop.margin == 1.0
    assert dict(recipe.sources) == {
        "output": "the file",
        "polarity": "--says",
        "size": "the file",
        "crop": "the file",
        "resize": "--resize",
        "scale": "--like p",
        "mean": "--like p",
        "std": "--std",
        "face_crop": "--like p",
    }


def test_a_size_is_stretched_to_unless_a_crop_is_said() -> None:
    def frame(**words: object) -> Preprocessing:
        return resolve(RESNET, said=Said(says="fake", **words), told=ONE, **FILE).preprocessing  # type: ignore[arg-type]

    assert frame() == RESNET.preprocessing
    assert frame(size=(64, 96)) == Preprocessing(64, 96, "bilinear")
    assert frame(size=(64, 96), crop=("center", 128)) == Preprocessing(
        64, 96, "bilinear", "center", 128
    )
    assert frame(size=(64, 96), crop=("center", None)).shorter_side == 96
    assert frame(crop=("none", None)) == Preprocessing(224, 224, "bilinear")
    with pytest.raises(WeightsError, match="do not go together"):
        frame(size=(64, 96), crop=("center", 80))


def test_a_file_that_knows_its_size_is_not_contradicted() -> None:
    with pytest.raises(WeightsError, match=r"--size 64x64 is not the size .* mine\.pth"):
        resolve(MESO, told=FileTold(128, 128), said=Said(size=(64, 64)), **FILE)
    told = FileTold(128, None)
    assert resolve(MESO, told=told, said=Said(size=(128, 64)), **FILE).preprocessing.width == 64


@pytest.mark.parametrize(
    ("card", "said", "range_"),
    [
        (FACENET, Said(mean=(0.5,) * 3, std=(0.5,) * 3), "-1 to 509"),
        (RESNET, Said(scale=1.0), "-2.118 to"),
        (RESNET, Said(mean=(127.5,) * 3, std=(128.0,) * 3), "-0.9961 to -0.9883"),
    ],
)
def test_slips_of_units_are_refused(card: object, said: Said, range_: str) -> None:
    with pytest.raises(WeightsError, match=r"--scale 1/255") as refused:
        resolve(card, said=replace(said, says="fake"), told=ONE, **FILE)  # type: ignore[arg-type]
    assert range_ in refused.value.what


def test_random_weights_have_the_head_that_is_said() -> None:
    assert resolve(RESNET, trained=False).head == Head("logits", fake_index=1)
    assert resolve(RESNET, trained=False, said=Said(says="real")).head == Head("logit", says="real")
    assert resolve(FACENET, trained=False, said=Said(fake_index=0)).head == Head(
        "logits", fake_index=0
    )
    with pytest.raises(WeightsError, match="--fake-index is for two outputs"):
        resolve(MESO, trained=False, said=Said(fake_index=0))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_an_engine_remembers_its_recipe(card: object) -> None:
    said = Said(scale=1 / 128, mean=(0.25, 0.5, 1.0), std=(1.0,) * 3, size=(96, 90))
    recipe = resolve(card, said=said, trained=False)  # type: ignore[arg-type]
    text = engine(recipe, card.name).to_json()  # type: ignore[attr-defined]
    read = EngineInfo.from_json(text, "net.json")
    again = recipe_of_engine(card, read)  # type: ignore[arg-type]
    assert again == recipe
    assert again.sources["scale"] == "--scale"


def test_a_sidecar_of_before_has_the_recipe_of_its_card() -> None:
    def before(card: object, index: int | None, name: str = "custom") -> Recipe:
        how = Preprocessing(10, 10, "nearest")
        info = EngineInfo("n", "n", WeightsInfo(name, trained=True), how, fake_index=index)
        assert json.loads(info.to_json())["head"] is None
        return recipe_of_engine(card, info)  # type: ignore[arg-type]

    assert before(MESO, None).head == MESO.head
    assert before(RESNET, 0).head == Head("logits", fake_index=0)
    assert before(RESNET, 0).normalisation == RESNET.normalisation
    # Of its two heads the one that has a class order.
    assert before(FACENET, 1).head == Head("logits", fake_index=1)
    assert before(FACENET, None).head == FACENET.head
    assert before(FACENET, None, "torchfakes").normalisation == Normalisation(1 / 255)


@pytest.mark.parametrize(
    "change",
    [
        {"head": {"kind": "logit"}},
        {"head": {"kind": "logit", "says": "maybe"}},
        {"head": {"kind": "logits", "fake_index": 1}},
        {"normalisation": {"scale": 1.0, "mean": [0, 0], "std": [1, 1, 1]}},
        {"normalisation": {"scale": 1.0, "std": [1, 0, 1]}},
        {"sources": {"size": 3}},
    ],
)
def test_a_damaged_recipe_is_named(change: dict[str, object]) -> None:
    data = json.loads(engine(resolve(MESO, **FILE), "meso4").to_json()) | change
    with pytest.raises(EngineError, match="damaged"):
        EngineInfo.from_json(json.dumps(data), "net.json")


def test_assumptions_name_each_source() -> None:
    said = Said(says="real", std=(0.5,) * 3, size=(64, 96))
    lines = {line.what: line for line in assumptions(resolve(RESNET, told=ONE, said=said, **FILE))}
    assert lines["output"].is_ == "one, a logit of 'real'"
    assert lines["output"].by == "output: the file; polarity: --says"
    assert lines["frame"].is_ == "64 x 96 RGB, bilinear, stretched, no crop"
    assert lines["frame"].by == "size, crop: --size; resize: card"
    assert lines["pixels"].is_ == "(x / 255 - [0.485, 0.456, 0.406]) / 0.5: -0.97 to 1.188"
    assert lines["pixels"].by == "scale, mean: card; std: --std"
    assert lines["faces"].by == "card"


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        (0.0, 1.0, "x / 255: 0 to 1"),
        (0.5, 1.0, "x / 255 - 0.5: -0.5 to 0.5"),
        (0.0, 0.5, "x / 255 / 0.5: 0 to 2"),
        (0.5, 0.5, "(x / 255 - 0.5) / 0.5: -1 to 1"),
    ],
)
def test_pixels_are_told_without_what_changes_nothing(mean: float, std: float, words: str) -> None:
    assert pixels_in_words(Normalisation(1 / 255, (mean,) * 3, (std,) * 3)) == words


# The flags.


def parsed(*words: str) -> Said | str:
    @click.command()
    @says
    def command(**flags: object) -> None:
        found.append(Said(**flags))  # type: ignore[arg-type]

    found: list[Said] = []
    done = CliRunner().invoke(command, list(words))
    return found[0] if found else done.output


def test_flags_are_read() -> None:
    assert parsed() == Said()
    words = "--says fake --size 240x320 --crop center:400 --resize nearest --scale 1/255"
    assert parsed(*words.split(), "--mean", "0.5", "--std", ".1, 0.2 1/2") == Said(
        "fake", None, (240, 320), "nearest", ("center", 400), 1 / 255, (0.5,) * 3, (0.1, 0.2, 0.5)
    )
    assert parsed("--size", "64", "--crop", "none", "--fake-index", "1") == Said(
        fake_index=1, size=(64, 64), crop=("none", None)
    )


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *[("--size", value) for value in ("0", "-3", "1x", "x2", "5000", "a", "3x4x5", "")],
        *[("--crop", value) for value in ("middle", "none:3", "center:", "center:0", "center:a")],
        *[("--scale", value) for value in ("", "1/0", "nan", "1e999", "1/2/3", "1,2")],
        *[("--mean", value) for value in ("1,2", "1,2,3,4", "a", "inf")],
        *[("--says", "maybe"), ("--fake-index", "2"), ("--resize", "cubic")],
    ],
)
def test_flags_that_say_nothing_are_refused(flag: str, value: str) -> None:
    answer = parsed(flag, value)
    assert isinstance(answer, str)
    assert f"Invalid value for '{flag}'" in answer


def test_flags_are_for_files_and_random_weights(tmp_path: object) -> None:
    for words in (["meso4", "--says", "fake"], ["meso4", "--weights", "df", "--size", "128"]):
        done = CliRunner().invoke(main, ["export", *words])
        assert done.exit_code == 2
        assert "is for a file of yours" in done.output


# Golden probabilities.

P = np.array([0.2, 0.5, 0.9, 0.0, 1.0])


@pytest.mark.parametrize("kind", ["sigmoid", "logit", "softmax", "logits"])
@pytest.mark.parametrize("fake", [True, False])
def test_goldens_are_probabilities_whatever_the_last_layer_is(kind: str, fake: bool) -> None:
    """Of one output P of what it says, of two P(fake)."""
    if kind in ("sigmoid", "logit"):
        head = Head(kind, says="fake" if fake else "real")  # type: ignore[arg-type]
    else:
        head = Head(kind, fake_index=int(fake))  # type: ignore[arg-type]
    scores = golden_scores(head, P)
    due = 1 - P if head.says == "real" else P
    np.testing.assert_allclose(scores.fake, due, atol=1e-7)
    np.testing.assert_allclose(sigmoid(scores.logit), due, atol=1e-7)
    assert np.isfinite(scores.logit).all()


def test_goldens_agree_with_the_network_that_gave_them() -> None:
    logit = np.array([[-3.0], [0.1], [4.0]], np.float32)
    for says_ in ("fake", "real"):
        head = Head("logit", says=says_)  # type: ignore[arg-type]
        due = fake_scores(head, logit, logit)
        found = golden_scores(head, sigmoid(logit[:, 0]).astype(np.float64))
        np.testing.assert_allclose(found.fake, due.fake, atol=1e-6)
        np.testing.assert_allclose(found.logit, due.logit, atol=1e-5)


@pytest.mark.parametrize("wrong", [1.1, -0.1, float("nan"), float("inf")])
def test_goldens_that_are_no_probabilities_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="no probability"):
        golden_scores(MESO.head, np.array([0.5, wrong]))
