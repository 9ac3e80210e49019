"""Videos judged as they come, whatever is wrong with them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_engine import TINY_INFO, TinyEngine
from video_files import cut, write_video

pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")

from runtime import Detector
from runtime.errors import EngineRunError, ImageError
from runtime.faces import Face, FaceCrop, Selection, crop_face
from runtime.frames import to_frame
from runtime.judge import PICTURES_WAITING, Judge
from runtime.verdicts import summarise
from runtime.video import Sampling, Video, VideoError


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=100)


class Finder:
    """Finds a face of 48 pixels where the test says, in any picture."""

    name = "test"

    def __init__(self, places=((20, 20),), wait: float = 0.0) -> None:
        self.places, self.wait = places, wait
        self.seen = 0
        self.threads: set[int] = set()

    def find(self, picture: Image.Image, min_size: int) -> list[Face]:
        self.seen += 1
        self.threads.add(threading.get_ident())
        time.sleep(self.wait)
        marks = np.array([[12, 16], [36, 16], [24, 24], [14, 34], [34, 34]], np.float32)
        return [Face(x, y, 48, 48, 0.9, marks + np.float32([x, y])) for x, y in self.places]


@pytest.fixture
def detector(tiny_engine: TinyEngine):
    with Detector(tiny_engine.path, threads=1) as opened:
        yield opened


def test_scores_are_those_of_the_crops(tmp_path: Path, detector: Detector) -> None:
    def ramp(number: int) -> NDArray[np.uint8]:
        across = np.linspace(number, 100 + number, 160).astype(np.uint8)
        return np.broadcast_to(across[:, None], (96, 160, 3)).copy()

    clip = write_video(tmp_path / "ramp.mp4", frames=100, paint=ramp)
    finder = Finder([(20, 20), (90, 40)])
    found = Judge(detector, finder, sampling=Sampling("every", 10)).video(clip)
    how = detector.info.preprocessing
    due = []
    with Video(clip) as video:
        for frame in video.frames(Sampling("every", 10)):
            for face in Finder([(20, 20), (90, 40)]).find(frame.picture, 1):
                crop = crop_face(frame.picture, face, FaceCrop())
                due.append(float(detector.score(to_frame(crop, how)[None])[0]))
    assert [face.fake for face in found.faces] == pytest.approx(due, abs=1e-6)
    assert found.frames == 10
    assert found.kind == "video"
    assert (found.width, found.height) == (160, 96)
    assert [face.time for face in found.faces[::2]] == pytest.approx([i * 0.4 for i in range(10)])
    assert [face.track for face in found.faces] == [0, 1] * 10
    assert found.overall == summarise(found.faces, detector.info.threshold)
    assert found.overall.mean == pytest.approx(np.mean(due), abs=1e-6)
    assert [track.verdict.faces for track in found.tracks] == [10, 10]
    assert found.tracks[0].verdict.mean == pytest.approx(np.mean(due[::2]))
    assert found.highest == pytest.approx(max(np.mean(due[::2]), np.mean(due[1::2])))
    assert set(found.seconds) == {"decode", "faces", "score"}
    assert min(found.seconds.values()) > 0


def test_faces_are_cut_as_the_engines_own_training_faces_were(clip: Path, tmp_path: Path) -> None:
    box = FaceCrop(align=False, margin=0.0, square=False)
    engine = TinyEngine.write(tmp_path, info=replace(TINY_INFO, face_crop=box))
    picture = tmp_path / "x.png"
    pixels = np.random.default_rng(2).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(picture)
    with Detector(engine.path, threads=1) as detector:
        judge = Judge(detector, Finder(), sampling=Sampling("every", 50))
        (face,) = judge.image(picture).faces
        (due,) = detector.classify([pixels[20:68, 20:68]])
        assert face.logit == pytest.approx(due.logit, abs=1e-5)
        (other,) = detector.classify(
            [crop_face(Image.fromarray(pixels), Finder().find(picture, 1)[0], FaceCrop())]
        )
        assert abs(other.logit - due.logit) > 1e-3
        with Video(clip) as video:
            first = np.asarray(next(video.frames(Sampling("every", 50))).picture)
        (due,) = detector.classify([first[20:68, 20:68]])
        assert judge.video(clip).faces[0].logit == pytest.approx(due.logit, abs=1e-5)


def test_no_face_is_a_result_and_a_small_one_is_named(clip: Path, detector: Detector) -> None:
    none = Judge(detector, Finder(())).video(clip)
    assert none.overall is None
    assert none.highest is None
    assert none.frames == 10
    small = Judge(detector, Finder(), Selection(min_size=49)).video(clip)
    assert small.overall is None
    assert len(small.dropped) == 10
    assert small.dropped[1].time == pytest.approx(0.4)


def test_without_a_finder_whole_frames_are_judged(clip: Path, detector: Detector) -> None:
    found = Judge(detector, None).video(clip)
    assert found.whole
    assert len(found.faces) == 10
    assert found.faces[0].box is None
    assert found.tracks == ()
    assert found.overall is not None
    assert found.highest == found.overall.mean < max(face.fake for face in found.faces)


def test_a_truncated_file_is_judged_and_the_result_says_so(
    tmp_path: Path, detector: Detector
) -> None:
    whole = write_video(tmp_path / "w.mp4", frames=100, options={"movflags": "faststart"})
    half = cut(whole, tmp_path / "h.mp4", 0.6)
    found = Judge(detector, Finder()).video(half)
    assert found.overall is not None
    assert found.damage
    # The index is there, and of the frames nothing.
    data = whole.read_bytes()
    nothing = tmp_path / "n\n.mp4"
    nothing.write_bytes(data[: data.index(b"mdat") + 12])
    with pytest.raises(VideoError, match=r"n\\n\.mp4 is not a video that can be judged\n"):
        Judge(detector, Finder()).video(nothing)


def test_pictures_never_pile_up(tmp_path: Path, detector: Detector) -> None:
    """4K, a slow face finder: what is decoded ahead of it is bounded."""
    path = write_video(
        tmp_path / "4k.mp4",
        frames=8,
        size=(3840, 2160),
        paint=lambda number: np.full((2160, 3840, 3), number * 20, np.uint8),
    )
    finder = Finder(wait=0.25)
    decoded, most = 0, 0
    plain = Video.frames

    def counting(self, sampling):
        nonlocal decoded, most
        for frame in plain(self, sampling):
            decoded += 1
            most = max(most, decoded - finder.seen)
            yield frame

    judge = Judge(detector, finder, sampling=Sampling("every", 1))
    Video.frames = counting
    try:
        found = judge.video(path)
    finally:
        Video.frames = plain
    assert found.frames == decoded == 8
    # In the queue, one in the decoder's hand, one just taken by the finder.
    assert 2 <= most <= PICTURES_WAITING + 2


@pytest.mark.parametrize("where", ["finder", "engine", "decoder", "progress"])
def test_an_error_in_any_stage_comes_out_and_leaves_no_thread(
    clip: Path, detector: Detector, monkeypatch, where: str
) -> None:
    def fail(*_: object, **__: object):
        raise ImageError("broken on purpose")

    finder, progress = Finder(), lambda part: None
    if where == "finder":
        finder.find = fail
    elif where == "engine":
        monkeypatch.setattr(detector, "infer", fail)
    elif where == "decoder":
        monkeypatch.setattr("runtime.video.decode._upright", fail)
    else:
        progress = fail
    before = threading.active_count()
    with pytest.raises(ImageError, match="on purpose"):
        Judge(detector, finder, sampling=Sampling("every", 1)).video(clip, progress)
    assert threading.active_count() == before


def test_decoding_and_finding_have_threads_of_their_own(clip: Path, detector: Detector) -> None:
    finder = Finder()
    Judge(detector, finder).video(clip)
    assert len(finder.threads) == 1
    assert threading.get_ident() not in finder.threads


def test_an_engine_without_a_number_is_no_verdict(clip: Path, detector: Detector, monkeypatch):
    def nan(frames):
        values = np.full(len(frames), np.nan, np.float32)
        return values, values

    monkeypatch.setattr(detector._backend, "infer", nan)
    with pytest.raises(EngineRunError, match="gives no score"):
        Judge(detector, Finder()).video(clip)


@pytest.mark.weights
@pytest.mark.slow
def test_everyone_on_a_real_clip(weights_dir: Path, detector: Detector) -> None:
    from runtime.faces import YuNet

    finder = YuNet(weights_dir / "face_detection_yunet_2023mar.onnx")
    videos = weights_dir.parent / "videos"
    judge = Judge(detector, finder, sampling=Sampling("spread", 8))
    one = judge.video(videos / "pair_real.mp4")
    assert [track.verdict.faces for track in one.tracks] == [8]
    many = judge.video(videos / "street_many_faces.mp4")
    assert len(many.faces) > 24
    assert len(many.tracks) > 3
