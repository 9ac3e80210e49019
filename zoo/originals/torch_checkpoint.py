"""Read PyTorch checkpoints as people have them, and run nothing that is in them.

A checkpoint is a pickle, and a pickle is a program. Everything here goes through
``torch.load(weights_only=True)``, whose unpickler builds tensors and plain containers
and calls nothing else, or through safetensors, which has no code to run.
"""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import MissingPackageError, WeightsError
from weights.recognise import recognise

#: Keys under which training scripts keep a state dict, the preferred first. An average
#: (EMA) goes before the weights it averages: where there is one, it is what was evaluated.
WRAPPERS = (
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "model_state_dict",
    "state_dict",
    "model",
    "net",
)
#: Put before every name by DataParallel and AveragedModel, torch.compile, and modules
#: that keep the network in an attribute (Lightning and many a course project).
PREFIXES = ("module.", "_orig_mod.", "model.")

_SAVE = (
    "in the program that made it: torch.save(model.state_dict(), 'weights.pth'),"
    " or safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file under the network's own names.

    Attributes:
        path: of the file.
        tensors: ``torch.Tensor`` by name; floats are float32.
        notes: what was chosen or converted on the way, for people.
    """

    path: Path
    tensors: dict[str, Any]
    notes: tuple[str, ...]


def import_torch() -> Any:
    """Torch, or the command that installs it.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingPackageError("torch", "a PyTorch original", "torch") from None
    return torch


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a state dict, wherever in the file it is.

    Accepted are a state dict; a dict that holds one under one of `WRAPPERS`; names with
    `PREFIXES`; torch's zip and older formats; safetensors. Half-precision weights are
    widened to float32, which is exact; float64 is rounded, and a note says so.

    Raises:
        WeightsError: empty, truncated, no checkpoint, a pickled module, a pickle that
            calls something, no state dict inside, or numbers that are not finite.
        MissingPackageError: torch or safetensors is not installed.
    """
    if path.stat().st_size == 0:
        raise WeightsError(f"{path} is empty", "it has 0 bytes", "fetch or copy it again")
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    found, notes = _find_state_dict(path, content)
    names = _strip_prefixes(found)
    # AveragedModel counts its updates among the weights.
    named = {new: found[old] for old, new in names.items() if new != "n_averaged"}
    tensors, more = _to_float32(path, named)
    return Checkpoint(path, tensors, (*notes, *more))


def _is_safetensors(path: Path) -> bool:
    """By content: eight bytes of header length, then JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    # The format's own limit. Not the file's size: a truncated one is to be called that.
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000


def _read_safetensors(path: Path) -> dict[str, Any]:
    import_torch()
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise MissingPackageError("safetensors", f"reading {path.name}", "torch") from None
    try:
        return load_file(path)  # type: ignore[no-any-return]
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is damaged",
            f"it looks like safetensors, but: {_first_line(error)}",
            "fetch or copy it again",
        ) from None


def _read_pickle(path: Path) -> Any:
    torch = import_torch()
    try:
        with torch.serialization.safe_globals(_plain_data()):
            # Mapped files leave out a second copy of the weights in memory; only torch's
            # zip format can be.
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except MemoryError:
        raise
    except Exception as error:
        # What a damaged or foreign file makes the unpickler raise is anyone's guess.
        raise _refusal(path, error) from None


def _plain_data() -> list[Any]:
    """What checkpoints hold beside tensors that is data and runs nothing.

    Training scripts store metrics as NumPy scalars (``best_acc``) and their options as a
    ``Namespace`` (``args``).
    """
    scalar: Any = np.float64(0).__reduce__()[0]
    dtypes = ("?", "i4", "i8", "f2", "f4", "f8")
    return [
        argparse.Namespace,
        np.dtype,
        *{type(np.dtype(code)) for code in dtypes},
        (scalar, "numpy.core.multiarray.scalar"),  # NumPy 1
        (scalar, "numpy._core.multiarray.scalar"),
    ]


def _refusal(path: Path, error: Exception) -> WeightsError:
    """Why a file could not be unpickled, told from the name the unpickler stopped at."""
    stopped = re.search(r"GLOBAL\s+([\w.]+)", str(error))
    if stopped is None:
        looks = recognise(path).what
        if "TorchScript" in str(error):
            looks = "a TorchScript archive"
        return WeightsError(
            f"{path} cannot be read as a PyTorch checkpoint",
            f"it looks like {looks} ({_first_line(error)})",
            "give a state dict (.pth, .pt) or a .safetensors file",
        )
    name = stopped.group(1)
    if name.split(".")[0] in sys.stdlib_module_names:
        return WeightsError(
            f"{path} tries to run code",
            f"its pickle calls '{name}'; nothing of it was run",
            "do not open it with other programs; ask its author for a .safetensors file",
        )
    return WeightsError(
        f"{path} holds a pickled object, not only weights",
        f"it needs the code of '{name}' to be run, which is not done with a file's pickle",
        _SAVE,
    )


def _find_state_dict(path: Path, content: Any) -> tuple[dict[str, Any], list[str]]:
    """The names and tensors, and under which key they were."""
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds no state dict", f"it holds a {type(content).__name__}", _SAVE
        )
    for key in WRAPPERS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and inner:
            found, notes = _find_state_dict(path, inner)
            return found, [f"'{key}' of the file", *notes]
    torch = import_torch()
    found = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
    if not found:
        keys = ", ".join(map(str, list(content)[:6])) or "nothing"
        raise WeightsError(
            f"{path} holds no state dict",
            f"it has {keys}; looked for tensors and for {', '.join(WRAPPERS)}",
            _SAVE,
        )
    return found, []


def _strip_prefixes(names: Mapping[str, Any]) -> dict[str, str]:
    """Names in the file to names in the network.

    A prefix goes only if every name has it: then it can be no part of the network's own.
    """
    stripped = {name: name for name in names if name != "n_averaged"}
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if all(new.startswith(prefix) for new in stripped.values()):
                stripped = {old: new[len(prefix) :] for old, new in stripped.items()}
                changed = True
    return stripped


def _to_float32(path: Path, tensors: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    torch = import_torch()
    exact = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
    plain: dict[str, Any] = {}
    widened: set[str] = set()
    rounded = False
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            plain[name] = tensor.detach()
            continue
        if tensor.dtype not in (*exact, torch.float32, torch.float64) or tensor.is_sparse:
            raise WeightsError(
                f"{path} has weights of another kind",
                f"{name} is {str(tensor.dtype).removeprefix('torch.')}, due is float32",
                "quantised checkpoints cannot be judged by; give the one before quantisation",
            )
        if tensor.dtype in exact:
            widened.add(exact[tensor.dtype])
        rounded = rounded or tensor.dtype == torch.float64
        wide = tensor.detach().to(torch.float32)
        _check_finite(path, name, wide)
        plain[name] = wide
    notes = [f"{kind} weights, widened exactly" for kind in sorted(widened)]
    return plain, [*notes, *(["float64 weights, rounded to float32"] * rounded)]


def _check_finite(path: Path, name: str, tensor: Any) -> None:
    bad = int((~tensor.isfinite()).sum())
    if bad:
        raise WeightsError(
            f"{path} holds numbers that are not finite",
            f"{name} has {bad} NaN or infinite values",
            "its training has diverged; use another checkpoint",
        )


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
