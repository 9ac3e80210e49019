"""The PyTorch originals against the modules they are made to be compatible with."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

if "tensorflow" in sys.modules:
    pytest.skip("torchvision aborts a process that runs TensorFlow", allow_module_level=True)
torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
from torch import nn  # noqa: E402

import zoo.originals.original as originals  # noqa: E402
from export.contract import apply_contract  # noqa: E402
from export.convert import to_plain_onnx  # noqa: E402
from export.rewrite import rewrite  # noqa: E402
from runtime.engine_info import file_sha256  # noqa: E402
from runtime.errors import WeightsError, ZooError  # noqa: E402
from weights.store import LocatedFile  # noqa: E402
from zoo.card import ModelCard  # noqa: E402
from zoo.catalog import CARDS, find_card  # noqa: E402
from zoo.noise import seeded_frames  # noqa: E402
from zoo.originals import load_original  # noqa: E402
from zoo.originals.torch_random import condition  # noqa: E402
from zoo.originals.torchvision_nets import import_torchvision_models  # noqa: E402
from zoo.recipe import Said  # noqa: E402

TORCH = [card for card in CARDS if card.framework == "torch"]
_WHEELS = Path(__file__).resolve().parents[1] / ".cache" / "wheels"
_FACENET = "facenet_pytorch-2.6.0-py3-none-any.whl"


def by_name(card: ModelCard) -> str:
    return card.name


def frames_of(card: ModelCard, count: int = 4) -> np.ndarray:
    return seeded_frames(count, card.preprocessing.height, card.preprocessing.width, 11)


def theirs(name: str) -> nn.Module:
    """torchvision's network with its head replaced the way fine-tuning scripts do it."""
    models = torchvision.models
    if name == "vgg16":
        model = models.vgg16(weights=None, init_weights=False)
        model.classifier[6] = nn.Linear(4096, 2)
        return model.eval()
    extra = {"init_weights": False} if name == "inception_v3" else {}
    model = getattr(models, name)(weights=None, **extra)
    model.fc = nn.Linear(model.fc.in_features, 2)
    return model.eval()


@pytest.fixture(scope="module")
def facenet(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """facenet-pytorch's own module, out of its wheel, without its dependencies."""
    wheel = _WHEELS / _FACENET
    if not wheel.exists():
        _WHEELS.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        got = subprocess.run(
            [*command, "facenet-pytorch==2.6.0", "-d", str(_WHEELS)], capture_output=True, text=True
        )
        if got.returncode or not wheel.exists():
            pytest.skip(f"facenet-pytorch 2.6.0 can neither be found nor fetched: {got.stderr}")
    folder = tmp_path_factory.mktemp("facenet")
    member = "facenet_pytorch/models/inception_resnet_v1.py"
    with zipfile.ZipFile(wheel) as archive:
        for name in (member, "facenet_pytorch/models/utils/download.py"):
            archive.extract(name, folder)
    for package in ("facenet_pytorch", "facenet_pytorch.models", "facenet_pytorch.models.utils"):
        # Its own __init__ imports what it pins to versions of long ago.
        module = ModuleType(package)
        module.__path__ = [str(folder / package.replace(".", "/"))]
        sys.modules[package] = module
    spec = importlib.util.spec_from_file_location(
        "facenet_pytorch.models.inception_resnet_v1", folder / member
    )
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def same_logits(card: ModelCard, other: nn.Module, path: Path, fake_index: int | None) -> None:
    """Our original with the weights in ``path`` says what ``other`` says."""
    original = load_original(card, str(path), said=Said(fake_index=fake_index))
    frames = frames_of(card)
    scores = original.scores(frames)
    x = torch.from_numpy(original.normalise(frames).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        due = other(x).double().numpy()
    logit = due[:, 0] if fake_index is None else due[:, fake_index] - due[:, 1 - fake_index]
    assert logit.std() > 0.1, "constant logits would prove nothing"
    np.testing.assert_allclose(scores.logit, logit, rtol=1e-4, atol=1e-4 * np.abs(logit).max())
    np.testing.assert_allclose(scores.fake, 1 / (1 + np.exp(-logit)), atol=1e-5)


@pytest.mark.parametrize("name", ["inception_v3", "resnet18", "vgg16"])
def test_torchvision_networks_say_what_torchvision_says(name, tmp_path):
    card, model = find_card(name), theirs(name)
    head = "classifier.6" if name == "vgg16" else "fc"
    ours = load_original(card, "random", seed=3)
    values = torch.from_numpy(ours.normalise(frames_of(card, 8)).transpose(0, 3, 1, 2).copy())
    condition(model, head, values, seed=5)
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    same_logits(card, model, tmp_path / "theirs.pth", fake_index=0)


@pytest.mark.parametrize("outputs", [1, 2])
def test_inception_resnet_v1_says_what_facenet_pytorch_says(facenet, outputs, tmp_path):
    card = find_card("inception_resnet_v1")
    model = facenet.InceptionResnetV1(classify=True, num_classes=outputs).eval()
    ours = load_original(card, "random")
    values = torch.from_numpy(ours.normalise(frames_of(card, 16)).transpose(0, 3, 1, 2).copy())
    condition(model, "logits", values, seed=5)
    path = tmp_path / "theirs.pth"
    torch.save({"model_state_dict": model.state_dict(), "epoch": 32}, path)
    same_logits(card, model, path, fake_index=None if outputs == 1 else 1)


def test_torchfakes_weights_bring_their_own_preprocessing(facenet, tmp_path, monkeypatch):
    card = find_card("inception_resnet_v1")
    model = facenet.InceptionResnetV1(classify=True, num_classes=1)
    path = tmp_path / "resnetinceptionv1_epoch_32.pth"
    torch.save({"model_state_dict": model.state_dict()}, path)
    found = LocatedFile(path, file_sha256(path), "test", "here", "Apache-2.0")
    monkeypatch.setattr(originals, "locate", lambda name, download: found)
    original = load_original(card, "torchfakes")
    how = original.preprocessing
    assert (how.height, how.width, how.resize) == (256, 256, "bilinear")
    assert original.normalise(np.full((1, 2, 2, 3), 255, np.uint8)).max() == pytest.approx(1)
    assert original.head.says == "fake"
    assert original.weights.trained


@pytest.mark.parametrize("card", TORCH, ids=by_name)
def test_random_weights_are_marked_seeded_and_of_the_stated_size(card):
    original = load_original(card, "random")
    sizes = [p.numel() for p in original.module.parameters()]
    assert sum(sizes) == card.parameters == card.trainable
    assert not original.weights.trained
    scores = original.scores(frames_of(card, 8))
    assert 0.5 < scores.logit.std() < 8
    assert np.abs(scores.logit).max() < 15
    if card.name == "resnet18":
        again, other = load_original(card, "random"), load_original(card, "random", seed=1)
        np.testing.assert_array_equal(again.scores(frames_of(card, 8)).logit, scores.logit)
        assert not np.allclose(other.scores(frames_of(card, 8)).logit, scores.logit)


@pytest.mark.weights
@pytest.mark.parametrize("card", TORCH, ids=by_name)
def test_random_logits_of_real_faces_are_spread_and_not_saturated(card):
    from published import SHARED

    from export.samples import read_samples

    original = load_original(card, "random")
    tar = SHARED / "data" / "afchar-validation.tar"
    scores = original.scores(read_samples(tar, original.preprocessing, limit=16).frames, batch=8)
    assert scores.logit.std() >= 1
    assert np.abs(scores.logit).max() <= 15


@pytest.mark.slow
@pytest.mark.parametrize("card", TORCH, ids=by_name)
def test_the_exported_graph_says_what_the_original_says(card):
    """And it is an inference graph: no BatchNorm, Dropout or auxiliary head is left in it."""
    import onnx_ir as ir
    import onnxruntime as ort

    original = load_original(card, "random")
    plain = to_plain_onnx(original)
    (given,) = plain.graph.input
    assert given.type.tensor_type.shape.dim[0].dim_param == "N"
    assert len(plain.graph.output) == 1
    model = apply_contract(plain, original.preprocessing, original.normalisation, original.head)
    graph, _ = rewrite(ir.to_proto(model))
    kinds = {node.op_type for node in graph.graph.node}
    assert not kinds & {"BatchNormalization", "Dropout", "Identity", "Softmax", "MatMul", "Neg"}
    frames = frames_of(card, 3)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    logit, fake = session.run(["logit", "fake"], {"frames": frames})
    due = original.scores(frames)
    np.testing.assert_allclose(fake, due.fake, atol=1e-5)
    np.testing.assert_allclose(logit, due.logit, rtol=1e-4, atol=1e-3)


@pytest.fixture(scope="module")
def resnet18_state() -> dict:
    return load_original(find_card("resnet18"), "random").module.state_dict()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fc.bias": None}, "missing: fc.bias"),
        ({"extra.weight": torch.ones(3)}, "left over: extra.weight"),
        ({"conv1.weight": torch.ones(64, 3, 3, 3)}, r"misshapen: conv1.weight is \[64, 3, 3, 3\]"),
    ],
)
def test_loading_is_strict_and_names_what_does_not_fit(resnet18_state, tmp_path, change, said):
    changed = {k: v for k, v in {**resnet18_state, **change}.items() if v is not None}
    torch.save(changed, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=said):
        load_original(find_card("resnet18"), str(tmp_path / "a.pth"), said=Said(fake_index=1))


def test_counters_of_training_may_be_missing(resnet18_state, tmp_path):
    kept = {k: v for k, v in resnet18_state.items() if not k.endswith("num_batches_tracked")}
    torch.save(kept, tmp_path / "a.pth")
    assert load_original(find_card("resnet18"), str(tmp_path / "a.pth"), said=Said(fake_index=1))


def test_a_linear_behind_a_dropout_is_the_head(resnet18_state, tmp_path):
    """``model.fc = Sequential(Dropout(), Linear(512, 2))``, as many fine-tuning scripts do."""
    nested = {k.replace("fc.", "fc.1."): v for k, v in resnet18_state.items()}
    card = find_card("resnet18")
    torch.save(nested, tmp_path / "a.pth")
    torch.save(resnet18_state, tmp_path / "b.pth")
    a, b = (load_original(card, str(tmp_path / f"{n}.pth"), said=Said(fake_index=1)) for n in "ab")
    frames = frames_of(card)
    np.testing.assert_array_equal(a.scores(frames).logit, b.scores(frames).logit)
    deeper = {**nested, "fc.3.weight": torch.ones(2, 2), "fc.3.bias": torch.ones(2)}
    torch.save(deeper, tmp_path / "c.pth")
    with pytest.raises(WeightsError, match="does not fit ResNet18"):
        load_original(card, str(tmp_path / "c.pth"), said=Said(fake_index=1))


def test_an_auxiliary_head_makes_no_difference(tmp_path):
    card = find_card("inception_v3")
    whole = load_original(card, "random").module.state_dict()
    cases = {
        "with": whole,
        "without": {k: v for k, v in whole.items() if not k.startswith("AuxLogits.")},
        "of_two": {**whole, "AuxLogits.fc.weight": torch.ones(2, 768)},
    }
    logits = []
    for name, tensors in cases.items():
        torch.save(tensors, tmp_path / f"{name}.pth")
        original = load_original(card, str(tmp_path / f"{name}.pth"), said=Said(fake_index=1))
        logits.append(original.scores(frames_of(card, 2)).logit)
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])


def test_another_architecture_is_named(resnet18_state, tmp_path):
    torch.save(resnet18_state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="does not fit InceptionV3") as refused:
        load_original(find_card("inception_v3"), str(tmp_path / "a.pth"), said=Said(fake_index=1))
    assert "resnet18" in refused.value.why


def test_another_number_of_classes_is_named(resnet18_state, tmp_path):
    many = {**resnet18_state, "fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)}
    torch.save(many, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="number of classes") as refused:
        load_original(find_card("resnet18"), str(tmp_path / "a.pth"), said=Said(fake_index=1))
    assert "[1000, 512]" in refused.value.why
    assert "1000 outputs" in refused.value.why
    assert "imagenet" in refused.value.todo


def test_nothing_says_which_of_two_outputs_is_fake(resnet18_state, tmp_path):
    torch.save(resnet18_state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="which of the two outputs") as refused:
        load_original(find_card("resnet18"), str(tmp_path / "a.pth"))
    assert "--fake-index" in refused.value.todo


def test_one_output_takes_no_fake_index(tmp_path):
    card = find_card("inception_resnet_v1")
    torch.save(load_original(card, "random").module.state_dict(), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="--fake-index is for two outputs"):
        load_original(card, str(tmp_path / "a.pth"), said=Said(fake_index=1))


def test_the_two_class_orders_are_each_others_opposite(resnet18_state, tmp_path):
    card = find_card("resnet18")
    torch.save(resnet18_state, tmp_path / "a.pth")
    zero, one = (
        load_original(card, str(tmp_path / "a.pth"), said=Said(fake_index=i)) for i in (0, 1)
    )
    frames = frames_of(card)
    np.testing.assert_allclose(zero.scores(frames).logit, -one.scores(frames).logit)


def test_a_backbone_gets_a_new_head_and_counts_as_untrained(tmp_path, monkeypatch):
    card = find_card("resnet18")
    published = torchvision.models.resnet18(weights=None)
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(published.state_dict(), path)
    found = LocatedFile(path, file_sha256(path), "test", "torchvision", "BSD-3-Clause")
    monkeypatch.setattr(originals, "locate", lambda name, download: found)
    original = load_original(card, "imagenet", seed=7)
    assert not original.weights.trained
    assert original.weights.seed == 7
    assert "untrained" in original.weights.source
    mine = original.module.state_dict()
    assert mine["fc.weight"].shape == (2, 512)
    for name, tensor in published.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(mine[name], tensor), name
    assert 0.5 < original.scores(frames_of(card, 8)).logit.std() < 8
    cut = {k: v for k, v in published.state_dict().items() if k != "layer1.0.bn1.bias"}
    torch.save(cut, path)
    with pytest.raises(WeightsError, match="was replaced while it was looked at"):
        load_original(card, "imagenet")
    found = LocatedFile(path, file_sha256(path), "test", "torchvision", "BSD-3-Clause")
    with pytest.raises(WeightsError, match=r"missing: layer1\.0\.bn1\.bias"):
        load_original(card, "imagenet")


def test_nothing_untrained_is_chosen_for_the_user():
    for name in ("inception_v3", "resnet18", "vgg16"):
        with pytest.raises(WeightsError, match="no published weights") as refused:
            load_original(find_card(name))
        assert "imagenet" in refused.value.why
    assert find_card("resnet18").default_weights is None
    assert find_card("inception_resnet_v1").default_weights.name == "torchfakes"


def test_half_precision_weights_are_accepted_and_said(resnet18_state, tmp_path):
    half = {k: v.half() if v.is_floating_point() else v for k, v in resnet18_state.items()}
    torch.save({"state_dict": half}, tmp_path / "a.pth")
    original = load_original(
        find_card("resnet18"), str(tmp_path / "a.pth"), said=Said(fake_index=1)
    )
    assert "float16 weights, widened exactly" in original.weights.source
    assert "'state_dict'" in original.weights.source
    assert original.module.fc.weight.dtype == torch.float32


def test_torchvision_after_tensorflow_is_an_error_not_an_abort(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    monkeypatch.delitem(sys.modules, "torchvision")
    with pytest.raises(ZooError, match="TensorFlow"):
        import_torchvision_models()
