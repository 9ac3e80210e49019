"""`zoo evaluate`: labels, datasets, figures, report."""

from __future__ import annotations

import csv
import json
import re
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from published import SHARED
from tiny_engine import TinyEngine, TinyWeights, random_frames

from benchmarks.evaluation import dataset, scoring
from benchmarks.evaluation.contact_sheet import worst_mistakes
from benchmarks.evaluation.dataset import LabelledImage, open_dataset, open_table
from benchmarks.evaluation.labels import DatasetError, class_folder
from benchmarks.evaluation.metrics import equal_error_rate, measure
from benchmarks.evaluation.ranking import rank, rank_engines
from benchmarks.evaluation.run import Evaluation, EvaluationRequest, run_evaluation
from benchmarks.evaluation.videos import group_videos
from runtime import Detector
from runtime.errors import EngineError, ImageError, ZooError
from zoo.cli import main

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: evaluate)")

MakeSet = Callable[..., Path]


@pytest.fixture
def make_set(tmp_path: Path) -> MakeSet:
    """Makes class folders of PNGs that the tiny engine judges."""

    def make(name: str = "set", fake: str = "fake", real: str = "real", count: int = 6) -> Path:
        frames = random_frames(2 * count, seed=len(name))
        for index, frame in enumerate(frames):
            folder = tmp_path / name / (fake if index < count else real)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(folder / f"{index % 3}_{index}.png")
        return tmp_path / name

    return make


def evaluate(*paths: Path, engines: list[Path], **options: Any) -> list[Evaluation]:
    return run_evaluation(EvaluationRequest(paths, tuple(engines), **options))[0]


def array(*values: float) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)


# --- figures, by hand ---


def test_figures_of_hand_made_scores() -> None:
    fake = np.asarray([True, True, True, False, False])
    score = array(0.9, 0.8, 0.3, 0.6, 0.1)
    found = measure(fake, score, np.log(score / (1 - score)))
    assert found.confusion == [[1, 1], [1, 2]]
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.report["fake"]["precision"] == pytest.approx(2 / 3)
    assert found.report["fake"]["recall"] == pytest.approx(2 / 3)
    assert found.report["fake"]["f1-score"] == pytest.approx(2 / 3)
    assert found.report["real"]["precision"] == pytest.approx(1 / 2)
    assert found.report["real"]["support"] == 2
    # Of 3 x 2 pairs one is in the wrong order: .3 (fake) below .6 (real).
    assert found.auc == pytest.approx(5 / 6)
    # Precision where each fake comes: 1, 1, 3/4.
    assert found.average_precision == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found.brier == pytest.approx((0.01 + 0.04 + 0.49 + 0.36 + 0.01) / 5)
    # Above .6: 2 of 3 fakes, no real: J = 2/3; the middle of .6 and .8.
    assert found.best_threshold == pytest.approx(0.7)
    assert found.best_accuracy == pytest.approx(4 / 5)
    assert found.curves is not None
    assert found.curves.bin_count.sum() == 5


def test_saturated_probabilities_are_ties_and_their_log_odds_are_none() -> None:
    fake = np.asarray([True, False])
    found = measure(fake, array(1, 1), array(30, 20))
    assert (found.auc, found.auc_by_logit) == (0.5, 1.0)
    assert measure(fake, array(1, 1), array(20, 20)).auc_by_logit == 0.5
    ranked = measure(fake, array(1, 1), array(20, 20), rank=array(2, 1))
    assert (ranked.auc, ranked.average_precision, ranked.auc_by_logit) == (1.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("fpr", "tpr", "due"),
    [
        (array(0, 0, 1), array(0, 1, 1), 0.0),
        (array(0, 1), array(0, 1), 0.5),
        (array(0, 0.2, 1), array(0, 0.8, 1), 0.2),
        (array(0, 0.1, 0.3, 1), array(0, 0.6, 0.8, 1), 0.25),
    ],
)
def test_equal_error_rate(fpr: NDArray[np.float64], tpr: NDArray[np.float64], due: float) -> None:
    assert equal_error_rate(fpr, tpr) == pytest.approx(due)


def test_one_class_has_no_auc_and_says_so() -> None:
    found = measure(np.ones(3, bool), array(0.9, 0.8, 0.1), array(2, 1, -2))
    assert found.auc is None
    assert found.average_precision is None
    assert found.best_threshold is None
    assert found.undefined["auc"] == "only one class is there"
    assert found.accuracy == pytest.approx(2 / 3)


def test_a_video_is_judged_by_the_mean_of_its_images() -> None:
    fake = np.asarray([True, True, True, False, False, True])
    score = array(0.9, 0.9, 0.1, 0.7, 0.1, 0.3)
    videos = ["f/1", "f/1", "f/1", "r/1", "r/1", "f/2"]
    found = measure(fake, score, score, videos=videos).videos
    assert found is not None
    assert (found.videos, found.fake, found.real) == (3, 2, 1)
    # Means .633, .4, .3: f/2 is wrong. By image 3 of 6 would be.
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.auc == pytest.approx(0.5)


# --- labels ---


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


# --- where images are ---


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


# --- what is broken, what is on disk ---


def test_a_broken_image_is_left_out_and_named(
    make_set: MakeSet, tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    folder = make_set()
    good = evaluate(folder, engines=[tiny_engine.path])[0].metrics
    broken = folder / "fake" / "0_99.png"
    broken.write_bytes((folder / "fake" / "0_0.png").read_bytes()[:60])
    archive = tmp_path / "b.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, "set")
    for path in (folder, archive):
        (one,) = evaluate(path, engines=[tiny_engine.path])
        assert [Path(f.name).name for f in one.scored.failures] == ["0_99.png"]
        assert one.metrics == good
    answer = CliRunner().invoke(main, ["evaluate", str(folder), "-e", str(tiny_engine.path)])
    assert answer.exit_code == 0
    assert "0_99.png" in answer.output
    assert "left out" in answer.output


def huge_png() -> bytes:
    """The beginning of a PNG of 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100_000))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
              for c in (header, data)]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("content", [b"", b"text", huge_png()], ids=["empty", "text", "huge"])
def test_files_that_must_not_stop_the_others(
    make_set: MakeSet, tmp_path: Path, tiny_engine: TinyEngine, content: bytes
) -> None:
    folder = make_set()
    (folder / "real" / "a\nname with spaces.png").write_bytes(content)
    archive = tmp_path / "c.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, "set")
    for path in (folder, archive):
        (one,) = evaluate(path, engines=[tiny_engine.path])
        assert len(one.scored.images) == 12
        (failure,) = one.scored.failures
        assert failure.name.endswith("real/a\nname with spaces.png")
        assert failure.why
    answer = CliRunner().invoke(main, ["evaluate", str(folder), "-e", str(tiny_engine.path)])
    assert "a\\nname with spaces.png" in answer.output


def test_only_broken_images_are_an_error(tmp_path: Path, tiny_engine: TinyEngine) -> None:
    (tmp_path / "set" / "fake").mkdir(parents=True)
    (tmp_path / "set" / "fake" / "a.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="none of the 1 images"):
        evaluate(tmp_path / "set", engines=[tiny_engine.path])


def test_an_engine_without_a_number_is_an_error(make_set: MakeSet, tmp_path: Path) -> None:
    broken = TinyEngine.write(tmp_path, weights=TinyWeights.constant(float("nan")))
    with pytest.raises(EngineError, match="gives no score"):
        evaluate(make_set(), engines=[broken.path])


def test_a_folder_that_cannot_be_written_is_told_before_the_work(
    make_set: MakeSet, tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    (tmp_path / "file").write_text("in the way")
    begun: list[str] = []
    request = EvaluationRequest((make_set(),), (tiny_engine.path,), out=tmp_path / "file" / "x")
    with pytest.raises(ZooError, match="cannot be written"):
        run_evaluation(request, lambda name, count: begun.append(name) or (lambda done: None))
    assert not begun


def test_progress_counts_every_image(make_set: MakeSet, tiny_engine: TinyEngine) -> None:
    folder = make_set(count=40)
    (folder / "fake" / "x.png").write_bytes(b"")
    totals, done = [], []
    request = EvaluationRequest((folder,), (tiny_engine.path,))
    run_evaluation(request, lambda name, count: totals.append(count) or done.append)
    assert totals == [81]
    assert sum(done) == 81
    assert len(done) > 2


def test_report_on_disk(make_set: MakeSet, tmp_path: Path, tiny_engine: TinyEngine) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")
    out = tmp_path / "out"
    folder = make_set("a $et", count=8)
    (folder / "real" / b"caf\xe9_1.png".decode("utf-8", "surrogateescape")).write_bytes(
        (folder / "fake" / "0_0.png").read_bytes()
    )
    answer = CliRunner().invoke(
        main,
        ["evaluate", str(folder), "-e", str(tiny_engine.path), "--out", str(out), "--json",
         "--contact-sheet"],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    printed = json.loads(answer.stdout)
    assert json.loads((out / "evaluation.json").read_text("utf-8")) == printed
    (figures,) = printed["evaluations"]
    with (out / "a--et-tiny.onnx.csv").open(errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == figures["images"] == 17
    assert sum(row["label"] == row["verdict"] for row in rows) / 17 == figures["accuracy"]
    assert all((float(r["fake"]) >= 0.5) == (r["verdict"] == "fake") for r in rows)
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 5
    assert not re.search(r"""(src|href)=["'](?!data:)|@import|url\(|<script""", page)
    with Image.open(out / "a--et-tiny.onnx-worst.jpg") as sheet:
        assert sheet.width > 1000
    assert not list(out.glob(".*")), "nothing half-made is left"


def test_contact_sheet_only_when_asked(
    make_set: MakeSet, tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: evaluate)")
    evaluate(make_set(), engines=[tiny_engine.path], out=tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()
    assert not list((tmp_path / "out").glob("*.jpg"))
    with pytest.raises(DatasetError, match="--contact-sheet needs a folder"):
        evaluate(make_set(), engines=[tiny_engine.path], contact_sheet=True)


def test_the_worst_mistakes_come_first(make_set: MakeSet, tiny_engine: TinyEngine) -> None:
    (one,) = evaluate(make_set(count=30), engines=[tiny_engine.path])
    for fake in (False, True):
        places = worst_mistakes(one, fake)
        assert 0 < len(places) == min(24, one.metrics.confusion[int(fake)][int(not fake)])
        assert all(one.scored.images[i].fake is fake for i in places)
        scores = [one.scored.fake[0][i] for i in places]
        assert scores == sorted(scores, reverse=not fake)


# --- ranking ---


def test_ranking_of_engines_and_datasets(
    make_set: MakeSet, tmp_path: Path, tiny_engine: TinyEngine
) -> None:
    (tmp_path / "e").mkdir()
    other = TinyEngine.write(tmp_path / "e", name="other.onnx", weights=TinyWeights.seeded(5))
    sets = [make_set("first"), make_set("second one")]
    engines = [tiny_engine.path, other.path]
    found = evaluate(*sets, engines=engines)
    assert {(e.engine, e.dataset) for e in found} == {
        (engine.name, path.name) for engine in engines for path in sets
    }
    for one in found:  # each is what it is alone
        path = next(p for p in sets if p.name == one.dataset)
        engine = next(p for p in engines if p.name == one.engine)
        assert evaluate(path, engines=[engine])[0].metrics == one.metrics
    aucs = [e.metrics.auc or 0 for e in rank(found)]
    assert aucs == sorted(aucs, reverse=True)
    assert len(set(aucs)) > 1
    means = rank_engines(found)
    assert [m.auc for m in means] == sorted((m.auc for m in means), reverse=True)
    assert sum(m.auc for m in means) == pytest.approx(sum(aucs) / 2)
    assert rank_engines(found[:2]) == []
    answer = CliRunner().invoke(
        main, ["evaluate", *map(str, sets), "-e", str(engines[0]), "-e", str(engines[1])]
    )
    assert answer.exit_code == 0, answer.output
    assert answer.output.index("mean AUC") < answer.output.index("precision")


@pytest.mark.parametrize("by", ["engine", "dataset"])
def test_a_ranking_fits_a_terminal(
    make_set: MakeSet,
    tmp_path: Path,
    tiny_engine: TinyEngine,
    by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Long names on 80 columns: what all rows share stands above them, nothing is folded."""
    from rich.console import Console

    from benchmarks.evaluation import printing

    (tmp_path / "e").mkdir()
    long = TinyEngine.write(tmp_path / "e", name="a-rather-long-engine.onnx")
    if by == "engine":
        found = evaluate(make_set("the-validation-set"), engines=[tiny_engine.path, long.path])
        names, shared = ["tiny.onnx", "a-rather-long-engine.onnx"], "the-validation-set"
    else:
        sets = [make_set("the-validation-set"), make_set("another-set")]
        found = evaluate(*sets, engines=[long.path])
        names, shared = [path.name for path in sets], "a-rather-long-engine.onnx"
    monkeypatch.setattr(printing, "_out", Console(width=80, record=True))
    printing.print_evaluations(found, [])
    lines = printing._out.export_text().splitlines()
    assert shared in lines[0]
    assert by in lines[1]
    assert all("EER" in lines[1] and len(line) <= 80 for line in lines[:4])
    for name in names:
        assert any(name in line and line.split()[0] in "12" for line in lines[2:4])


def test_the_log_odds_are_told_where_they_rank_otherwise() -> None:
    from benchmarks.evaluation.printing import _by_logit

    fake = np.asarray([True, False])
    assert _by_logit(measure(fake, array(0.9, 0.1), array(2, -2))) == ""
    assert "1.0000 by log-odds" in _by_logit(measure(fake, array(1, 1), array(30, 20)))


def test_one_class_ranks_last(make_set: MakeSet, tiny_engine: TinyEngine) -> None:
    folder = make_set("both")
    only = make_set("only")
    for path in (only / "real").iterdir():
        path.unlink()
    found = evaluate(only, folder, engines=[tiny_engine.path])
    assert [e.dataset for e in rank(found)] == ["both", "only"]
    answer = CliRunner().invoke(main, ["evaluate", str(only), "-e", str(tiny_engine.path)])
    assert answer.exit_code == 0, answer.output
    assert "only one class is there" in answer.output


def test_two_of_one_name_stay_apart(make_set: MakeSet, tiny_engine: TinyEngine) -> None:
    found = evaluate(make_set("x/set"), make_set("yy/set"), engines=[tiny_engine.path])
    assert [e.dataset for e in found] == ["set (1)", "set (2)"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to evaluate on"),
        (["here", "--fake-dir", "x"], "dataset of their own"),
        (["a", "b", "--csv", "x.csv"], "for one dataset"),
        (["--real-dir", "nowhere"], "is not a folder"),
    ],
)
def test_options_that_contradict(options: list[str], message: str, tiny_engine: TinyEngine) -> None:
    answer = CliRunner().invoke(main, ["evaluate", *options, "-e", str(tiny_engine.path)])
    assert answer.exit_code == 2
    assert message in answer.output


@pytest.mark.weights
def test_videos_of_afchars_set_are_130() -> None:
    assert SHARED is not None
    images = open_dataset(SHARED / "data" / "afchar-validation.tar").images
    assert (sum(i.fake for i in images), len(images)) == (2845, 7104)
    videos = group_videos(images)
    assert videos is not None
    assert len(set(videos)) == 130
