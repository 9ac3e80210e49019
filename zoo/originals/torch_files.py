"""Read the bytes of a PyTorch checkpoint, and run nothing that is in them.

A checkpoint is a pickle, and a pickle is a program. It is followed first without running
it (see `weights.pickles`), and refused where it names code or would take memory or time
without bound. Only then does it go through ``torch.load(weights_only=True)``, whose
unpickler builds tensors and plain containers and calls nothing else. Safetensors have no
code to run.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
import zipfile
from typing import Any

import numpy as np

from runtime.errors import MissingPackageError, WeightsError
from runtime.files import Snapshot
from runtime.text import printable
from weights import pickles
from weights.pickled import Pickled
from weights.recognise import recognise

SAVE = (
    "in the program that made it: torch.save(model.state_dict(), 'weights.pth'),"
    " or safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)
#: Of the pickle in a checkpoint, which holds names and shapes and no numbers.
_MOST_PICKLE = 64 << 20
#: Of the JSON that safetensors begin with; the format allows six times as much.
_MOST_HEADER = 16 << 20
#: What no honest checkpoint imports.
_HOSTILE = re.compile(
    r"(os|posix|nt|subprocess|shutil|socket|runpy|pty|importlib|ctypes|webbrowser)\..*"
    r"|(builtins|__builtin__)\.(eval|exec|compile|open|__import__)"
)


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


def read_content(source: Snapshot) -> Any:
    """What a checkpoint holds: tensors in plain containers.

    Args:
        source: its bytes. Where the format allows it, tensors are mapped to them: no second
            copy is made.

    Raises:
        WeightsError: see `zoo.originals.torch_checkpoint.read_checkpoint`.
        MissingPackageError: torch or safetensors is not installed.
    """
    if not source.size:
        raise WeightsError(f"{source.path} is empty", "it has 0 bytes", "fetch or copy it again")
    with source.open() as file:
        start = file.read(9)
    # By content: eight bytes of header length, then JSON.
    if start[8:] == b"{" and (length := int.from_bytes(start[:8], "little")) <= 100_000_000:
        if length > _MOST_HEADER:
            raise _damaged(source, f"its header has {length:,} bytes")
        return _read_safetensors(source)
    return _read_pickle(source)


def _read_safetensors(source: Snapshot) -> dict[str, Any]:
    import_torch()
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise MissingPackageError("safetensors", f"reading {source.path.name}", "torch") from None
    try:
        return load_file(source.name)  # type: ignore[no-any-return]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(source, f"it looks like safetensors, but: {_said(error)}") from None


def _damaged(source: Snapshot, why: str) -> WeightsError:
    return WeightsError(f"{source.path} is damaged", why, "fetch or copy it again")


def _read_pickle(source: Snapshot) -> Any:
    torch = import_torch()
    in_zip = _check_pickle(source)
    try:
        with torch.serialization.safe_globals(_plain_data()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are of torch's own making, for its developers
            # Only torch's zip format can be mapped.
            return torch.load(source.name, map_location="cpu", weights_only=True, mmap=in_zip)
    except MemoryError:
        raise
    except Exception as error:
        # What a damaged or foreign file makes the unpickler raise is anyone's guess.
        if stopped := re.search(r"GLOBAL\s+([\w.]+)", str(error)):
            raise _code(source, stopped.group(1)) from None
        raise _foreign(source, _said(error)) from None


def _check_pickle(source: Snapshot) -> bool:
    """Follow the pickle before torch does.

    Returns:
        Whether the file is a zip archive, and not of torch's older format.

    Raises:
        WeightsError: it is no checkpoint, names code, or would take without bound.
    """
    with source.open() as file:
        in_zip = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        found = _follow_archive(source) if in_zip else pickles.follow(file)
    if found.code:
        # What a file tries to run goes before what else of it is not known.
        raise _code(source, next(filter(_HOSTILE.fullmatch, found.code), found.code[0]))
    total = sum(found.storages.values())
    if not found.flaw and total > source.size:
        found.mark(f"its storages declare {total:,} bytes, and the file has {source.size:,}")
    if found.flaw:
        name = found.flawed_name
        raise WeightsError(
            f"{source.path} is no checkpoint that can be opened",
            f"{printable(name)}: {found.flaw}" if name else found.flaw,
            f"it is damaged, or made to take memory or time; {SAVE}",
        )
    if not found.whole or not (in_zip or found.values[:1] == [pickles.TORCH_MAGIC]):
        raise _foreign(source, "its pickle breaks off" if found.values else "")
    return in_zip


def _follow_archive(source: Snapshot) -> Pickled:
    """Of torch's zip: members as they are, none compressed, and one ``data.pkl``."""
    try:
        with zipfile.ZipFile(source.name) as archive:
            members = archive.infolist()
            names = [info.filename for info in members]
            (pickled,) = (i for i in members if i.filename.rpartition("/")[2] == "data.pkl")
            if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
                raise _foreign(source, "")
            packed = [i.filename for i in members if i.compress_type or i.flag_bits & 1]
            if packed or len(set(names)) != len(names) or pickled.file_size > _MOST_PICKLE:
                raise _foreign(source, "it was not written by torch.save")
            with archive.open(pickled) as file:
                return pickles.follow(file)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError):
        raise _foreign(source, "") from None


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


def _code(source: Snapshot, name: str) -> WeightsError:
    """A pickle that needs code to be run."""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return WeightsError(
            f"{source.path} tries to run code",
            f"its pickle calls '{printable(name)}'; nothing of it was run",
            "do not open it with other programs; ask its author for a .safetensors file",
        )
    return WeightsError(
        f"{source.path} holds a pickled object, not only weights",
        f"it needs the code of '{printable(name)}' to be run, which is not done with a file's"
        " pickle",
        SAVE,
    )


def _foreign(source: Snapshot, why: str) -> WeightsError:
    looks = recognise(source).what
    return WeightsError(
        f"{source.path} cannot be read as a PyTorch checkpoint",
        f"it looks like {looks}" + (f" ({why})" if why else ""),
        "give a state dict (.pth, .pt) or a .safetensors file",
    )


def _said(error: Exception) -> str:
    """A library's words, without its advice to open the file with less care."""
    text = str(error).strip("'\"")
    if re.search(r"weights_only|torch\.load|safe_globals|trust", text):
        return "torch does not read it"
    return printable(text.splitlines()[0])[:200] if text else type(error).__name__
