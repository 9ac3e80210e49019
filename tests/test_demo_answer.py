"""What `zoo demo` answers."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from demo_files import write_clip, write_picture
from PIL import Image
from published import SHARED
from tiny_engine import TinyEngine

from runtime import Detector
from runtime.errors import ImageError, ZooError
from runtime.text import printable
from runtime.verdicts import FaceVerdict, MediaVerdict, summarise, tracks_of
from zoo.demo import answer as answers
from zoo.demo import page

pytest.importorskip("av", reason="PyAV is not installed (extra: video)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "a <b> face.png")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", seconds=2)


def test_a_picture_is_judged_as_the_detector_does(picture: Path, tiny_engine: TinyEngine) -> None:
    with Detector(tiny_engine.path) as detector:
        found = answers.answer(picture, detector, None)
        (due,) = detector.classify(picture)
    assert found.verdict.highest == pytest.approx(due.fake)
    html = page.result_html(found, picture.name, detector, "tiny")
    assert f"{due.label.upper()}: P(fake) {due.fake:.3f}" in html
    assert "a &lt;b&gt; face.png" in html
    assert html.count("data:image/png;base64,") == 2
    with Image.open(io.BytesIO(found.picture)) as shown:
        assert shown.size == (160, 160)


def test_a_clip_shows_its_most_suspicious_frame(clip: Path, tiny_engine: TinyEngine) -> None:
    with Detector(tiny_engine.path) as detector:
        found = answers.answer(clip, detector, None)
        assert found.verdict.kind == "video"
        assert found.heat is not None
        worst = max(found.verdict.faces, key=lambda face: face.logit)
        frame = answers._frame_at(clip, worst.time)
        assert detector.classify(frame)[0].logit == pytest.approx(worst.logit, abs=1e-4)


def test_a_long_clip_is_refused(
    tmp_path: Path, tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = write_clip(tmp_path / "long.mp4", seconds=61)
    with Detector(tiny_engine.path) as detector:
        monkeypatch.setattr(answers.Judge, "video", lambda *_, **__: pytest.fail("judged"))
        with pytest.raises(ZooError, match="lasts 61 s"):
            answers.answer(long, detector, None)


def test_a_clip_that_does_not_say_its_length_is_measured(
    tmp_path: Path, tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = write_clip(tmp_path / "long.mkv", seconds=61)
    with answers.Video(long) as video:
        unsaid = replace(video.facts, duration=None)
    monkeypatch.setattr(answers.Video, "_read_facts", lambda self: unsaid)
    with Detector(tiny_engine.path) as detector, pytest.raises(ZooError, match="lasts 61 s"):
        answers.answer(long, detector, None)


def test_what_is_no_picture_gives_a_message_without_its_place(
    tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"nothing")
    with (
        Detector(tiny_engine.path) as detector,
        pytest.raises(ImageError) as error,
    ):
        answers.answer(path, detector, None)
    html = page.error_html(error.value, path)
    odd = path.with_name("\u202ex\xa0.png")
    assert str(tmp_path) not in page.error_html(ImageError(f"{printable(odd)} is none"), odd)
    assert "x.png is not an image" in html
    assert str(tmp_path) not in html


def test_no_face_is_a_result(picture: Path, tiny_engine: TinyEngine) -> None:
    class Nobody:
        name = "nobody"

        def find(self, picture: Any, min_size: int) -> list[Any]:
            return []

    with Detector(tiny_engine.path) as detector:
        found = answers.answer(picture, detector, Nobody())
    assert "No face was found" in page.result_html(found, "x", detector, "tiny")


def test_a_doubtful_clip_is_called_uncertain(tiny_engine: TinyEngine, tmp_path: Path) -> None:
    """By the person who looks most forged, whose interval holds the threshold or does not."""
    sure, doubtful = [0.9] * 4, [0.9, 0.2, 0.9, 0.2]
    with Detector(tiny_engine.path) as detector:
        for own, word in ((sure, "FAKE: P(fake) 0.900"), (doubtful, "UNCERTAIN: P(fake) 0.550")):
            people = [
                FaceVerdict((0, 0, 9, 9), 0.9, "real", fake, 0.0, float(second), track)
                for track, scores in enumerate([own, [0.1] * 4])
                for second, fake in enumerate(scores)
            ]
            tracks = tracks_of(people, 0.5)
            verdict = MediaVerdict(
                "video", 9, 9, False, tuple(people), (), summarise(people, 0.5),
                max(track.verdict.mean for track in tracks), tracks, frames=4,
            )  # fmt: skip
            html = page.result_html(answers.Answer(verdict, b"", None), "c", detector, "tiny")
            assert word in html


def test_engines_have_names_of_their_own() -> None:
    assert page.engine_names([Path("a/x.onnx"), Path("a/y.onnx")]) == ["x.onnx", "y.onnx"]
    assert page.engine_names([Path("a/x.onnx"), Path("b/x.onnx")]) == ["a/x.onnx", "b/x.onnx"]


@pytest.mark.weights
def test_faces_are_found_in_a_photograph(tiny_engine: TinyEngine) -> None:
    from runtime.faces import YuNet

    assert SHARED is not None
    finder = YuNet(SHARED / "weights" / "face_detection_yunet_2023mar.onnx")
    with Detector(tiny_engine.path) as detector:
        found = answers.answer(SHARED / "images" / "photos" / "two_people.jpg", detector, finder)
        html = page.result_html(found, "two", detector, "tiny")
    assert len(found.verdict.faces) == 2
    assert "2 faces judged" in html
    assert found.heat is not None
