"""Faces are followed from frame to frame."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.faces import Face
from runtime.video import Tracker
from runtime.video.tracks import closeness


def face(x: float, y: float, size: float = 100) -> Face:
    return Face(x, y, size, size, 0.9, np.zeros((5, 2), np.float32))


def test_two_people_keep_their_numbers_in_any_order() -> None:
    tracker = Tracker()
    assert tracker.follow([face(0, 0), face(400, 0)]) == [0, 1]
    assert tracker.follow([face(380, 10), face(20, 10)]) == [1, 0]
    assert tracker.follow([face(40, 20)]) == [0]
    assert tracker.follow([face(360, 20), face(60, 20)]) == [1, 0]


def test_the_closer_face_gets_the_track() -> None:
    tracker = Tracker()
    tracker.follow([face(100, 100)])
    assert tracker.follow([face(140, 100), face(105, 100)]) == [1, 0]


def test_who_is_lost_for_long_is_somebody_new() -> None:
    for gap, number in ((2, 0), (3, 1)):
        tracker = Tracker()
        assert tracker.follow([face(0, 0)]) == [0]
        for _ in range(gap):
            assert tracker.follow([]) == []
        assert tracker.follow([face(5, 0)]) == [number]


def test_a_quick_head_is_followed_and_a_jump_is_not() -> None:
    tracker = Tracker()
    tracker.follow([face(0, 0)])
    assert tracker.follow([face(55, 0)]) == [0]  # overlaps by 0.29
    assert tracker.follow([face(55, 58)]) == [0]  # by 0.27
    assert tracker.follow([face(300, 0)]) == [1]


def test_another_size_is_another_person() -> None:
    tracker = Tracker()
    tracker.follow([face(0, 0, 200)])
    assert tracker.follow([face(75, 75, 50)]) == [1]


@pytest.mark.parametrize("people", [1, 7])
def test_a_crowd_never_shares_a_number(people: int) -> None:
    rng = np.random.default_rng(people)
    tracker = Tracker()
    places = rng.uniform(0, 300, (people, 2))
    for _ in range(20):
        places += rng.normal(0, 30, places.shape)
        numbers = tracker.follow([face(x, y, 80) for x, y in places])
        assert len(set(numbers)) == people


def test_closeness_prefers_overlap_to_nearness() -> None:
    box = (0.0, 0.0, 100.0, 100.0)
    assert closeness(box, box) == 1
    near = closeness(box, (58.0, 0.0, 100.0, 100.0))  # overlaps by 0.27
    beside = closeness(box, (0.0, 62.0, 80.0, 80.0))
    assert near > beside >= 0
    assert closeness(box, (0.0, 100.0, 100.0, 100.0)) == 0
    assert closeness(box, (0.0, 0.0, 0.0, 0.0)) == 0
