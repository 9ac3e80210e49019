"""`zoo demo`: answers, and the page in a real browser."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from published import SHARED
from tiny_engine import TinyEngine, TinyWeights, random_frames

from runtime import Detector
from runtime.errors import ImageError, ZooError
from runtime.verdicts import FaceVerdict, MediaVerdict, summarise, tracks_of
from zoo.demo import answer as answers
from zoo.demo import page

av = pytest.importorskip("av", reason="PyAV is not installed (extra: video)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a <b> face.png"
    Image.fromarray(np.kron(random_frames(1)[0], np.ones((20, 20, 1), np.uint8))).save(path)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", seconds=2)


def write_clip(path: Path, seconds: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for frame in random_frames(5 * seconds):
            large = np.kron(frame, np.ones((8, 8, 1), np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, "rgb24")))
        container.mux(stream.encode(None))
    return path


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


def test_an_upload_that_is_too_large_is_refused(
    tiny_engine: TinyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed (extra: demo)")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(page, "MAX_UPLOAD", "100kb")

    def send(address: str, size: int) -> int:
        body = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
            b"Content-Type: image/png\r\n\r\n" + bytes(size) + b"\r\n--x--\r\n"
        )
        request = urllib.request.Request(
            f"{address}gradio_api/upload",
            body,
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return int(error.code)

    with Detector(tiny_engine.path) as detector, page.serve({"t": detector}, None) as address:
        assert send(address, 50_000) == 200
        assert send(address, 200_000) == 413
    assert not list(tmp_path.glob("zoo-demo-*"))


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


# --- in a browser ---

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_DRIVER = shutil.which("chromedriver")


@pytest.fixture
def served(
    tiny_engine: TinyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """(address, folder of temporary files) of a page that offers the tiny engine."""
    pytest.importorskip("gradio", reason="gradio is not installed (extra: demo)")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (tmp_path / "other").mkdir()
    other = TinyEngine.write(tmp_path / "other", weights=TinyWeights.constant(3.0))
    with (
        Detector(tiny_engine.path) as detector,
        Detector(other.path) as always_fake,
        page.serve({"tiny": detector, "always fake": always_fake}, None) as address,
    ):
        yield address, temporary


@pytest.fixture
def browser() -> Iterator[Any]:
    if _CHROMIUM is None or _DRIVER is None:
        pytest.skip("no chromium and chromedriver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1100,1500",
                     "--disable-dev-shm-usage", "--disable-background-networking"):  # fmt: skip
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(_DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def drop(browser: Any, path: Path, expected: str) -> str:
    """Give the page a file; the text of its answer once ``expected`` is in it."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, 90)
    field = wait.until(lambda b: b.find_element(By.CSS_SELECTOR, "#upload input[type=file]"))
    field.send_keys(str(path))

    def text(browser: Any) -> str:
        try:
            return str(browser.find_element(By.ID, "result").text)
        except Exception:  # it is being replaced
            return ""

    wait.until(lambda b: re.search(expected, text(b)))
    return text(browser)


def choose(browser: Any, engine: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser.find_element(By.CSS_SELECTOR, "input[aria-label=Engine]").click()
    option = f"//*[@role='option'][@aria-label='{engine}']"
    WebDriverWait(browser, 30).until(lambda b: b.find_element(By.XPATH, option)).click()


@pytest.mark.slow
def test_a_file_goes_in_and_a_verdict_comes_out(
    served: tuple[str, Path], browser: Any, picture: Path, clip: Path, tiny_engine: TinyEngine
) -> None:
    address, temporary = served
    assert address.startswith("http://127.0.0.1:")
    browser.get(address)
    with Detector(tiny_engine.path) as detector:
        (due,) = detector.classify(picture)
    text = drop(browser, picture, r"P\(fake\) \d")
    assert f"{due.label.upper()}: P(fake) {due.fake:.3f}" in text
    assert "b face.png" in text  # Gradio leaves out what a file name may not hold
    if folder := os.environ.get("ZOO_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / "demo.png"))
    assert "faces in" in drop(browser, clip, "clip.mp4")
    broken = picture.with_name("broken.png")
    broken.write_bytes(b"nothing")
    assert "broken.png is not an image" in drop(browser, broken, "cannot be judged")
    choose(browser, "always fake")
    assert "FAKE: P(fake) 0.953" in drop(browser, picture, "always fake")
    left = [p for p in temporary.rglob("*") if p.is_file()]
    assert not [p for p in left if "zoo-demo" in str(p)], "nothing is kept"
    # All that the page asked for came from this machine.
    urls = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert urls
    outside = [u for u in urls if not u.startswith((address.rstrip("/"), "data:", "blob:"))]
    assert not outside


def test_nothing_is_kept_when_the_page_is_closed(
    tiny_engine: TinyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed (extra: demo)")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    keys = ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY")
    before = [os.environ.get(key) for key in keys]
    with (
        Detector(tiny_engine.path) as detector,
        page.serve({"tiny": detector}, None) as address,
    ):
        assert list(tmp_path.glob("zoo-demo-*"))
        with urllib.request.urlopen(f"{address}config") as answer:
            config = json.load(answer)
        assert config["run_history"] is False
        assert config["analytics_enabled"] is False
        taken = page.serve(
            {"tiny": detector}, None, port=int(address.rstrip("/").rpartition(":")[2])
        )
        with pytest.raises(ZooError, match="cannot be served"):
            taken.__enter__()
    assert not list(tmp_path.glob("zoo-demo-*"))
    assert [os.environ.get(key) for key in keys] == before


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
