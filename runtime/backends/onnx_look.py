"""A look at an ONNX file before ONNX Runtime builds it: nothing outside it, nothing endless.

Weights may lie in other files, which the engine's hash does not cover. Loops need not end,
and functions that call functions grow without bound from a few bytes; no export of ours has
either. The file is walked as the protocol buffer that it is, past its weights: the package
``onnx`` would take ten times as long, and memory for all of them.

Field numbers are those of onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from runtime.errors import EngineError
from runtime.files import Snapshot
from runtime.text import printable

_EXTERNAL = (
    "its weights lie in other files, which its hash does not cover",
    "save it as one file: onnx.save(onnx.load(FILE), OTHER)",
)
_LOOPS = (
    "it holds a graph inside a node (Loop, Scan or If), which need not end",
    "give a file that zoo export made",
)
_FUNCTIONS = (
    "it holds functions, which may grow without bound",
    "give a file that zoo export made",
)

#: A kind of message: fields that are messages to look into, and those that must not be there
#: (with why, and the way out).
_Message: TypeAlias = "dict[int, _Message | tuple[str, str]]"

#: `external_data` and `data_location`, which is 0 where they are inside.
_TENSOR: _Message = {13: _EXTERNAL, 14: _EXTERNAL}
_SPARSE: _Message = {1: _TENSOR, 2: _TENSOR}
_ATTRIBUTE: _Message = {
    5: _TENSOR,
    10: _TENSOR,
    22: _SPARSE,
    23: _SPARSE,
    6: _LOOPS,
    11: _LOOPS,
}
_NODE: _Message = {5: _ATTRIBUTE}
_GRAPH: _Message = {1: _NODE, 5: _TENSOR, 15: _SPARSE}
_MODEL: _Message = {7: _GRAPH, 25: _FUNCTIONS}


def check_graph(content: Snapshot) -> None:
    """Refuse an ONNX file that cannot be judged by itself, or need not end.

    Raises:
        EngineError: weights in other files, a graph inside a node, functions; or it is no
            protocol buffer.
    """
    path = content.path
    if content.size == 0:
        raise _not_onnx(path, "it is empty")
    with mmap.mmap(content.fd, 0, prot=mmap.PROT_READ) as data:
        try:
            _check(data, 0, len(data), _MODEL, path)
        except (ValueError, IndexError):
            raise _not_onnx(path, "it is no protocol buffer, or cut short") from None


def _check(data: mmap.mmap, start: int, end: int, kind: _Message, path: Path) -> None:
    for number, value, where, stop in _fields(data, start, end):
        inside = kind.get(number)
        if isinstance(inside, tuple):
            if value != 0:  # which is what a field that is not there says
                raise EngineError(f"{printable(path)} cannot be an engine", *inside)
        elif inside is not None:
            _check(data, where, stop, inside, path)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int | None, int, int]]:
    """The fields of a message: number, the value of a whole number, and from where to where.

    Raises:
        ValueError, IndexError: it is none.
    """
    at = start
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        size, value = 0, None
        if wire == 2:
            size, at = _varint(data, at)
        elif wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError("a group")
        # Readers keep 32 bits of a key: a longer one would be another field to them.
        if at + size > end or not 0 < number < 1 << 29:
            raise ValueError("cut short")
        yield number, value, at, at + size
        at += size


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value: int = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")


def _not_onnx(path: Path, why: str) -> EngineError:
    return EngineError(
        f"{printable(path)} cannot be loaded by ONNX Runtime",
        why,
        "export it again: zoo export NAME",
    )
