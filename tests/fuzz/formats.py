"""Mutators of one format each: HDF5, Keras' and torch's archives, PNG, tar, ONNX."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from random import Random
from typing import Any

from .mutators import ESCAPE, of_bytes, of_json, of_pickle, of_zip


def of_keras_zip(data: bytes, rng: Random) -> bytes:
    """A ``.keras``: its config, its metadata or its HDF5."""
    return of_zip(data, rng, {".json": of_json, ".h5": of_hdf5})


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
                   np.array([b"canary"]), h5py.Empty("f"), item.ref, ESCAPE,
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
