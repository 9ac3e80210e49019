"""The state dict in a PyTorch checkpoint, wherever and under whatever names it is.

How the bytes are read without running anything is `zoo.originals.torch_files`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import WeightsError
from runtime.files import Snapshot
from runtime.text import printable
from zoo.originals.torch_files import SAVE, import_torch, read_content

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

#: A state dict lies no deeper than this in a checkpoint.
_DEEPEST = 4
#: What a checkpoint may say of its network beside the weights; Lightning's among it.
_OPTIONS = ("hyper_parameters", "hparams", "args", "config", "cfg", "arch")
_MOST_SHOWN = 200
#: How often the tensors of a file may share what is in it: tied weights, a few of them.
_MOST_SHARED = 4


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file under the network's own names.

    Attributes:
        source: the file's bytes.
        tensors: ``torch.Tensor`` by name; floats are float32.
        notes: what was chosen or converted on the way, for people.
    """

    source: Snapshot
    tensors: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Of the file, for messages."""
        return self.source.path


def read_checkpoint(source: Snapshot) -> Checkpoint:
    """Read a state dict, wherever in the file it is.

    Accepted are a state dict; a dict that holds one under one of `WRAPPERS`; names with
    `PREFIXES`; torch's zip and older formats; safetensors. Half-precision weights are
    widened to float32, which is exact; float64 is rounded, and a note says so.

    Args:
        source: the file's bytes; tensors may go on lying in them.

    Raises:
        WeightsError: empty, truncated, no checkpoint, a pickled module, a pickle that
            calls something, no state dict inside, tensors larger than the file, or numbers
            that are not finite.
        MissingPackageError: torch or safetensors is not installed.
    """
    path = source.path
    content = read_content(source)
    found, notes = _find_state_dict(path, content)
    names = _strip_prefixes(found)
    # AveragedModel counts its updates among the weights.
    named = {new: found[old] for old, new in names.items() if new != "n_averaged"}
    _check_sizes(source, named)
    tensors, more = _to_float32(path, named)
    return Checkpoint(source, tensors, (*notes, *more, *_options(content)))


def _find_state_dict(path: Path, content: Any) -> tuple[dict[str, Any], list[str]]:
    """The names and tensors, and under which keys they were."""
    torch = import_torch()
    notes: list[str] = []
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            raise WeightsError(
                f"{path} holds no state dict", f"it holds a {type(content).__name__}", SAVE
            )
        inner = [(k, v) for k in WRAPPERS if isinstance(v := content.get(k), Mapping) and v]
        if not inner:
            break
        key, content = inner[0]
        notes.append(f"'{key}' of the file")
    else:
        raise WeightsError(
            f"{path} holds no state dict",
            f"it goes deeper and deeper: {', in '.join(notes[::-1])}",
            SAVE,
        )
    found = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
    if not found:
        keys = ", ".join(printable(str(k))[:40] for k in list(content)[:6]) or "nothing"
        raise WeightsError(
            f"{path} holds no state dict",
            f"it has {keys}; looked for tensors and for {', '.join(WRAPPERS)}",
            SAVE,
        )
    return found, notes


def _options(content: Any) -> list[str]:
    """What the file says beside its weights, which is shown and not gone by."""
    notes = []
    for key in _OPTIONS:
        said = content.get(key) if isinstance(content, Mapping) else None
        values = said if isinstance(said, Mapping) else getattr(said, "__dict__", None)
        if isinstance(said, (str, int, float)):
            shown = str(said)
        elif values:
            plain = {k: v for k, v in values.items() if isinstance(v, (str, int, float))}
            shown = ", ".join(f"{k}={str(v)[:40]}" for k, v in list(plain.items())[:20])
        else:
            continue
        notes.append(f"'{key}' of the file, not used: {printable(shown)[:_MOST_SHOWN]}")
    return notes


def _check_sizes(source: Snapshot, tensors: Mapping[str, Any]) -> None:
    """Tensors have to be plain ones, whose numbers are all in the file."""
    torch = import_torch()
    total = 0
    for name, tensor in tensors.items():
        kind = str(tensor.layout).removeprefix("torch.")
        if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
            kind = tensor.device.type if tensor.device.type != "cpu" else kind
            raise WeightsError(
                f"{source.path} has weights of another kind",
                f"{printable(name)} is a {kind} tensor, due is a plain one of float32",
                SAVE,
            )
        size = tensor.numel() * tensor.element_size()
        total += size
        held = tensor.untyped_storage().nbytes()
        if size > held or total > _MOST_SHARED * source.size:
            raise WeightsError(
                f"{source.path} declares more than it holds",
                f"{printable(name)} is {list(tensor.shape)}, {size:,} bytes, and its storage"
                f" has {held:,}; the file has {source.size:,}",
                "it is damaged, or made to take memory; fetch or copy it again",
            )


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
