"""Checkpoints of PyTorch, pickles and safetensors."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import Any

from ..mutators import zipped
from . import good, hostile, zip_bomb


def _state(dtype: str = "float32") -> OrderedDict[str, Any]:
    import torch

    kind = getattr(torch, dtype)
    return OrderedDict({
        "conv1.weight": torch.full((4, 3, 3, 3), 0.25, dtype=kind),
        "bn1.running_var": torch.ones(4, dtype=kind),
        "bn1.num_batches_tracked": torch.tensor(3),
        "fc.weight": torch.full((2, 4), 0.5, dtype=kind),
        "fc.bias": torch.zeros(2, dtype=kind),
    })  # fmt: skip


def _saved(content: Any, **how: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def torch_zip() -> bytes:
    """A state dict."""
    return _saved(_state())


def torch_training() -> bytes:
    """What a training script keeps."""

    import numpy as np

    state = {f"module.{name}": tensor for name, tensor in _state("float16").items()}
    options = argparse.Namespace(lr=0.1, name="x")
    more = {"epoch": 3, "args": options, "best": np.float64(0.5), "optimizer": {"state": {}}}
    return _saved({"state_dict": state, **more})


def torch_old() -> bytes:
    """A state dict in the format of before 1.6."""
    return _saved(_state(), _use_new_zipfile_serialization=False)


def safetensors() -> bytes:
    """The same as safetensors."""
    from safetensors.torch import save

    return bytes(save(_state()))


def safetensors_bfloat16() -> bytes:
    """In bfloat16, with metadata."""
    from safetensors.torch import save

    return bytes(save(_state("bfloat16"), {"format": "pt"}))


class _Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch owned",)


def torch_runs_code() -> bytes:
    """Opening it runs a command."""
    return _saved({"conv1.weight": _Runs()})


def pickle_runs_code() -> bytes:
    """The same as a bare pickle."""
    return pickle.dumps(_Runs())


def torch_itself() -> bytes:
    """Dicts that hold themselves, under the name that state dicts have."""
    content: dict[str, Any] = {"state_dict": {}}
    content["state_dict"]["state_dict"] = content
    return _saved(content)


def torch_deep() -> bytes:
    """Two thousand dicts within each other."""
    depth = 2000
    return _with_pickle(b"\x80\x02" + b"}X\x05\0\0\0model" * depth + b"}" + b"s" * depth + b".")


def torch_stride_0() -> bytes:
    """One number that says it is six billion bytes."""
    import torch

    return _saved({"conv1.weight": torch.zeros(1).expand(1 << 31)})


def torch_stride_0_half() -> bytes:
    """The same in half precision, which is to be widened."""
    import torch

    return _saved({"conv1.weight": torch.zeros(1, dtype=torch.float16).expand(1 << 31)})


def torch_meta() -> bytes:
    """A tensor without numbers."""
    import torch

    return _saved({"conv1.weight": torch.zeros(4, device="meta")})


def torch_sparse() -> bytes:
    """A sparse tensor of eight billion bytes, with one number in it."""
    import torch

    at = torch.tensor([[0], [0]])
    one = torch.sparse_coo_tensor(at, torch.ones(1), (1 << 16, 1 << 15), check_invariants=True)
    return _saved({"w": one})


def torch_odd_keys() -> bytes:
    """Keys that a terminal would obey, and keys that are no texts."""
    import torch

    return _saved({"\x1b[2J": torch.zeros(2, dtype=torch.int8), 3: torch.zeros(2), (1, 2): None})


def torch_pickle_bomb() -> bytes:
    """A pickle that doubles a tuple sixty times."""
    return _with_pickle(b"\x80\x02)" + b"2\x86" * 60 + b".")


def torch_pickle_long() -> bytes:
    """A pickle of a hundred million opcodes, packed."""
    name, members = _members()
    return zip_bomb(name, members, (b"\x80\x02", 1), (b"N0" * (1 << 19), 100), (b"}.", 1))


def _with_pickle(data: bytes) -> bytes:
    name, members = _members()
    return zipped({name: data, **members})


def _members() -> tuple[str, dict[str, bytes]]:
    """Of `torch_zip`: the name of its pickle, and all else."""
    with zipfile.ZipFile(io.BytesIO(torch_zip())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    del members[name]
    return name, members


def safetensors_large_header() -> bytes:
    """A header of two hundred megabytes by its own word."""
    return struct.pack("<Q", 200 << 20) + b'{"x":' + bytes(100)


ZIP = good(torch_zip, torch_training) + hostile(
    torch_runs_code, torch_itself, torch_deep, torch_stride_0, torch_stride_0_half, torch_meta,
    torch_sparse, torch_odd_keys, torch_pickle_bomb, torch_pickle_long,
)  # fmt: skip
OLD = good(torch_old) + hostile(pickle_runs_code)
SAFETENSORS = good(safetensors, safetensors_bfloat16) + hostile(safetensors_large_header)
