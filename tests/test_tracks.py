"""Faces are followed from frame to frame: neither lost at a turn nor mixed up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw

from runtime.faces import Face
from runtime.video import Tracker
from runtime.video.appearance import alike, person, scene

#: Seconds between the frames that ``zoo detect`` looks at.
STEP = 1 / 3
RED, BLUE, GREEN = (170, 30, 30), (30, 40, 160), (30, 130, 50)
HALL, STREET = (120, 110, 90), (40, 50, 75)


class Person:
    """Somebody with a face of one size, and clothes of a colour."""

    def __init__(self, x: float, y: float, clothes: tuple[int, int, int], size: float = 60) -> None:
        self.x, self.y, self.clothes, self.size = x, y, clothes, size

    @property
    def face(self) -> Face:
        return Face(self.x, self.y, self.size, self.size, 0.9, np.zeros((5, 2), np.float32))

    def draw(self, pen: ImageDraw.ImageDraw) -> None:
        x, y, size = self.x, self.y, self.size
        pen.ellipse((x - 0.1 * size, y - 0.3 * size, x + 1.1 * size, y + size), fill=(50, 35, 25))
        pen.ellipse((x + 0.1 * size, y, x + 0.9 * size, y + size), fill=(200, 160, 130))
        pen.rectangle((x - 0.5 * size, y + size, x + 1.5 * size, y + 4 * size), fill=self.clothes)


class Film:
    """Frames one after another, and what the tracker says of them."""

    def __init__(self, wall: tuple[int, int, int] = HALL) -> None:
        self.tracker, self.wall, self.time, self.step = Tracker(), wall, 0.0, STEP

    def show(self, *people: Person, hidden: tuple[Person, ...] = ()) -> list[int]:
        """The tracks of these people; of the hidden ones no face was found."""
        picture = Image.new("RGB", (640, 360), self.wall)
        pen = ImageDraw.Draw(picture)
        for one in (*hidden, *people):
            one.draw(pen)
        self.time += self.step
        return self.tracker.follow([one.face for one in people], picture, self.time)


def test_two_people_keep_their_numbers_in_any_order() -> None:
    film, one, other = Film(), Person(100, 80, RED), Person(400, 80, BLUE)
    assert film.show(one, other) == [0, 1]
    one.x, other.x = 120, 380
    assert film.show(other, one) == [1, 0]
    assert film.show(one, hidden=(other,)) == [0]
    assert film.show(other, one) == [1, 0]


def test_the_closer_of_two_who_look_alike_gets_the_track() -> None:
    film, one, other = Film(), Person(200, 80, RED), Person(235, 80, RED)
    assert film.show(one) == [0]
    one.x = 205
    assert film.show(other, one) == [1, 0]


def test_the_nearer_of_two_gets_the_track_where_looks_tell_nothing() -> None:
    tracker, dark = Tracker(), Image.new("RGB", (640, 360))
    assert tracker.follow([Person(200, 80, RED).face], dark, 0.0) == [0]
    faces = [Person(150, 80, RED).face, Person(210, 80, RED).face]
    assert tracker.follow(faces, dark, STEP) == [1, 0]


def test_clothes_that_the_light_changes_little_by_little() -> None:
    film, man = Film(), Person(300, 80, RED)
    for part in np.linspace(0, 0.25, 9):
        red, green, blue = (1 - part) * np.array(RED) + part * np.array(BLUE)
        man.clothes = (int(red), int(green), int(blue))
        assert film.show(man) == [0]
    assert film.show(Person(300, 80, RED)) == [1], "or nothing has changed"


def test_a_man_who_turns_his_head_for_two_seconds_is_the_same() -> None:
    film, man = Film(), Person(300, 80, BLUE)
    assert film.show(man) == [0]
    for _ in range(6):
        assert film.show(hidden=(man,)) == []
    man.x += 20
    assert film.show(man) == [0]


def test_who_is_missed_in_one_of_a_few_frames_is_the_same() -> None:
    film, man = Film(), Person(300, 80, BLUE)
    film.step = 10.0
    film.show(man)
    film.show(hidden=(man,))
    assert film.show(man) == [0]


def test_a_movement_goes_on_for_a_while_and_then_ends() -> None:
    film, man = Film(), Person(20, 80, RED)
    film.show(man)
    man.x = 120
    film.show(man)
    for _ in range(4):
        film.show(hidden=(man,))
    man.x = 300
    assert film.show(man) == [0]


def test_who_is_lost_for_long_is_somebody_new() -> None:
    film, man = Film(), Person(300, 80, BLUE)
    film.show(man)
    for _ in range(10):
        film.show(hidden=(man,))
    assert film.show(man) == [1]


def test_who_comes_where_somebody_else_was_lost_is_somebody_new() -> None:
    film = Film()
    assert film.show(Person(300, 80, BLUE)) == [0]
    film.show()
    assert film.show(Person(300, 80, RED)) == [1], "other clothes"
    film.show()
    film.show()
    assert film.show(Person(345, 80, RED)) == [2], "in doubt: not where the other was"


def test_people_who_cross_keep_their_numbers() -> None:
    """They walk towards each other; where they meet, one hides the other."""
    film = Film()
    left, right = Person(120, 80, RED), Person(420, 90, GREEN)
    assert film.show(left, right) == [0, 1]
    for step in range(10):
        left.x, right.x = left.x + 30, right.x - 30
        if step == 4:
            assert film.show(right, hidden=(left,)) == [1]
        else:
            assert film.show(right, left) == [1, 0], f"step {step}"


def test_who_walks_past_the_camera_is_followed() -> None:
    """Three faces further on in each frame that is looked at, past somebody who stands."""
    film, stands, walks = Film(), Person(300, 60, GREEN), Person(20, 120, RED)
    for _ in range(4):
        assert film.show(stands, walks) == [0, 1]
        walks.x += 170


def test_a_cut_ends_every_track() -> None:
    """The same place in the picture and the same clothes, in another room."""
    film = Film(HALL)
    man, woman = Person(200, 80, BLUE), Person(420, 80, RED)
    assert film.show(man, woman) == [0, 1]
    film.wall = STREET
    assert film.show(man, woman) == [2, 3]
    assert film.show(man, woman) == [2, 3]


def test_another_size_is_another_person() -> None:
    film = Film()
    film.show(Person(100, 80, RED, 120))
    assert film.show(Person(140, 110, RED, 40)) == [1]
    film.show(Person(300, 80, BLUE))
    assert film.show(Person(430, 80, BLUE, 75)) == [3], "too far for one who is larger"


def test_no_face_and_faces_beyond_the_edge_are_no_trouble() -> None:
    film = Film()
    assert film.show() == []
    outside = [Person(-50, -30, RED), Person(630, 350, BLUE), Person(900, 900, GREEN)]
    assert film.show(*outside) == [0, 1, 2]
    assert film.show(Person(10, 10, RED, 0.0)) == [3]
    assert film.show(Person(10, 10, RED, 0.0)) == [4]


@pytest.mark.parametrize("people", [1, 7])
def test_a_crowd_never_shares_a_number(people: int) -> None:
    rng = np.random.default_rng(people)
    film = Film()
    places = rng.uniform(0, 300, (people, 2))
    for _ in range(10):
        places += rng.normal(0, 30, places.shape)
        numbers = film.show(*(Person(x, y, RED) for x, y in places))
        assert len(set(numbers)) == people


def test_looks_are_of_the_person_and_not_of_the_light_alone() -> None:
    def shot(one: Person, light: float) -> np.ndarray:
        picture = Image.new("RGB", (640, 360), HALL)
        one.draw(ImageDraw.Draw(picture))
        return person(picture.point(lambda v: v * light), one.face.box)

    seen = shot(Person(200, 80, RED), 1.0)
    assert seen.shape == (512,)
    assert seen.sum() == pytest.approx(1)
    assert alike(seen, seen) == pytest.approx(1)
    assert alike(seen, shot(Person(230, 90, RED), 0.95)) > 0.9
    assert alike(seen, shot(Person(200, 80, BLUE), 1.0)) < 0.75


def test_a_pan_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 256, (9, 24, 3), dtype=np.uint8)).resize((1200, 360))
    views = [scene(wide.crop((x, 0, x + 640, 360))) for x in (0, 40, 80)]
    assert all(alike(one, other) > 0.85 for one, other in pairwise(views))
    assert alike(views[0], scene(Image.new("RGB", (640, 360), STREET))) < 0.5


def test_another_right_third_and_another_dark_room_are_cuts() -> None:
    dark, darker = (scene(Image.new("RGB", (90, 60), (v, v, v))) for v in (30, 12))
    assert alike(dark, darker) < 0.85
    room = Image.new("RGB", (90, 60), HALL)
    other = room.copy()
    other.paste(RED, (60, 0, 90, 60))
    assert alike(scene(room), scene(other)) < 0.85
