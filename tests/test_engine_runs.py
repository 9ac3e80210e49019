"""What an engine does when it runs is seen: it fails, or gives back what are no scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper
from PIL import Image
from tiny_engine import TINY_INFO, TinyEngine, TinyWeights, describe, random_frames, tiny_model

from runtime import Detector
from runtime.backends import onnxruntime
from runtime.engine_info import sidecar_path
from runtime.errors import EngineError, EngineRunError
from zoo.cli import main

Spoil = Callable[[onnx.GraphProto], None]


def between(graph: onnx.GraphProto, name: str, kind: str, *constants: Any, **more: Any) -> None:
    """Put a node between an output and what gave it."""
    index = next(i for i, node in enumerate(graph.node) if name in node.output)
    graph.node[index].output[0] = f"plain_{name}"
    for node in graph.node:
        for place, given in enumerate(node.input):
            if given == name:
                node.input[place] = f"plain_{name}"
    inputs = [f"plain_{name}"]
    for number, constant in enumerate(constants):
        inputs.append(f"{name}_{number}")
        graph.initializer.append(numpy_helper.from_array(np.asarray(constant), inputs[-1]))
    graph.node.append(helper.make_node(kind, inputs, [name], **more))


def twice(graph: onnx.GraphProto) -> None:
    between(graph, "fake", "Tile", np.asarray([2]))


def none(graph: onnx.GraphProto) -> None:
    between(graph, "fake", "Slice", np.asarray([0]), np.asarray([0]))


def large(graph: onnx.GraphProto) -> None:
    between(graph, "fake", "Mul", np.float32(5.9e31))


def negative(graph: onnx.GraphProto) -> None:
    between(graph, "fake", "Neg")


def endless_logit(graph: onnx.GraphProto) -> None:
    between(graph, "logit", "Mul", np.float32(np.inf))


def no_number(graph: onnx.GraphProto) -> None:
    between(graph, "logit", "Mul", np.float32(np.nan))
    between(graph, "fake", "Mul", np.float32(np.nan))


def failing(graph: onnx.GraphProto) -> None:
    """A batch of any size as one of three."""
    between(graph, "fake", "Reshape", np.asarray([3]))


def write(folder: Path, spoil: Spoil) -> Path:
    path = folder / "bad.onnx"
    model = tiny_model(TinyWeights.seeded(), metadata=TINY_INFO.to_json())
    spoil(model.graph)
    onnx.save(model, path)
    sidecar_path(path).write_text(describe(path).to_json())
    return path


BAD = [
    (twice, ["'fake' is float32 [4]", "float32 [2] is due"]),
    (none, ["'fake' is float32 [0]"]),
    (large, ["P(fake) ", "e+3", "0..1"]),
    (negative, ["P(fake) -"]),
    (endless_logit, ["logit ", "inf"]),
    (no_number, ["P(fake) nan and logit nan"]),
    (failing, ["failed while it ran on 2 images", "Reshape"]),
]


@pytest.mark.parametrize(("spoil", "words"), BAD, ids=[each[0].__name__ for each in BAD])
def test_what_is_no_score_is_an_error(tmp_path: Path, spoil: Spoil, words: list[str]) -> None:
    path = write(tmp_path, spoil)
    with Detector(path) as detector:
        for call in (detector.score, detector.infer, lambda f: detector.classify(list(f))):
            with pytest.raises(EngineRunError) as caught:
                call(random_frames(2))
            assert str(path) in caught.value.what
            assert caught.value.todo
            for word in words:
                assert word in str(caught.value)
        with pytest.raises(EngineRunError):
            detector.score(random_frames(40))  # in several batches


def test_names_of_nodes_cannot_reach_the_terminal_as_they_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def hostile(graph: onnx.GraphProto) -> None:
        failing(graph)
        graph.node[-1].name = "\x1b[2J"

    with (
        Detector(write(tmp_path, hostile)) as detector,
        pytest.raises(EngineRunError, match=r"\\x1b") as caught,
    ):
        detector.score(random_frames(2))
    assert caught.value.why.isprintable()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("spoil", [twice, none, failing])
def test_a_worker_s_session_is_looked_at_as_well(tmp_path: Path, spoil: Spoil) -> None:
    with Detector(write(tmp_path, spoil)) as detector:
        cores: Any = detector._backend._cores  # type: ignore[attr-defined]
        with pytest.raises(EngineRunError):
            cores._crowded(random_frames(2))


def test_scores_at_the_ends_of_their_range_are_scores(tmp_path: Path) -> None:
    for logit, fake in ((200.0, 1.0), (-200.0, 0.0)):
        engine = TinyEngine.write(tmp_path, weights=TinyWeights.constant(logit))
        with Detector(engine.path, threads=1) as detector:
            assert detector.score(random_frames(1)) == pytest.approx(fake, abs=1e-30)


def test_views_of_frames_are_copied_by_the_batch(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view may pretend to be more frames than any memory holds."""
    frame = random_frames(1)
    copied: list[int] = []
    plain = np.ascontiguousarray

    def copying(array: Any) -> Any:
        copied.append(len(array))
        return plain(array)

    with Detector(tiny_engine.path) as detector:
        due = detector.score(frame)
        monkeypatch.setattr(np, "ascontiguousarray", copying)
        for count in (2, 50):
            found = detector.score(np.broadcast_to(frame, (count, *frame.shape[1:])))
            np.testing.assert_allclose(found, np.repeat(due, count), atol=1e-6)
        assert max(copied) == detector._backend.max_batch
    assert sum(copied) == 52, "each once, and all of them"


# The commands.


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for label in ("fake", "real"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number, frame in enumerate(random_frames(6, seed=len(label))):
            Image.fromarray(frame).save(tmp_path / "set" / label / f"{number}.png")
    return tmp_path / "set"


@pytest.mark.parametrize("spoil", [failing, twice, no_number])
def test_detect_ends_with_the_first_failure(
    tmp_path: Path, pictures: Path, spoil: Spoil, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    plain = onnxruntime._run
    monkeypatch.setattr(onnxruntime, "_run", lambda *given: (runs.append(1), plain(*given))[1])
    path = write(tmp_path, spoil)
    words = ["detect", str(pictures), "-e", str(path), "--faces", "none", "--jobs", "1", "--json"]
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 2
    assert not isinstance(answer.exception, EngineError), "said, not raised"
    assert "bad.onnx" in answer.output
    assert "Traceback" not in answer.output
    # Whatever was under way may have failed too; twelve pictures did not.
    assert len(runs) <= 3


def test_what_was_judged_before_is_kept(tmp_path: Path, pictures: Path) -> None:
    """An engine that gives no number for bright pictures only."""

    def sometimes(graph: onnx.GraphProto) -> None:
        between(graph, "fake", "Sub", np.float32(0.9))
        graph.node.append(helper.make_node("Sqrt", ["fake"], ["root"]))
        graph.node[-2].output[0] = "less"
        graph.node[-1].input[0] = "less"
        graph.node[-1].output[0] = "fake"

    path = write(tmp_path, sometimes)
    model = tiny_model(TinyWeights.constant(4.0), metadata=TINY_INFO.to_json())
    good = tmp_path / "good.onnx"
    onnx.save(model, good)
    kept = tmp_path / "results.jsonl"
    words = ["detect", str(pictures), "--faces", "none", "--resume", str(kept)]
    assert CliRunner().invoke(main, [*words, "-e", str(good)]).exit_code == 0
    before = kept.read_text().splitlines()
    assert len([line for line in before if "path" in json.loads(line)]) == 12
    assert CliRunner().invoke(main, [*words, "-e", str(path)]).exit_code == 2
    assert kept.read_text().splitlines()[: len(before)] == before


@pytest.mark.parametrize("spoil", [failing, twice, large])
def test_evaluate_ends_with_three_lines(tmp_path: Path, pictures: Path, spoil: Spoil) -> None:
    path = write(tmp_path, spoil)
    answer = CliRunner().invoke(main, ["evaluate", str(pictures), "-e", str(path)])
    assert answer.exit_code == 2
    assert "bad.onnx" in answer.output
    assert "Traceback" not in answer.output
