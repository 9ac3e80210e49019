"""An engine held against another one, where the original's framework is not installed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from test_import_cost import FRAMEWORKS, python
from tiny_engine import TINY_INFO, TinyEngine, TinyWeights

from export import certify, verify
from export.verify import verify_engine
from runtime.engine_info import WeightsInfo
from runtime.errors import EngineError, MissingPackageError
from zoo.cli import main


def write(folder: Path, name: str, **options: object) -> Path:
    folder.mkdir(exist_ok=True)
    return TinyEngine.write(folder, name=name, **options).path  # type: ignore[arg-type]


def test_an_engine_that_says_the_same_passes(tmp_path: Path) -> None:
    engine, other = write(tmp_path, "a.onnx"), write(tmp_path, "b.onnx")
    found = verify_engine(engine, against=other)
    assert found.passed
    (joint,) = found.comparisons
    assert (joint.reference, joint.engine, joint.max_p) == ("b.onnx", "a.onnx", 0.0)
    assert joint.images > 8
    assert found.spread > 0.01


def test_an_engine_that_says_something_else_fails(tmp_path: Path) -> None:
    weights = TinyWeights.seeded()
    engine = write(
        tmp_path, "a.onnx", weights=replace(weights, offset=weights.offset + np.float32(0.01))
    )
    found = verify_engine(engine, against=write(tmp_path, "b.onnx"))
    assert not found.passed
    assert "a.onnx: max |dP|" in found.failures[0]


def test_engines_of_other_weights_or_frames_say_nothing(tmp_path: Path) -> None:
    engine = write(tmp_path, "a.onnx")
    how = replace(TINY_INFO.preprocessing, resize="bilinear")
    for name, info, word in (
        ("b.onnx", replace(TINY_INFO, weights=WeightsInfo("another", trained=True)), "weights"),
        ("c.onnx", replace(TINY_INFO, preprocessing=how), "preprocessing"),
    ):
        other = write(tmp_path, name, info=info)
        with pytest.raises(EngineError) as caught:
            verify_engine(engine, against=other)
        assert caught.value.what == f"{other} says nothing about {engine}"
        assert caught.value.why.startswith(f"its {word}: ")
    with pytest.raises(EngineError, match="against itself"):
        verify_engine(engine, against=tmp_path / ".." / tmp_path.name / "a.onnx")
    with pytest.raises(EngineError, match="nowhere"):
        verify_engine(engine, against=tmp_path / "nowhere.onnx")


def test_who_lacks_the_framework_is_told_of_this_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise MissingPackageError("tensorflow", "a Keras original", "keras")

    engine = write(tmp_path, "a.onnx")
    monkeypatch.setattr(verify, "load_original_of", missing)
    with pytest.raises(MissingPackageError) as caught:
        verify_engine(engine)
    assert caught.value.todo.startswith("pip install 'deepfake-zoo[keras]'; or")
    assert f"zoo verify {engine} --against THAT.onnx" in caught.value.todo


def test_the_command_needs_nothing_but_the_core(tmp_path: Path) -> None:
    engine, other = write(tmp_path, "a.onnx"), write(tmp_path, "another one.onnx")
    words = ["verify", str(engine), "--against", str(other)]
    said = python(
        f"from zoo.cli import main\nmain({words!r})",
        blocked=[*FRAMEWORKS, "onnx_ir", "onnxslim", "onnxscript", "matplotlib", "sklearn"],
    )
    assert "passed" in said
    assert "original" not in said


def test_one_reference_at_a_time(tmp_path: Path) -> None:
    words = ["verify", "a.onnx", "--against", "b.onnx", "--goldens", "c.csv"]
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 2
    assert "--against excludes --goldens" in found.output


def test_rounding_as_a_gpu_does_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "export.half_emulation", raising=False)
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    with pytest.raises(MissingPackageError, match="'onnx-ir', which is not installed") as caught:
        certify.emulated_scores(onnx.ModelProto(), np.zeros((1, 8, 8, 3), np.uint8))
    assert caught.value.todo == "pip install 'deepfake-zoo[verify]'"
