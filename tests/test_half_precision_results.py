"""What FP16 costs on faces that nothing was chosen on: the halves, and the bar."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import half_precision
from benchmarks.half_precision import MAX_P, NAME, compare_halves, halves_of, measure_weights
from export.samples import Samples
from zoo.catalog import find_card
from zoo.originals import Scores

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def test_halves_are_the_first_and_the_last_images_of_each_folder():
    names = ["real/3.jpg", "df/2.jpg", "df/1.jpg", "real/1.jpg", "df/3.jpg", "real/2.jpg"]
    assert halves_of(names).tolist() == [False, True, True, True, False, True]


def test_each_half_is_told_by_itself():
    names = [f"df/{i}.jpg" for i in range(10)]
    due = Scores(np.zeros(10, np.float32), np.full(10, 0.6, np.float32))
    fake = due.fake.copy()
    fake[7] += 0.01
    found = compare_halves(due, Scores(due.logit, fake), names)
    assert [found[k]["images"] for k in ("all", "first", "second")] == [10, 5, 5]
    assert found["first"]["max_p"] == 0
    np.testing.assert_allclose([found[k]["max_p"] for k in ("all", "second")], 0.01, rtol=1e-5)


def test_one_face_beyond_the_bar_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever half and set it is."""
    for name in ("export_weights", "load_graph", "kept_in_fp32"):
        monkeypatch.setattr(half_precision, name, lambda *_: None)
    faces = Samples(np.zeros((4, 1, 1, 3), np.uint8), tuple("0123"), "")
    sets = [("training", faces), ("validation", faces)]
    for worst, passed in ((0.9 * MAX_P, True), (1.1 * MAX_P, False)):
        near, far = np.full(4, 0.6), np.asarray([0.6, 0.6, 0.6, 0.6 + worst])
        made = iter(Scores(fake, fake) for fake in (near, near, near, far))
        monkeypatch.setattr(half_precision, "emulated_scores", lambda *_, made=made: next(made))
        found = measure_weights("meso4", "df", sets)
        assert found["passed"] is passed
        assert found["faces"]["validation"]["second"]["max_p"] == pytest.approx(worst)


def test_every_published_mesonet_was_measured_and_stays_within_the_bar():
    data = json.loads((RESULTS / f"{NAME}.json").read_text("utf-8"))
    measured = {(one["network"], one["weights"]) for one in data["weights"]}
    cards = [find_card(name) for name in ("meso4", "mesoinception4")]
    assert measured == {(card.name, weights.name) for card in cards for weights in card.weights}
    assert {card.half_within for card in cards} == {data["most_allowed"]} == {MAX_P}
    for one in data["weights"]:
        for faces in one["faces"].values():
            assert all(half["max_p"] <= MAX_P for half in faces.values())
            assert faces["first"]["images"] + faces["second"]["images"] == faces["all"]["images"]
