"""Checkpoints made to take memory or time, or to mislead: refused, quickly and in plain words."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from runtime.errors import WeightsError  # noqa: E402
from runtime.files import snapshot  # noqa: E402
from weights import pickled  # noqa: E402
from zoo.originals.torch_checkpoint import read_checkpoint  # noqa: E402

#: Address space that a test may take beyond what is taken when it begins.
ROOM = 1 << 30
SECONDS = 10.0


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    """What swells fails with a MemoryError; what lasts, by the clock."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        taken = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, before[1]))
    start = time.perf_counter()
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.perf_counter() - start < SECONDS


def refused(path: Path) -> str:
    """All that is said of a file, which has no advice to open it with less care."""
    with snapshot(path) as source, pytest.raises(WeightsError) as found:
        read_checkpoint(source)
    text = str(found.value)
    for advice in ("weights_only", "torch.load", "safe_globals", "trust"):
        assert advice not in text
    assert text.isprintable() or "\n" in text
    return text


def save(path: Path, content: Any, old: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def imported(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(count: int, kind: str = "FloatStorage") -> bytes:
    fields = text("storage") + imported("torch", kind) + text("0") + text("cpu") + number(count)
    return b"(" + fields + b"NtQ"  # None: of the old format, no part of another storage


def tensor(held: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    """A tensor over a storage that is said to hold so many float32."""
    axes = b"".join(b"(" + b"".join(map(number, axis)) + b"t" for axis in (shape, strides))
    hooks = imported("collections", "OrderedDict") + b")R"
    arguments = storage(held) + number(offset) + axes + b"\x89" + hooks
    return imported("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def mapping(value: bytes) -> bytes:
    """A pickle of ``{"a.weight": value}``."""
    return b"\x80\x02}" + text("a.weight") + value + b"s."


def archive(path: Path, program: bytes, data: bytes = b"\0" * 4, packed: bool = False) -> Path:
    """As torch.save writes it, around a pickle of ours."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as file:
        file.writestr("x/data.pkl", program.replace(b"NtQ", b"tQ"))
        file.writestr("x/byteorder", "little")
        file.writestr("x/data/0", data)
        file.writestr("x/version", "3\n")
    return path


def old_format(path: Path, program: bytes, data: bytes = b"\0" * 4) -> Path:
    """As torch.save wrote it before version 1.6."""
    head = [pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    keys = pickle.dumps(["0"], 2)
    count = struct.pack("<q", len(data) // 4)
    path.write_bytes(b"".join(head) + program + keys + count + data)
    return path


@pytest.mark.parametrize("form", [archive, old_format])
def test_what_these_files_are_made_of_is_read_where_it_is_whole(tmp_path: Path, form: Any) -> None:
    """The refusals below are of what is wrong, not of how the files are made."""
    path = form(tmp_path / "a.pth", mapping(tensor(1, (1,), (1,))))
    with snapshot(path) as source:
        assert list(read_checkpoint(source).tensors) == ["a.weight"]


@pytest.mark.parametrize("form", [archive, old_format])
@pytest.mark.parametrize(
    ("held", "shape", "strides", "offset"),
    [
        (1, (40_000, 40_000), (0, 0), 0),  # every number the same one
        (1, (1 << 31,), (1,), 0),  # beyond the end
        (1, (1,), (1,), 1 << 33),
        (1 << 33, (1 << 33,), (1,), 0),  # a storage larger than the file
        (1, (1 << 70,), (1,), 0),
        (1, (-1,), (1,), 0),
        (1, (1,) * 2000, (1,) * 2000, 0),
    ],
)
def test_a_tensor_of_more_than_the_file_has_is_refused(
    tmp_path: Path, form: Any, held: int, shape: Any, strides: Any, offset: int
) -> None:
    path = form(tmp_path / "a.pth", mapping(tensor(held, shape, strides, offset)))
    assert path.stat().st_size < 40_000
    said = refused(path)
    assert "declare" in said or "no shape" in said


def test_an_expanded_tensor_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", {"fc.weight": torch.zeros(1).expand(50_000, 50_000)})
    assert "fc.weight: it declares 2,500,000,000 numbers" in refused(path)


def test_tensors_that_share_their_numbers_have_a_limit(tmp_path: Path) -> None:
    one = torch.zeros(1000)
    tied = {"a.weight": one, "b.weight": one}
    with snapshot(save(tmp_path / "tied.pth", tied)) as source:
        assert len(read_checkpoint(source).tensors) == 2
    many = {f"{i}.weight": one for i in range(300)}
    assert "declares more than it holds" in refused(save(tmp_path / "many.pth", many))


@pytest.mark.parametrize(
    "call",
    [
        imported("builtins", "bytearray") + number(1 << 36) + b"\x85R",
        imported("torch", "FloatTensor") + number(1 << 36) + b"\x85R",
        imported("torch", "Tensor") + number(1 << 36) + b"\x85R",
        imported("torch", "FloatStorage") + number(1 << 36) + b"\x85R",
        imported("torch._utils", "_rebuild_qtensor")
        + b"("
        + storage(1)
        + number(0)
        + number(1 << 36)
        + b"\x85tR",
        # The function is an argument, and its storage is exchanged afterwards.
        imported("torch._tensor", "_rebuild_from_type_v2")
        + b"("
        + imported("builtins", "bytearray")
        + imported("torch", "Tensor")
        + number(1 << 36)
        + b"\x85}tR",
        tensor(1, (1,), (1,)) + storage(1) + number(0) + number(1 << 36) + b"\x85\x87b",
        imported("builtins", "set") + tensor(1, (1,), (1,)) + b"\x85R",
    ],
    ids=lambda call: call.split(b"\n")[1].decode(),
)
def test_calls_that_make_arrays_of_any_size_are_not_made(tmp_path: Path, call: bytes) -> None:
    for form in (archive, old_format):
        said = refused(form(tmp_path / "a.pth", mapping(call)))
        assert "no checkpoint that can be opened" in said


@pytest.mark.parametrize(
    "program",
    [
        b"]q\0(" + b"h\0" * 40_000 + b"e.",  # steps
        b"(" + b"I0\n" * 40_000 + b"l.",
        # Integers of one hash: each is compared with all before it.
        b"}(" + b"".join(number(i * (2**61 - 1)) + b"N" for i in range(3_000)) + b"u.",
        # A list of many, copied as often.
        b"]q\0(" + b"K\1" * 999 + b"e0" + (imported("builtins", "set") + b"h\0\x85R0") * 99 + b"N.",
        # Attributes of many, set as often.
        b"}q\0(" + b"".join(text(f"{i}") + b"N" for i in range(999)) + b"u"
        + imported("collections", "OrderedDict") + b")R" + b"h\0b" * 99 + b".",
    ],
    ids=["memo", "text", "colliding keys", "copies", "attributes"],
)  # fmt: skip
def test_a_pickle_of_endless_work_ends(
    tmp_path: Path, program: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickled, "MOST_STEPS", 30_000)  # of the same bombs, smaller
    assert "more than 30,000 steps" in refused(archive(tmp_path / "a.pth", b"\x80\x02" + program))


def test_a_packed_pickle_is_no_checkpoint_of_torch(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pth", b"\x80\x02" + b"N0" * 1_000_000 + b"N.", packed=True)
    assert path.stat().st_size < 200_000
    assert "was not written by torch.save" in refused(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pth", mapping(tensor(1, (1,), (1,))))
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("x/data/0", b"1234")
    assert "was not written by torch.save" in refused(path)


def test_what_holds_itself_is_refused(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["model"] = loop
    assert "deeper and deeper" in refused(save(tmp_path / "a.pth", loop))
    deep: Any = {"a.weight": torch.zeros(1)}
    for _ in range(200):
        deep = {"state_dict": deep}
    assert "deeper and deeper" in refused(save(tmp_path / "b.pth", deep))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.zeros(3, 3, device="meta"), "meta"),
        (lambda: torch.eye(3).to_sparse(), "sparse_coo"),
        (lambda: torch.eye(3).to_sparse_csr(), "sparse_csr"),
        (lambda: torch.zeros(3, dtype=torch.complex64), "complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse", "error:Validating")
def test_tensors_of_another_kind_are_refused_by_name(tmp_path: Path, make: Any, kind: str) -> None:
    path = save(tmp_path / "a.pth", OrderedDict({"fc.weight": make()}))
    said = refused(path)
    assert "weights of another kind" in said
    assert f"fc.weight is {'a ' if 'complex' not in kind else ''}{kind}" in said


@pytest.mark.filterwarnings("ignore")
def test_a_name_that_the_reader_does_not_know_brings_no_advice(tmp_path: Path) -> None:
    class Unknown:
        def __reduce__(self) -> Any:
            return torch.utils._pytree.tree_flatten, ((1,),)

    said = refused(save(tmp_path / "a.pth", {"a": torch.zeros(1), "b": Unknown()}))
    assert "torch.utils._pytree.tree_flatten" in said
    assert "model.state_dict()" in said


def test_torchs_own_advice_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise pickle.UnpicklingError(
            "Weights only load failed. Re-running `torch.load` with `weights_only` set to `False`"
            " will likely succeed. Do it only if you got the file from a trusted source."
        )

    path = save(tmp_path / "a.pth", {"a.weight": torch.zeros(1)})
    monkeypatch.setattr(torch, "load", load)
    assert "torch does not read it" in refused(path)


def test_cut_safetensors_and_headers_beyond_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 90_000_000) + b"{" + b" " * 100)
    assert "its header has 90,000,000 bytes" in refused(path)
    twice = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
    twice += b'"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
    path.write_bytes(struct.pack("<Q", len(twice)) + twice + b"\0" * 12)
    assert "is damaged" in refused(path)


def test_weights_are_those_that_were_hashed(tmp_path: Path) -> None:
    """Whatever happens to the file after its bytes were taken."""
    path = save(tmp_path / "a.pth", {"a.weight": torch.full((4,), 3.0)})
    with snapshot(path) as source:
        path.write_bytes(io.BytesIO(b"something else").getvalue())
        assert read_checkpoint(source).tensors["a.weight"].tolist() == [3.0] * 4
