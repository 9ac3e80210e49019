"""`zoo bench` as typed: a small run on ONNX Runtime, and what cannot be measured."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from tiny_engine import TinyEngine, tiny_model

from benchmarks import report
from benchmarks.rounds import Step
from zoo.cli import main


def _zoo(*words: object) -> Result:
    return CliRunner().invoke(main, ["bench", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def measured(tiny_engine: TinyEngine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run at two batch sizes against the bare session."""
    out = tmp_path_factory.mktemp("bench")
    done = _zoo(
        "-e", tiny_engine.path, "--batch", "1,4", "--duration", 0.1, "--threads", 1, "--out", out
    )
    assert done.exit_code == 0, done.output
    assert "images/s" in done.output
    return out


def test_a_run_leaves_its_files(measured: Path, tiny_engine: TinyEngine) -> None:
    assert {p.name for p in measured.iterdir()} == {
        f"tiny.bench.{kind}" for kind in ("json", "csv", "png", "html")
    }
    data = json.loads((measured / "tiny.bench.json").read_text())
    assert [f["batch"] for f in data["figures"]] == [1, 4]
    assert data["engine"]["sha256"] == tiny_engine.info.artefacts["tiny.onnx"].sha256
    assert data["settings"]["threads"] == 1
    assert "Detector.score: uint8 frames in host memory" in data["peers"][0]["scope"]
    # One of the ceilings was measured, and the engine is held against it.
    assert data["figures"][0]["bound"]
    here = data["environment"]
    assert here["packages"]["numpy"]
    assert {"cpu", "cores", "gpus", "system", "python", "commit", "others_use", "time"} <= set(here)


def test_json_is_for_programs(tiny_engine: TinyEngine) -> None:
    done = _zoo("-e", tiny_engine.path, "--batch", 2, "--duration", 0.05, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["figures"][0]["batch"] == 2


def test_a_fall_below_the_baseline_exits_with_1(measured: Path, tiny_engine: TinyEngine) -> None:
    path = measured / "tiny.bench.json"
    options = ("-e", tiny_engine.path, "--batch", 4, "--duration", 0.05, "--baseline")
    old = json.loads(path.read_text())
    for factor, code in ((1e3, 1), (1e-6, 0)):
        for figure in old["figures"]:
            figure["images_per_s"] *= factor
        changed = measured.parent / "changed.json"
        changed.write_text(json.dumps(old))
        done = _zoo(*options, changed, "--fail-below", 0.9)
        assert done.exit_code == code, done.output


def test_a_baseline_of_another_network_is_refused_before_measuring(
    measured: Path, tiny_engine: TinyEngine
) -> None:
    old = json.loads((measured / "tiny.bench.json").read_text())
    old["engine"]["network"] = "meso4"
    other = measured.parent / "other.json"
    other.write_text(json.dumps(old))
    done = _zoo("-e", tiny_engine.path, "--duration", 1e6, "--baseline", other)
    assert done.exit_code == 2, done.output
    assert "the earlier run measured meso4, tiny.onnx is tiny" in done.stderr


def test_control_c_prints_and_writes_what_there_is(
    tiny_engine: TinyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def progress(quiet: bool) -> Iterator[Callable[[Step], None]]:
        def interrupt(step: Step) -> None:
            if step.batch == 4:
                os.kill(os.getpid(), signal.SIGINT)

        yield interrupt

    monkeypatch.setattr(report, "live_progress", progress)
    done = _zoo("-e", tiny_engine.path, "--batch", "2,4", "--duration", 0.05, "--out", tmp_path)
    assert done.exit_code == 130, done.output
    assert "broken off" in done.stdout
    data = json.loads((tmp_path / "tiny.bench.json").read_text())
    assert data["interrupted"] is True
    assert [f["batch"] for f in data["figures"]] == [2]
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".csv", ".png", ".html"}


def test_a_disk_that_is_full_by_then_takes_no_figures_with_it(
    tiny_engine: TinyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("benchmarks.result.publish", full)
    done = _zoo("-e", tiny_engine.path, "--batch", 2, "--duration", 0.05, "--out", tmp_path)
    assert done.exit_code == 2, done.output
    assert "images/s" in done.stdout
    assert "No space left" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-e", "{dir}/none.onnx"], "does not exist"),
        (["-e", "{dir}"], "is a directory"),
        (["-e", "{text}"], "cannot be loaded by ONNX Runtime"),
        (["-e", "{image}"], "is not an engine"),
        (["-e", "{foreign}"], "does not keep the engine contract"),
        (["-e", "{plan}"], "cannot be opened without its sidecar"),
        (["-e", "{engine}", "--batch", "10000000000"], "does not fit in memory"),
        (["-e", "{engine}", "--device", "7"], "--device 7 is a GPU"),
        (["-e", "{engine}", "--threads", "1000000"], "1000000 threads are too many"),
        (["-e", "{engine}", "--duration", "0"], "nothing can be measured in 0 s"),
        (["-e", "{engine}", "--duration", "-1"], "nothing can be measured in -1 s"),
        (["-e", "{engine}", "--duration", "nan"], "nothing can be measured in nan s"),
        (["-e", "{engine}", "--threads", "0"], "0 threads"),
        (["-e", "{engine}", "--batch", "0"], "no batch sizes"),
        (["-e", "{engine}", "--batch", "all"], "no batch sizes"),
        (["-e", "{engine}", "--from", "device"], "takes no frames in the memory of a GPU"),
        (["-e", "{engine}", "--compare", "pytorch"], "no peer 'pytorch'"),
        (["-e", "{engine}", "--out", "{text}"], "cannot be written"),
        (["-e", "{engine}", "--out", "{text}/deeper"], "cannot be written"),
        (["-e", "{engine}", "--baseline", "{text}"], "not JSON"),
        (["-e", "{engine}", "--baseline", "{dir}/none.json"], "does not exist"),
        (["-e", "{engine}", "--fail-below", "0.9"], "--baseline old.json"),
        (["--all", "--compare", "keras"], "--compare and --all do not go together"),
        (["--all", "--backend", "tensorrt"], "--backend and --all do not go together"),
        ([], "--engine E, or --all"),
    ],
)
def test_what_cannot_be_measured_is_told_in_three_lines(
    tmp_path: Path, tiny_engine: TinyEngine, words: list[str], said: str
) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("this is no engine")
    image = tmp_path / "image.jpg"
    image.write_text("")
    foreign, plan = tmp_path / "foreign.onnx", tmp_path / "bare.plan"
    onnx.save(tiny_model(tiny_engine.weights, frames="images"), foreign)
    plan.write_bytes(b"a plan")
    places = {"dir": tmp_path, "text": text, "image": image, "engine": tiny_engine.path}
    places |= {"foreign": foreign, "plan": plan}
    done = _zoo(*(word.format(**places) for word in words))
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
