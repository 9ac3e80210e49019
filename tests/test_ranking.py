"""Engines ranked by what they say of the same images."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from labelled_sets import MakeSet, evaluate
from tiny_engine import TinyEngine, TinyWeights

from benchmarks.evaluation.ranking import rank, rank_engines
from zoo.cli import main

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: evaluate)")


def test_ranking_of_engines_and_datasets(
    make_set: MakeSet, tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    (tmp_path / "e").mkdir()
    other = TinyEngine.write(tmp_path / "e", name="other.onnx", weights=TinyWeights.seeded(5))
    sets = [make_set("first"), make_set("second one")]
    engines = [tiny_engine.path, other.path]
    found = evaluate(*sets, engines=engines)
    assert {(e.engine, e.dataset) for e in found} == {
        (engine.name, path.name) for engine in engines for path in sets
    }
    for one in found:  # each is what it is alone
        path = next(p for p in sets if p.name == one.dataset)
        engine = next(p for p in engines if p.name == one.engine)
        assert evaluate(path, engines=[engine])[0].metrics == one.metrics
    aucs = [e.metrics.auc or 0 for e in rank(found)]
    assert aucs == sorted(aucs, reverse=True)
    assert len(set(aucs)) > 1
    means = rank_engines(found)
    assert [m.auc for m in means] == sorted((m.auc for m in means), reverse=True)
    assert sum(m.auc for m in means) == pytest.approx(sum(aucs) / 2)
    assert rank_engines(found[:2]) == []
    answer = CliRunner().invoke(
        main, ["evaluate", *map(str, sets), "-e", str(engines[0]), "-e", str(engines[1])]
    )
    assert answer.exit_code == 0, answer.output
    assert answer.output.index("mean AUC") < answer.output.index("precision")


@pytest.mark.parametrize("by", ["engine", "dataset"])
def test_a_ranking_fits_a_terminal(
    make_set: MakeSet,
    tmp_path: Path,
    tiny_engine: TinyEngine,
    by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Long names on 80 columns: what all rows share stands above them, nothing is folded."""
    from rich.console import Console

    from benchmarks.evaluation import printing

    (tmp_path / "e").mkdir()
    long = TinyEngine.write(tmp_path / "e", name="a-rather-long-engine.onnx")
    if by == "engine":
        found = evaluate(make_set("the-validation-set"), engines=[tiny_engine.path, long.path])
        names, shared = ["tiny.onnx", "a-rather-long-engine.onnx"], "the-validation-set"
    else:
        sets = [make_set("the-validation-set"), make_set("another-set")]
        found = evaluate(*sets, engines=[long.path])
        names, shared = [path.name for path in sets], "a-rather-long-engine.onnx"
    monkeypatch.setattr(printing, "_out", Console(width=80, record=True))
    printing.print_evaluations(found, [])
    lines = printing._out.export_text().splitlines()
    assert shared in lines[0]
    assert by in lines[1]
    assert all("EER" in lines[1] and len(line) <= 80 for line in lines[:4])
    for name in names:
        assert any(name in line and line.split()[0] in "12" for line in lines[2:4])


def test_one_class_ranks_last(make_set: MakeSet, tiny_engine: TinyEngine) -> None:
    folder = make_set("both")
    only = make_set("only")
    for path in (only / "real").iterdir():
        path.unlink()
    found = evaluate(only, folder, engines=[tiny_engine.path])
    assert [e.dataset for e in rank(found)] == ["both", "only"]
    answer = CliRunner().invoke(main, ["evaluate", str(only), "-e", str(tiny_engine.path)])
    assert answer.exit_code == 0, answer.output
    assert "only one class is there" in answer.output


def test_two_of_one_name_stay_apart(make_set: MakeSet, tiny_engine: TinyEngine) -> None:
    found = evaluate(make_set("x/set"), make_set("yy/set"), engines=[tiny_engine.path])
    assert [e.dataset for e in found] == ["set (1)", "set (2)"]
