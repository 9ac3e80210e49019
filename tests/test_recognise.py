"""What a weights file looks like, told without running anything that is in it."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from weights import pickled, pickles
from weights.recognise import recognise

MARK = "recognise_must_not_run_this"


class Evil:
    """A pickle of it runs a command when it is loaded."""

    def __reduce__(self):
        return os.system, (f"touch {MARK}",)


def torch_file(path: Path, keys: list[str], extra: object = None) -> Path:
    """A checkpoint in torch's archive format, as far as its pickle goes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({**dict.fromkeys(keys), "e": extra}, 2))
        archive.writestr("x/version", "3")
    return path


@pytest.mark.parametrize(
    ("keys", "network"),
    [
        (["conv1.weight", "conv4.weight", "bn1.weight", "fc1.weight", "fc2.weight"], "HongguLiu"),
        (
            ["Incption1_bn.weight", "Incption2_bn.weight", "fc2.weight"],
            "MesoInception4 of DeepfakeBench",
        ),
        (["Mixed_7c.branch_pool.conv.weight"], "inception_v3"),
        (["repeat_1.0.branch0.conv.weight"], "InceptionResnetV1"),
        (["layer1.0.conv1.weight", "fc.weight"], "resnet18"),
        (["layer1.0.conv1.weight", "layer1.0.conv3.weight", "fc.weight"], "resnet50"),
        (["features.28.weight", "classifier.6.weight"], "vgg16"),
        (["module.layer1.0.conv1.weight", "module.fc.weight"], "resnet18"),
        (["backbone.block12.rep.1.pointwise.weight"], "Xception"),
        (["encoder.weight"], "unknown network"),
    ],
)
def test_networks_are_told_by_their_parameters(tmp_path, keys, network):
    found = recognise(torch_file(tmp_path / "w.pth", keys))
    assert found.kind == "torch"
    assert network in found.what
    assert found.code == ()


def test_a_meso4_whose_convolutions_have_a_bias_is_not_honggulius(tmp_path):
    keys = ["conv1.weight", "conv1.bias", "conv4.weight", "bn1.weight", "fc1.weight", "fc2.weight"]
    assert "HongguLiu" not in recognise(torch_file(tmp_path / "w.pth", keys)).what


@pytest.mark.parametrize("wrap", ["archive", "old"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_runs_code_is_named_and_not_run(tmp_path, monkeypatch, wrap, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    data = pickle.dumps({"conv1.weight": Evil()}, protocol)
    if wrap == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", data)
    else:
        path.write_bytes(data)
    found = recognise(path)
    assert any("system" in name for name in found.code)
    assert "system" in found.what
    assert not (tmp_path / MARK).exists()
    # the same bytes do run when they are loaded: the test would see it
    pickle.loads(data)
    assert (tmp_path / MARK).exists()


def safetensors(names: list[str]) -> bytes:
    header = json.dumps(
        {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in names}
    ).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(2))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"plain words\n", "text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "text"),
        (b"<!DOCTYPE html><html>", "text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "image"),
        (b"\xff\xd8\xff" + bytes(100), "image"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "hdf5"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (safetensors(["layer1.0.conv1.weight", "fc.weight"]), "safetensors"),
        (npz(), "npz"),
        (bytes(range(256)), "unknown"),
    ],
)
def test_kinds(tmp_path, content, kind):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert recognise(path).kind == kind


def test_a_damaged_pickle_still_tells_what_it_can(tmp_path):
    path = tmp_path / "cut.pth"
    data = pickle.dumps({"layer1.0.conv1.weight": 1, "fc.weight": 2}, 2)
    path.write_bytes(data[:-4])
    assert "resnet18" in recognise(path).what


def test_a_file_that_is_not_there(tmp_path):
    assert recognise(tmp_path / "no").kind == "missing"


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Meso4_DF.h5", "Meso4"),
        ("MesoInception_F2F.h5", "MesoInception4"),
        ("model1_18epochs_valacc0.9252.hdf5", "Meso4"),
        ("model2_17epochs_valacc0.89.hdf5", "Meso4"),
        ("onet.pt", "parameters"),
        ("face_detection_yunet_2023mar.onnx", "ONNX"),
    ],
)
def test_the_published_files(weights_dir, name, words):
    assert words in recognise(weights_dir / name).what


@pytest.mark.parametrize(
    ("start", "kind", "what"),
    [
        (b"RIFF\x00\x00\x00\x00WEBP", "image", "WebP"),
        (b"\x00\x00\x00\x20ftypisom", "video", "a video"),
        (b"ftrt\0\0\0\0", "plan", "TensorRT plan"),
        (b"\x1f\x8b\x08", "gzip", "unpack"),
        (b"\xef\xbb\xbfein Schl\xc3\xbcssel", "text", "text file"),
        ("ß".encode() * 300, "text", "text file"),
        (b"\x80\x04garbage", "pickle", "damaged"),
    ],
)
def test_what_a_file_begins_with(tmp_path, start, kind, what):
    path = tmp_path / "file"
    path.write_bytes(start)
    assert recognise(path).kind == kind
    assert what in recognise(path).what


def keras_file(target, shapes: dict[str, tuple[int, ...]], optimizer: bool = True) -> None:
    import h5py

    with h5py.File(target, "w") as file:
        for name, shape in shapes.items():
            file[f"model_weights/{name}/kernel:0"] = np.zeros(shape, np.float32)
            if optimizer:  # it holds arrays of the same shapes
                file[f"optimizer_weights/{name}/m:0"] = np.zeros(shape, np.float32)


MESO4 = {
    "conv2d": (3, 3, 3, 8),
    "conv2d_1": (5, 5, 8, 8),
    "conv2d_2": (5, 5, 8, 16),
    "conv2d_3": (5, 5, 16, 16),
    "dense": (1024, 16),
    "dense_1": (16, 1),
}


def test_a_keras_file_is_told_by_the_shapes_of_its_own_arrays(tmp_path):
    path = tmp_path / "w.h5"
    keras_file(path, MESO4)
    found = recognise(path)
    assert found.network == "Meso4"
    assert found.arrays["conv2d/kernel:0"] == (3, 3, 3, 8)
    assert len(found.keys) == 6
    keras_file(path, {**MESO4, "dense_1": (16, 2)})
    found = recognise(path)
    assert found.network is None
    assert "6 arrays of an unknown network" in found.what
    assert "[3, 3, 3, 8]" in found.what


def test_a_network_with_one_convolution_more_is_another(tmp_path):
    path = tmp_path / "w.h5"
    keras_file(path, {**MESO4, "conv2d_4": (5, 5, 16, 16)})
    assert recognise(path).network is None


def test_the_optimiser_of_a_keras_3_file_is_none_of_its_arrays(tmp_path):
    import h5py

    path = tmp_path / "w.weights.h5"
    with h5py.File(path, "w") as file:
        for index, (name, shape) in enumerate(MESO4.items()):
            file[f"layers/{name}/vars/0"] = np.zeros(shape, np.float32)
            file[f"optimizer/vars/{index}"] = np.zeros(shape, np.float32)
    found = recognise(path)
    assert found.network == "Meso4"
    assert found.keys == tuple(f"layers/{name}/vars/0" for name in MESO4)


def test_a_keras_archive_is_looked_into(tmp_path):
    inner = io.BytesIO()
    keras_file(inner, MESO4)
    path = tmp_path / "w.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", inner.getvalue())
    assert (recognise(path).kind, recognise(path).network) == ("keras", "Meso4")


def onnx_graph() -> bytes:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    node = helper.make_node("Identity", ["x"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]))
    return bytes(model.SerializeToString())


def hdf5() -> bytes:
    buffer = io.BytesIO()
    keras_file(buffer, MESO4)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (hdf5, "hdf5"),
        (npz, "npz"),
        (onnx_graph, "onnx"),
        (lambda: safetensors(["fc.weight"]), "safetensors"),
    ],
)
def test_a_truncated_file_is_called_truncated(tmp_path, make, kind):
    path = tmp_path / "file"
    path.write_bytes(make())
    assert recognise(path).kind == kind
    assert "truncated" not in recognise(path).what
    for length in (-3, len(make()) * 3 // 4):
        path.write_bytes(make()[:length])
        assert "truncated" in recognise(path).what


def test_no_prefix_of_a_file_raises(tmp_path):
    path = tmp_path / "file"
    # HDF5 is read in a process of its own each time.
    makes = ((onnx_graph, 7), (npz, 7), (lambda: safetensors(["fc.weight"]), 7), (hdf5, 12_000))
    for make, step in makes:
        content = make()
        for length in range(0, len(content), step):
            path.write_bytes(content[:length])
            assert recognise(path).what


def bomb(content: bytes) -> bytes:
    """A checkpoint whose few bytes unpack to many."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        bomb(b"N" * 1_000_000),
        bomb(b"\x80\x02" + b"]2" * 500_000),
        bomb(b"\x80\x02]" + b"h\x00a" * 300_000),
        bomb(b"cx" + bytes(1_000_000)),
        b"N" * 1_000_000,
        b"\x08\x00" * 500_000,  # an ONNX file's version, again and again
        (100 << 20).to_bytes(8, "little") + b'{"a":' + b"[" * 1_000_000,
        (900_000).to_bytes(8, "little") + b'{"a":' + b"[" * 1_000_000,
        b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x" * 1000,
    ],
    ids=["nothing", "copies", "memo", "no line", "plain", "fields", "header", "nested", "length"],
)
def test_a_file_that_would_not_end_does(tmp_path, monkeypatch, content):
    monkeypatch.setattr(pickled, "MOST_STEPS", 20_000)
    monkeypatch.setattr(pickles, "_MOST_BYTES", 100_000)
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    start = time.process_time()
    assert recognise(path).what
    assert time.process_time() - start < 1


def test_what_is_followed_of_a_pickle_has_an_end():
    """The limits themselves; the test above has smaller ones, to be quick."""
    assert pickled.MOST_STEPS <= 1_000_000
    assert pickles._MOST_BYTES <= 64 << 20


def test_a_pipe_and_a_folder_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "\0"):
        assert recognise(path).kind == "missing"


def test_names_from_a_file_are_short_and_printable(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors(["\x1b[2J" + "n" * 1_000_000]))
    what = recognise(path).what
    assert "\\x1b[2J" in what
    assert len(what) < 300


@pytest.mark.parametrize("make", [hdf5, onnx_graph, npz, lambda: safetensors(["fc.weight"])])
def test_damage_is_never_raised(tmp_path, make):
    rng = np.random.default_rng(0)
    path = tmp_path / "w"
    for _ in range(3 if make is hdf5 else 40):
        content = np.frombuffer(make(), np.uint8).copy()
        where = rng.integers(0, len(content), 8)
        content[where] = rng.integers(0, 256, 8)
        path.write_bytes(content.tobytes())
        assert recognise(path).what


@pytest.mark.weights
def test_the_published_networks_are_told_apart(weights_dir):
    networks = {p.name: recognise(p).network for p in sorted(weights_dir.glob("*.*"))}
    assert networks == {
        "Meso4_DF.h5": "Meso4",
        "Meso4_F2F.h5": "Meso4",
        "MesoInception_DF.h5": "MesoInception4",
        "MesoInception_F2F.h5": "MesoInception4",
        "face_detection_yunet_2023mar.onnx": None,
        "model1_18epochs_valacc0.9252.hdf5": "Meso4",
        "model2_17epochs_valacc0.89.hdf5": "Meso4",
        "onet.pt": "MTCNN's O-Net",
        "pnet.pt": "MTCNN's P-Net",
        "rnet.pt": "MTCNN's R-Net",
    }


@pytest.mark.weights
def test_a_truncated_published_file_is_called_truncated(tmp_path, weights_dir):
    path = tmp_path / "Meso4_DF.h5"
    path.write_bytes((weights_dir / path.name).read_bytes()[:100_000])
    assert "truncated" in recognise(path).what
