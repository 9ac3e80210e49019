"""What `benchmarks.certificates` counts as a failure, and how it keeps earlier networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import certificates
from benchmarks.certificates import compare_verdicts, failures
from benchmarks.readme_tables import RESULTS
from runtime.errors import ZooError
from zoo.catalog import CARDS

SAME = {"a.png": 0.9, "b.png": 0.1}


def network(**changes: Any) -> dict[str, Any]:
    certificate = {"passed": True, "failures": [], "spread": 1.5, "lowest": -4.0, "highest": 5.0}
    return {
        "trained": False,
        "certificate": {**certificate, **changes},
        "detect": compare_verdicts({"a.onnx": SAME, "a.fp16.onnx": SAME}),
    }


def test_verdicts_of_engines_are_held_against_the_first() -> None:
    found = compare_verdicts({"a.onnx": SAME, "a.fp16.onnx": {"a.png": 0.88, "b.png": 0.51}})
    assert found["engines"] == ["a.onnx", "a.fp16.onnx"]
    assert (found["images"], found["fake"], found["differ"]) == (
        2,
        1,
        [{"image": "b.png", "fake": 0.1}],
    )
    assert found["max_p"] == pytest.approx(0.41)
    assert compare_verdicts({})["images"] == 0
    with pytest.raises(ZooError, match="different images"):
        compare_verdicts({"a.onnx": SAME, "b.onnx": {"a.png": 0.9}})


def test_a_network_fails_for_each_of_these() -> None:
    assert failures(network()) == []
    assert failures(network(spread=0.9)) == ["its logits spread by 0.90 only"]
    assert failures(network(lowest=-15.5)) == ["its logits reach 15.5"]
    assert failures(network(highest=16.0)) == ["its logits reach 16.0"]
    # Trained weights may say what they like.
    assert failures({**network(highest=60.0), "trained": True}) == []
    assert failures(network(passed=False, failures=["x: far off"])) == ["x: far off"]
    alone = {**network(), "detect": compare_verdicts({"a.onnx": SAME})}
    assert failures(alone) == ["fewer than two engines could be run"]
    other = compare_verdicts({"a.onnx": SAME, "b.onnx": {**SAME, "b.png": 0.6}})
    said = "the engines' verdicts on b.png differ, P(fake) is 0.100"
    assert failures({**network(), "detect": other}) == [said]
    # What hangs in the balance may tip.
    close = compare_verdicts({"a.onnx": {"a.png": 0.49}, "b.onnx": {"a.png": 0.501}})
    assert len(close["differ"]) == 1
    assert failures({**network(), "detect": close}) == []


def test_one_network_is_measured_again_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_write_faces", lambda images, folder: None)
    value = 0.0

    def certify(card: Any, *_: Any) -> dict[str, Any]:
        return {"network": card.name, "failures": [], "seconds": 0.0, "value": value}

    monkeypatch.setattr(certificates, "certify_network", certify)
    words = ["--images", str(tmp_path), "--out", str(tmp_path)]
    assert certificates.main(words) == 0
    value = 1.0
    assert certificates.main([*words, "--network", "vgg16"]) == 0
    data = json.loads((tmp_path / "certificates.json").read_text())
    assert [one["network"] for one in data["networks"]] == [card.name for card in CARDS]
    assert {one["network"] for one in data["networks"] if one["value"] == 1} == {"vgg16"}
    # On other faces the earlier ones say nothing.
    assert certificates.main([*words, "--network", "vgg16", "--limit", "7"]) == 0
    data = json.loads((tmp_path / "certificates.json").read_text())
    assert [one["network"] for one in data["networks"]] == ["vgg16"]


def test_the_committed_certificates_passed() -> None:
    data = json.loads((RESULTS / "certificates.json").read_text())
    assert [one["network"] for one in data["networks"]] == [card.name for card in CARDS]
    assert data["passed"]
    assert not any(failures(one) for one in data["networks"])
