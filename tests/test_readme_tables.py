"""The README's tables are those that its results make."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.bars import Bar, network_bars, ratio_bar
from benchmarks.readme_tables import README, RESULTS, TABLES, fill_tables, make_table
from runtime.errors import ZooError

ENVIRONMENT = {
    "time": "2026-01-02T03:04:05+00:00",
    "cpu": "A Processor",
    "cores": 2,
    "gpus": [],
    "packages": {"onnxruntime-gpu": "1.31.1", "torch": "2.15.0"},
}


def test_the_readme_is_what_the_results_say() -> None:
    text = README.read_text("utf-8")
    filled, _ = fill_tables(text, RESULTS)
    assert filled == text, "run: python -m benchmarks.readme_tables"


def test_every_table_of_speed_names_the_command_that_repeats_it() -> None:
    section = README.read_text("utf-8").partition("\n## Speed\n")[2].partition("\n## ")[0]
    found = re.findall(r"<!-- table:([\w-]+) -->\n(.+?)<!-- /table -->", section, re.DOTALL)
    assert len(found) >= 4
    for name, table in found:
        command = re.search(r"Repeat with `([^`]+)`", table)
        assert command, name
        words = command[1].split()
        if words[:2] == ["python", "-m"]:
            assert find_spec(words[2]), command[1]
        else:
            assert words == ["zoo", "bench", "--all"], command[1]


def _figure(peer: str, batch: int, ratio: float | None) -> dict[str, object]:
    spread = {"median": ratio, "low": 0.9 * (ratio or 0), "high": 1.1 * (ratio or 0)}
    return {
        "peer": peer,
        "batch": batch,
        "images_per_s": 123.4,
        "latency": {"p50": 0.002, "p99": 0.003},
        "times_as_fast": spread if ratio else None,
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    bench = {
        "environment": ENVIRONMENT,
        "settings": {"from": "host"},
        "engine": {"network": "meso4", "title": "Meso4", "precision": "fp32"},
        "figures": [
            _figure("detector", 1, None),
            _figure("keras", 1, 3.0),
            _figure("keras-compiled", 1, 1.25),
            _figure("onnxruntime", 1, 1.5),
            _figure("openvino", 1, 0.5),
        ],
    }
    (tmp_path / "meso4.cpu.json").write_text(json.dumps(bench))
    bar = Bar("zoo --help", 300.0, 412.0, "ms", spread="400 to 420").to_dict()
    for name in ("speed", "bars"):
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"environment": ENVIRONMENT, "bars": [bar]})
        )
    cost = {
        "network": "vgg16",
        "title": "VGG16",
        "seconds": 31.2,
        "peak_bytes": 2_500_000_000,
        "bytes": {".onnx": 537_000_000, ".fp16.onnx": 268_000_000},
    }
    (tmp_path / "export_cost.json").write_text(
        json.dumps({"environment": ENVIRONMENT, "networks": [cost]})
    )
    return tmp_path


def test_tables_go_between_their_markers(results: Path) -> None:
    text = "a\n<!-- table:performance -->\nold\n<!-- /table -->\nb\n<!-- table:speed -->\n"
    text += "<!-- /table -->\nc\n<!-- table:gpu -->\nold\n<!-- /table -->\n"
    filled, empty = fill_tables(text, results)
    assert empty == ["gpu"]
    assert "old" not in filled
    assert "| Meso4 | 1 | 123 | 2.00 | 3.00 | 3.00 (2.70 to 3.30) | 1.25" in filled
    assert "| zoo --help | ≤ 300 ms | 412 ms (400 to 420) | **no** |" in filled
    assert filled.startswith("a\n<!-- table:performance -->\n| network")
    assert "zoo bench --all" in filled
    # Filling again changes nothing.
    assert fill_tables(filled, results)[0] == filled


def test_networks_measured_elsewhere_are_told_apart(results: Path) -> None:
    one = json.loads((results / "meso4.cpu.json").read_text())
    one["engine"] = {"network": "vgg16", "title": "VGG16", "precision": "fp32"}
    (results / "vgg16.cpu.json").write_text(json.dumps(one))
    assert "\n\nA Processor, 2 cores" in str(make_table("performance", results))
    one["environment"] = {**ENVIRONMENT, "cpu": "Another"}
    (results / "vgg16.cpu.json").write_text(json.dumps(one))
    table = str(make_table("performance", results))
    assert "Meso4: A Processor, 2 cores" in table
    assert "VGG16: Another, 2 cores" in table


def test_every_table_can_be_made_of_its_results(results: Path) -> None:
    made = {name: make_table(name, results) for name in TABLES}
    assert made["validation"] is None
    assert made["gpu"] is None
    assert "| VGG16 | 31.2 | 2,500 | 537.0 | 268.0 |" in str(made["export-cost"])
    assert "`meso4`" in str(made["networks"])
    assert "A Processor, 2 cores; ONNX Runtime 1.31.1, torch 2.15.0; 2026-01-02" in str(
        made["bars"]
    )


def test_the_table_of_networks_tells_the_certificate_of_each(results: Path) -> None:
    def joint(reference: str, engine: str, max_p: float) -> dict[str, object]:
        return {"reference": reference, "engine": engine, "max_p": max_p, "images": 400}

    certificate = {
        "passed": True,
        "comparisons": [
            joint("vgg16 in its own framework", "vgg16.onnx", 4.36e-6),
            joint("vgg16 in its own framework", "vgg16.fp16.onnx", 7e-3),
            joint("vgg16.onnx", "vgg16.fp16.onnx", 0.5),
            joint("vgg16 in its own framework", "vgg16.fp16.onnx rounded", 8.04e-3),
            joint("vgg16 in its own framework", "vgg16.plan", 9.9e-3),
            # As it is written since: the kind is a field, whatever the names are.
            {**joint("a file", "a plan", 9.8e-3), "kind": "plan", "to_original": True},
        ],
    }
    one = {"network": "vgg16", "weights": "random", "certificate": certificate}
    found = {"environment": ENVIRONMENT, "command": "measure it", "networks": [one]}
    path = results / "certificates.json"
    path.write_text(json.dumps(found))
    table = str(make_table("networks", results))
    assert "| `random` | 400 | 4.4e-06 | 8.0e-03 |" in table
    assert "`measure it`" in table
    certificate["passed"] = False
    path.write_text(json.dumps(found))
    assert "| `random` **failed** | 400 |" in str(make_table("networks", results))


def test_a_clips_table_tells_speed_stages_and_verdicts(tmp_path: Path) -> None:
    said = {"label": "fake", "faces": 30, "mean": 0.622, "median": 0.65, "share": 0.7,
            "low": 0.549, "high": 0.698}  # fmt: skip
    speed = {"command_seconds": 1.5, "fastest_seconds": 1.4, "slowest_seconds": 1.6,
             "times_real_time": 6.03, "stage_seconds": {"decode": 1.1, "faces": 0.6, "score": 0.2},
             "frames": 28, "faces": 56}  # fmt: skip
    clip = {"width": 1920, "height": 1080, "seconds": 9.2, "frames_per_second": 29.97,
            "codec": "h264"}  # fmt: skip
    pair = {"pair_fake.mp4": said, "pair_real.mp4": {**said, "low": None, "label": "real"}}
    one = {"machine": ENVIRONMENT, "every": 10, "clip": clip,
           "engines": {"meso4": {"speed": speed, "pair": pair}}}  # fmt: skip
    (tmp_path / "video.json").write_text(json.dumps(one))
    table = str(make_table("video", tmp_path))
    row = "| `meso4` | 6.03 times | 1.50 (1.40 to 1.60) | 1.10 | 0.60 | 0.20 | 28 | 56 |"
    assert row in table
    assert "| `meso4` | `pair_fake.mp4` | fake | 0.62 (0.55 to 0.70) | 0.65 | 70% | 30 |" in table
    assert "| `meso4` | `pair_real.mp4` | real | 0.62 | 0.65 | 70% | 30 |" in table
    assert "python -m benchmarks.video_speed" in table
    assert "every 10th frame" in table


@pytest.mark.parametrize("name", ["evaluation", "video"])
def test_the_readme_shows_what_must_come_out(name: str) -> None:
    text = README.read_text("utf-8")
    block = text.partition(f"<!-- table:{name} -->\n")[2].partition("<!-- /table -->")[0]
    assert block == f"{make_table(name, RESULTS)}\n"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- table:speed -->\nno end",
        "<!-- table:speed --> on the same line <!-- /table -->",
        "<!-- table:unheard-of -->\n<!-- /table -->",
    ],
)
def test_wrong_markers_are_refused(results: Path, text: str) -> None:
    with pytest.raises(ZooError):
        fill_tables(text, results)


def test_damaged_results_are_refused(results: Path) -> None:
    (results / "speed.json").write_text("{")
    with pytest.raises(ZooError, match=r"speed\.json is damaged"):
        make_table("speed", results)
    (results / "speed.json").write_text("{}")
    with pytest.raises(ZooError, match="another version"):
        make_table("speed", results)


def test_a_bar_is_held_against_the_fastest_peer(results: Path) -> None:
    result = json.loads((results / "meso4.cpu.json").read_text())
    best = ratio_bar("", result, 1, ["keras", "keras-compiled", "onnxruntime"], 1.0)
    assert (best.measured, best.against, best.met) == (1.25, "keras-compiled", True)
    assert not ratio_bar("", result, 1, ["openvino"], 1.0).met
    # Not measured is not met.
    assert not ratio_bar("", result, 8, ["keras"], 1.0).met
    bars = network_bars(result)
    assert [bar.limit for bar in bars] == [1.0, 1.0, 1.5, 1.0]
    # OpenVINO is no bar of ours: of 0.5 nothing is seen here.
    assert [bar.met for bar in bars] == [True, False, True, False]


def test_less_or_more_is_better() -> None:
    assert Bar("", 10.0, 10.0, "s").met
    assert not Bar("", 10.0, 10.1, "s").met
    assert Bar("", 1.5, 1.5, "x", "more").met
    assert not Bar("", 1.5, 1.4, "x", "more").met


def test_bars_of_a_gpu_and_of_threads_are_shown_met_or_missed(tmp_path: Path) -> None:
    bar = {"name": "a", "limit": 1.2, "unit": "x", "better": "less", "spread": "", "against": ""}
    bars = [bar | {"measured": 1.1, "met": True}, bar | {"measured": 1.3, "met": False}]
    (tmp_path / "gpu.json").write_text(json.dumps({"environment": ENVIRONMENT, "bars": bars}))
    table = make_table("gpu-bars", tmp_path)
    assert table is not None
    assert [line.split("|")[-2].strip() for line in table.splitlines()[2:4]] == ["yes", "**no**"]
    assert "`make gpu`" in table
    ratio = {"median": 0.9, "low": 0.8, "high": 0.95}
    runtime = {
        "command": "python -m benchmarks.threads",
        "environment": ENVIRONMENT,
        "threads": [
            {"title": "A", "threads": 8, "batch": 1, "ratio": ratio, "same_scores": True},
            {"title": "B", "threads": 8, "batch": 8, "ratio": ratio, "same_scores": False},
        ],
        "capi": [
            {"engine": "least.onnx", "batch": 1, "overhead": 4.0, "low": 3.0, "high": 5.0},
            {"engine": "meso4.onnx", "batch": 1, "overhead": 60.0, "low": 55.0, "high": 65.0},
        ],
    }
    (tmp_path / "runtime.json").write_text(json.dumps(runtime))
    table = make_table("runtime", tmp_path)
    assert table is not None
    assert table.count("**no**") == 3
    assert "Python's score, Meso4, batch 1 | ≤ 50 µs | 60.0 µs (55.0 to 65.0) | **no** |" in table
    assert "| B, 8 threads on one Detector, batch 8, against one thread |" in table
    assert "did **not** give the same scores" in table
