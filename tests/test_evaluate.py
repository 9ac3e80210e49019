"""`zoo evaluate`: what is broken, and what is on disk afterwards."""

from __future__ import annotations

import csv
import json
import re
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from labelled_sets import MakeSet, evaluate
from PIL import Image
from tiny_engine import TinyEngine, TinyWeights

from benchmarks.evaluation.contact_sheet import worst_mistakes
from benchmarks.evaluation.labels import DatasetError
from benchmarks.evaluation.run import EvaluationRequest, run_evaluation
from runtime.errors import EngineError, ImageError, ZooError
from zoo.cli import main

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: evaluate)")


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
