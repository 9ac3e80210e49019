"""An engine is opened from the very bytes that were checked, and from nothing else."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_engine import TINY_INFO, TinyEngine, TinyWeights, describe, random_frames, tiny_model

from runtime import Detector
from runtime.backends import onnx_look, onnxruntime
from runtime.engine_file import take_engine
from runtime.engine_info import Artefact
from runtime.errors import EngineError
from runtime.files import snapshot


def refused(path: Path, *words: str, **options: Any) -> EngineError:
    with pytest.raises(EngineError) as caught:
        Detector(path, **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return caught.value


@pytest.fixture
def engine(tmp_path: Path) -> TinyEngine:
    return TinyEngine.write(tmp_path)


def made_folder(path: Path) -> Path:
    path.mkdir()
    return path


# Read once.


def test_all_sessions_are_of_the_bytes_that_were_checked(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is replaced by another network as soon as it was read, and before each session."""
    monkeypatch.setattr(onnxruntime, "count_cores", lambda: 2)
    plain, opened = onnxruntime._open_session, []

    def opening(*arguments: Any) -> Any:
        other = tiny_model(TinyWeights.seeded(7 + len(opened)), metadata=TINY_INFO.to_json())
        onnx.save(other, engine.path)
        opened.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(onnxruntime, "_open_session", opening)
    frames = random_frames(9)
    due = engine.reference(frames)[1]
    with Detector(engine.path) as detector:
        cores: Any = detector._backend._cores  # type: ignore[attr-defined]
        np.testing.assert_allclose(detector.score(frames), due, atol=1e-6)
        np.testing.assert_allclose(cores._crowded(frames)[1], due, atol=1e-6)
    assert len(opened) == 2


def test_opening_while_files_are_replaced(tmp_path: Path) -> None:
    """Every engine that opens gives the scores of the network that its sidecar names."""
    frames = random_frames(3)
    made = []
    for seed in (0, 1):
        info = replace(TINY_INFO, title=f"seed {seed}")
        engine = TinyEngine.write(
            made_folder(tmp_path / str(seed)),
            weights=TinyWeights.seeded(seed),
            info=info,
        )
        made.append((engine, engine.reference(frames)[1]))
    due = {engine.info.title: scores for engine, scores in made}
    place, stop = tmp_path / "tiny.onnx", threading.Event()
    place.write_bytes(made[0][0].path.read_bytes())

    def swap() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            source = made[turn % 2][0]
            for path in (source.path, source.sidecar):
                (tmp_path / "new").write_bytes(path.read_bytes())
                (tmp_path / "new").replace(tmp_path / path.name)

    swapping = threading.Thread(target=swap)
    swapping.start()
    opened = 0
    try:
        for _ in range(40):
            try:
                with Detector(place, threads=1) as detector:
                    found, title = detector.score(frames), detector.info.title
            except EngineError:  # the two were not of one export just then
                continue
            np.testing.assert_allclose(found, due[title], atol=1e-6)
            opened += 1
    finally:
        stop.set()
        swapping.join()
    assert opened


def test_no_bytes_are_kept_once_it_is_open(engine: TinyEngine) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Detector(engine.path):
        assert len(os.listdir("/proc/self/fd")) == before
    engine.path.write_bytes(b"damaged")
    for _ in range(3):
        refused(engine.path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.timeout(10)
def test_a_pipe_is_never_waited_for(tmp_path: Path, engine: TinyEngine) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    refused(tmp_path / "pipe.onnx", "is a pipe")
    engine.sidecar.unlink()
    os.mkfifo(engine.sidecar)
    refused(engine.path, "tiny.json is a pipe")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "x" * 252])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    """The last one can be a file's, but its sidecar's would be too long."""
    error = refused(tmp_path / f"{name}.onnx")
    assert error.todo
    refused(tmp_path / f"{name}.fp16.onnx")


def test_a_link_to_nothing_is_no_missing_sidecar(engine: TinyEngine) -> None:
    engine.sidecar.unlink()
    engine.sidecar.symlink_to("nowhere.json")
    refused(engine.path, "tiny.json does not exist")


# The sidecar.


def test_files_of_an_earlier_export_open_as_what_they_are(tmp_path: Path) -> None:
    """As an export leaves them that was killed while it replaced the files."""
    old = TinyEngine.write(tmp_path, info=replace(TINY_INFO, title="old"))
    new = TinyEngine.write(
        made_folder(tmp_path / "new"),
        weights=TinyWeights.seeded(3),
        info=replace(TINY_INFO, title="new"),
    )
    old.sidecar.write_text(new.info.to_json(previous=[old.info]))
    for engine in (old, new):
        old.path.write_bytes(engine.path.read_bytes())
        with Detector(old.path) as detector:
            assert detector.info == engine.info
    old.path.write_bytes(b"neither")
    refused(old.path, f"its sidecar says {new.info.artefacts['tiny.onnx'].bytes}")


def test_an_export_between_two_looks_is_looked_at_again(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_model(TinyWeights.seeded(2), metadata=TINY_INFO.to_json())
    times = []

    def taking(path: Path, **options: Any) -> Any:
        if not times:
            onnx.save(other, engine.path)
            engine.sidecar.write_text(describe(engine.path).to_json())
        times.append(path)
        return snapshot(path, **options)

    monkeypatch.setattr("runtime.engine_file.snapshot", taking)
    assert take_engine(engine.path).info == describe(engine.path)
    assert len(times) == 2


@pytest.mark.parametrize("previous", [3, "x", [3], [{}], {}])
def test_damaged_earlier_exports(engine: TinyEngine, previous: Any) -> None:
    data = {**json.loads(engine.info.to_json()), "previous": previous}
    engine.sidecar.write_text(json.dumps(data))
    refused(engine.path, "tiny.json is damaged", "previous")


def test_a_sidecar_s_texts_cannot_reach_the_terminal_as_they_are(engine: TinyEngine) -> None:
    hostile = "\x1b[2J\u202e"
    artefacts = {hostile: Artefact("onnx", "fp32", 1, hostile)}
    bad = replace(engine.info, network=hostile, artefacts=artefacts)
    engine.sidecar.write_text(bad.to_json())
    bare = tiny_model(engine.weights)
    onnx.save(bare, engine.path)
    error = refused(engine.path, "\\x1b[2J")
    assert str(error).replace("\n", "").isprintable()
    artefacts = {engine.path.name: Artefact("onnx", "fp32", bare.ByteSize(), hostile)}
    engine.sidecar.write_text(replace(bad, artefacts=artefacts).to_json())
    assert str(refused(engine.path, "sha256")).replace("\n", "").isprintable()
    engine.sidecar.write_text(engine.info.to_json().replace('"title"', '"\\u001b"'))
    assert str(refused(engine.path, "\\x1b")).replace("\n", "").isprintable()


def test_a_sidecar_of_any_size_is_not_read(engine: TinyEngine) -> None:
    with engine.sidecar.open("wb") as file:
        file.truncate(1 << 30)
    refused(engine.path, "tiny.json is too large")


# The graph.


def spoiled(change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    model = tiny_model(TinyWeights.seeded(), metadata=TINY_INFO.to_json())
    change(model)
    return model


def outside(model: onnx.ModelProto) -> None:
    """The weights in another file."""
    tensor = next(t for t in model.graph.initializer if t.name == "kernel")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    tensor.ClearField("raw_data")


def endless(model: onnx.ModelProto) -> None:
    """`logit` by way of a loop of 2^62 rounds."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["value"], ["same"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, ["N"]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, ["N"]),
        ],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(1 << 62), "rounds"))
    before = model.graph.node[-2]
    before.output[0] = "before"
    loop = helper.make_node("Loop", ["rounds", "", "before"], ["logit"], body=body)
    model.graph.node.insert(len(model.graph.node) - 1, loop)


def calling(model: onnx.ModelProto) -> None:
    function = helper.make_function(
        "zoo", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    model.functions.append(function)


def outside_in_an_attribute(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "c")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def outside_and_sparse(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.data_location = TensorProto.EXTERNAL


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (outside, "weights lie in other files"),
        (outside_in_an_attribute, "weights lie in other files"),
        (outside_and_sparse, "weights lie in other files"),
        (endless, "need not end"),
        (calling, "functions"),
    ],
)
def test_what_is_outside_or_endless_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], words: str
) -> None:
    path = tmp_path / "net.onnx"
    (tmp_path / "weights.bin").write_bytes(bytes(4096))
    path.write_bytes(spoiled(change).SerializeToString())
    refused(path, words)


@pytest.mark.parametrize("location", [b"\x70\x01", b"\x70\x81\x00", b"\x70\x80\x80\x01"])
def test_numbers_are_read_however_they_are_written(tmp_path: Path, location: bytes) -> None:
    """Field 14 of a tensor of one byte, two, or three; only 0 is "inside"."""
    tensor = b"\x2a" + bytes([len(location)]) + location
    (tmp_path / "a.onnx").write_bytes(b"\x3a" + bytes([len(tensor)]) + tensor)
    refused(tmp_path / "a.onnx", "weights lie in other files")
    inside = tensor.replace(location, b"\x70\x80\x00").replace(b"\x2a" + bytes([len(location)]),
                                                             b"\x2a\x03")  # fmt: skip
    (tmp_path / "a.onnx").write_bytes(b"\x3a" + bytes([len(inside)]) + inside)
    with snapshot(tmp_path / "a.onnx") as content:
        onnx_look.check_graph(content)


def test_whatever_is_no_protocol_buffer_is_refused(tmp_path: Path) -> None:
    whole = spoiled(lambda model: None).SerializeToString()
    rng = np.random.default_rng(0)
    path = tmp_path / "net.onnx"
    for number in range(60):
        data = bytearray(whole[: rng.integers(1, len(whole))] if number % 2 else whole)
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        with snapshot(path) as content:
            try:
                onnx_look.check_graph(content)
            except EngineError:
                continue


def growing(floats: int) -> onnx.ModelProto:
    """`logit` by way of the sum of so many zeros."""

    def grow(model: onnx.ModelProto) -> None:
        many = numpy_helper.from_array(np.asarray([floats], np.int64), "many")
        model.graph.initializer.append(many)
        model.graph.node[-2].output[0] = "before"
        for node in (
            helper.make_node("ConstantOfShape", ["many"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
            helper.make_node("Add", ["before", "zero"], ["logit"]),
        ):
            model.graph.node.insert(len(model.graph.node) - 1, node)

    return spoiled(grow)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_a_constant_that_grows_is_not_computed_as_the_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(growing(1 << 26), path)  # 256 MiB

    def peak() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) >> 10

    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    with Detector(path, threads=1):
        assert peak() - before < 100


def test_what_outgrows_the_memory_is_an_error_of_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(growing(1 << 43), path)
    with (
        Detector(path, threads=1) as detector,
        pytest.raises(EngineError, match="failed while it ran"),
    ):
        detector.score(random_frames(1))


def test_metadata_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    data = spoiled(lambda model: None).SerializeToString()
    assert data.count(b'"title": "Tiny"') == 1
    path.write_bytes(data.replace(b'"title": "Tiny"', b'"title": "T\xffny"'))
    refused(path, "not UTF-8", "zoo export")


# What is asked for.


@pytest.mark.parametrize(
    "options",
    [
        *({"threads": bad} for bad in (0, -1, 20_000, 1.5, True, "2")),
        *({"device": bad} for bad in (-1, 1 << 40, 0.0, False, "0")),
    ],
    ids=str,
)
def test_options_that_no_machine_has(engine: TinyEngine, options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    refused(engine.path, f"{name} is {value!r}", "a whole number from", **options)
