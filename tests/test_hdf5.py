"""Untrusted HDF5 and zip: nothing outside the file is read, and nothing that it lacks."""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import h5py
import numpy as np
import pytest

from runtime.errors import WeightsError
from runtime.files import snapshot
from weights import hdf5
from weights.recognise import recognise
from zoo.originals.keras_arrays import KerasFile
from zoo.originals.keras_arrays import read_keras_file as read_snapshot


def read_keras_file(path: Path) -> KerasFile:
    with snapshot(path, error=WeightsError) as source:
        return read_snapshot(source)


def keras2(path: Path, arrays: dict[str, np.ndarray] | None = None) -> Path:
    """A weights file of one layer, as Keras 2 lays it out."""
    arrays = {"k:0": np.ones((3, 3, 3, 8), np.float32)} if arrays is None else arrays
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = [name.encode() for name in arrays]
        for name, array in arrays.items():
            group[name] = array
    return path


def refused(path: Path) -> WeightsError:
    """Why a file is not read; what it looks like is said as well, without an error."""
    with pytest.raises(WeightsError) as caught:
        read_keras_file(path)
    assert str(path) in caught.value.what
    assert "\n" not in caught.value.why
    assert recognise(path).kind in ("hdf5", "keras", "zip")
    return caught.value


def replaced(path: Path, put: Callable[[h5py.Group], object]) -> Path:
    """The file with its kernel made by ``put``."""
    with h5py.File(keras2(path), "r+") as file:
        del file["conv/k:0"]
        put(file["conv"])
    return path


SECRET = b"root:x:0:0:what nobody outside may see"


def external_storage(group: h5py.Group, target: str) -> None:
    group.create_dataset("k:0", (30,), "u1", external=[(target, 0, 30)])


def external_link(group: h5py.Group, target: str) -> None:
    group["k:0"] = h5py.ExternalLink(target, "/numbers")


def virtual(group: h5py.Group, target: str) -> None:
    layout = h5py.VirtualLayout((30,), "u1")
    layout[:] = h5py.VirtualSource(target, "numbers", (30,), "u1")
    group.create_virtual_dataset("k:0", layout)


@pytest.mark.parametrize("kind", ["file", "pipe"])
@pytest.mark.parametrize("refer", [external_storage, external_link, virtual])
def test_another_file_is_never_read(refer, kind, tmp_path):
    """Its bytes would end up in an engine; a pipe would be waited for."""
    other = tmp_path / "other"
    if kind == "pipe":
        os.mkfifo(other)
    elif refer is external_storage:
        other.write_bytes(SECRET)
    else:
        with h5py.File(other, "w") as file:
            file["numbers"] = np.frombuffer(SECRET, np.uint8)[:30]
    path = replaced(tmp_path / "w.h5", lambda group: refer(group, str(other)))
    start = monotonic()
    error = refused(path)
    assert monotonic() - start < 10
    assert "refers to something outside its own arrays" in error.what
    assert "'conv/k:0'" in error.why
    if kind == "file" and refer is not virtual:  # it is no dud: HDF5 itself does read it
        with h5py.File(path) as file:
            assert bytes(file["conv/k:0"][:]) == SECRET[:30]


def test_nothing_could_be_opened_even_where_the_check_is_passed_by(tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.write_bytes(SECRET)
    path = replaced(tmp_path / "w.h5", lambda group: external_storage(group, str(other)))
    kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU)
    before = [resource.getrlimit(kind) for kind in kinds]
    with h5py.File(path) as file, hdf5._limits(0), pytest.raises(OSError, match="open"):
        file["conv/k:0"][:]
    assert [resource.getrlimit(kind) for kind in kinds] == before
    with h5py.File(path) as file:
        assert bytes(file["conv/k:0"][:]) == SECRET[:30]


def test_what_hangs_is_ended_by_the_time_that_it_takes_of_a_core():
    program = (
        "from weights import hdf5\nhdf5._CPU_SECONDS = 0\nwith hdf5._limits(0):\n  while 1: pass"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert done.returncode == -signal.SIGXCPU


def test_a_soft_link_is_refused(tmp_path):
    def put(group: h5py.Group) -> None:
        group["k:0"] = h5py.SoftLink("/conv")

    assert "is a link to '/conv'" in refused(replaced(tmp_path / "w.h5", put)).why


def test_groups_that_hold_each_other_are_refused(tmp_path):
    path = keras2(tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        file["conv/again"] = file["conv"]
    assert "'conv/again' is there twice" in refused(path).why


def test_groups_in_groups_without_end_are_refused(tmp_path):
    path = keras2(tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        file.create_group("/".join(["g"] * 40))
    assert "is nested too deeply" in refused(path).what


def test_an_unknown_compression_is_named(tmp_path):
    def put(group: h5py.Group) -> None:
        group.create_dataset("k:0", data=np.ones((3, 3, 3, 8), "f4"), compression="lzf")

    assert "needs filter [32000]" in refused(replaced(tmp_path / "w.h5", put)).why


def test_one_dataset_under_many_names_is_refused(tmp_path):
    path = keras2(tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        file["conv/again"] = file["conv/k:0"]
    assert "is there twice" in refused(path).why


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (lambda g: g.create_dataset("k:0", (1 << 30,), "f4", fillvalue=1), "4,294,967,296"),
        (lambda g: g.create_dataset("k:0", (1 << 30,), "f4", chunks=(1 << 10,)), "4,294,967,296"),
        (
            lambda g: g.create_dataset("k:0", data=np.zeros(1 << 24, "f4"), compression="gzip"),
            "67,108,864",
        ),
    ],
    ids=["a fill value", "chunks never written", "zeros, compressed"],
)
def test_a_size_without_bytes_is_refused(put, said, tmp_path):
    error = refused(replaced(tmp_path / "w.h5", put))
    assert "states more than it has" in error.what
    assert f"'conv/k:0' is to have {said} bytes" in error.why


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.array([b"text"]), "|S4"), (np.array([1j]), "complex128"), (h5py.Empty("f4"), "nothing")],
)
def test_what_is_no_number_is_refused(value, said, tmp_path):
    def put(group: h5py.Group) -> None:
        group["k:0"] = value

    assert said in refused(replaced(tmp_path / "w.h5", put)).why


@pytest.mark.parametrize("name", ["layer_names", "model_config", "weight_names"])
@pytest.mark.parametrize("value", [3.5, np.zeros((2, 2), "S3"), h5py.Empty("f4")])
def test_attributes_of_another_kind_are_refused(name, value, tmp_path):
    path = keras2(tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    assert refused(path).why


@pytest.mark.parametrize("config", [b"[]", b"{", b"3", b"[" * 100_000, b"\xff"])
def test_a_description_that_is_no_json_object_is_refused(config, tmp_path):
    path = keras2(tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        file.attrs.create("model_config", config, dtype=h5py.string_dtype())
    with pytest.raises(WeightsError, match="no JSON object"):
        read_keras_file(path)


@pytest.mark.parametrize("names", [[b"k:0", b"gone"], [b"/conv/k:0"], [b"../conv/k:0"]])
def test_arrays_that_are_named_and_not_there_are_named(names, tmp_path):
    path = keras2(tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        file["conv"].attrs["weight_names"] = names
    with pytest.raises(WeightsError, match="does not hold it"):
        read_keras_file(path)


def test_lists_in_pieces_and_compressed_arrays_are_read(tmp_path):
    """Keras cuts long lists of names; other programs compress."""
    path = keras2(tmp_path / "w.h5")
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 64)).astype(np.float32)
    with h5py.File(path, "r+") as file:
        del file.attrs["layer_names"], file["conv/k:0"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"conv"], [b"drop"]
        file.create_group("drop").attrs["weight_names"] = np.zeros(0)
        file["conv"].create_dataset("k:0", data=kernel, compression="gzip", shuffle=True)
    (layer,) = read_keras_file(path).layers
    np.testing.assert_array_equal(layer.arrays[0], kernel)


# --- .keras archives --------------------------------------------------------------------


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def inner(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file[f"layers/conv2d/vars/{name}"] = array
    return buffer.getvalue()


WHOLE = {"config.json": b"{}", "model.weights.h5": inner({"0": np.ones(4, np.float32)})}


def test_a_bomb_is_not_unpacked(tmp_path):
    bomb = {**WHOLE, "model.weights.h5": bytes(200 << 20)}
    error = refused(archive(tmp_path / "w.keras", bomb, zipfile.ZIP_DEFLATED))
    assert "model.weights.h5 is to have 209,715,200 bytes" in error.why


def test_a_bomb_in_the_description_is_not_unpacked(tmp_path):
    bomb = {**WHOLE, "config.json": bytes(200 << 20)}
    error = refused(archive(tmp_path / "w.keras", bomb, zipfile.ZIP_DEFLATED))
    assert "config.json is to have 209,715,200 bytes" in error.why


def patched(content: bytes, offset: int, value: int) -> bytes:
    """An archive with a field of every member's two headers changed (`offset` in the local)."""
    changed = bytearray(content)
    for magic, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        start = -1
        while (start := content.find(magic, start + 1)) >= 0:
            struct.pack_into("<H", changed, start + offset + shift, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [(6, 1, "needs a password"), (8, 97, "zip's method 97"), (8, 14, "zip's method 14")],
    ids=["encrypted", "unknown method", "LZMA"],
)
def test_encrypted_and_unknown_members_are_named(offset, value, said, tmp_path):
    path = archive(tmp_path / "w.keras", WHOLE)
    path.write_bytes(patched(path.read_bytes(), offset, value))
    assert said in refused(path).why


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    path = archive(tmp_path / "w.keras", WHOLE)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("config.json", b"{}")
    assert "two have one name" in refused(path).why


def test_another_archive_is_named(tmp_path):
    path = archive(tmp_path / "w.keras", {"notes.txt": b"weights are elsewhere"})
    assert "no model.weights.h5 among notes.txt" in refused(path).why


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "w.h5")
    with pytest.raises(WeightsError, match="is a pipe"):
        read_keras_file(tmp_path / "w.h5")
    assert recognise(tmp_path / "w.h5").kind == "missing"


def test_what_damage_makes_hdf5_say_stays_with_us(tmp_path):
    """The library's words name its own functions and addresses, and mislead."""
    path = keras2(tmp_path / "w.h5")
    path.write_bytes(path.read_bytes()[:-100])
    assert refused(path).why == "it is truncated"
    assert recognise(path).what == "HDF5, but it is truncated"


def test_damaged_files_are_errors_and_nothing_else(tmp_path):
    """A few seeded mutations of both containers; the long run is `make fuzz`."""
    rng = random.Random(7)
    sources = [keras2(tmp_path / "a.h5").read_bytes()]
    sources.append(archive(tmp_path / "a.keras", WHOLE).read_bytes())
    for number in range(6):
        content = bytearray(sources[number % 2])
        for _ in range(rng.choice([1, 4, 32])):
            content[rng.randrange(8, len(content))] = rng.randrange(256)
        path = tmp_path / "damaged"
        path.write_bytes(content)
        assert recognise(path).what
        with contextlib.suppress(WeightsError):
            read_keras_file(path)
