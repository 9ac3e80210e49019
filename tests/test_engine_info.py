"""The sidecar, and what an engine file must be to be opened."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from tiny_engine import TINY_INFO, TinyEngine, TinyWeights, describe, random_frames, tiny_model

from runtime import Detector
from runtime.engine_file import check_artefact
from runtime.engine_info import (
    FORMAT,
    Artefact,
    Builder,
    EngineInfo,
    Preprocessing,
    WeightsInfo,
    file_sha256,
    sidecar_path,
)
from runtime.errors import EngineError
from runtime.files import snapshot

FULL = EngineInfo(
    network="net",
    title="Net of a test",
    weights=WeightsInfo("df", True, "net.h5", "ab" * 32, None, "https://example.org", "MIT"),
    preprocessing=Preprocessing(224, 200, "bilinear", "center", 256),
    fake_index=1,
    threshold=0.25,
    kept_fp32={"node": "its range"},
    artefacts={"net.onnx": Artefact("onnx", "fp32", 12, "cd" * 32)},
    builder=Builder("tensorrt_rtx", "1.7.1", ["8.9"], 1, 32, 256, {"Convolution HALF": 3}),
    certificate={"passed": True, "nested": [{"max": 1e-7}]},
    made_with={"numpy": "2.0"},
)


def read(data: Any) -> EngineInfo:
    text = data if isinstance(data, str) else json.dumps(data)
    return EngineInfo.from_json(text, "net.json")


def as_data(info: EngineInfo = FULL) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(info.to_json())
    return data


# The sidecar's text.


def test_round_trip() -> None:
    assert read(FULL.to_json()) == FULL
    assert read(TINY_INFO.to_json()) == TINY_INFO
    assert as_data()["format"] == FORMAT


def test_whole_number_where_a_float_is_due() -> None:
    info = read({**as_data(), "threshold": 1})
    assert info.threshold == 1.0
    assert isinstance(info.threshold, float)


def test_fields_with_defaults_may_be_missing() -> None:
    needed = {"network", "title", "weights", "preprocessing"}
    data = {name: value for name, value in as_data().items() if name in needed | {"format"}}
    info = read(data)
    assert (info.threshold, info.artefacts, info.builder) == (0.5, {}, None)


REQUIRED: list[tuple[str, ...]] = [
    *[("network",), ("title",), ("weights",), ("preprocessing",)],
    *[("weights", "name"), ("weights", "trained")],
    *[("preprocessing", "height"), ("preprocessing", "width"), ("preprocessing", "resize")],
    *[("artefacts", "net.onnx", name) for name in ("kind", "precision", "bytes", "sha256")],
    *[
        ("builder", name)
        for name in ("flavour", "version", "target", "min_batch", "opt_batch", "max_batch")
    ],
]


@pytest.mark.parametrize("path", REQUIRED, ids=".".join)
def test_missing_field_is_named(path: tuple[str, ...]) -> None:
    data = as_data()
    place = data
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    with pytest.raises(EngineError) as caught:
        read(data)
    assert caught.value.what == "net.json is damaged"
    assert caught.value.why == f"field {'.'.join(path)} is missing"
    assert "zoo export" in caught.value.todo


def every_field() -> list[tuple[str, ...]]:
    """The path of each field of a whole sidecar."""
    paths: list[tuple[str, ...]] = []
    for place, kind in (
        ((), EngineInfo),
        (("weights",), WeightsInfo),
        (("preprocessing",), Preprocessing),
        (("artefacts", "net.onnx"), Artefact),
        (("builder",), Builder),
    ):
        paths += [(*place, each.name) for each in fields(kind)]
    return paths


@pytest.mark.parametrize("path", every_field(), ids=".".join)
def test_field_of_the_wrong_type_is_named(path: tuple[str, ...]) -> None:
    for wrong in (["a list"], {"an": [{"object": 1}]}, "text", 2.5, True, 7):
        data = as_data()
        place = data
        for name in path[:-1]:
            place = place[name]
        if _fits(place[path[-1]], wrong):
            continue
        place[path[-1]] = wrong
        with pytest.raises(EngineError) as caught:
            read(data)
        assert ".".join(path) in caught.value.why, wrong


def _fits(right: Any, wrong: Any) -> bool:
    """Whether a value is of the kind of the one it replaces, so that it may be accepted."""
    if isinstance(right, float):
        return isinstance(wrong, float | int) and not isinstance(wrong, bool)
    if right is None:  # weights.seed
        return type(wrong) is int
    if isinstance(right, str) and right in ("bilinear", "center", "onnx", "fp32", "tensorrt_rtx"):
        return False  # one of a few words
    if isinstance(right, dict) and "passed" in right:
        return isinstance(wrong, dict)  # the certificate is anybody's object
    return type(right) is type(wrong) and not isinstance(right, dict)


def test_unknown_field_is_named() -> None:
    data = as_data()
    data["preprocessing"]["mean"] = 0.5
    with pytest.raises(EngineError, match=r"unknown field preprocessing\.mean"):
        read(data)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"height": 0}, "height 0"),
        ({"width": -3}, "width -3"),
        ({"shorter_side": None}, "shorter_side"),
        ({"crop": "none"}, "shorter_side"),
        ({"shorter_side": 100}, "shorter_side 100"),
    ],
)
def test_preprocessing_that_makes_no_frame(change: dict[str, Any], word: str) -> None:
    data = as_data()
    data["preprocessing"].update(change)
    with pytest.raises(EngineError, match=word):
        read(data)


@pytest.mark.parametrize(
    "threshold", ["NaN", "1.5", "-0.1", "Infinity", pytest.param("1" + "0" * 400, id="400 digits")]
)
def test_threshold_that_decides_nothing(threshold: str) -> None:
    text = FULL.to_json().replace('"threshold": 0.25', f'"threshold": {threshold}')
    assert text != FULL.to_json()
    with pytest.raises(EngineError, match="threshold is"):
        read(text)


@pytest.mark.parametrize(
    "text", ["", "{", "garbage", "[]", "3", "null", "{}", "[" * 100_000, "\x00\x01"]
)
def test_garbage_is_no_sidecar(text: str) -> None:
    with pytest.raises(EngineError, match=r"^net\.json is not a sidecar"):
        read(text)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format(version: Any) -> None:
    with pytest.raises(EngineError, match="of another version of deepfake-zoo"):
        read({**as_data(), "format": version})


@pytest.mark.parametrize(
    ("engine", "sidecar"),
    [
        ("meso4.onnx", "meso4.json"),
        ("meso4.fp16.onnx", "meso4.json"),
        ("meso4.plan", "meso4.json"),
        ("a.b/my.net.onnx", "a.b/my.net.json"),
    ],
)
def test_sidecar_path(engine: str, sidecar: str) -> None:
    assert sidecar_path(Path(engine)) == Path(sidecar)


# Engine files and their sidecars.


@pytest.fixture
def engine(tmp_path: Path) -> TinyEngine:
    return TinyEngine.write(tmp_path)


def refused(path: Path, *words: str) -> EngineError:
    """Opening it must fail, naming the file and these words."""
    with pytest.raises(EngineError) as caught:
        Detector(path)
    assert str(path) in caught.value.what or sidecar_path(path).name in caught.value.what
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert caught.value.todo
    return caught.value


def same_scores(path: Path, engine: TinyEngine) -> None:
    frames = random_frames(5)
    with Detector(path) as detector:
        np.testing.assert_allclose(
            detector.score(frames), engine.reference(frames)[1], rtol=0, atol=1e-6
        )


def test_engine_with_its_sidecar(engine: TinyEngine) -> None:
    same_scores(engine.path, engine)
    with Detector(engine.path) as detector:
        assert detector.info == engine.info


def test_changed_byte(engine: TinyEngine) -> None:
    data = bytearray(engine.path.read_bytes())
    data[len(data) // 2] ^= 1
    engine.path.write_bytes(data)
    refused(engine.path, "its sha256 is " + file_sha256(engine.path), "its sidecar says")


def test_another_size(engine: TinyEngine) -> None:
    size = engine.path.stat().st_size
    engine.path.write_bytes(engine.path.read_bytes() + b"\0")
    refused(engine.path, f"it has {size + 1} bytes, its sidecar says {size}")


def test_sidecar_of_a_different_export(engine: TinyEngine) -> None:
    """The same name, made from other weights."""
    onnx.save(tiny_model(TinyWeights.seeded(5), metadata=TINY_INFO.to_json()), engine.path)
    refused(engine.path, "of another export", "sha256")


def test_sidecar_that_names_other_files_says_nothing_of_this_one(engine: TinyEngine) -> None:
    """The file's own metadata holds then; the sidecar's preprocessing is of something else."""
    strange = replace(
        describe(engine.path),
        network="another",
        preprocessing=Preprocessing(299, 299, "bilinear"),
        artefacts={"tiny.plan": Artefact("plan", "fp16", 1, "0" * 64)},
    )
    engine.sidecar.write_text(strange.to_json())
    same_scores(engine.path, engine)
    with Detector(engine.path) as detector:
        assert detector.info == TINY_INFO
    bare = tiny_model(engine.weights)
    onnx.save(bare, engine.path)
    refused(engine.path, "how images become frames", "tiny.json speaks of tiny.plan alone")


def test_renamed_engine(engine: TinyEngine) -> None:
    """Its metadata come with it; a check of the name alone says what the sidecar knows."""
    renamed = engine.path.rename(engine.path.with_name("other.onnx"))
    same_scores(renamed, engine)
    with (
        snapshot(renamed) as content,
        pytest.raises(EngineError, match=r"it names tiny\.onnx; was the file renamed\?"),
    ):
        check_artefact(content, engine.info)


def test_missing_sidecar_with_metadata(engine: TinyEngine) -> None:
    engine.sidecar.unlink()
    same_scores(engine.path, engine)
    with Detector(engine.path) as detector:
        assert detector.info == TINY_INFO


def test_missing_sidecar_and_metadata(engine: TinyEngine) -> None:
    engine.sidecar.unlink()
    onnx.save(tiny_model(engine.weights), engine.path)
    refused(engine.path, "deepfake_zoo", "tiny.json is not there")


def test_sidecar_alone_is_enough(tmp_path: Path, engine: TinyEngine) -> None:
    onnx.save(tiny_model(engine.weights), engine.path)
    engine.sidecar.write_text(describe(engine.path).to_json())
    same_scores(engine.path, engine)


def test_damaged_metadata(engine: TinyEngine) -> None:
    engine.sidecar.unlink()
    onnx.save(tiny_model(engine.weights, metadata='{"format": 1}'), engine.path)
    refused(engine.path, "the metadata of", "field network is missing")


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe\x00garbage", b""])
def test_damaged_sidecar_is_never_passed_over(engine: TinyEngine, data: bytes) -> None:
    engine.sidecar.write_bytes(data)
    refused(engine.path, "tiny.json")


def test_preprocessing_of_another_frame_size(engine: TinyEngine) -> None:
    wrong = replace(describe(engine.path), preprocessing=Preprocessing(8, 9, "nearest"))
    engine.sidecar.write_text(wrong.to_json())
    refused(engine.path, "[8, 8, 3]", "[8, 9, 3]")


def test_unreadable_engine(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if path == engine.path:
            raise PermissionError(13, "Permission denied", str(path))
        return opening(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)  # the superuser may read all
    refused(engine.path, "cannot be read", "Permission denied", "permissions")


# Files that are no engine.


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"frames": "image"}, ["'frames' is due as tensor(uint8)", "'image'"]),
        ({"frames_type": TensorProto.FLOAT}, ["'frames' is due", "tensor(float)['N', 8, 8, 3]"]),
        ({"batch": 4}, ["the batch axis is fixed at 4"]),
        ({"outputs": ("logit",)}, ["'fake' is due"]),
        ({"outputs": ("fake",)}, ["'logit' is due"]),
        ({"outputs": ("logit", "fake", "features")}, ["more inputs or outputs", "'features'"]),
    ],
)
def test_onnx_without_the_contract(
    tmp_path: Path, variant: dict[str, Any], words: list[str]
) -> None:
    path = tmp_path / "net.onnx"
    model = tiny_model(TinyWeights.seeded(), metadata=TINY_INFO.to_json(), **variant)
    onnx.save(model, path)
    refused(path, "does not keep the engine contract", "It has '", *words)


def test_dynamic_batch_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    weights = TinyWeights.seeded()
    onnx.save(tiny_model(weights, batch=None, metadata=TINY_INFO.to_json()), path)
    same_scores(path, TinyEngine(path, weights, TINY_INFO))


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_truncated_onnx(engine: TinyEngine, keep: int) -> None:
    data = engine.path.read_bytes()
    engine.path.write_bytes(data[:keep])
    refused(engine.path, "bytes")
    engine.sidecar.unlink()
    refused(engine.path)


def test_text_file_named_onnx(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("no engine at all\n")
    refused(path, "cannot be loaded by ONNX Runtime")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").mkdir()
    refused(tmp_path / "net.onnx", "is a directory")
    refused(tmp_path, "is a directory")


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "net.onnx", "does not exist", "zoo export")


@pytest.mark.parametrize("name", ["net.pt", "net", "net.json", "net.h5", "net.onnx.bak"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"bytes")
    refused(path, "engines end in .onnx or .plan", f"'{path.suffix}'")
