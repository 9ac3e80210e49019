"""Files that people really have, and files made to do harm: each is named, none ends a run."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import png_files
import pytest
from click.testing import CliRunner, Result
from limits import within
from PIL import Image, ImageFile
from tiny_engine import TinyEngine, random_frames

pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")

from video_files import write_sound, write_video

from benchmarks.evaluation.run import EvaluationRequest, run_evaluation
from export import image_tar
from export.samples import read_samples
from runtime.errors import ImageError
from runtime.frames import MAX_PIXELS
from zoo.annotate import output_paths
from zoo.cli import main
from zoo.inputs import Input, find_inputs

ODD = ["with space", "new\nline", b"caf\xe9\xff".decode("utf-8", "surrogateescape"), "-dash", "$x"]


def zoo(*words: object) -> Result:
    typed = [os.fspath(w) if isinstance(w, Path) else str(w) for w in words]
    return CliRunner().invoke(main, typed)


def detect(*words: object, engine: TinyEngine) -> list[dict]:
    result = zoo("detect", *words, "--faces", "none", "--json", "--engine", engine.path)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def png(width: int, height: int, *, text: bytes = b"") -> bytes:
    """A whole black-and-white PNG, every row of it there, with a compressed text."""

    packer = zlib.compressobj(1)
    rows = [packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)]
    pixels = (b"IDAT", b"".join(rows) + packer.flush())
    texts = [(b"zTXt", b"Comment\0\0" + text)] if text else []
    return png_files.png(png_files.size(width, height, 1, 0), *texts, pixels, png_files.END)


def gif(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (1, 1)).save(buffer, "GIF")
    data = bytearray(buffer.getvalue())
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


@pytest.fixture
def nothing_large_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ImageFile.ImageFile.load

    def load(self: ImageFile.ImageFile) -> object:
        if self.width * self.height > MAX_PIXELS:
            pytest.fail(f"{self.size} is decoded")
        return plain(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


def test_the_pngs_of_these_tests_are_whole() -> None:
    with Image.open(io.BytesIO(png(300, 200, text=zlib.compress(b"hello")))) as image:
        image.load()
        assert (image.size, image.text) == ((300, 200), {"Comment": "hello"})


@pytest.mark.usefixtures("nothing_large_is_decoded")
@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("30000.png", lambda: png(30_000, 30_000), "too large"),
        # PIL's own limit lies higher: this one is ours.
        ("12100.png", lambda: png(12_100, 12_100), "12100 x 12100 is more than"),
        ("a-gif.png", lambda: gif(60_000, 60_000), "too large"),
        ("text.png", lambda: png(8, 8, text=zlib.compress(bytes(200_000_000), 1)), "too large"),
    ],
)
def test_decompression_bombs(
    tmp_path: Path, tiny_engine: TinyEngine, name: str, make, words: str
) -> None:
    for label in ("fake", "real"):
        (tmp_path / label).mkdir()
        Image.fromarray(random_frames(1)[0]).save(tmp_path / label / "good.png")
    bomb = tmp_path / "fake" / name
    bomb.write_bytes(make())
    assert bomb.stat().st_size < 2_000_000
    found = {
        Path(line["path"]).name: line["error"] for line in detect(tmp_path, engine=tiny_engine)
    }
    assert words in " ".join(found[name].values())
    assert found["good.png"] is None
    request = EvaluationRequest((tmp_path,), (tiny_engine.path,))
    ((one,), _) = run_evaluation(request)
    assert [failure.name for failure in one.scored.failures] == [f"fake/{name}"]
    assert len(one.scored.images) == 2


def test_a_small_tar_with_a_giant_file(
    tmp_path: Path, tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_tar, "MAX_BYTES", 1_000_000)
    buffer = io.BytesIO()
    Image.fromarray(random_frames(1)[0]).save(buffer, "PNG")
    archive = tmp_path / "bomb.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in (
            ("fake/a.png", buffer.getvalue()),
            ("fake/giant.png", buffer.getvalue() + bytes(1_000_000)),
            ("real/b.png", buffer.getvalue()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    ((one,), _) = run_evaluation(EvaluationRequest((archive,), (tiny_engine.path,)))
    assert [image.name for image in one.scored.images] == ["fake/a.png", "real/b.png"]
    (failure,) = one.scored.failures
    assert failure.name == "fake/giant.png"
    assert "more than the 1,000,000" in failure.why


def test_a_folder_without_images(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for command in ("detect", "evaluate"):
        result = zoo(command, tmp_path, "--engine", tiny_engine.path)
        assert result.exit_code == 2
        assert "has no image" in " ".join(result.stderr.split())


def test_videos_that_are_none(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    write_sound(tmp_path / "sound.m4a").rename(tmp_path / "sound.mp4")
    write_sound(tmp_path / "sound.mkv")
    write_sound(tmp_path / "cover.mp4", cover=True)
    write_video(tmp_path / "good.mp4", frames=3)
    found = {Path(line["path"]).name: line for line in detect(tmp_path, engine=tiny_engine)}
    assert found["good.mp4"]["error"] is None
    assert found["empty.mp4"]["error"]["why"] == "the file is empty"
    for name in ("sound.mp4", "sound.mkv"):
        assert "has no video stream" in found[name]["error"]["what"]
        assert found[name]["error"]["why"] == "it holds audio"
    assert "has no video stream" in found["cover.mp4"]["error"]["what"]


def test_clips_with_names_of_any_bytes(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    plain = write_video(tmp_path / "plain.mp4", frames=3, size=(64, 48)).read_bytes()
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ODD:
        (folder / f"{name}.mp4").write_bytes(plain)
    found = detect(folder, "--annotate", out, "--resume", out / "r.jsonl", engine=tiny_engine)
    assert {Path(line["path"]).name for line in found} == {f"{name}.mp4" for name in ODD}
    assert [line["error"] for line in found] == [None] * len(ODD)
    assert {path.stem for path in out.glob("*.mp4")} == set(ODD)
    again = detect(folder, "--annotate", out, "--resume", out / "r.jsonl", engine=tiny_engine)
    assert again == found


@pytest.mark.parametrize("packed", [False, True])
def test_datasets_with_names_of_any_bytes(
    tmp_path: Path, tiny_engine: TinyEngine, packed: bool
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")
    source, out = tmp_path / f"set {ODD[2]}", tmp_path / "out"
    for index, name in enumerate(ODD):
        for label in ("fake", "real"):
            path = source / label / f"video {name}" / f"{index}.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(random_frames(10)[2 * index + (label == "fake")]).save(path)
    if packed:
        with tarfile.open(tmp_path / "set.tar", "w") as tar:
            tar.add(source, "set")
        source = tmp_path / "set.tar"
    done = zoo("evaluate", source, "-e", tiny_engine.path, "--out", out, "--contact-sheet")
    assert done.exit_code == 0, done.output
    assert json.loads((out / "evaluation.json").read_text())["evaluations"][0]["images"] == 10
    (scores,) = out.glob("*.csv")
    for name in ODD:
        assert os.fsencode(f"video {name}") in scores.read_bytes()


def test_links_that_lead_in_a_circle(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    for label in ("fake", "real"):
        (tmp_path / label).mkdir()
        Image.fromarray(random_frames(1)[0]).save(tmp_path / label / "good.png")
    (tmp_path / "fake" / "itself.png").symlink_to("itself.png")
    (tmp_path / "fake" / "up").symlink_to(tmp_path)
    (tmp_path / "real" / "other").symlink_to(tmp_path / "fake")
    found = detect(tmp_path, engine=tiny_engine)
    judged = [Path(line["path"]).name for line in found if line["error"] is None]
    broken = [line["error"]["what"] for line in found if line["error"] is not None]
    assert sorted(judged) == ["good.png", "good.png"]
    assert len(broken) == 1
    assert "itself.png" in broken[0]
    ((one,), _) = run_evaluation(EvaluationRequest((tmp_path,), (tiny_engine.path,)))
    assert len(one.scored.images) == 2
    assert [failure.name for failure in one.scored.failures] == ["fake/itself.png"]


def test_no_link_leads_evaluate_or_verify_out_of_the_folder(
    tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    outside = tmp_path / "private.png"
    Image.fromarray(random_frames(1)[0]).save(outside)
    data = tmp_path / "data"
    for label in ("fake", "real"):
        (data / label).mkdir(parents=True)
        Image.fromarray(random_frames(1)[0]).save(data / label / "good.png")
    (data / "real" / "same.png").symlink_to(data / "real" / "good.png")
    (data / "fake" / "theirs.png").symlink_to(outside)
    ((one,), _) = run_evaluation(EvaluationRequest((data,), (tiny_engine.path,)))
    assert len(one.scored.images) == 3
    (failure,) = one.scored.failures
    assert failure.name == "fake/theirs.png"
    assert "leads out of the folder" in failure.why
    with pytest.raises(ImageError, match=r"theirs\.png cannot be read\n.*leads out"):
        read_samples(data, tiny_engine.info.preprocessing)


def test_pipes_among_the_images_of_every_command(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    for label in ("fake", "real"):
        (tmp_path / label).mkdir()
        Image.fromarray(random_frames(1)[0]).save(tmp_path / label / "good.png")
    pipe = tmp_path / "fake" / "pipe.png"
    os.mkfifo(pipe)
    engine = tiny_engine.path
    with within(20):
        (failure,) = run_evaluation(EvaluationRequest((tmp_path,), (engine,)))[0][0].scored.failures
        assert (failure.name, failure.why) == ("fake/pipe.png", "a regular file is due")
        found = {Path(line["path"]).name: line for line in detect(tmp_path, engine=tiny_engine)}
        assert "neither a file nor a folder" in found["pipe.png"]["error"]["why"]
        for words in (
            ("explain", pipe, "--faces", "none", "-e", engine),
            ("verify", engine, "--images", tmp_path),
            ("verify", engine, "--images", pipe),
        ):
            answer = zoo(*words)
            assert answer.exit_code == 2, answer.output
            assert "pipe.png is a pipe" in " ".join(answer.stderr.split())


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    names = ["../../up.png", "/etc/root.png", "a/../../b.png", "..", "./here.png"]
    inputs = [Input(tmp_path / str(n), Path(name), "image") for n, name in enumerate(names)]
    folder = tmp_path / "out"
    for path in output_paths(inputs, folder).values():
        assert Path(os.path.normpath(path)).is_relative_to(folder)
        assert ".." not in path.parts


def test_a_link_in_the_place_of_a_copy_is_replaced_not_followed(
    tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    victim, out = tmp_path / "victim.txt", tmp_path / "out"
    victim.write_text("precious")
    Image.fromarray(random_frames(1)[0]).save(tmp_path / "x.png")
    out.mkdir()
    (out / "x.jpg").symlink_to(victim)
    (line,) = detect(tmp_path / "x.png", "--annotate", out, engine=tiny_engine)
    assert line["error"] is None
    assert victim.read_text() == "precious"
    assert not (out / "x.jpg").is_symlink()


def test_a_name_as_long_as_can_be(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    path = tmp_path / f"{'n' * 251}.png"
    Image.fromarray(random_frames(1)[0]).save(path)
    (line,) = detect(path, "--annotate", tmp_path / "out", engine=tiny_engine)
    assert line["error"] is None, line
    assert [copy.name for copy in (tmp_path / "out").iterdir()] == [f"{'n' * 251}.jpg"]


def test_a_report_stays_in_its_folder(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")
    odd = tmp_path / "..%2f..\\x"
    for label in ("fake", "real"):
        (odd / label).mkdir(parents=True)
        Image.fromarray(random_frames(1)[0]).save(odd / label / "a.png")
    out = tmp_path / "deep" / "out"
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "deep")}
    run_evaluation(EvaluationRequest((odd,), (tiny_engine.path,), out=out))
    after = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "deep")}
    assert after == before
    assert {path.parent for path in (tmp_path / "deep").rglob("*") if path.is_file()} == {out}


def test_a_walk_gives_only_names_below_the_folder(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "deep").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "sub" / "deep" / "x.png")
    (tmp_path / "in" / "sub" / "link").symlink_to(tmp_path / "in" / "sub" / "deep")
    found = find_inputs([tmp_path / "in" / "sub" / ".." / "sub"])
    assert [str(item.name) for item in found] == ["deep/x.png"]
