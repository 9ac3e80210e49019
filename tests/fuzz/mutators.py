"""Make inputs that are a little wrong: bytes of a good file and a random source in, bytes out.

A change of single bytes seldom gets past a checksum or a parser's first look, so that there
is a mutator for each structure too, whose result is whole but for what it changed.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickletools
import warnings
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
            2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
_TOKENS = (ESCAPE.encode(), b"\0", b"\xff\xfe", b"\r\n", b"%s%n", b"../../canary", b"=1+1", b'"')
#: Values of other types and sizes than a reader of JSON expects.
_ODD: tuple[Any, ...] = (None, True, False, -1, 0, 1, 7.5, 1e308, float("inf"), float("nan"),
        2**31, 2**63, 10**400, "", "x", "x" * 5000, ESCAPE, "\udc80", "a\nb", "../../canary",
        "canary", "NaN", [], {}, [[]], [None], {"": None}, {"class_name": "Lambda"})  # fmt: skip


def of_bytes(data: bytes, rng: Random) -> bytes:
    """One to eight changes anywhere."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        _change(content, rng)
    return bytes(content)


def _change(content: bytearray, rng: Random) -> None:
    size = len(content)
    at = rng.randrange(size + 1)
    # Headers are at the beginning, and most of a file is not a header.
    at = min(at, rng.randrange(512)) if rng.random() < 0.4 else at
    span = rng.choice((1, 2, 4, 8, 16, 64, 512))
    kind = rng.randrange(9)
    if kind == 0 and at < size:
        content[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        content[at : at + 1] = bytes([rng.randrange(256)])
    elif kind == 2:
        width = rng.choice((1, 2, 4, 8))
        number = rng.choice((*_NUMBERS, rng.randrange(2**32))) % (1 << 8 * width)
        content[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
    elif kind == 3 and rng.random() < 0.3:
        del content[at:]
    elif kind == 4:
        del content[at : at + span]
    elif kind == 5:
        content[at:at] = content[at : at + span] * rng.choice((1, 1, 2, 100))
    elif kind == 6:
        content[at : at + span] = rng.randbytes(span)
    elif kind == 7:
        content[at : at + rng.choice((0, span))] = rng.choice(_TOKENS)
    else:
        other = rng.randrange(size + 1)
        content[at : at + span] = content[other : other + span]


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value, as container and key."""
    queue = [value]
    while queue:
        container = queue.pop()
        if isinstance(container, dict | list):
            keys = list(container) if isinstance(container, dict) else range(len(container))
            for key in keys:
                yield container, key
                queue.append(container[key])


def of_json(data: bytes, rng: Random) -> bytes:
    """Values of another type or size; fields that are missing, renamed or not due."""
    if rng.random() < 0.15:
        return of_bytes(data, rng)
    whole = {"": json.loads(data)}
    for _ in range(rng.choice((1, 1, 2, 4))):
        spots = list(_spots(whole))
        container, key = rng.choice(spots)
        other, its = rng.choice(spots)
        odd = copy.deepcopy(rng.choice(_ODD))  # a later change may be inside it
        kind = rng.randrange(7)
        if kind == 0 and container is not whole:
            del container[key]
        elif kind == 1 and isinstance(container, dict) and container is not whole:
            container[rng.choice(("", "x", ESCAPE, "__class__"))] = container.pop(key)
        elif kind == 2:
            with contextlib.suppress(RecursionError):  # where it is nested beyond copying
                container[key] = json.loads(json.dumps(other[its]))
        elif kind == 3:
            for _ in range(rng.choice((1, 30, 3000))):
                container[key] = [container[key]] if rng.random() < 0.5 else {"x": container[key]}
                if rng.random() < 0.01:
                    break
        elif kind == 4 and isinstance(container[key], int | float):
            container[key] = rng.choice((-container[key], container[key] * 10**9, 1e-300))
        else:
            container[key] = odd
    try:
        return json.dumps(whole[""]).encode()
    except RecursionError:
        return b"[" * 100_000


def of_json_lines(data: bytes, rng: Random) -> bytes:
    """One line of JSON among others."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = of_json(lines[at], rng) + b"\n"
    return b"".join(lines)


def of_pickle(data: bytes, rng: Random) -> bytes:
    """Opcodes left out, doubled, exchanged, or new ones: calls, imports, self-references."""
    try:
        starts = [position for _, _, position in pickletools.genops(data)]
    except Exception:  # of an input that a mutator has changed before
        return of_bytes(data, rng)
    ends = [*starts[1:], starts[-1] + 1]
    parts = [data[a:b] for a, b in zip(starts, ends, strict=True)]
    rest = data[ends[-1] :]
    new = (b"cos\nsystem\n", b"cos\nsystem\nX\x0b\0\0\0touch owned\x85R", b"(", b"}", b"]", b")",
           b"N", b"\x88", b"0", b"R", b"b", b"u", b"s", b"e", b"a", b"Q", b"\x85", b"\x86", b"2",
           b"K\x00", b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"X\x01\0\0\0x",
           b"h\x00", b"h\x01", b"h\x02", b"q\x00", b"q\x01", b"cbuiltins\nbytearray\n",
           b"ctorch._utils\n_rebuild_sparse_tensor\n",
           b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n",
           b"cbuiltins\nset\n", b"ccollections\nOrderedDict\n", b"B\xff\xff\xff\x7f")  # fmt: skip
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        kind = rng.randrange(6)
        if kind == 0:
            parts[at] = b""
        elif kind == 1:
            parts[at] *= rng.choice((2, 2, 3, 1000))
        elif kind == 2:
            parts[at], parts[other] = parts[other], parts[at]
        elif kind == 3:
            parts[at] = of_bytes(parts[at], rng)
        elif kind == 4:
            parts[at] += rng.choice(new)
        else:
            parts[at] = rng.choice(new)
    return b"".join(parts) + rest


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive, the same for the same members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, content)
    return out.getvalue()


def of_zip(data: bytes, rng: Random, inner: dict[str, Mutator]) -> bytes:
    """A member mutated by its kind, with a right checksum; or the archive itself.

    Args:
        data: the archive.
        rng: the random source.
        inner: mutators by a name's ending.
    """
    kind = rng.randrange(10)
    if kind == 0:
        return of_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    if kind == 1:
        del members[name]
    elif kind == 2:
        new = rng.choice((name + "x", f"../{name}", "/canary", ESCAPE, f"a/{name}", "x" * 3000))
        members[new] = members.pop(name)
    elif kind == 3:  # a bomb
        members[name] += bytes(rng.choice((1 << 20, 8 << 20)))
        method = zipfile.ZIP_DEFLATED
    elif kind == 4:  # flags, method or sizes of the headers: encrypted, unknown, another size
        content = bytearray(zipped(members, method))
        magic, first, last = rng.choice(((b"PK\1\2", 6, 46), (b"PK\3\4", 4, 30)))
        places = [i for i in range(len(content) - 46) if content.startswith(magic, i)]
        at = rng.choice(places) + rng.randrange(first, last)
        content[at] = rng.choice((0, 1, 9, 12, 14, 99, 255, content[at] ^ 1))
        return bytes(content)
    else:
        mutate = next((m for ending, m in inner.items() if name.endswith(ending)), of_bytes)
        members[name] = mutate(members[name], rng)
    return zipped(members, method)


def of_archive(data: bytes, rng: Random) -> bytes:
    """A zip archive of anything."""
    return of_zip(data, rng, {})
