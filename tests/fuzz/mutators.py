"""Make inputs that are a little wrong: bytes of a good file and a random source in, bytes out.

A change of single bytes seldom gets past a checksum or a parser's first look, so that there
is a mutator for each structure too, whose result is whole but for what it changed.
"""

from __future__ import annotations

import gzip
import io
import json
import pickletools
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
            2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
_ESCAPE = "\x1b]0;owned\x07\x1b[2J"
_TOKENS = (_ESCAPE.encode(), b"\0", b"\xff\xfe", b"\r\n", b"%s%n", b"../../canary", b"=1+1", b'"')
#: Values of other types and sizes than a reader of JSON expects.
_ODD: tuple[Any, ...] = (None, True, False, -1, 0, 1, 7.5, 1e308, float("inf"), float("nan"),
        2**31, 2**63, 10**400, "", "x", "x" * 5000, _ESCAPE, "\udc80", "a\nb", "../../canary",
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
        odd = rng.choice(_ODD)
        kind = rng.randrange(7)
        if kind == 0 and container is not whole:
            del container[key]
        elif kind == 1 and isinstance(container, dict) and container is not whole:
            container[rng.choice(("", "x", _ESCAPE, "__class__"))] = container.pop(key)
        elif kind == 2:
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
        new = rng.choice((name + "x", f"../{name}", "/canary", _ESCAPE, f"a/{name}", "x" * 3000))
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


def of_keras_zip(data: bytes, rng: Random) -> bytes:
    """A ``.keras``: its config, its metadata or its HDF5."""
    return of_zip(data, rng, {".json": of_json, ".h5": of_hdf5})


def of_archive(data: bytes, rng: Random) -> bytes:
    """A zip archive of anything."""
    return of_zip(data, rng, {})


def of_torch_zip(data: bytes, rng: Random) -> bytes:
    """A checkpoint: mostly its pickle."""
    return of_zip(data, rng, {".pkl": of_pickle})


def of_hdf5(data: bytes, rng: Random) -> bytes:
    """Attributes, groups and arrays replaced by what else HDF5 can hold; or bytes changed."""
    if rng.random() < 0.4:
        return of_bytes(data, rng)
    import h5py

    file = io.BytesIO(data)
    with h5py.File(file, "r+") as root:
        for _ in range(rng.choice((1, 1, 2))):
            names: list[str] = []
            root.visit(names.append)
            try:
                _change_hdf5(root, names, rng)
            except (LookupError, ValueError, TypeError, OSError, RuntimeError):
                continue  # what was asked for does not go here
    return file.getvalue()


def _change_hdf5(root: Any, names: list[str], rng: Random) -> None:
    import h5py
    import numpy as np

    name = rng.choice(names)  # of none: a change before has taken all away
    item = root[name]
    holder = rng.choice((root, item))
    if rng.random() < 0.5 and (attributes := list(holder.attrs)):
        key = rng.choice(attributes)
        value = holder.attrs[key]
        if isinstance(value, str | bytes) and value[:1] in ("{", b"{") and rng.random() < 0.7:
            text = value.encode() if isinstance(value, str) else value
            holder.attrs[key] = np.bytes_(of_json(text, rng))
        elif rng.random() < 0.2:
            del holder.attrs[key]
        else:
            odd = (b"\xff\xfe", "", 7, -1, 1.5, np.zeros((0,)), np.zeros((2, 2)), [b"x", b"\xff"],
                   np.array([b"canary"]), h5py.Empty("f"), item.ref, _ESCAPE,
                   np.zeros(2, [("a", "f4"), ("b", "i8")]))  # fmt: skip
            holder.attrs[key] = rng.choice(odd)
        return
    parent = item.parent
    own = name.rpartition("/")[2]
    kind = rng.randrange(10)
    if kind == 0:
        parent[own + "x"] = parent  # a cycle
        return
    del parent[own]
    if kind == 1:
        parent[own] = rng.choice((root, parent))
    elif kind == 2:
        target = rng.choice(("canary", "pipe", "input.h5", "/dev/zero", "absent"))
        parent[own] = h5py.ExternalLink(target, rng.choice(("/", name)))
    elif kind == 3:
        parent[own] = h5py.SoftLink(rng.choice(("/", "absent", f"/{name}")))
    elif kind == 4:
        target = rng.choice(("canary", "pipe", "/etc/passwd"))
        parent.create_dataset(own, (30,), "u1", external=[(target, 0, 30)])
    elif kind == 5:
        shape = rng.choice(((4, 10**8), (2**31,), (10**6, 10**6), (2**40,)))
        parent.create_dataset(own, shape, "f4", chunks=True, fillvalue=1.0)
    elif kind == 6:
        layout = h5py.VirtualLayout((30,), "u1")
        layout[:] = h5py.VirtualSource(rng.choice(("canary", "pipe", ".")), name, (30,))
        parent.create_virtual_dataset(own, layout)
    elif kind == 7:
        odd = ("text", b"\xff", [b"a", b"b"], 3, np.zeros(3, bool), np.zeros(2, "c8"), item.ref,
               h5py.Empty("f4"), np.zeros(2, [("a", "f4")]), np.float32("nan"),
               np.zeros((0, 3)))  # fmt: skip
        parent[own] = rng.choice(odd)
    elif kind == 8:
        parent.create_group(own)


def of_png(data: bytes, rng: Random) -> bytes:
    """A chunk changed, doubled, moved or left out, with right checksums."""
    if rng.random() < 0.3:
        return of_bytes(data, rng)
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    at, other = rng.randrange(len(chunks)), rng.randrange(len(chunks))
    kind, content = chunks[at]
    choice = rng.randrange(5)
    if choice == 0:
        chunks.insert(other, chunks[at])
    elif choice == 1:
        del chunks[at]
    elif choice == 2:
        chunks[at], chunks[other] = chunks[other], chunks[at]
    else:
        chunks[at] = (kind, of_bytes(content, rng))
    return data[:8] + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )


def of_image(data: bytes, rng: Random) -> bytes:
    """By its kind."""
    return of_png(data, rng) if data.startswith(b"\x89PNG") else of_bytes(data, rng)


#: Fields of a tar header: offset and length.
_FIELDS = ((0, 100), (100, 8), (108, 8), (124, 12), (124, 12), (136, 12), (156, 1), (156, 1),
           (157, 100), (257, 8), (345, 155))  # fmt: skip
_FIELD_VALUES = (b"", b"\0", b"7" * 12, b"77777777777\0", b"-1", b"\x80" + b"\xff" * 11, b"x" * 155,
    b"\xff" + b"\0" * 11, b"../../canary", b"/etc/passwd", b"S", b"x", b"g", b"L", b"K", b"1", b"2",
    b"6", b"5", b"fake/\x1b[2J.png", b"\xff\xfe.png", b"00000000000\0")  # fmt: skip


def of_tar(data: bytes, rng: Random) -> bytes:
    """Fields of the headers, with a right checksum; pax records; or bytes."""
    packed = data.startswith(b"\x1f\x8b")
    if rng.random() < 0.2:
        return of_bytes(data, rng)
    content = bytearray(gzip.decompress(data) if packed else data)
    for _ in range(rng.choice((1, 1, 2))):
        headers = [
            at for at in range(0, len(content) - 511, 512) if content[at + 257 :][:5] == b"ustar"
        ]
        if not headers or rng.random() < 0.15:
            content = bytearray(of_bytes(bytes(content), rng))
            continue
        at = rng.choice(headers)
        if content[at + 156 : at + 157] in (b"x", b"g") and rng.random() < 0.7:
            records = bytes(content[at + 512 : at + 1024])
            content[at + 512 : at + 1024] = of_bytes(records, rng)[:512].ljust(512, b"\0")
            continue
        offset, length = rng.choice(_FIELDS)
        value = rng.choice(_FIELD_VALUES)[:length].ljust(length, b"\0")
        content[at + offset : at + offset + length] = value
        header = bytes(content[at : at + 512])
        check = sum(header[:148]) + 8 * 32 + sum(header[156:])
        content[at + 148 : at + 156] = b"%06o\0 " % check
    return gzip.compress(bytes(content), 1, mtime=0) if packed else bytes(content)


def of_onnx(data: bytes, rng: Random) -> bytes:
    """Nodes, attributes, shapes and constants of a graph; or bytes."""
    if rng.random() < 0.25:
        return of_bytes(data, rng)
    import onnx

    model = onnx.load_model_from_string(data)
    for _ in range(rng.choice((1, 1, 2))):
        _change_graph(model, rng)
    return bytes(model.SerializeToString())


def _change_graph(model: Any, rng: Random) -> None:
    from onnx import helper

    graph = model.graph
    node = rng.choice(graph.node)
    numbers = (-1, 0, 1, 2, 3, 7, 64, 10**5, 2**31 - 1, 2**62)
    kind = rng.randrange(9)
    if kind == 0:
        names = ("Identity", "Expand", "Tile", "Range", "Loop", "If", "Scan", "Pad", "Resize",
                 "ConstantOfShape", "Reshape", "Div", "Log", "NonZero", "Einsum", "MatMul",
                 "x")  # fmt: skip
        node.op_type = rng.choice(names)
    elif kind == 1 and node.input:
        values = [o for n in graph.node for o in n.output] + [i.name for i in graph.initializer]
        node.input[rng.randrange(len(node.input))] = rng.choice((*values, "", "absent"))
    elif kind == 2:
        tensor = rng.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(numbers)
    elif kind == 3:
        tensor = rng.choice(graph.initializer)
        tensor.raw_data = of_bytes(tensor.raw_data, rng)
    elif kind == 4:
        tensor = rng.choice(graph.initializer)
        tensor.data_location = 1
        for key, value in (("location", rng.choice(("canary", "pipe", "/dev/zero", "../x"))),
                           ("offset", "0"), ("length", str(rng.choice(numbers)))):  # fmt: skip
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    elif kind == 5:
        value = rng.choice([*graph.input, *graph.output])
        for dim in value.type.tensor_type.shape.dim:
            if rng.random() < 0.5:
                dim.dim_value = rng.choice(numbers)
        if rng.random() < 0.3:
            value.type.tensor_type.elem_type = rng.randrange(25)
    elif kind == 6:
        names = ("pads", "axis", "perm", "to", "kernel_shape", "strides", "group", "alpha")
        value = rng.choice((rng.choice(numbers), [rng.choice(numbers)] * 4, 1e38, "x"))
        node.attribute.append(helper.make_attribute(rng.choice(names), value))
    elif kind == 7:
        entry = model.metadata_props.add()
        text = model.metadata_props[0].value if len(model.metadata_props) > 1 else "{}"
        entry.key, entry.value = (
            "deepfake_zoo",
            of_json(text.encode(), rng).decode("utf-8", "ignore"),
        )
    else:
        del graph.node[rng.randrange(len(graph.node))]
