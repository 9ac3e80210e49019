"""Checkpoints as people have them, good and bad. Nothing in a file is ever run."""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from runtime.errors import WeightsError  # noqa: E402
from runtime.files import snapshot  # noqa: E402
from zoo.originals.torch_checkpoint import WRAPPERS, Checkpoint, read_checkpoint  # noqa: E402


def state(seed: int = 0) -> OrderedDict:
    generator = torch.Generator().manual_seed(seed)
    return OrderedDict(
        (name, torch.randn(shape, generator=generator))
        for name, shape in (("conv.weight", (4, 3, 3, 3)), ("fc.weight", (2, 4)), ("fc.bias", (2,)))
    )


def read(path: Path) -> Checkpoint:
    return read_checkpoint(snapshot(path))


def same(found: dict, due: dict) -> bool:
    return list(found) == list(due) and all(torch.equal(found[n], due[n]) for n in due)


def save(path: Path, content, **options) -> Path:
    torch.save(content, path, **options)
    return path


def test_a_bare_state_dict(tmp_path):
    found = read(save(tmp_path / "a.pth", state()))
    assert same(found.tensors, state())
    assert found.notes == ()


def test_the_format_from_before_zip_archives(tmp_path):
    path = save(tmp_path / "a.pth", state(), _use_new_zipfile_serialization=False)
    assert same(read(path).tensors, state())


@pytest.mark.parametrize("key", WRAPPERS)
def test_a_state_dict_inside_a_training_checkpoint(tmp_path, key):
    content = {
        "epoch": 32,
        "args": argparse.Namespace(lr=1e-4),
        "best_acc": np.float64(0.966),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        key: state(),
    }
    found = read(save(tmp_path / "a.pth", content))
    assert same(found.tensors, state())
    assert key in found.notes[0]


def test_an_average_is_preferred_to_the_weights_it_averages(tmp_path):
    for key in ("ema_state_dict", "state_dict_ema", "model_ema"):
        content = {"state_dict": state(1), "model": state(2), key: state(3)}
        found = read(save(tmp_path / "a.pth", content))
        assert same(found.tensors, state(3)), key
    unused = {"state_dict": state(1), "model_ema": None}
    assert same(read(save(tmp_path / "b.pth", unused)).tensors, state(1))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.model."])
def test_prefixes_that_every_name_has_are_stripped(tmp_path, prefix):
    renamed = {prefix + name: tensor for name, tensor in state().items()}
    assert same(read(save(tmp_path / "a.pth", renamed)).tensors, state())


def test_a_prefix_of_some_names_is_part_of_them(tmp_path):
    mixed = {"model.a": torch.ones(1), "b": torch.ones(1)}
    assert list(read(save(tmp_path / "a.pth", mixed)).tensors) == ["model.a", "b"]


def test_averaged_model_and_its_counter(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(nn.Linear(3, 2))
    found = read(save(tmp_path / "a.pth", averaged.state_dict()))
    assert list(found.tensors) == ["weight", "bias"]


def test_safetensors_by_content_whatever_the_name(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    for name in ("a.safetensors", "a.pth"):
        safetensors.save_file(dict(state()), tmp_path / name)
        found = read(tmp_path / name).tensors
        assert all(torch.equal(found[n], t) for n, t in state().items())
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cut\.safetensors.*(damaged|cannot be read)"):
        read(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly_and_said(tmp_path, dtype):
    narrow = {name: tensor.to(dtype) for name, tensor in state().items()}
    found = read(save(tmp_path / "a.pth", narrow))
    for name, tensor in found.tensors.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor.to(dtype), narrow[name])
    assert str(dtype).removeprefix("torch.") in found.notes[0]


def test_float64_is_rounded_and_said(tmp_path):
    wide = {name: tensor.double() for name, tensor in state().items()}
    found = read(save(tmp_path / "a.pth", wide))
    assert same(found.tensors, state())
    assert "rounded" in found.notes[0]


def test_quantised_weights_are_refused(tmp_path):
    whole = {**state(), "fc.weight": torch.zeros(2, 4, dtype=torch.int8)}
    with pytest.raises(WeightsError, match=r"fc\.weight is int8"):
        read(save(tmp_path / "a.pth", whole))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    broken = state()
    broken["fc.weight"][1, 2] = value
    with pytest.raises(WeightsError, match=r"fc\.weight has 1 NaN or infinite"):
        read(save(tmp_path / "a.pth", broken))


def test_a_whole_pickled_module_is_refused_with_the_way_to_save_one(tmp_path):
    path = save(tmp_path / "whole.pt", nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(WeightsError) as refused:
        read(path)
    assert "pickled object" in refused.value.what
    assert "Sequential" in refused.value.why
    assert "model.state_dict()" in refused.value.todo


class _Call:
    """A pickle that writes a file when it is opened carelessly."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle"])
def test_a_pickle_that_calls_something_is_refused_and_not_run(tmp_path, kind):
    mark, path = tmp_path / "it_ran", tmp_path / "evil.pth"
    content = {"state_dict": state(), "x": _Call(mark)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"x": _Call(mark)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(WeightsError, match="tries to run code") as refused:
        read(path)
    assert "system" in refused.value.why
    assert not mark.exists()
    pickle.loads(pickle.dumps(_Call(mark)))  # the same thing, run on purpose: it is no dud
    assert mark.exists()


def test_empty_truncated_and_foreign_files_are_named(tmp_path):
    whole = save(tmp_path / "a.pth", state()).read_bytes()
    old = save(tmp_path / "b.pth", state(), _use_new_zipfile_serialization=False).read_bytes()
    files = {
        "empty": b"",
        "cut": whole[:-200],
        "cut_old": old[: len(old) // 2],
        "text": b"not weights at all\n" * 20,
        "html": b"<!DOCTYPE html><html>404</html>",
    }
    for name, content in files.items():
        path = tmp_path / f"{name}.pth"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=re.escape(str(path))):
            read(path)


def test_files_of_another_framework_are_told_what_they_are(tmp_path):
    h5py = pytest.importorskip("h5py")
    meso4 = ((3, 3, 3, 8), (5, 5, 8, 16), (5, 5, 16, 16), (5, 5, 8, 8), (1024, 16), (16, 1))
    path = tmp_path / "keras.pth"
    with h5py.File(path, "w") as file:
        for index, shape in enumerate(meso4):
            file[f"layer_{index}"] = np.zeros(shape, np.float32)
    with pytest.raises(WeightsError, match="cannot be read as a PyTorch checkpoint") as refused:
        read(path)
    assert "Meso4 (Keras)" in refused.value.why
    scripted = tmp_path / "scripted.pth"
    torch.jit.script(nn.Linear(3, 2)).save(scripted)
    with pytest.raises(WeightsError, match="TorchScript"):
        read(scripted)


def test_what_holds_no_state_dict_is_refused_with_its_keys(tmp_path):
    for content, said in (
        ({"epoch": 3, "lr": 0.1}, "epoch, lr"),
        ([torch.ones(1)], "list"),
        (torch.ones(3), "Tensor"),
        ({}, "nothing"),
    ):
        with pytest.raises(WeightsError, match="no state dict") as refused:
            read(save(tmp_path / "a.pth", content))
        assert said in refused.value.why
