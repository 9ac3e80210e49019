"""Files and tables made of measured figures, and the comparison with an earlier run."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure as Figure_
from matplotlib.text import Text
from PIL import Image
from rich.console import Console

from benchmarks import report
from benchmarks.baseline import check_comparable, compare_with_baseline, read_baseline
from benchmarks.ceiling import Ceiling
from benchmarks.command import write_result
from benchmarks.html import draw_page
from benchmarks.peers import ENGINE, PEERS, parse_peers
from benchmarks.phases import Phases
from benchmarks.plot import draw_plot
from benchmarks.result import BenchResult, EngineRecord, Figure, PeerRecord
from benchmarks.rounds import Step
from benchmarks.stats import ratio_of_rounds, summarise
from runtime.errors import ZooError
from runtime.terminal import make_console

#: Okabe and Ito, "Color Universal Design", 2008, and a grey.
OKABE_ITO = {
    *("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
    "#999999",
}
#: As long as those of real peers.
SCOPE = "normalised float32 frames in host memory to scores in host memory, all"
ENVIRONMENT = {
    "time": "2026-01-02T03:04:05+00:00",
    "cpu": "A Processor <of ours>",
    "cores": 2,
    "gpus": [],
    "packages": {"numpy": "2.4.6"},
    "commit": "abc",
}


def figure(peer: str, batch: int, seconds: float) -> Figure:
    calls = [seconds, 1.1 * seconds, 1.2 * seconds]
    ratio = None if peer == ENGINE else ratio_of_rounds([[0.01]] * 3, [[s] for s in calls])
    return Figure(
        peer, batch, 3 * batch / sum(calls), summarise(calls), 3, sum(calls), True, 120_000_000,
        operations_per_s=1e9 if peer == ENGINE else None,
        bytes_per_s=2e8 if peer == ENGINE else None,
        bound="arithmetic: 80% of a matrix product's rate" if peer == ENGINE else "",
        times_as_fast=ratio,
    )  # fmt: skip


@pytest.fixture
def result() -> BenchResult:
    """An engine and its slowest peers by name, at three batch sizes."""
    names = [ENGINE, "torch-channels-last", "torch-compiled-fp16", "onnxruntime"]
    return BenchResult(
        EngineRecord("a.onnx", "f" * 64, "onnx", "fp32", "meso4", "Meso4", "df", True, (256, 256)),
        ENVIRONMENT,
        {"from": "host", "duration_s": 5.0, "rounds": 5, "repetitions": 25, "threads": None},
        tuple(PeerRecord(n, f"title of {n}", f"scope of {n}: {SCOPE}", 1.5) for n in names),
        {"openvino": "openvino <is> not installed"},
        tuple(
            figure(name, batch, 0.01 * batch * (1 + index))
            for batch in (1, 8, 32)
            for index, name in enumerate(names)
        ),
        Ceiling(1e10, 1e11, "a copy", "a product"),
        None,
        ("times vary",),
        "throughput stopped growing before batch 32",
    )


def test_json_holds_everything(result: BenchResult) -> None:
    data = json.loads(result.to_json())
    assert data["environment"] == ENVIRONMENT
    assert data["engine"]["sha256"] == "f" * 64
    assert len(data["figures"]) == 12
    assert data["figures"][0]["latency"]["p50"] == pytest.approx(0.011)
    assert data["missing"] == {"openvino": "openvino <is> not installed"}


def test_csv_has_a_row_for_each_figure(result: BenchResult) -> None:
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [(r["peer"], int(r["batch"])) for r in rows] == [
        (f.peer, f.batch) for f in result.figures
    ]
    assert float(rows[0]["p50_ms"]) == pytest.approx(11.0)
    assert float(rows[1]["engine_times_as_fast"]) == pytest.approx(2.2)
    assert rows[1]["scope"] == f"scope of torch-channels-last: {SCOPE}"
    assert rows[0]["host_to_device_ms"] == ""


def test_csv_holds_the_environment(result: BenchResult) -> None:
    gpus = [{"name": "GPU A", "driver": "580.65"}, {"name": "GPU B", "driver": "580.65"}]
    here = {**ENVIRONMENT, "gpus": gpus, "packages": {"numpy": "2.4.6", "torch": "2.15.0"}}
    formula = replace(result.engine, file="=1+1.onnx")
    text = replace(result, environment=here, engine=formula).to_csv()
    row = next(csv.DictReader(io.StringIO(text)))
    assert row["engine"] == "'=1+1.onnx"
    assert row["cpu"] == "A Processor <of ours>"
    assert (row["gpu"], row["driver"]) == ("GPU A; GPU B", "580.65")
    assert row["packages"] == "numpy 2.4.6; torch 2.15.0"
    assert (row["sha256"], row["commit"], row["cores"]) == ("f" * 64, "abc", "2")
    assert (row["weights"], row["precision"], row["from"]) == ("df", "fp32", "host")


def test_the_plot_is_a_picture(result: BenchResult) -> None:
    with Image.open(io.BytesIO(draw_plot(result))) as picture:
        assert picture.size == (1920, 1080)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
    # The engine's and the first peer's.
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)} <= colours


def test_the_plot_says_what_it_shows(result: BenchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure_] = []
    monkeypatch.setattr("matplotlib.pyplot.close", drawn.append)
    first, *others = result.peers
    same = "the network alone: normalised float32 frames in host memory -> scores in host memory"
    same += ", more than fits into a line of the picture"
    draw_plot(replace(result, peers=(first, *(replace(p, scope=same) for p in others))))
    monkeypatch.undo()
    (picture,) = drawn
    throughput, latency = picture.axes
    assert "higher is better" in throughput.get_title()
    assert "lower is better" in latency.get_title()
    assert (throughput.get_ylabel(), latency.get_ylabel()) == ("images/s", "milliseconds a call")
    for axes in picture.axes:
        assert axes.get_xlabel() == "batch size (images a call)"
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8", "32"]
        looks = [(line.get_color(), line.get_marker()) for line in axes.lines]
        assert len({colour for colour, _ in looks}) == len({mark for _, mark in looks}) == 4
        assert {colour for colour, _ in looks} <= OKABE_ITO
    for line, peer in zip(throughput.lines, result.peers, strict=True):
        figures = result.of(peer.name)
        assert list(line.get_ydata()) == [f.images_per_s for f in figures]
    for line, peer in zip(latency.lines, result.peers, strict=True):
        assert list(line.get_ydata()) == [1000 * f.latency.p50 for f in result.of(peer.name)]
    names = [text.get_text() for text in picture.legends[0].get_texts()]
    assert names == [peer.title for peer in result.peers]
    small_print = " ".join(text.get_text() for text in picture.texts)
    for word in (
        "Meso4 FP32",
        "A Processor",
        "frames from host",
        "detector: scope of det",
        "the network alone",
    ):
        assert word in small_print
    everything = [text for text in picture.findobj(Text) if text.get_text()]
    # On a slide 13 inches wide; the picture is as wide.
    assert min(text.get_fontsize() for text in everything) >= 10
    # Nothing is cut off at the edges.
    picture.draw_without_rendering()
    wide, high = picture.canvas.get_width_height()
    for text in [*picture.texts, throughput.title, latency.title]:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= wide
        assert 0 <= box.y0 < box.y1 <= high


def test_a_single_figure_can_be_drawn(result: BenchResult) -> None:
    assert draw_plot(replace(result, figures=result.figures[:1]))


def test_the_page_needs_no_network(result: BenchResult) -> None:
    page = draw_page(result, b"PNG")
    assert 'src="data:image/png;base64,UE5H"' in page
    for outside in ("http:", "https:", "//cdn", "<script", "<link"):
        assert outside not in page
    # What comes from outside is text, not markup.
    assert "A Processor &lt;of ours&gt;" in page
    assert "openvino &lt;is&gt; not installed" in page
    for peer in result.peers:
        assert peer.scope in page


def test_the_table_fits_into_80_columns(
    result: BenchResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = Phases(1e-4, 2e-4, 3e-4, 4e-5)
    first = replace(result.figures[0], phases=phases, device_bytes=300_000_000)
    many = replace(result.figures[4], images_per_s=123_456.0)
    figures = (first, *result.figures[1:4], many, *result.figures[5:])
    monkeypatch.setattr(report, "out", make_console(width=80))
    report.print_result(replace(result, figures=figures, interrupted=True), False)
    text = capsys.readouterr().out
    table = text[text.index("batch") : text.index("timed")]
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "…" not in text  # nothing was cut off
    rest = text[text.index("timed") :]
    assert max(len(line) for line in rest.splitlines()) <= 80
    for word in ("bound by", "copy 10.0 GB/s", "matrix product 100.0 Gop/s", "achieved 1.0 Gop/s"):
        assert word in text
    assert "batch 8: arithmetic: 80% of a matrix product's rate" in text
    assert "cv: standard deviation / mean; GPU MB: device memory" in " ".join(text.split())
    for word in ("torch-compiled-fp16", "123,456", "p95", "host->device", "0.200", "2.20"):
        assert word.removesuffix("0") in text
    for word in ("missing openvino", "stopped throughput", "broken off", "scope of onnxruntime"):
        assert word in text
    assert f"scope of torch-compiled-fp16: {SCOPE}" in " ".join(text.split())


def test_progress_is_live(result: BenchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(report, "err", console)
    with report.live_progress(quiet=False) as progress:
        progress(Step("starting keras"))
        progress(Step("keras, round 2/5", 8, 5, 20))
        console.print("")  # draws what is live
        shown = screen.getvalue()
        assert "batch 8: keras, round 2/5" in shown
        assert "25%" in shown
        assert "torch-channels-last" not in shown
        progress(Step("done", 8, 20, 20, result.figures[:4]))
        # Figures are there when their batch size is done, and not only at the end.
        until = time.monotonic() + 30
        while "torch-channels-last" not in screen.getvalue() and time.monotonic() < until:
            time.sleep(0.02)
        assert "torch-channels-last" in screen.getvalue()
    screen.truncate(0)
    with report.live_progress(quiet=True) as progress:
        progress(Step("starting keras"))
    assert not screen.getvalue()


def test_files_are_written_whole(result: BenchResult, tmp_path: Path) -> None:
    files = write_result(result, tmp_path / "new", "meso4.bench")
    assert [f.name for f in files] == [
        f"meso4.bench.{kind}" for kind in ("json", "csv", "png", "html")
    ]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(f.name for f in files)


def _baseline(result: BenchResult, folder: Path, faster: float) -> Path:
    data = json.loads(result.to_json())
    for entry in data["figures"]:
        entry["images_per_s"] *= faster
    path = folder / "old.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(("faster", "passed"), [(1.0, True), (1.1, True), (1.2, False)])
def test_throughput_may_not_fall_below_the_baseline(
    result: BenchResult, tmp_path: Path, faster: float, passed: bool
) -> None:
    old = read_baseline(_baseline(result, tmp_path, faster), 0.9)
    comparison = compare_with_baseline(result, old, 0.9)
    assert comparison.passed is passed
    assert [c.batch for c in comparison.changes] == [1, 8, 32]
    assert comparison.changes[0].ratio == pytest.approx(1 / faster)
    assert comparison.differences == ()


def test_one_batch_size_that_fell_is_enough(result: BenchResult, tmp_path: Path) -> None:
    old = read_baseline(_baseline(result, tmp_path, 1.0), 0.9)
    slower = replace(result.figures[4], images_per_s=0.8 * result.figures[4].images_per_s)
    now = replace(result, figures=(*result.figures[:4], slower, *result.figures[5:]))
    assert not compare_with_baseline(now, old, 0.9).passed
    assert compare_with_baseline(now, old, 0.7).passed


def test_another_machine_is_told(result: BenchResult, tmp_path: Path) -> None:
    old = read_baseline(_baseline(result, tmp_path, 1.0), None)
    old["environment"]["cpu"] = "another"
    old["figures"] = old["figures"][:1]
    comparison = compare_with_baseline(result, old, None)
    assert comparison.differences == ("CPU was another, is A Processor <of ours>",)
    assert [c.batch for c in comparison.changes] == [1]
    old["figures"][0]["batch"] = 5
    with pytest.raises(ZooError, match="none of these batch sizes"):
        compare_with_baseline(result, old, None)


@pytest.mark.parametrize(
    ("where", "name", "value", "said"),
    [
        ("engine", "precision", "fp16", "precision was fp16, is fp32"),
        ("engine", "kind", "plan", "kind of engine was plan, is onnx"),
        ("engine", "weights", "f2f", "weights was f2f, is df"),
        ("environment", "cores", 64, "cores was 64, is 2"),
        ("environment", "gpus", [{"name": "A100"}], "GPU was A100, is not given"),
        ("settings", "from", "device", "frames from was device, is host"),
        ("settings", "threads", 1, "threads was 1, is not given"),
    ],
)
def test_what_else_differs_is_told(
    result: BenchResult, tmp_path: Path, where: str, name: str, value: object, said: str
) -> None:
    old = read_baseline(_baseline(result, tmp_path, 1.0), None)
    old[where][name] = value
    assert compare_with_baseline(result, old, None).differences == (said,)


def test_a_baseline_of_something_else_is_refused_at_once(
    result: BenchResult, tmp_path: Path
) -> None:
    old = read_baseline(_baseline(result, tmp_path, 1.0), None)
    check_comparable(result.engine, None, old)
    check_comparable(result.engine, (4, 8), old)
    with pytest.raises(ZooError, match=r"none of these batch sizes\n.*1, 8, 32"):
        check_comparable(result.engine, (4, 16), old)
    old["engine"]["network"] = "vgg16"
    with pytest.raises(ZooError, match=r"measured vgg16, a\.onnx is meso4"):
        check_comparable(result.engine, None, old)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "it has no figures"),
        ('{"format": 1, "engine": {}, "figures": []}', "no figures of an engine"),
        ('{"format": 1, "engine": {}, "figures": [{}]}', "lack a field"),
        ('{"format": 99, "engine": {}, "figures": []}', "another version"),
        (None, "does not exist"),
    ],
)
def test_a_baseline_that_is_none_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ZooError, match=said):
        read_baseline(path, 0.9)


def test_a_share_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="--fail-below 0"):
        read_baseline(tmp_path / "old.json", 0.0)


def test_peers_are_read() -> None:
    assert parse_peers("onnxruntime, keras,keras") == ("onnxruntime", "keras")
    assert parse_peers("all") == tuple(PEERS)
    with pytest.raises(ZooError, match="no peer 'kerass'"):
        parse_peers("kerass")


def test_texts_from_outside_are_shown_as_text(
    result: BenchResult, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of a file of results may hold what a terminal obeys."""
    hostile = "\x1b[2J[blink]x\r"
    engine = replace(result.engine, title=hostile, file=hostile, weights=hostile)
    peers = [replace(peer, title=hostile, scope=hostile) for peer in result.peers]
    found = replace(
        result, engine=engine, peers=peers, missing={hostile: hostile}, warnings=[hostile]
    )
    assert draw_plot(replace(found, engine=replace(engine, title=r"a$\frac$"))).startswith(
        b"\x89PNG"
    )
    assert "<s>" not in draw_page(replace(found, engine=replace(engine, title="<s>")), None)
    report.print_result(found, as_json=False)
    shown = capsys.readouterr().out
    assert shown.count("\\x1b[2J[blink]x\\r") >= 6
    assert all(c.isprintable() for c in shown.replace("\n", ""))
