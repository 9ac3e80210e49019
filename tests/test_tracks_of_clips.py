"""Tracks on real clips, as committed and as measured here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("psutil", reason="psutil is not installed (extra: bench)")
pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")

from benchmarks.tracks import PEOPLE, RESULTS, _follow, check, measure
from runtime.faces import Face


def test_the_committed_results_meet_every_bar() -> None:
    data = json.loads((RESULTS / "tracks.json").read_text("utf-8"))
    assert set(data["clips"]) == set(PEOPLE)
    assert check(data) == []
    street = data["clips"]["street_many_faces.mp4"]
    assert street["boxes_alone"]["mixed"] > 0, "or the clip tests nothing"
    assert street["tracker"]["tracks"] < 0.6 * street["boxes_alone"]["tracks"]
    for bar, value in (("mixed", 1), ("over_cuts", 1), ("tracks", 99)):
        worse = {"clips": {"c": {**street, "tracker": {**street["tracker"], bar: value}}}}
        assert len(check(worse)) == 1


def test_tracks_are_held_against_people_and_shots() -> None:
    """Track 0 goes from one person to another, track 1 over a cut, track 2 does neither."""
    face = Face(0.0, 0.0, 9.0, 9.0, 0.9, np.zeros((5, 2), np.float32))
    numbers = iter(([0, 1], [0, 1], [2]))
    picture = Image.new("RGB", (9, 9))
    found = _follow(
        lambda faces, picture, time: next(numbers),
        [(0.0, picture, [face] * 2), (1.0, picture, [face] * 2), (2.0, picture, [face])],
        ["AB", "CB", "C"],
        [1.0],
    )
    assert (found.tracks, found.mixed, found.over_cuts) == (3, 1, 2)


@pytest.mark.weights
@pytest.mark.slow
def test_a_crowd_in_the_street_is_not_mixed_up(weights_dir: Path) -> None:
    from runtime.faces import YuNet

    finder = YuNet(weights_dir / "face_detection_yunet_2023mar.onnx")
    found = measure(weights_dir.parent / "videos" / "street_many_faces.mp4", finder)
    assert found["tracker"]["mixed"] == 0
    assert found["tracker"]["tracks"] <= 13
    assert found["people"] == 9
