"""The measurement on the validation set: its bars, its ranking, its table."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published import SHARED

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: evaluate)")
pytest.importorskip("psutil", reason="psutil is not installed (extra: bench)")

from benchmarks.environment import describe_file
from benchmarks.evaluation.metrics import Metrics, measure
from benchmarks.validation import RESULTS, _original_scores, _rank, _round_to_nearest
from benchmarks.validation_bars import KNOWN, check_weights
from benchmarks.validation_table import validation_table
from export.certificate import Comparison
from runtime.errors import ImageError, ZooError
from zoo.originals import Scores

GOOD = Comparison("Keras", "fp32", 100, 1e-6, 1e-6, 1e-7, 1e-5, 0)


def figures(auc_change: float = 0.0) -> dict[str, Metrics]:
    labels = np.asarray([True, True, False, False])
    scores = np.asarray([0.9, 0.4, 0.6, 0.1])
    plain = measure(labels, scores, scores)
    assert plain.auc is not None
    return {"original": plain, "fp32": plain, "fp16": replace(plain, auc=plain.auc - auc_change)}


def missed(name: str, fp32: Comparison, fp16: Comparison, found: dict[str, Metrics]) -> list[str]:
    return [check.what for check in check_weights(name, fp32, fp16, found) if not check.passed]


def test_each_bar_can_be_missed() -> None:
    assert missed("any", GOOD, GOOD, figures()) == []
    assert missed("any", replace(GOOD, max_p=2.1e-5), GOOD, figures()) == ["FP32 max |dP|"]
    assert missed("any", replace(GOOD, flips=1), GOOD, figures()) == ["FP32 decisions flipped"]
    over = replace(GOOD, failures=("max |dP| 3e-02 > 2e-02",))
    assert missed("any", GOOD, over, figures()) == ["FP16 max |dP|"]
    assert missed("any", GOOD, GOOD, figures(6e-4)) == ["FP16 AUC change"]
    assert missed("any", GOOD, GOOD, figures(-6e-4)) == ["FP16 AUC change"]


def test_known_figures_are_held_against_ours() -> None:
    expected = [f"FP32 {what}" for what in KNOWN["meso4/df"]]
    assert missed("meso4/df", GOOD, GOOD, figures()) == expected


def test_goldens_are_read_as_real_and_ranked_with_their_digits(tmp_path: Path) -> None:
    table = tmp_path / "g.csv"
    table.write_text("file,M\na,0.9\nb,1.0\nc,1e-13\nd,0.4999489\n")
    scores = _original_scores(table, "M", ["c", "a", "b", "d"])
    np.testing.assert_allclose(scores.fake, [1, 0.1, 0, 0.5000511], rtol=1e-6)
    np.testing.assert_allclose(
        scores.logit[[0, 1, 3]], [29.933607, -2.1972246, 2.044e-4], rtol=1e-4
    )
    np.testing.assert_allclose(_rank(scores), [-1e-13, -0.9, -1.0, -0.4999489], rtol=1e-6)
    with pytest.raises(ImageError, match="no score of e"):
        _original_scores(table, "M", ["a", "e"])


def test_no_order_is_seen_that_the_goldens_cannot_show() -> None:
    logit = np.asarray([-17.0, -18.0, -0.1, -0.2], np.float32)
    rank = _rank(Scores(logit, logit))
    assert rank[0] == rank[1]
    assert rank[2] > rank[3]


def test_weights_are_rounded_to_the_nearest_half(tmp_path: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    exact = np.asarray([0.1, 0.2, 0.3], np.float32)
    nearest = exact.astype(np.float16)
    other = np.nextafter(nearest, np.float16(1))
    for name, weight, values in (("full", "w", exact), ("half", "w_half", other)):
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        ends = [helper.make_tensor_value_info(x, kind, [3]) for x in "xy"]
        graph = helper.make_graph(
            [helper.make_node("Add", ["x", weight], ["y"])], "g", ends[:1], ends[1:],
            [numpy_helper.from_array(values, weight)],
        )  # fmt: skip
        onnx.save(helper.make_model(graph), tmp_path / f"{name}.onnx")
    out = tmp_path / "n" / "x.onnx"
    _round_to_nearest(tmp_path / "half.onnx", tmp_path / "full.onnx", out)
    (found,) = onnx.load(out).graph.initializer
    assert (numpy_helper.to_array(found) == nearest).all()
    with pytest.raises(ZooError, match="rounded to nearest already"):
        _round_to_nearest(out, tmp_path / "full.onnx", tmp_path / "again" / "x.onnx")


def results(**change: Any) -> dict[str, Any]:
    parity = {"max_p": 1e-6, "p99_p": 1e-6, "mean_p": 1e-7, "max_logit": 1e-5, "flips": 0}
    merit = {"accuracy": 0.8881, "fake_right": 0.9, "real_right": 0.88, "auc": 0.962,
             "videos_right": 0.9615}  # fmt: skip
    one = {
        "network": "meso4",
        "weights": "df",
        "kept_fp32": ["conv_3"],
        "parity": dict.fromkeys(("fp32", "fp16", "fp16_nearest"), parity),
        "figures": dict.fromkeys(("original", "fp32", "fp16"), merit),
        "checks": [{"what": "FP32 accuracy", "value": 0.8, "due": "0.8881", "passed": False}],
    }
    return {"images": {"images": 7104, "videos": 130}, "weights": [one], "passed": True, **change}


def test_a_file_is_described_by_its_bytes_and_a_folder_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"x")
    sha256 = hashlib.sha256(b"x").hexdigest()
    assert describe_file(tmp_path / "x.tar") == {"file": "x.tar", "sha256": sha256}
    assert describe_file(tmp_path) == {"file": tmp_path.name, "sha256": None}


def test_the_table_says_what_was_missed() -> None:
    good = validation_table(results())
    assert "| meso4/df | 1.0e-06 | 0 |" in good
    assert good.endswith("All bars met.")
    assert "Missed: meso4/df: FP32 accuracy 0.8 (due 0.8881)" in validation_table(
        results(passed=False)
    )


def test_the_committed_results_meet_every_bar() -> None:
    path = RESULTS / "validation.json"
    found = json.loads(path.read_text("utf-8"))
    assert found["passed"] is True
    assert (found["images"]["images"], found["images"]["videos"]) == (7104, 130)
    names = [f"{one['network']}/{one['weights']}" for one in found["weights"]]
    assert len(names) == 6
    assert set(KNOWN) < set(names)
    for one in found["weights"]:
        assert one["parity"]["fp32"]["max_p"] <= 2e-5
        assert one["parity"]["fp32"]["flips"] == 0
        assert all(check["passed"] for check in one["checks"])


@pytest.mark.weights
def test_the_committed_results_are_of_these_goldens() -> None:
    from runtime.engine_info import file_sha256

    assert SHARED is not None
    found = json.loads((RESULTS / "validation.json").read_text("utf-8"))
    goldens = SHARED / "goldens" / "afchar_validation_keras.csv"
    assert found["goldens"]["sha256"] == file_sha256(goldens)
    assert found["images"]["sha256"] == file_sha256(SHARED / "data" / "afchar-validation.tar")
