"""Say what a weights file looks like, without running anything that is in it.

A file that does not fit deserves a better answer than "it does not fit". Nothing here
needs a framework, and pickles are followed, never executed.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import unicodedata
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from runtime.errors import MissingPackageError, ZooError
from runtime.files import Snapshot, open_regular, snapshot
from runtime.text import printable
from weights import hdf5, networks, pickles
from weights.networks import Shape
from weights.pickled import Pickled, tensors

#: Of what a file begins with: offset, bytes, kind, and what to call it.
_MAGIC = (
    (0, b"\xff\xd8\xff", "image", "an image (JPEG)"),
    (0, b"\x89PNG", "image", "an image (PNG)"),
    (0, b"GIF8", "image", "an image (GIF)"),
    (0, b"BM", "image", "an image (BMP)"),
    (8, b"WEBP", "image", "an image (WebP)"),
    (4, b"ftyp", "video", "a video"),
    (1, b"trt\0", "plan", "a TensorRT plan, which is built from weights"),
    (4, b"TFL3", "tflite", "a TensorFlow Lite model"),
    (0, b"\x93NUMPY", "npy", "one NumPy array"),
    (0, b"\x1f\x8b", "gzip", "a gzip archive; unpack it first"),
    (257, b"ustar", "tar", "a tar archive; unpack it first"),
    (
        0,
        b"version https://git-lfs",
        "text",
        "a Git LFS pointer, not the file itself (git lfs pull)",
    ),
)
#: Endings of the names of parameters and buffers in a state dict.
_PARAMETERS = (".weight", ".bias", ".running_mean", ".running_var", ".num_batches_tracked")
#: More of a safetensors header is not looked into; real ones have a few megabytes at most.
_MOST_HEADER = 16 << 20
#: An ONNX model has a field for each of its opsets, functions and notes.
_MOST_FIELDS = 10_000
#: Fields of an ONNX ModelProto, with their wire types.
_ONNX_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}


@dataclass(frozen=True)
class Recognised:
    """What a file looks like.

    Attributes:
        kind: ``hdf5``, ``keras``, ``torch``, ``torchscript``, ``pickle``, ``safetensors``,
            ``onnx``, ``npz``, ``zip``, ``text``, ``image``, ``empty``, ``missing``,
            ``unknown``, or one of those in `_MAGIC`.
        what: for people, as the end of "it looks like ...".
        arrays: shapes of its arrays by name; an empty shape where only names are known.
        network: whose arrays they are; ``None`` where no rule fits.
        code: names of what opening it with a framework would import or run beyond
            tensors and plain data; such a file is not to be opened.
    """

    kind: str
    what: str
    arrays: Mapping[str, Shape] = field(default_factory=dict)
    network: str | None = None
    code: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of its arrays."""
        return tuple(self.arrays)


def recognise(source: Path | Snapshot) -> Recognised:
    """Look at a file's first bytes and the names in it. Never raises for what is in it."""
    try:
        with open_regular(source) if isinstance(source, Path) else source.open() as file:
            return _recognise(source, file, file.read(512))
    except (OSError, ZooError) as error:
        why = error.why or "there is none" if isinstance(error, ZooError) else error.strerror
        return Recognised("missing", f"nothing that can be read ({why})")
    except Exception:  # it is asked while another error is told, and must not hide that one
        return Recognised("unknown", "a damaged file")


def _recognise(source: Path | Snapshot, file: IO[bytes], head: bytes) -> Recognised:
    if not head:
        return Recognised("empty", "an empty file")
    if head.startswith(hdf5.HDF5_MAGIC):
        return _hdf5(source)
    if head.startswith(hdf5.ZIP_MAGIC):
        return _archive(source, file)
    size = os.fstat(file.fileno()).st_size
    if head[8:9] == b"{" and (found := _safetensors(file, head, size)):
        return found
    for offset, magic, kind, what in _MAGIC:
        if head.startswith(magic, offset):
            return Recognised(kind, what)
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return Recognised("text", "a web page, not a weights file (a failed download?)")
    if graph := _onnx(file, size):
        return Recognised("onnx", graph)
    file.seek(0)
    found_pickle = pickles.follow(file)
    if _is_text(head):  # as are pickles of protocol 0
        if found_pickle.whole and found_pickle.code:
            return _checkpoint(found_pickle, "pickle", "a pickle")
        return Recognised("text", "a text file")
    if found_pickle.values[:1] == [pickles.TORCH_MAGIC]:
        return _checkpoint(found_pickle, "torch", "a PyTorch checkpoint of the old format")
    if found_pickle.whole or head[:1] == b"\x80":
        return _checkpoint(found_pickle, "pickle", "a pickle")
    return Recognised("unknown", "no weights file of a known kind")


def _hdf5(source: Path | Snapshot, kind: str = "hdf5", what: str = "HDF5") -> Recognised:
    try:
        with contextlib.ExitStack() as stack:
            if isinstance(source, Path):
                source = stack.enter_context(snapshot(source))
            found = hdf5.read_hdf5(source, arrays=False).shapes
    except MissingPackageError:
        return Recognised(kind, f"{what}; with h5py installed more can be said")
    except ZooError as error:
        return Recognised(kind, f"{what}, but {error.why}")
    # Of a whole model of Keras 2 the weights are in a group.
    inside = {n: s for n, s in found.items() if n.startswith("model_weights/")}
    arrays = {n.removeprefix("model_weights/"): s for n, s in (inside or found).items()}
    shapes = [shape for shape in arrays.values() if shape]
    network = networks.by_shapes(shapes)
    if network:
        words = f"{what} with the weights of {network} (Keras)"
        return Recognised(kind, words, arrays, network)
    kernels = [list(shape) for shape in shapes if len(shape) == 4]
    of = f", {len(kernels)} of them convolutions from {kernels[0]} on" if kernels else ""
    words = f"{what} with {len(arrays)} arrays of an unknown network{of}"
    return Recognised(kind, words, arrays)


def _archive(source: Path | Snapshot, file: IO[bytes]) -> Recognised:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            pickled = [n for n in members if n.rpartition("/")[2] == "data.pkl"]
            if any(n.rpartition("/")[2] == "constants.pkl" for n in members):
                scripts = tuple(n for n in members if n.endswith(".py"))
                what = "a TorchScript archive (a program, not only weights)"
                return Recognised("torchscript", what, code=scripts or ("TorchScript",))
            if pickled:
                with archive.open(pickled[0]) as member:
                    found = pickles.follow(member)
                return _checkpoint(found, "torch", "a PyTorch checkpoint")
            if hdf5.WEIGHTS_MEMBER in members:
                return _hdf5(source, "keras", "a .keras model")
            if any(name.endswith(".npy") for name in members):
                return Recognised("npz", "NumPy arrays", dict.fromkeys(members, ()))
            return Recognised("zip", f"a zip archive of {len(members)} files")
    except Exception:  # a damaged archive makes zipfile raise anything
        return Recognised("zip", "a zip archive (.pth, .keras), but truncated or damaged")


def _checkpoint(found: Pickled, kind: str, what: str) -> Recognised:
    # Of a pickle that broke off, or whose tensors are of an unknown make, names remain.
    arrays = tensors(found.values) or dict.fromkeys(
        (text for text in found.texts if text.endswith(_PARAMETERS)), ()
    )
    if not found.whole:
        what = f"{what}, truncated, damaged or too long,"
    if found.code:
        shown = _names(found.code)
        network = networks.by_names(arrays)
        return Recognised(kind, f"{what} that imports {shown}", arrays, network, found.code)
    return _state_dict(kind, what, arrays)


def _state_dict(kind: str, what: str, arrays: Mapping[str, Shape]) -> Recognised:
    network = networks.by_names(arrays)
    if network:
        return Recognised(kind, f"{what} with the parameters of {network}", arrays, network)
    if not arrays:
        return Recognised(kind, f"{what} without parameters")
    many = f"{len(arrays)} parameters of an unknown network ({_names(arrays)})"
    return Recognised(kind, f"{what} with {many}", arrays)


def _names(names: Collection[str]) -> str:
    """The first of them, each by its beginning."""
    first = [printable(name[:100]) for name in list(names)[:3]]
    return ", ".join([*first, *["..."] * (len(names) > 3)])


def _safetensors(file: IO[bytes], head: bytes, size: int) -> Recognised | None:
    length = int.from_bytes(head[:8], "little")
    truncated = Recognised("safetensors", "safetensors, but truncated")
    if length > _MOST_HEADER:
        return None
    if 8 + length > size:
        return truncated
    file.seek(8)
    try:
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        arrays = {name: tuple(tensor["shape"]) for name, tensor in header.items()}
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        if 8 + length + end > size:
            return truncated
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None
    return _state_dict("safetensors", "safetensors", arrays)


def _is_text(head: bytes) -> bool:
    try:  # a character may be cut in two at the end
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(c in "\t\r\n\f" or unicodedata.category(c) != "Cc" for c in text)


def _onnx(file: IO[bytes], size: int) -> str | None:
    """Walk the outermost fields of a protocol buffer; what it is if they are a model's."""
    file.seek(0)
    seen: set[int] = set()
    whole = True
    for _ in range(_MOST_FIELDS):
        if not whole or file.tell() >= size:
            break
        key = _varint(file)
        if key is None or _ONNX_FIELDS.get(key >> 3) != key & 7:
            return None
        seen.add(key >> 3)
        value = _varint(file)
        if value is None:
            whole = False
        elif key & 7 == 2:
            whole = file.tell() + value <= size
            file.seek(min(value, size), os.SEEK_CUR)
    if not seen >= {1, 7}:  # the version and the graph
        return None
    return "an ONNX graph" if whole else "an ONNX graph, but truncated"


def _varint(file: IO[bytes]) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
