"""The validation set through the real commands: what must come out, and what was committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from published import SHARED

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: evaluate)")
pytest.importorskip("psutil", reason="psutil is not installed (extra: bench)")

from benchmarks.evaluate_results import RESULTS, check, evaluate, main
from benchmarks.tables import evaluation as evaluation_table
from benchmarks.validation_bars import KNOWN
from runtime.errors import ZooError


def printed(**changes: Any) -> dict[str, Any]:
    """One engine's figures as `zoo evaluate --json` prints them: Meso4's."""
    report = {"fake": {"recall": 0.90123}, "real": {"recall": 0.87932}}
    plain = {"accuracy": 0.88809, "auc": 0.96208, "report": report, "videos": {"accuracy": 0.96154}}
    return {**plain, **changes}


def off(**changes: Any) -> list[str]:
    bars = check(printed(**changes), KNOWN["meso4/df"])
    assert len(bars) == 5
    return [bar.what for bar in bars if not bar.passed]


def test_each_figure_can_be_off() -> None:
    assert off() == []
    assert off(accuracy=0.8882) == ["accuracy"]
    assert off(auc=0.96216) == ["AUC"]
    assert off(auc=None) == ["AUC"]
    assert off(videos=None) == ["videos right"]
    assert off(videos={"accuracy": 0.97}) == ["videos right"]
    wrong = {"fake": {"recall": 0.9}, "real": {"recall": 0.8}}
    assert off(report=wrong) == ["fake right", "real right"]


@pytest.fixture
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "evaluation.json").read_text("utf-8"))
    return found


def test_the_committed_results_are_those_that_must_come_out(committed: dict[str, Any]) -> None:
    assert committed["passed"] is True
    due = {"meso4/df": (0.8881, 0.9621, 0.9615), "mesoinception4/df": (0.9130, 0.9755, 0.9846)}
    assert [one["name"] for one in committed["evaluations"]] == list(due)
    for one in committed["evaluations"]:
        found = (one["accuracy"], one["auc"], one["videos"]["accuracy"])
        assert tuple(round(value, 4) for value in found) == due[one["name"]]
        assert (one["images"], one["fake"], one["real"]) == (7104, 2845, 4259)
        assert one["videos"]["videos"] == 130
        assert one["left_out"] == []
        # Counted again from the verdicts.
        (real_right, _), (_, fake_right) = one["confusion"]
        assert (real_right + fake_right) / 7104 == pytest.approx(one["accuracy"])
    assert committed["environment"]["packages"]["numpy"]


def test_the_table_says_what_is_off(committed: dict[str, Any]) -> None:
    good = evaluation_table(committed)
    assert "| `meso4/df` | 7,104 | 0.8881 | 0.9012 | 0.8793 | 0.9621 |" in good
    assert "**no" not in good
    committed["evaluations"][0]["checks"][0]["passed"] = False
    assert "**no:** accuracy (due 0.8881)" in evaluation_table(committed)


@pytest.mark.weights
def test_the_committed_results_are_of_this_set(committed: dict[str, Any]) -> None:
    from runtime.engine_info import file_sha256

    assert SHARED is not None
    assert committed["images"]["sha256"] == file_sha256(
        SHARED / "data" / committed["images"]["file"]
    )


@pytest.mark.weights
@pytest.mark.slow
def test_the_commands_themselves_are_run(tmp_path: Path) -> None:
    """On Afchar's four images instead of 7104."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed (extra: keras)")
    assert SHARED is not None
    four = SHARED / "images" / "afchar"
    found = evaluate(four, {"meso4/df": {"accuracy": 1.0, "AUC": 1.0}})
    assert found["passed"] is True
    (one,) = found["evaluations"]
    assert (one["network"], one["images"], one["weights"]["trained"]) == ("meso4", 4, True)
    assert one["brier"] == pytest.approx(0.0011, abs=2e-4)
    with pytest.raises(ZooError, match="zoo evaluate failed with 2"):
        evaluate(tmp_path / "nothing", {"meso4/df": {}})


def test_a_figure_that_is_off_fails_the_command(
    tmp_path: Path, committed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.evaluate_results.evaluate", lambda images: committed)
    assert main(["--images", "x.tar", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "evaluation.json").read_text()) == committed
    committed["passed"] = False
    assert main(["--images", "x.tar", "--out", str(tmp_path)]) == 1
