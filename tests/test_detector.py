"""The Detector on a real engine of a few nodes, against NumPy."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_engine import SIZE, TINY_INFO, TinyEngine, TinyWeights, random_frames

from runtime import Detector, Verdict
from runtime.engine_info import WeightsInfo
from runtime.errors import EngineError, FramesError, ImageError, ZooError
from runtime.frames import EncodedImage


@pytest.fixture(scope="module")
def detector(tiny_engine: TinyEngine) -> Iterator[Detector]:
    with Detector(tiny_engine.path) as opened:
        yield opened


class Watched:
    """Notes what the backend of a detector is given, and may hold its calls up."""

    def __init__(self, detector: Detector, *, hold: bool = False) -> None:
        self.backend: Any = detector._backend
        self.batches: list[np.ndarray] = []
        self.closed = 0
        self.entered, self.let_go = threading.Event(), threading.Event()
        if not hold:
            self.let_go.set()
        infer, close = self.backend.infer, self.backend.close

        def watched_infer(frames: np.ndarray) -> Any:
            self.batches.append(frames.copy())
            self.entered.set()
            assert self.let_go.wait(20)
            assert self.closed == 0
            return infer(frames)

        def watched_close() -> None:
            self.closed += 1
            close()

        self.backend.infer, self.backend.close = watched_infer, watched_close


# Scores.


def test_score_is_what_numpy_computes(detector: Detector, tiny_engine: TinyEngine) -> None:
    frames = random_frames(40)
    logit_due, fake_due = tiny_engine.reference(frames)
    logit, fake = detector.infer(frames)
    assert logit_due.std() > 1  # else the comparison shows nothing
    np.testing.assert_allclose(logit, logit_due, rtol=0, atol=1e-5)
    np.testing.assert_allclose(fake, fake_due, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(detector.score(frames), fake)
    for scores in (logit, fake, detector.score(frames)):
        assert scores.shape == (40,)
        assert scores.dtype == np.float32


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 100])
def test_any_number_of_frames_scores_as_one_by_one(detector: Detector, count: int) -> None:
    frames = random_frames(count)
    logit, fake = detector.infer(frames)
    assert logit.shape == fake.shape == (count,)
    for index in range(count):
        one_logit, one_fake = detector.infer(frames[index : index + 1])
        np.testing.assert_allclose(logit[index], one_logit[0], rtol=0, atol=2e-6)
        np.testing.assert_allclose(fake[index], one_fake[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9, 100])
def test_splitting_never_pads(tiny_engine: TinyEngine, count: int) -> None:
    frames = random_frames(count)
    with Detector(tiny_engine.path) as detector:
        watched = Watched(detector)
        detector.score(frames)
    largest = watched.backend.max_batch
    assert all(1 <= len(batch) <= largest for batch in watched.batches)
    assert len(watched.batches) == -(-count // largest)
    np.testing.assert_array_equal(np.concatenate(watched.batches), frames)


def test_permuted_frames_give_permuted_scores(detector: Detector) -> None:
    frames = random_frames(33)
    order = np.random.default_rng(2).permutation(33)
    assert np.ptp(detector.score(frames)) > 0.5
    np.testing.assert_allclose(
        detector.score(frames[order]), detector.score(frames)[order], rtol=0, atol=1e-6
    )


def test_identical_frames_give_identical_scores(detector: Detector) -> None:
    scores = detector.score(np.repeat(random_frames(1), 37, axis=0))
    np.testing.assert_allclose(scores, scores[0], rtol=0, atol=1e-7)


def test_frames_that_are_not_contiguous(detector: Detector, tiny_engine: TinyEngine) -> None:
    frames = random_frames(20)
    for view in (frames[::2], frames[::-1], frames[:, ::-1], frames[..., ::-1]):
        assert not view.flags.c_contiguous
        np.testing.assert_allclose(
            detector.score(view), tiny_engine.reference(view)[1], rtol=0, atol=1e-6
        )
    channels_first = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
    view = channels_first.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(detector.score(view), detector.score(frames))
    frames.setflags(write=False)
    np.testing.assert_array_equal(detector.score(frames), detector.score(view))


def test_scores_belong_to_the_caller(detector: Detector) -> None:
    for count in (3, 30):
        frames = random_frames(count)
        first = detector.score(frames)
        kept = first.copy()
        detector.score(random_frames(count, seed=9))
        np.testing.assert_array_equal(first, kept)
        first[:] = 7
        np.testing.assert_array_equal(detector.score(frames), kept)


def test_threads_share_one_detector(detector: Detector, tiny_engine: TinyEngine) -> None:
    batches = [random_frames(count, seed=count) for count in (1, 3, 4, 5, 8, 13, 21, 34)]

    def work(index: int) -> float:
        frames = batches[index % len(batches)]
        due = tiny_engine.reference(frames)[1]
        return max(float(np.abs(detector.score(frames) - due).max()) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(work, range(16))) < 1e-6


def test_threads_option(tiny_engine: TinyEngine, detector: Detector) -> None:
    with Detector(tiny_engine.path, threads=1) as single:
        frames = random_frames(9)
        np.testing.assert_allclose(single.score(frames), detector.score(frames), atol=1e-6)


# Frames that do not fit.


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (random_frames(2).astype(np.float32) / 255, ["dtype float32", "uint8 [N, 8, 8, 3]"]),
        (random_frames(2).astype(np.int64), ["dtype int64"]),
        (np.zeros((2, 8, 9, 3), np.uint8), ["shape (2, 8, 9, 3)", "uint8 [N, 8, 8, 3]"]),
        (np.zeros((2, 3, 8, 8), np.uint8), ["shape (2, 3, 8, 8)", "classify() resizes"]),
        (np.zeros((8, 8, 3), np.uint8), ["shape (8, 8, 3)"]),
        (np.zeros((2, 8, 8, 4), np.uint8), ["shape (2, 8, 8, 4)"]),
        (np.uint8(3) * np.ones((), np.uint8), ["uint8"]),
        (np.zeros((0, 8, 8, 3), np.uint8), ["no frames", "N = 0"]),
        (random_frames(2).tolist(), ["a list", "a NumPy array"]),
        ([random_frames(1)[0]], ["a list"]),
        (None, ["a NoneType"]),
    ],
)
def test_frames_that_do_not_fit(detector: Detector, frames: Any, words: list[str]) -> None:
    for call in (detector.score, detector.infer):
        with pytest.raises(FramesError) as caught:
            call(frames)
        for word in words:
            assert word in str(caught.value)


# Closing.


def test_closed_detector_says_so(tiny_engine: TinyEngine) -> None:
    detector = Detector(tiny_engine.path)
    detector.close()
    for call in (detector.score, detector.infer, lambda f: detector.classify(list(f))):
        with pytest.raises(EngineError, match=r"tiny\.onnx is closed"):
            call(random_frames(2))
    assert "closed" in repr(detector)
    assert detector.info.network == "tiny"  # what it was can still be asked


def test_context_manager_closes_also_after_an_error(tiny_engine: TinyEngine) -> None:
    detector = Detector(tiny_engine.path)
    watched = Watched(detector)
    with pytest.raises(RuntimeError, match="of the user"), detector:
        raise RuntimeError("of the user")
    assert watched.closed == 1
    with pytest.raises(EngineError, match="is closed"):
        detector.score(random_frames(1))


def test_close_twice_frees_once(tiny_engine: TinyEngine) -> None:
    detector = Detector(tiny_engine.path)
    watched = Watched(detector)
    detector.close()
    detector.close()
    assert watched.closed == 1


def test_close_waits_for_a_running_call(tiny_engine: TinyEngine) -> None:
    detector = Detector(tiny_engine.path)
    gate = Watched(detector, hold=True)
    frames = random_frames(9)
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(detector.score, frames)
        assert gate.entered.wait(20)
        closing = [pool.submit(detector.close) for _ in range(2)]
        time.sleep(0.1)
        # Neither has come back: to whoever closes, a closed engine is one that is free.
        assert not any(each.done() for each in closing)
        assert gate.closed == 0
        late = pool.submit(detector.score, frames)
        assert isinstance(late.exception(20), EngineError)
        gate.let_go.set()
        for each in closing:
            each.result(20)
        assert gate.closed == 1
        np.testing.assert_allclose(
            running.result(20), tiny_engine.reference(frames)[1], rtol=0, atol=1e-6
        )


def test_failed_call_does_not_keep_the_detector_open(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector(tiny_engine.path)
    watched = Watched(detector)

    def fail(frames: np.ndarray) -> None:
        raise RuntimeError("of the backend")

    monkeypatch.setattr(watched.backend, "infer", fail)
    with pytest.raises(RuntimeError, match="of the backend"):
        detector.score(random_frames(9))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(detector.close).result(20)
    assert watched.closed == 1


# Verdicts.


def test_classify_paths_pil_images_and_arrays(
    detector: Detector, tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    frame = random_frames(1)[0]
    path = tmp_path / "face.png"
    Image.fromarray(frame).save(path)
    logit, fake = (float(each[0]) for each in tiny_engine.reference(frame[None]))
    content = EncodedImage("face.png", path.read_bytes())
    images = [path, str(path), content, Image.fromarray(frame), frame]
    verdicts = detector.classify(images)
    assert [verdict.source for verdict in verdicts] == [str(path), str(path), None, None, None]
    for verdict in verdicts:
        assert verdict.fake == pytest.approx(fake, abs=1e-6)
        assert verdict.logit == pytest.approx(logit, abs=1e-5)
        assert verdict.label == ("fake" if fake >= 0.5 else "real")
        assert {type(verdict.fake), type(verdict.logit)} == {float}
    for image in images:  # one alone, without a list around it
        (alone,) = detector.classify(image)
        assert alone.fake == pytest.approx(fake, abs=1e-6)
    assert detector.classify(iter(images)) == verdicts
    assert detector.classify([]) == []


def test_classify_resizes_as_the_sidecar_says(tmp_path: Path) -> None:
    image = np.random.default_rng(5).integers(0, 256, (23, 31, 3), np.uint8)
    pil = Image.fromarray(image)
    scores = {}
    for resize, resample in (("nearest", 0), ("bilinear", 2)):
        how = replace(TINY_INFO.preprocessing, resize=resize)
        engine = TinyEngine.write(
            tmp_path, name=f"{resize}.onnx", info=replace(TINY_INFO, preprocessing=how)
        )
        due = engine.reference(np.asarray(pil.resize((SIZE, SIZE), resample))[None])[1][0]
        with Detector(engine.path) as detector:
            (verdict,) = detector.classify(image)
        assert verdict.fake == pytest.approx(due, abs=1e-6)
        scores[resize] = verdict.fake
    assert abs(scores["nearest"] - scores["bilinear"]) > 1e-3


def test_classify_of_many_images_keeps_their_order(
    detector: Detector, tiny_engine: TinyEngine
) -> None:
    frames = random_frames(75)
    due = tiny_engine.reference(frames)[1]
    found = [verdict.fake for verdict in detector.classify(list(frames))]
    np.testing.assert_allclose(found, due, rtol=0, atol=1e-6)


def test_classify_each_takes_no_more_than_it_must(detector: Detector) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield random_frames(1, seed=taken)[0]

    verdicts = detector.classify_each(endless())
    for _ in range(40):
        assert isinstance(next(verdicts), Verdict)
    assert 40 <= taken <= 100


def test_image_that_is_none_names_itself(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    with pytest.raises(ImageError, match=r"text\.jpg"):
        detector.classify([random_frames(1)[0], path])


def test_label_at_the_threshold(tmp_path: Path) -> None:
    def label(name: str, logit: float, threshold: float) -> Verdict:
        engine = TinyEngine.write(
            tmp_path,
            name=name,
            weights=TinyWeights.constant(logit),
            info=replace(TINY_INFO, threshold=threshold),
        )
        with Detector(engine.path) as detector:
            return detector.classify(random_frames(1)[0])[0]

    assert label("half.onnx", 0.0, 0.5) == Verdict("fake", 0.5, 0.0)
    assert label("above.onnx", 0.0, 0.5000001).label == "real"
    assert label("below.onnx", -0.001, 0.5).label == "real"
    assert label("all.onnx", -3.0, 0.0).label == "fake"
    # A threshold between two float32 numbers: the label must agree with the double that
    # is reported, not with what rounding makes of the threshold.
    fake = label("odd.onnx", 0.3, 0.5).fake
    assert label("just-above.onnx", 0.3, float(np.nextafter(fake, 1))).label == "real"
    assert label("exact.onnx", 0.3, fake).label == "fake"


def test_repr(tmp_path: Path, detector: Detector) -> None:
    text = repr(detector)
    assert text.startswith("<Detector tiny/test tiny.onnx: ONNX Runtime ")
    assert "UNTRAINED" not in text
    random = replace(TINY_INFO, weights=WeightsInfo("random", trained=False, seed=3))
    engine = TinyEngine.write(tmp_path, info=random)
    with Detector(engine.path) as untrained:
        assert "tiny/random, UNTRAINED" in repr(untrained)
        assert untrained.info.weights.seed == 3


def test_errors_have_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ZooError) as caught:
        Detector(tmp_path / "nothing.onnx")
    assert caught.value.todo
