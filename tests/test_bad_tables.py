"""Tables and results from outside: labels, goldens, baselines, kept results; and what we write."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from limits import within
from PIL import Image
from tiny_engine import TINY_INFO, TinyEngine, random_frames

from benchmarks.baseline import read_baseline
from benchmarks.evaluation.dataset import open_dataset, open_table
from benchmarks.evaluation.report import write_scores
from benchmarks.evaluation.run import EvaluationRequest, run_evaluation
from benchmarks.peers import ENGINE
from export.goldens import read_goldens
from runtime.csv_cells import csv_cell, plain_text
from runtime.engine_info import EngineInfo
from runtime.errors import EngineError, ZooError
from zoo.cli import main
from zoo.results_file import ResultsFile

GOLDENS, LABELS = "file,A\nx.jpg,0.5\n", "file,label\nx.png,fake\n"
BASELINE = {
    "format": 1,
    "engine": {"network": "tiny"},
    "figures": [{"peer": ENGINE, "batch": 1, "images_per_s": 10.0}],
}


def goldens(path: Path) -> Any:
    return read_goldens(path, "A")


def baseline(path: Path) -> Any:
    return read_baseline(path, None)


def resume(path: Path) -> Any:
    with ResultsFile(path, "run"):
        pass


READERS = [goldens, open_table, baseline, resume]


@pytest.mark.parametrize("read", READERS)
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with within(5), pytest.raises(ZooError, match=r"regular file|directory"):
            read(path)


@pytest.mark.parametrize("read", READERS)
def test_a_file_of_gigabytes_is_not_read(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(20 << 30)
    with within(10), pytest.raises(ZooError):
        read(path)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b"{}\n",
        b'{"path": "x", "bytes": 1, "modified": 1, "run": "run"}\n',
        b'{"format": 1, "engine": 3, "figures": 4}\n',
        b'"' + b"x" * 200_000 + b'"\n',
        b"9" * 5000 + b"\n",
        b"file,A,label\n\0,\0,\0\n",
    ],
    ids=["bytes", "deep", "empty", "fields", "kinds", "long", "digits", "nul"],
)
def test_what_is_no_such_file_is_named(
    tmp_path: Path, read: Callable[[Path], Any], content: bytes
) -> None:
    path = tmp_path / "strange.file"
    path.write_bytes(content)
    with pytest.raises(ZooError, match=r"strange\.file") as caught:
        read(path)
    assert len(str(caught.value)) < 1000
    assert path.read_bytes() == content


# Goldens.


@pytest.mark.parametrize("score", ["", "nan", "inf", "-0.1", "1.5", "9" * 400, "yes"])
def test_golden_scores_are_probabilities(tmp_path: Path, score: str) -> None:
    path = tmp_path / "g.csv"
    path.write_text(f"{GOLDENS}y.jpg,{score}\n")
    with pytest.raises(ZooError, match=r"line 3: .* is no probability"):
        read_goldens(path, "A")


# Baselines.


@pytest.mark.parametrize(
    "change",
    [
        {"engine": []},
        {"environment": 7},
        {"environment": {"gpus": [1]}},
        {"settings": "x"},
        {"figures": [{"peer": ENGINE, "batch": 1, "images_per_s": 0}]},
        {"figures": [{"peer": ENGINE, "batch": 1, "images_per_s": float("nan")}]},
        {"figures": [{"peer": ENGINE, "batch": 1, "images_per_s": float("inf")}]},
        {"figures": [{"peer": ENGINE, "batch": 0, "images_per_s": 1}]},
        {"figures": [{"peer": ENGINE, "batch": float("inf"), "images_per_s": 1}]},
        {"figures": [{"peer": ENGINE, "batch": 1, "images_per_s": 10**400}]},
        {"figures": [{"peer": ENGINE, "batch": "many", "images_per_s": 1}]},
    ],
)
def test_a_damaged_baseline_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(BASELINE))
    assert read_baseline(path, None) == BASELINE
    path.write_text(json.dumps(BASELINE | change))
    with pytest.raises(ZooError, match=r"old\.json is damaged"):
        read_baseline(path, None)


# Kept results.


@pytest.fixture
def kept(tmp_path: Path, tiny_engine: TinyEngine) -> tuple[Path, list[str]]:
    """A file of results that `zoo detect` wrote, and the words that made it."""
    Image.fromarray(random_frames(1)[0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    path = tmp_path / "r.jsonl"
    words = ["detect", str(tmp_path), "--faces", "none", "--engine", str(tiny_engine.path)]
    words += ["--resume", str(path)]
    assert CliRunner().invoke(main, words).exit_code == 2
    return path, words


def test_kept_results_are_taken_up(kept: tuple[Path, list[str]]) -> None:
    path, words = kept
    before = path.read_bytes()
    assert len(before.splitlines()) == 2
    answer = CliRunner().invoke(main, words)
    assert (answer.exit_code, path.read_bytes()) == (2, before)


@pytest.mark.parametrize(
    ("number", "change"),
    [
        *((0, {name: None}) for name in ("kind", "faces", "overall", "damage", "whole")),
        (0, {"faces": [{"box": "x"}]}),
        (0, {"overall": {"label": "fake"}}),
        (0, {"error": 3}),
        (1, {"error": {"what": 1}}),
        (1, {"kind": None}),
    ],
)
def test_a_kept_line_without_its_fields_is_refused(
    kept: tuple[Path, list[str]], number: int, change: dict[str, Any]
) -> None:
    path, words = kept
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    for name, value in change.items():
        if value is None:
            del lines[number][name]
        else:
            lines[number][name] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = path.read_bytes()
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 2
    assert isinstance(answer.exception, SystemExit), answer.exception
    told = " ".join(answer.stderr.split())
    assert "is no file of results" in told
    assert f"line {number + 1}" in told
    assert path.read_bytes() == before


# What we write.


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+x", "'+x"),
        ("-x", "'-x"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("'=x", "''=x"),
        ("'x", "'x"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_formula_becomes_a_text_and_comes_back(text: str, cell: str) -> None:
    assert csv_cell(text) == cell
    assert plain_text(cell) == text


def test_names_that_are_formulas_in_the_table_of_scores(
    tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    data = tmp_path / "=set"
    frames = random_frames(4)
    for number, label in enumerate(("fake", "fake", "real", "real")):
        folder = data / f"=cmd|' {label}" / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frames[number]).save(folder / f"{number}.png")
    ((one,), _) = run_evaluation(EvaluationRequest((data,), (tiny_engine.path,)))
    scores = tmp_path / "scores.csv"
    write_scores(one, scores)
    rows = list(csv.DictReader(io.StringIO(scores.read_text())))
    assert len(rows) == 4
    assert all(row["file"].startswith("'=cmd") for row in rows)
    # Our own readers take the table for labels, and for goldens, of the same images.
    names = {image.name: image.fake for image in open_dataset(data).images}
    assert {i.name: i.fake for i in open_dataset(data, scores).images} == names
    assert set(read_goldens(scores, "fake")) == set(names)


def test_only_an_end_of_line_ends_a_row(tmp_path: Path) -> None:
    """Python takes each of the first five for the end of a line; CSV does not."""
    names = [f"a{character}b.png" for character in "\x0b\x0c\x1c\x85\u2028\r"]
    table = tmp_path / "t.csv"
    rows = "".join(f'"{name}",fake,0.5\n' for name in names)
    table.write_text("file,label,A\n" + rows, "utf-8", newline="")
    assert [image.name for image in open_table(table).images] == names
    assert list(read_goldens(table, "A")) == names


# Numbers beyond all measure.


def test_a_threshold_of_400_digits(tmp_path: Path) -> None:
    data = json.loads(TINY_INFO.to_json()) | {"threshold": 10**400}
    with pytest.raises(EngineError, match=r"x\.json is damaged"):
        EngineInfo.from_json(json.dumps(data), "x.json")


def test_seeds_below_0_are_refused() -> None:
    answer = CliRunner().invoke(main, ["export", "meso4", "--weights", "random", "--seed", "-1"])
    assert answer.exit_code == 2
    assert "-1 is not in the range" in answer.stderr


@pytest.mark.parametrize("words", [["detect"], ["evaluate"], ["explain"], ["verify"]])
def test_a_name_of_5000_characters(words: list[str], tiny_engine: TinyEngine) -> None:
    name, engine = "x" * 5000, str(tiny_engine.path)
    typed = {
        "detect": ["detect", name, "--faces", "none", "-e", engine],
        "evaluate": ["evaluate", name, "-e", engine],
        "explain": ["explain", name, "--faces", "none", "-e", engine],
        "verify": ["verify", engine, "--images", name],
    }[words[0]]
    answer = CliRunner().invoke(main, typed)
    assert answer.exit_code == 2, answer.output
    assert isinstance(answer.exception, SystemExit), answer.exception
    assert "name too long" in answer.stderr
