"""A wrong weights file is refused by its first bytes, before a framework is loaded."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_engine import TINY_INFO, TinyWeights, tiny_model

from runtime.errors import EngineError, WeightsError
from weights import networks
from weights.recognise import recognise
from zoo.catalog import CARDS, find_card
from zoo.cli import main
from zoo.originals import first_look, inside
from zoo.originals.first_look import refuse_at_first_look

CHECKOUT = Path(__file__).resolve().parents[1]


def picture(path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, "PNG")


def graph(path: Path) -> None:
    path.write_bytes(tiny_model(TinyWeights.seeded()).SerializeToString())


def plan(path: Path) -> None:
    path.write_bytes(b"ftrt\0" + bytes(100))


def torch_archive(path: Path, pickled: bytes, *members: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        for member in members:
            archive.writestr(member, "")


def state_dict(*names: str) -> Callable[[Path], None]:
    return lambda path: torch_archive(path, pickle.dumps(dict.fromkeys(names), 2))


def script(path: Path) -> None:
    torch_archive(path, pickle.dumps({}, 2), "x/constants.pkl", "x/code/net.py")


def module(path: Path) -> None:
    """As ``torch.save(model)`` writes it: a class of the program that made it, by name."""
    names = b"cnetwork.classifier\nMeso4\n)\x81ctorch.nn.modules.conv\nConv2d\n)\x81\x86."
    torch_archive(path, b"\x80\x02" + names)


def safetensors(path: Path) -> None:
    header = json.dumps({"conv9.weight": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))


def keras(network: str) -> Callable[[Path], None]:
    """A Keras 3 file with arrays of a network's shapes."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra: keras)")
    (rule,) = (rule for rule in networks._BY_SHAPES if rule.network == network)
    shapes = list(rule.has)
    rest = rule.convolutions - sum(len(shape) == 4 for shape in shapes)
    shapes += [(1, 1, 1, 1)] * rest

    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for index, shape in enumerate(shapes):
                file[f"layers/layer_{index}/vars/0"] = np.zeros(shape, np.float32)

    return write


RESNET = ("layer1.0.conv1.weight", "fc.weight")
VGG = ("features.28.weight", "classifier.6.weight")


@pytest.mark.parametrize(
    ("network", "make", "said", "todo"),
    [
        ("meso4", picture, "an image (PNG)", "zoo detect"),
        ("resnet18", picture, "an image (PNG)", "zoo detect"),
        ("meso4", graph, "an ONNX graph", "converted from"),
        ("resnet18", plan, "a TensorRT plan", "built from"),
        ("meso4", lambda path: path.write_text("hello"), "a text file", "a Keras .h5"),
        ("meso4", lambda path: path.write_text("<html>"), "a web page", "a Keras .h5"),
        ("resnet18", lambda path: path.touch(), "an empty file", "fetch or copy it again"),
        ("resnet18", lambda path: path.write_bytes(b"\xfe" * 999), "no weights", "a state dict"),
        ("resnet18", script, "a TorchScript archive", "torch.save(model.state_dict()"),
        ("meso4", module, "network.classifier.Meso4", "torch.save(model.state_dict()"),
        ("resnet18", module, "network.classifier.Meso4", "torch.save(model.state_dict()"),
        ("meso4", safetensors, "safetensors", "a Keras .h5"),
        ("meso4", state_dict(*RESNET), "resnet18", "zoo export resnet18 --weights"),
        ("vgg16", state_dict(*RESNET), "resnet18", "zoo export resnet18 --weights"),
        ("resnet18", state_dict("layer1.2.conv1.weight", "fc.weight"), "resnet34", "zoo list"),
        ("meso4", keras("MesoInception4"), "MesoInception4", "zoo export mesoinception4"),
        ("resnet18", keras("Meso4"), "HDF5", "zoo export meso4 --weights"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_the_way_out(
    tmp_path: Path, network: str, make: Callable[[Path], object], said: str, todo: str
) -> None:
    path = tmp_path / "best.model"
    make(path)
    with pytest.raises(WeightsError) as refused:
        refuse_at_first_look(find_card(network), path)
    assert "best.model" in refused.value.what
    assert said in refused.value.why
    assert todo in refused.value.todo


@pytest.mark.parametrize(
    ("network", "make"),
    [
        ("meso4", keras("Meso4")),
        ("resnet18", state_dict(*RESNET)),
        ("resnet18", state_dict(*(f"resnet.{name}" for name in RESNET))),
        ("vgg16", state_dict(*VGG)),
        ("resnet18", state_dict("encoder.0.weight", "classifier.weight")),
        ("resnet18", safetensors),
        # Whose code a checkpoint names is told by the loader, which may know it for data.
        ("resnet18", lambda path: torch_archive(path, b"\x80\x02cpathlib\nPosixPath\n)R.")),
    ],
)
def test_what_may_load_goes_on(
    tmp_path: Path, network: str, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "best.model"
    make(path)
    refuse_at_first_look(find_card(network), path)


def test_every_network_of_the_zoo_is_known_by_its_name() -> None:
    assert set(first_look._CARDS.values()) == {card.name for card in CARDS}
    rules = {rule.network for rule in (*networks._BY_NAMES, *networks._BY_SHAPES)}
    assert set(first_look._CARDS) <= rules


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["export", "dry run"])
@pytest.mark.parametrize("network", ["meso4", "resnet18", "inception_resnet_v2"])
def test_no_framework_is_loaded_for_a_wrong_file(
    tmp_path: Path, network: str, dry: list[str]
) -> None:
    """Nor is anything asked, such as for the class order, before that is told."""
    picture(tmp_path / "face.png")
    argv = ["zoo", "export", network, "--weights", "face.png", *dry]
    program = f"""
import sys
sys.argv = {argv!r}
from zoo.cli import main
try:
    main()
finally:
    print(*sorted({{"torch", "tensorflow", "keras"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "face.png is no weights file" in done.stderr
    assert "--fake-index" not in done.stderr
    assert done.stdout.strip() == ""
    assert [p.name for p in tmp_path.iterdir()] == ["face.png"]


def zoo(*args: object) -> Any:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_a_dry_run_looks_at_the_file(tmp_path: Path) -> None:
    for weights, said in (
        (tmp_path / "none.h5", "there is no such file"),
        (tmp_path, "is a directory"),
    ):
        result = zoo("export", "meso4", "--weights", weights, "--dry-run")
        assert result.exit_code == 2
        assert said in result.stderr
    keras("MesoInception4")(tmp_path / "best_2.h5")
    result = zoo("export", "meso4", "--weights", tmp_path / "best_2.h5", "--dry-run")
    assert result.exit_code == 2
    assert "is not of Meso4" in result.stderr
    assert f"zoo export mesoinception4 --weights {tmp_path}/best_2.h5" in result.stderr
    keras("Meso4")(tmp_path / "own.h5")
    result = zoo("export", "meso4", "--weights", tmp_path / "own.h5", "--dry-run")
    assert result.exit_code == 0
    assert "meso4-own.onnx" in result.output
    assert zoo("export", "meso4", "--like", "none", "--dry-run").exit_code == 2


def test_a_dry_run_tells_what_an_export_would_assume(tmp_path: Path) -> None:
    def assumed(network: str, *words: object) -> dict[str, tuple[str, str]]:
        result = zoo("export", network, *words, "--dry-run", "--json")
        assert result.exit_code == 0, result.stderr
        return {a["what"]: (a["is_"], a["by"]) for a in json.loads(result.output)["assumed"]}

    published = assumed("inception_resnet_v1", "--weights", "torchfakes")
    assert published["pixels"] == ("x / 255: 0 to 1", "weights torchfakes of the card")
    keras("Meso4")(tmp_path / "own.h5")
    # Until it is read, it may have two outputs, and a size of its own.
    own = assumed("meso4", "--weights", tmp_path / "own.h5", "--fake-index", 1)
    assert own["output"] == ("as the file has it", "the file; --fake-index")
    assert own["frame"][1] == "card; the file may say otherwise"
    assert own["pixels"][1] == "card"
    seeded = assumed("inception_resnet_v1", "--weights", "random", "--says", "real")
    assert seeded["output"] == ("one, a logit of 'real'", "output: card; polarity: --says")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--fake-index", "1"], "is for two outputs"), (["--seed", "-1"], "Invalid value")],
)
def test_a_dry_run_refuses_what_random_weights_cannot_be(words: list[str], said: str) -> None:
    result = zoo("export", "meso4", "--weights", "random", *words, "--dry-run")
    assert result.exit_code == 2
    assert said in result.stderr


def test_other_weights_than_an_engine_s_are_told_before_a_framework_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras("Meso4")(tmp_path / "other.h5")
    info = replace(TINY_INFO, network="meso4")
    monkeypatch.setattr(inside, "load_original", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(EngineError, match="not the weights that are in tiny"):
        inside.load_original_of(Path("tiny.onnx"), info, str(tmp_path / "other.h5"))


@pytest.mark.weights
def test_files_that_people_really_have(weights_dir: Path) -> None:
    users = weights_dir / "users"
    if not users.is_dir():
        pytest.skip("no files of users here")
    refused = {
        ("meso4", "nviable_MesoInception-f2f.best_2.h5"): "zoo export mesoinception4",
        ("meso4", "shashwat_meso4_lightning.ckpt"): "Keras",
        ("meso4", "honggu_best.pkl"): "Keras",
        ("meso4", "honggu_Meso4_deepfake.pkl"): "state_dict()",
        ("resnet18", "honggu_Meso4_deepfake.pkl"): "state_dict()",
        ("meso4", "shashwat_meso4.onnx"): "converted from",
    }
    for (network, name), todo in refused.items():
        with pytest.raises(WeightsError) as error:
            refuse_at_first_look(find_card(network), users / name)
        assert todo in error.value.todo
    for network, name in (
        ("meso4", "yiercodee_sequential.h5"),
        ("meso4", "taher_Meso4_DF.h5"),
        ("meso4", "daksh_sequence.keras"),
        ("mesoinception4", "nviable_MesoInception-f2f.best_2.h5"),
        ("mesoinception4", "umit_custom_layers.keras"),
    ):
        refuse_at_first_look(find_card(network), users / name)
        assert recognise(users / name).kind in ("hdf5", "keras")
