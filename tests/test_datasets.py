"""Labelled images: classes and videos by name, folders, tars, tables."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from labelled_sets import MakeSet, evaluate
from PIL import Image
from published import SHARED
from tiny_engine import TinyEngine, random_frames

from benchmarks.evaluation import dataset, scoring
from benchmarks.evaluation.dataset import LabelledImage, open_dataset, open_table
from benchmarks.evaluation.labels import DatasetError, class_folder
from benchmarks.evaluation.videos import group_videos
from runtime import Detector
from runtime.errors import ImageError
from zoo.cli import main

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: evaluate)")


@pytest.mark.parametrize(
    ("name", "due"),
    [
        ("df/a.jpg", ("df", True)),
        ("real/a.jpg", ("real", False)),
        ("forged/a.jpg", ("forged", True)),
        ("DeepFake/a.jpg", ("DeepFake", True)),
        ("Real/a.jpg", ("Real", False)),
        ("FAKE/a.jpg", ("FAKE", True)),
        ("F2F/a.jpg", ("F2F", True)),
        ("deep_fake/a.jpg", ("deep_fake", True)),
        ("test/fake/video 7/a.jpg", ("test/fake", True)),
        ("surreal/a.jpg", None),
        ("fake.jpg", None),
    ],
)
def test_class_folders(name: str, due: tuple[str, bool] | None) -> None:
    assert class_folder(name) == due


def test_two_classes_in_one_path_are_refused() -> None:
    with pytest.raises(DatasetError, match="cannot be told"):
        class_folder("real/fake/a.jpg")


@pytest.mark.parametrize(
    ("fake", "real"),
    [
        ("df", "real"),
        ("forged", "real"),
        ("DeepFake", "Real"),
        ("fake", "real"),
        ("F2F", "ORIGINAL"),
    ],
)
def test_every_naming_gives_the_same(make_set: MakeSet, fake: str, real: str) -> None:
    images = open_dataset(make_set(fake=fake, real=real)).images
    assert sum(image.fake for image in images) == 6
    assert all(image.fake == image.name.startswith(fake) for image in images)


def test_unknown_class_names_say_how_to_name_them(make_set: MakeSet) -> None:
    folder = make_set(fake="fake", real="genuine people")
    with pytest.raises(DatasetError) as error:
        open_dataset(folder)
    assert "genuine people/ (6 images)" in error.value.why
    assert "--real-dir" in error.value.todo


@pytest.mark.parametrize(
    ("names", "due"),
    [
        (["f/1_0", "f/1_5", "f/2_0", "r/1_0", "r/3_0"], ["f/1", "f/1", "f/2", "r/1", "r/3"]),
        (["f/a/01", "f/a/02", "f/b/01", "r/c/1", "r/d/1"], ["f/a", "f/a", "f/b", "r/c", "r/d"]),
        (["f/df00204", "f/df01254", "r/real00240", "r/real00772"], None),
        (["f/img_1", "f/img_2", "r/img_1", "r/img_2"], None),
        (["f/01", "f/02", "r/01", "r/02"], None),
        (["f/1_0", "f/2_0", "r/1_0", "r/3_0"], None),
    ],
)
def test_videos_by_name(names: list[str], due: list[str] | None) -> None:
    images = [LabelledImage(f"{name}.jpg", name[0] == "f", name[0]) for name in names]
    assert group_videos(images) == due


def test_tar_and_folder_give_the_same_scores(
    make_set: MakeSet, tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    folder = make_set()
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz")):
        archive = tmp_path / f"packed{suffix}"
        with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
            tar.add(folder, "inside")
        before = set(tmp_path.rglob("*"))
        (one,) = evaluate(folder, engines=[tiny_engine.path])
        (two,) = evaluate(archive, engines=[tiny_engine.path])
        by_name = dict(zip((i.name for i in one.scored.images), one.scored.logit[0], strict=True))
        for image, logit in zip(two.scored.images, two.scored.logit[0], strict=True):
            assert by_name[image.name.removeprefix("inside/")] == logit
        assert two.metrics == one.metrics
        assert set(tmp_path.rglob("*")) == before, "nothing is extracted"


def test_scores_are_those_of_the_detector(make_set: MakeSet, tiny_engine: TinyEngine) -> None:
    folder = make_set(count=40)  # more than a batch, with a rest
    (one,) = evaluate(folder, engines=[tiny_engine.path])
    with Detector(tiny_engine.path) as detector:
        due = detector.classify([folder / image.name for image in one.scored.images])
    np.testing.assert_allclose(one.scored.fake[0], [v.fake for v in due], atol=1e-6)
    right = [v.label == ("fake" if i.fake else "real")
             for v, i in zip(due, one.scored.images, strict=True)]  # fmt: skip
    assert one.metrics.accuracy == pytest.approx(np.mean(right))


def test_labels_from_a_csv(make_set: MakeSet, tmp_path: Path) -> None:
    folder = make_set(fake="one", real="two")
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    table = folder / "labels.csv"
    rows = "".join(f"{name},{'Fake' if name.startswith('one') else 'real'}\n" for name in names)
    table.write_text("file,label\n" + rows, "utf-8-sig")
    assert [i.fake for i in open_table(table).images] == [n.startswith("one") for n in names]
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, ".")
    with pytest.raises(DatasetError, match="is not in"):  # the tar's names begin with ./
        open_dataset(archive, table)
    assert [i.name for i in open_dataset(folder, table).images] == names


def test_the_command_takes_labels_from_a_csv(make_set: MakeSet, tiny_engine: TinyEngine) -> None:
    folder = make_set(fake="one", real="two")
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    rows = [f"{name},{'fake' if name.startswith('one') else 'real'}" for name in names]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows[:-1]]))
    shown = {}
    for where in ([], [str(folder)]):
        typed = [*where, "--csv", str(folder / "labels.csv"), "-e", str(tiny_engine.path)]
        answer = CliRunner().invoke(main, ["evaluate", *typed, "--json"])
        assert answer.exit_code == 0, answer.output
        (found,) = json.loads(answer.stdout)["evaluations"]
        assert (found["images"], found["fake"], found["real"]) == (11, 6, 5)
        shown[found["dataset"]] = found["accuracy"]
    due = evaluate(engines=[tiny_engine.path], fake_dir=folder / "one", real_dir=folder / "two")
    by_name = dict(zip((i.name for i in due[0].scored.images), due[0].scored.fake[0], strict=True))
    right = [
        (by_name[name.replace("one/", "fake/").replace("two/", "real/")] >= 0.5)
        == name.startswith("one")
        for name in names[:-1]
    ]
    assert shown == dict.fromkeys(("labels", "set"), pytest.approx(np.mean(right)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,1\n", "'1' is no class"),
        ("file,class\na.png,fake\n", "needs the columns"),
        ("", "needs the columns"),
        ("file,label\na.png,fake\na.png,real\n", "named twice"),
        ("file,label\n", "names no image"),
        ("file,label\n" + "".join(f"{number}.png,fake\n" for number in range(5)), "too long"),
    ],
)
def test_a_csv_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setattr(dataset, "_MOST_ROWS", 4)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_table(tmp_path / "t.csv")


def test_named_class_folders(make_set: MakeSet, tiny_engine: TinyEngine) -> None:
    folder = make_set(fake="A", real="B")
    (one,) = evaluate(engines=[tiny_engine.path], fake_dir=folder / "A", real_dir=folder / "B")
    (other,) = evaluate(engines=[tiny_engine.path], fake_dir=folder / "B", real_dir=folder / "A")
    assert (one.metrics.fake, one.metrics.real) == (6, 6)
    assert one.metrics.accuracy == pytest.approx(1 - other.metrics.accuracy)


@pytest.mark.parametrize("cut", [700, 9000])
def test_a_tar_that_was_cut_off(make_set: MakeSet, tmp_path: Path, cut: int,
                                tiny_engine: TinyEngine) -> None:  # fmt: skip
    for suffix, mode in ((".tar", "w"), (".tgz", "w:gz")):
        archive = tmp_path / f"a{suffix}"
        with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
            tar.add(make_set(count=20), "set")
        whole = archive.read_bytes()
        archive.write_bytes(whole[: min(cut, len(whole) // 2)])
        with pytest.raises(ImageError, match="not a tar that can be read whole"):
            evaluate(archive, engines=[tiny_engine.path])


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        open_dataset(tmp_path / "no")
    (tmp_path / "fake").mkdir()
    with pytest.raises(DatasetError, match="has no images"):
        open_dataset(tmp_path)
    (tmp_path / "x.txt").write_text("no tar")
    with pytest.raises(ImageError, match="not a tar"):
        open_dataset(tmp_path / "x.txt")


def test_links_in_a_circle_end(make_set: MakeSet) -> None:
    folder = make_set()
    (folder / "fake" / "again").symlink_to(folder)
    assert len(open_dataset(folder).images) == 12


def test_a_link_that_leads_out_of_the_set_is_left_out_and_named(
    make_set: MakeSet, tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    folder = make_set()
    Image.fromarray(random_frames(1)[0]).save(tmp_path / "mine.png")
    (folder / "fake" / "0_99.png").symlink_to(tmp_path / "mine.png")
    (one,) = evaluate(folder, engines=[tiny_engine.path])
    (failure,) = one.scored.failures
    assert (failure.name, len(one.scored.images)) == ("fake/0_99.png", 12)
    assert "leads out" in failure.why


def test_few_bytes_of_a_tar_are_in_memory(
    make_set: MakeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(make_set(), "set")
    data = open_dataset(tmp_path / "set.tar")
    read: list[str] = []
    images = scoring.Dataset.read

    def counted(self: scoring.Dataset) -> Any:
        for image, content in images(self):
            read.append(image.name)
            yield image, content

    monkeypatch.setattr(scoring.Dataset, "read", counted)
    monkeypatch.setattr(scoring, "_BYTES_AHEAD", 1)
    for number, _ in enumerate(scoring._decoded(data, set()), 1):
        assert len(read) == number
    assert len(read) == 12


@pytest.mark.weights
def test_videos_of_afchars_set_are_130() -> None:
    assert SHARED is not None
    images = open_dataset(SHARED / "data" / "afchar-validation.tar").images
    assert (sum(i.fake for i in images), len(images)) == (2845, 7104)
    videos = group_videos(images)
    assert videos is not None
    assert len(set(videos)) == 130
