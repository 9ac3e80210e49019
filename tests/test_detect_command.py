"""``zoo detect``: any mixture of files to verdicts, and none lost to another's fault."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import png_files
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from tiny_engine import TINY_INFO, TinyEngine

pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")

from video_files import cut, write_sound, write_video

from runtime import Detector
from runtime.faces import Face
from zoo import detect_printing
from zoo.cli import main
from zoo.drawing import strip_height
from zoo.inputs import find_inputs


def zoo(*arguments: object, engine: Path) -> Result:
    words = [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments]
    return CliRunner().invoke(main, ["detect", *words, "--engine", str(engine)])


def lines(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def save(path: Path, seed: int = 0, size: tuple[int, int] = (64, 48)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def engine(tiny_engine: TinyEngine) -> Path:
    return tiny_engine.path


def test_a_mixture_is_judged_in_order(tmp_path: Path, engine: Path) -> None:
    first = save(tmp_path / "b" / "z.png", 1)
    save(tmp_path / "folder" / "sub" / "2.png", 2)
    save(tmp_path / "folder" / "1.png", 3)
    (tmp_path / "folder" / "notes.txt").write_text("not judged")
    write_video(tmp_path / "folder" / "clip.mp4", frames=25)
    odd = save(tmp_path / "unusual.jpg", 4).rename(tmp_path / "unusual.name")
    glob = str(tmp_path / "b" / "*.png")
    found = lines(zoo(glob, tmp_path / "folder", odd, "--faces", "none", "--json", engine=engine))
    assert [Path(line["path"]).name for line in found] == [
        *("z.png", "1.png", "clip.mp4", "2.png", "unusual.name")
    ]
    assert [line["kind"] for line in found] == ["image", "image", "video", "image", "image"]
    assert all(line["error"] is None and line["whole"] for line in found)
    with Detector(engine) as detector:
        (due,) = detector.classify(first)
    assert found[0]["faces"][0]["fake"] == pytest.approx(due.fake, abs=1e-6)
    assert found[0]["faces"][0]["logit"] == pytest.approx(due.logit, abs=1e-5)
    assert found[2]["frames"] == 3
    assert [face["time"] for face in found[2]["faces"]] == pytest.approx([0, 0.4, 0.8])
    assert found[2]["overall"]["faces"] == 3


def test_one_broken_file_among_others(tmp_path: Path, engine: Path) -> None:
    folder = tmp_path / "many"
    for number in range(6):
        save(folder / f"{number}.png", number)
    (folder / "2.png").write_bytes(b"no picture")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "empty.jpg").write_bytes(b"")
    write_sound(folder / "sound.m4a").rename(folder / "sound.mp4")
    (folder / "dead.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    result = zoo(folder, "--faces", "none", "--json", engine=engine)
    assert result.exit_code == 2, result.output
    found = {Path(line["path"]).name: line for line in lines(result)}
    assert len(found) == 11
    broken = {name for name, line in found.items() if line["error"]}
    assert broken == {"2.png", "empty.mp4", "empty.jpg", "sound.mp4", "dead.jpg", "pipe.jpg"}
    assert "no video stream" in found["sound.mp4"]["error"]["what"]
    assert "2.png" in found["2.png"]["error"]["what"]
    table = zoo(folder, "--faces", "none", engine=engine)
    assert table.exit_code == 2
    assert "6 failed" in table.stdout
    assert "pipe.jpg" in table.stderr
    assert zoo(folder / "0.png", "--faces", "none", engine=engine).exit_code == 0


def test_a_video_is_uncertain_where_its_threshold_lies_inside_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip that flickers a little; an image beside it has no interval."""

    def flicker(number: int) -> NDArray[np.uint8]:
        return np.full((96, 160, 3), 90 + 9 * (number // 10 % 3), np.uint8)

    clip = write_video(tmp_path / "clip.mp4", frames=125, paint=flicker)
    plain = TinyEngine.write(tmp_path, name="plain.onnx")
    (line,) = lines(zoo(clip, "--faces", "none", "--json", engine=plain.path))
    middle = line["overall"]["mean"]
    assert 0 < line["overall"]["low"] < middle < line["overall"]["high"] < 1
    for threshold, label, colour in (
        (middle, "uncertain", "\x1b[33m"),
        (line["overall"]["low"] - 1e-6, "fake", "\x1b[31m"),
        (line["overall"]["high"] + 1e-6, "real", "\x1b[32m"),
    ):
        info = replace(TINY_INFO, threshold=threshold)
        engine = TinyEngine.write(tmp_path, name=f"{label}.onnx", info=info).path
        (line,) = lines(zoo(clip, "--faces", "none", "--json", engine=engine))
        assert line["overall"]["label"] == label
        assert line["overall"]["mean"] == middle
        assert {face["label"] for face in line["faces"]} <= {"fake", "real"}
        table = io.StringIO()
        console = Console(file=table, force_terminal=True, color_system="standard", highlight=False)
        monkeypatch.setattr(detect_printing, "out", console)
        still = save(tmp_path / "still.png")
        result = zoo(clip, still, "--faces", "none", engine=engine)
        assert result.exit_code == 0, "doubt is no failure"
        (row,) = (r for r in table.getvalue().splitlines() if "clip.mp4" in r)
        assert f"{colour}{label:<9}" in row
        assert label in table.getvalue().splitlines()[-1], "counted"
        (row,) = (r for r in table.getvalue().splitlines() if "still.png" in r)
        assert "\x1b[33m" not in row, "yellow"


def test_a_png_of_30000_pixels_is_refused_unread(tmp_path: Path, engine: Path) -> None:
    pixels = zlib.compress(bytes(10_000_000))  # far from all of it; nobody shall ask
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_files.png(png_files.size(30000, 30000), (b"IDAT", pixels), png_files.END))
    result = zoo(bomb, "--faces", "none", engine=engine)
    assert result.exit_code == 2
    assert "too large" in result.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_names_of_any_bytes(tmp_path: Path, engine: Path, as_json: bool) -> None:
    names = ["with space.png", "new\nline.png", "[red]markup.png", "-dash.png", "\x1b[31mx.png"]
    paths = [tmp_path / name for name in names]
    paths.append(tmp_path / b"\xff\xfe.png".decode("utf-8", "surrogateescape"))
    for path in paths:
        save(tmp_path / "plain.png").rename(path)
    options = ["--faces", "none", *(["--json"] * as_json), "--annotate", tmp_path / "out"]
    result = zoo(tmp_path, *options, engine=engine)
    assert result.exit_code == 0, result.output
    if as_json:
        assert {Path(line["path"]) for line in lines(result)} == set(paths)
    else:
        rows = [row for row in result.stdout.splitlines() if row.startswith(("fake", "real"))]
        assert len(rows) == len(paths)
        assert r"new\nline.png" in result.stdout
        assert r"\xff\xfe.png" in result.stdout
        assert "[red]markup.png" in result.stdout
        assert "\x1b" not in result.stdout
    assert len(list((tmp_path / "out").iterdir())) == len(paths)


def test_symbolic_links_are_followed_once(tmp_path: Path) -> None:
    save(tmp_path / "1.png")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    save(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "a" / "else").symlink_to(tmp_path / "elsewhere")
    found = [item.path.resolve().name for item in find_inputs([tmp_path])]
    assert sorted(found) == ["1.png", "2.png"]


def test_links_that_lead_out_of_a_folder_are_told_and_not_followed(
    tmp_path: Path, engine: Path
) -> None:
    outside = save(tmp_path / "private" / "mine.png", 3)
    save(tmp_path / "in" / "theirs.png", 4)
    (tmp_path / "in" / "file.png").symlink_to(outside)
    (tmp_path / "in" / "folder").symlink_to(outside.parent)
    copies = tmp_path / "out"
    result = zoo(tmp_path / "in", "--faces", "none", "--json", "--annotate", copies, engine=engine)
    found = {Path(line["path"]).name: line["error"] for line in lines(result)}
    assert found.pop("theirs.png") is None
    assert set(found) == {"file.png", "folder"}
    assert all("leads out of the folder" in error["why"] for error in found.values())
    assert all("name its target" in error["todo"] for error in found.values())
    assert [path.name for path in copies.rglob("*.jpg")] == ["theirs.jpg"]
    # What the user names is theirs to name.
    assert [item.problem for item in find_inputs([tmp_path / "in" / "file.png"])] == [""]
    assert [i.path.name for i in find_inputs([tmp_path / "in" / "folder"])] == ["mine.png"]


def test_nothing_to_judge_is_said(tmp_path: Path, engine: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for path, words in ((tmp_path, "no image and no video"), (tmp_path / "*.png", "matches no")):
        result = zoo(path, engine=engine)
        assert result.exit_code == 2
        assert words in " ".join(result.stderr.split())
    missing = zoo(tmp_path / "no.png", "--faces", "none", engine=engine)
    assert missing.exit_code == 2
    assert "does not exist" in missing.stderr
    two = zoo(tmp_path, "--every", 2, "--keyframes", engine=engine)
    assert two.exit_code == 2
    assert "exclude each other" in two.stderr


@pytest.mark.parametrize(
    ("options", "frames"),
    [(["--every", "5"], 8), (["--frames", "3"], 3), (["--keyframes"], None), ([], 4)],
)
def test_which_frames(tmp_path: Path, engine: Path, options: list[str], frames: int | None) -> None:
    clip = write_video(tmp_path / "c.mp4", frames=40)
    (line,) = lines(zoo(clip, "--faces", "none", "--json", *options, engine=engine))
    import av

    with av.open(str(clip)) as container:
        keyframes = sum(packet.is_keyframe for packet in container.demux(video=0))
    assert 1 < keyframes < 40
    assert line["frames"] == (frames or keyframes)


def test_a_truncated_video_is_judged_and_says_so(tmp_path: Path, engine: Path) -> None:
    whole = write_video(tmp_path / "w.mp4", frames=100, options={"movflags": "faststart"})
    half = cut(whole, tmp_path / "half.mp4", 0.6)
    result = zoo(half, "--faces", "none", "--json", engine=engine)
    assert result.exit_code == 0
    (line,) = lines(result)
    assert "of 100 frames" in " ".join(line["damage"])
    assert "of 100 frames" in zoo(half, "--faces", "none", engine=engine).stdout


def test_resume_repeats_nothing(tmp_path: Path, engine: Path, monkeypatch) -> None:
    folder, kept = tmp_path / "in", tmp_path / "out" / "results.jsonl"
    for number in range(5):
        save(folder / f"{number}.png", number)
    (folder / "broken.jpg").write_bytes(b"x")
    options = ("--faces", "none", "--json", "--resume", kept)
    whole = lines(zoo(folder, *options, engine=engine))
    assert [json.loads(text) for text in kept.read_text().splitlines()] == whole

    judged: list[str] = []
    plain = Detector.infer

    def counting(self, frames):
        judged.append("one")
        return plain(self, frames)

    monkeypatch.setattr(Detector, "infer", counting)
    again = zoo(folder, *options, engine=engine)
    assert lines(again) == whole
    assert again.exit_code == 2  # the broken file is as broken as before
    assert judged == []

    # As a kill leaves it: two whole lines and a piece of the third.
    text = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(text[:2]) + text[2][:40])
    resumed = lines(zoo(folder, *options, engine=engine))
    assert [line["path"] for line in resumed] == [line["path"] for line in whole]
    assert [line.get("overall") for line in resumed] == [line.get("overall") for line in whole]
    assert len(judged) == 3
    assert len(kept.read_text().splitlines()) == 6

    # In the first bytes of all.
    (first,) = (json.dumps(line) for line in whole[:1])
    for length in (1, 8, 20):
        kept.write_text(first[:length])
        assert len(lines(zoo(folder, *options, engine=engine))) == 6
    assert [json.loads(text)["path"] for text in kept.read_text().splitlines()] == [
        line["path"] for line in whole
    ]

    # A file that changed is another file.
    save(folder / "1.png", 77)
    judged.clear()
    zoo(folder, *options, engine=engine)
    assert len(judged) == 1


def test_resume_refuses_results_of_other_settings(tmp_path: Path, engine: Path) -> None:
    picture, kept = save(tmp_path / "a.png"), tmp_path / "r.jsonl"
    zoo(picture, "--faces", "none", "--resume", kept, engine=engine)
    before = kept.read_bytes()
    other = zoo(picture, "--faces", "none", "--every", 3, "--resume", kept, engine=engine)
    assert other.exit_code == 2
    assert "other settings" in " ".join(other.stderr.split())
    assert kept.read_bytes() == before
    for content in (b"precious text", b"precious\ntext\n", b'{"path": 1}\n'):
        kept.write_bytes(content)
        refused = zoo(picture, "--faces", "none", "--resume", kept, engine=engine)
        assert refused.exit_code == 2
        assert "no file of results" in " ".join(refused.stderr.split())
        assert kept.read_bytes() == content


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_do_not_change_the_result(tmp_path: Path, engine: Path, jobs: int) -> None:
    for number in range(12):
        save(tmp_path / "in" / f"{number:02}.png", number)
    found = lines(zoo(tmp_path, "--faces", "none", "--json", "--jobs", jobs, engine=engine))
    assert [Path(line["path"]).name for line in found] == [f"{n:02}.png" for n in range(12)]
    with Detector(engine) as detector:
        due = [v.fake for v in detector.classify([line["path"] for line in found])]
    assert [line["overall"]["mean"] for line in found] == pytest.approx(due, abs=1e-6)


def test_annotated_copies_keep_apart_and_inside(tmp_path: Path, engine: Path) -> None:
    one, other = save(tmp_path / "a" / "x.png", 1), save(tmp_path / "b" / "x.png", 2)
    save(tmp_path / "tree" / "sub" / "x.png", 3)
    (tmp_path / "c").mkdir()
    clip = write_video(tmp_path / "c" / "x.mkv", frames=12, size=(64, 48))
    out = tmp_path / "out"
    inputs = (one, other, clip, tmp_path / "tree", tmp_path / "a" / ".." / "b" / "x.png")
    result = zoo(*inputs, "--faces", "none", "--annotate", out, engine=engine)
    assert result.exit_code == 0, result.output
    files = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert files == ["sub/x.jpg", "x-2.jpg", "x-3.jpg", "x.jpg", "x.mp4"]
    drawn = np.asarray(Image.open(out / "x.jpg"))
    assert drawn.shape == (48, 64, 3)
    assert np.abs(drawn.astype(int) - np.asarray(Image.open(one))).max() > 50
    import av

    with av.open(str(out / "x.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 12
    assert frames[-1].time == pytest.approx(11 / 25, abs=0.01)
    assert (frames[0].width, frames[0].height) == (64, 48 + strip_height((64, 48)))
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]


def test_annotated_copies_never_overwrite_what_is_judged(tmp_path: Path, engine: Path) -> None:
    picture = save(tmp_path / "x.jpg", size=(64, 48))
    before = picture.read_bytes()
    result = zoo(picture, "--faces", "none", "--annotate", tmp_path, engine=engine)
    assert result.exit_code == 2
    assert "overwritten" in result.stderr
    assert picture.read_bytes() == before


def test_a_link_does_not_lead_a_copy_out_of_the_folder(tmp_path: Path, engine: Path) -> None:
    save(tmp_path / "in" / "sub" / "x.png")
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (out / "sub").symlink_to(outside)
    result = zoo(tmp_path / "in", "--faces", "none", "--annotate", out, engine=engine)
    assert result.exit_code == 2
    assert "outside" in " ".join(result.stderr.split())
    assert list(outside.iterdir()) == []


def test_results_are_no_inputs(tmp_path: Path, engine: Path) -> None:
    save(tmp_path / "x.png")
    options = ("--faces", "none", "--json", "--annotate", tmp_path / "out")
    for _ in range(2):
        assert len(lines(zoo(tmp_path, *options, engine=engine))) == 1


class OneFace:
    """Finds a face of 60 pixels at the same place of any picture."""

    name = "one"

    def find(self, picture: Image.Image, min_size: int) -> list[Face]:
        marks = np.array([[15, 20], [45, 20], [30, 30], [20, 45], [40, 45]], np.float32)
        return [Face(20, 20, 60, 60, 0.9, marks + 20)]


def test_faces_that_are_left_out_are_reported(
    tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "zoo.commands.detect.open_finder", lambda name: asked.append(name) or OneFace()
    )
    sharp = save(tmp_path / "sharp.png", size=(160, 120))
    Image.new("RGB", (160, 120), (90, 80, 70)).save(tmp_path / "blurred.png")
    clip = write_video(tmp_path / "clip.mp4", frames=30)  # grey frames: nothing sharp
    files = (sharp, tmp_path / "blurred.png", clip)
    one, two, video = lines(zoo(*files, "--sharpness", 30, "--json", engine=engine))
    assert asked == ["yunet"]
    assert (len(one["faces"]), one["dropped"]) == (1, [])
    assert (two["faces"], two["overall"]) == ([], None)
    assert two["dropped"][0]["why"] == "blurred: sharpness 0.0, less than 30"
    assert two["dropped"][0]["box"] == [20, 20, 60, 60]
    assert [face["time"] for face in video["dropped"]] == pytest.approx([0, 0.4, 0.8])
    table = zoo(*files, "--sharpness", 30, engine=engine)
    assert table.exit_code == 0
    assert "blurred.png  (1 dropped: blurred)" in table.stdout
    assert "clip.mp4  (3 dropped: blurred)" in table.stdout
    small = zoo(sharp, "--min-face", 61, "--finder", "mtcnn", engine=engine)
    assert "(1 dropped: too small)" in small.stdout
    assert asked[-1] == "mtcnn"
    for row in table.stdout.splitlines():
        if "/" not in row:  # a name may be of any length
            assert len(row) <= 80


def test_a_terminal_sees_how_far_it_is_and_the_time_left(
    tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        save(tmp_path / "in" / f"{number}.png", number)
    write_video(tmp_path / "in" / "c.mp4", frames=60)
    monkeypatch.setenv("TERM", "xterm-256color")
    seen = io.StringIO()
    terminal = Console(file=seen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr("zoo.detect_printing.err", terminal)
    result = zoo(tmp_path / "in", "--faces", "none", "--json", engine=engine)
    assert result.exit_code == 0
    assert len(lines(result)) == 6, "the bar is on standard error alone"
    assert "of 6 files" in seen.getvalue()
    assert "100%" in seen.getvalue()
    assert re.search(r"\d:\d\d:\d\d", seen.getvalue()), "time left"
    quiet = zoo(tmp_path / "in", "--faces", "none", engine=engine)
    assert "of 6 files" not in quiet.stdout


@pytest.mark.weights
def test_photographs_and_crops_of_real_faces(
    tmp_path: Path, weights_dir: Path, afchar_images: list[Path], engine: Path
) -> None:
    photos = weights_dir.parent / "images" / "photos"
    result = zoo(photos, *afchar_images, "--json", "--annotate", tmp_path, engine=engine)
    assert result.exit_code == 0, result.output
    found = {Path(line["path"]).name: line for line in lines(result)}
    assert len(found["multiface.jpg"]["faces"]) == 6
    assert len(found["two_people.jpg"]["faces"]) == 2
    boxes = [face["box"] for face in found["two_people.jpg"]["faces"]]
    assert all(len(box) == 4 and min(box) > 0 for box in boxes)
    for path in afchar_images:  # face crops already: judged as they are
        assert found[path.name]["whole"]
    with Detector(engine) as detector:
        due = detector.classify(afchar_images)
    for path, verdict in zip(afchar_images, due, strict=True):
        assert found[path.name]["faces"][0]["fake"] == pytest.approx(verdict.fake, abs=1e-6)
    largest = zoo(photos / "multiface.jpg", "--faces", "largest", "--json", engine=engine)
    (line,) = lines(largest)
    assert len(line["faces"]) == 1
    assert [d["why"] for d in line["dropped"]] == ["not the largest"] * 5
    wall = save(tmp_path / "wall" / "wall.png", size=(300, 200))
    nobody = zoo(wall, engine=engine)
    assert nobody.exit_code == 0
    assert "no face" in nobody.stdout
    assert "--faces none" in nobody.stderr


@pytest.mark.weights
def test_a_folder_of_thousands_is_never_held_at_once(
    tmp_path: Path, weights_dir: Path, engine: Path
) -> None:
    picture = save(tmp_path / "in" / "0.png", size=(8, 8))
    for number in range(1, 300):
        shutil.copy(picture, tmp_path / "in" / f"{number}.png")
    result = zoo(tmp_path / "in", "--faces", "none", "--json", engine=engine)
    assert result.exit_code == 0
    assert len(lines(result)) == 300
