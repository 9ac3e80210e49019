"""Following pickles without running them: what they hold, and what they would import."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from weights import pickles
from weights.pickled import tensors
from weights.recognise import recognise

# Pickles written opcode by opcode: no framework is needed, nor one that agrees to write them.


def import_of(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integers(*values: int) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"


def tensor(*shape: int) -> bytes:
    """What ``torch.save`` writes for a float32 tensor."""
    storage = b"(" + text("storage") + import_of("torch", "FloatStorage") + text("0")
    storage += text("cpu") + b"J" + struct.pack("<i", 1) + b"tQ"
    hooks = import_of("collections", "OrderedDict") + b")R"
    arguments = storage + b"K\0" + integers(*shape) + integers(*[1] * len(shape)) + b"\x89" + hooks
    return import_of("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def mapping(**items: bytes) -> bytes:
    pairs = b"".join(text(key.replace("__", ".")) + value for key, value in items.items())
    return import_of("collections", "OrderedDict") + b")R(" + pairs + b"u"


def whole(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def archive(path: Path, data: bytes, **others: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x/data.pkl", data)
        for name, content in others.items():
            made.writestr(f"x/{name.replace('__', '.')}", content)
    return path


def old_format(state: bytes) -> bytes:
    """Five pickles in a row, as torch wrote before 1.6, then numbers."""
    before = [pickles.TORCH_MAGIC, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(v, 2) for v in before) + state + pickle.dumps(["0"], 2) + bytes(64)


def parameter(inner: bytes) -> bytes:
    return import_of("torch._utils", "_rebuild_parameter") + b"(" + inner + b"\x88NtR"


STATE = mapping(
    fc__weight=tensor(2, 512),
    fc__bias=parameter(tensor(2)),
    layer1__0__conv1__weight=tensor(64, 64, 3, 3),
)
SHAPES = {"fc.weight": (2, 512), "fc.bias": (2,), "layer1.0.conv1.weight": (64, 64, 3, 3)}


@pytest.mark.parametrize(
    "value",
    [STATE, mapping(epoch=b"K\x05", model_state_dict=STATE, optimizer=mapping(a=tensor(1)))],
)
def test_names_and_shapes_are_read_without_a_framework(tmp_path, value):
    found = recognise(archive(tmp_path / "w.pth", whole(value)))
    assert found.kind == "torch"
    assert found.arrays == SHAPES
    assert found.network == "torchvision's resnet18"
    assert found.code == ()


def test_the_old_format_is_read_as_well(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(old_format(whole(STATE)))
    found = recognise(path)
    assert (found.kind, found.arrays) == ("torch", SHAPES)
    assert "old format" in found.what
    path.write_bytes(old_format(whole(STATE))[:250])
    assert "truncated" in recognise(path).what


@pytest.mark.parametrize(
    ("value", "name"),
    [
        # In torch's own modules, and not data: a test of the first letters would let it pass.
        (import_of("torch.storage", "_load_from_bytes") + b"(tR", "torch.storage._load_from_bytes"),
        (import_of("torch", "load") + b"(tR", "torch.load"),
        (import_of("numpy", "load") + b"(tR", "numpy.load"),
        (import_of("torch._utils", "_rebuild_anything") + b"(tR", "torch._utils._rebuild_anything"),
        # Imported and not called.
        (import_of("os", "system"), "os.system"),
        # By protocol 0's opcode, by the name on the stack, and with that name out of the memo.
        (b"(ios\nsystem\n", "os.system"),
        (text("os") + text("system") + b"\x93", "os.system"),
        (text("os") + b"q\x000" + text("x") + b"0h\0" + text("system") + b"\x93", "os.system"),
        # By a name that is computed, and by a number.
        (b"]" + text("system") + b"\x93", "a computed name"),
        (b"\x82\x07", "copyreg extension.7"),
        (mapping(a=tensor(1), net=import_of("__main__", "Net") + b")\x81"), "__main__.Net"),
    ],
)  # fmt: skip
def test_code_is_named_however_it_is_hidden(tmp_path, value, name):
    path = archive(tmp_path / "w.pth", whole(value))
    assert recognise(path).code == (name,)
    assert name in recognise(path).what
    path.write_bytes(old_format(whole(value)))
    assert recognise(path).code == (name,)


def test_code_in_a_pickle_of_text_is_named(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
    assert recognise(path).code == ("os.system",)
    path.write_bytes(b"cosine annealing\nsystem of training\n")
    assert recognise(path).kind == "text"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True, "text", b"bytes"], "b": (1, (2, 3), ())},
        [{"same": 1}] * 3,
        {"set": {1, 2}, "frozen": frozenset({3}), "big": 2**80, "array": bytearray(b"x")},
    ],
)
def test_plain_data_is_followed_to_its_end_and_is_no_code(protocol, value):
    found = pickles.follow(io.BytesIO(pickle.dumps(value, protocol)))
    assert found.whole
    assert found.code == ()


def test_containers_come_out_as_they_were_put_in():
    value = {"a": [1, 2.5, None, True, "text"], "b": (1, (2, 3), ()), "c": {"d": []}}
    for protocol in range(6):
        assert pickles.follow(io.BytesIO(pickle.dumps(value, protocol))).values == [value]


def test_a_container_that_holds_itself_is_no_endless_loop():
    loop: dict[str, object] = {}
    loop["self"] = loop
    found = pickles.follow(io.BytesIO(pickle.dumps(loop, 2)))
    assert tensors(found.values) == {}


def test_every_prefix_of_a_pickle_is_survived(tmp_path):
    data = whole(STATE)
    for length in range(len(data)):
        assert not pickles.follow(io.BytesIO(data[:length])).whole


def test_torchscript_is_code(tmp_path):
    path = archive(tmp_path / "w.pt", whole(STATE), constants__pkl=b"", code__py=b"def f(): 0")
    found = recognise(path)
    assert found.kind == "torchscript"
    assert found.code == ("x/code.py",)
