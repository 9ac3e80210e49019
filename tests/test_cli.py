"""The command: what it prints, and its exit codes 0, 1 and 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from export.pipeline import ExportRequest
from runtime.engine_info import sidecar_path
from runtime.errors import ZooError
from zoo import printing
from zoo.catalog import CARDS, find_card
from zoo.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    """rich reads the width when a line is printed; the runner swaps the streams."""
    from rich.console import Console

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    class Late(Console):
        @property
        def file(self):
            return sys.stderr if self.stderr else sys.stdout

        @file.setter
        def file(self, _):
            pass

    monkeypatch.setattr(printing, "out", Late(highlight=False, width=80))
    monkeypatch.setattr(printing, "err", Late(stderr=True, highlight=False, width=80))


def zoo(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


def test_help_names_every_command():
    result = zoo("--help")
    assert result.exit_code == 0
    for command in (
        "list",
        "show",
        "export",
        "verify",
        "detect",
        "weights",
        "doctor",
        "completion",
    ):
        assert f"\n  {command} " in result.output


@pytest.mark.parametrize("args", [["list"], ["show", "meso4"], ["doctor"], ["weights", "list"]])
def test_tables_fit_eighty_columns_and_json_parses(args):
    result = zoo(*args)
    assert result.exit_code == 0, result.output
    assert result.output
    assert max(map(len, result.output.splitlines())) <= 80
    assert json.loads(zoo(*args, "--json").output)


def test_list_names_every_network_and_its_weights():
    output = zoo("list").output
    for card in CARDS:
        assert card.name in output
    listed = json.loads(zoo("list", "--json").output)
    assert [c["name"] for c in listed] == [c.name for c in CARDS]


def test_a_misspelt_network_gets_a_suggestion_and_exit_2():
    result = zoo("export", "meso5")
    assert result.exit_code == 2
    assert "there is no network 'meso5'" in result.stderr
    assert "did you mean meso4" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mesonet", "meso4 or mesoinception4"),
        ("MesoNet", "meso4 or mesoinception4"),
        ("Meso-4", "meso4"),
        ("mesoinception", "mesoinception4"),
        ("resnet", "resnet18"),
        ("ResNet50", "resnet18"),
        ("facenet", "inception_resnet_v1"),
        ("vgg", "vgg16"),
        ("inceptionv3", "inception_v3"),
    ],
)
def test_what_was_meant_comes_before_what_is_spelt_alike(name, meant):
    with pytest.raises(ZooError) as error:
        find_card(name)
    assert error.value.why == f"did you mean {meant}?"


def test_a_name_like_none_gets_all_names():
    with pytest.raises(ZooError, match="the zoo has meso4"):
        find_card("x")


@pytest.mark.parametrize(
    ("engine", "label"),
    [
        ("meso4.onnx", "onnx"),
        ("meso4-MesoInception-f2f.best_2.fp16.onnx", "fp16.onnx"),
        ("a.b.c.plan by tensorrt", "plan by tensorrt"),
        ("best.2.fp16.onnx rounded", "fp16.onnx rounded"),
        ("v1.onnx.plan", "plan"),
        ("the original", "the original"),
    ],
)
def test_dots_in_a_name_break_no_label(engine, label):
    assert printing._short(engine) == label


def test_dots_in_a_weights_file_s_name_reach_no_ending(tmp_path):
    request = ExportRequest(
        find_card("meso4"), str(tmp_path / "best.2.fp16.h5"), fp16=True, builder="none"
    )
    onnx, half, sidecar = request.files
    assert (onnx, half) == ("meso4-best.2.onnx", "meso4-best.2.fp16.onnx")
    assert {sidecar_path(Path(name)).name for name in (onnx, half)} == {sidecar}


def test_a_bug_keeps_its_traceback(monkeypatch):
    from zoo import doctor

    def bug():
        raise RuntimeError("a bug")

    monkeypatch.setattr(doctor, "examine", bug)
    assert isinstance(zoo("doctor").exception, RuntimeError)


def test_dry_run_prints_steps_and_files_and_does_nothing(tmp_path):
    result = zoo("export", "meso4", "--fp16", "--out", tmp_path, "--dry-run")
    assert result.exit_code == 0
    assert "score with the original" in result.output
    for word in ("half precision", "build the plan (auto, batch 1:32:256)", "certificate"):
        assert word in result.output
    for name in ("meso4.onnx", "meso4.fp16.onnx", "meso4.plan", "meso4.json"):
        assert name in result.output.replace("\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_profile_is_named(tmp_path):
    result = zoo("export", "meso4", "--batch", "8:4:2", "--out", tmp_path)
    assert result.exit_code == 2
    assert "8:4:2" in result.stderr


def test_export_verify_and_detect_in_one_walk(tmp_path):
    from PIL import Image

    exported = zoo(
        "export", "meso4", "--weights", "random", "--fp16", "--builder", "none", "--out", tmp_path
    )
    assert exported.exit_code == 0, exported.output
    assert "UNTRAINED" in exported.output
    assert "passed" in exported.output
    engine = tmp_path / "meso4-random.fp16.onnx"

    verified = zoo("verify", engine, "--json")
    assert verified.exit_code == 0, verified.output
    assert json.loads(verified.stdout)["passed"] is True

    Image.new("RGB", (90, 70), (200, 10, 10)).save(tmp_path / "face one.png")
    judged = zoo("detect", tmp_path / "face one.png", "--engine", engine, "--faces", "none")
    assert judged.exit_code == 0, judged.output
    assert "untrained" in judged.stderr
    assert "face one.png" in judged.output.replace("\n", "")


def test_a_failed_certificate_exits_1(tmp_path, monkeypatch):
    from dataclasses import replace

    from export import certificate

    strict = replace(certificate.FP32_BAR, max_p=-1.0)
    monkeypatch.setitem(certificate.BARS, "fp32", strict)
    result = zoo("export", "meso4", "--weights", "random", "--builder", "none", "--out", tmp_path)
    assert result.exit_code == 1
    assert "FAILED" in result.output
    assert "nothing was written" in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_is_not_there_exits_2(tmp_path):
    for command in (
        ["verify", tmp_path / "no.onnx"],
        ["detect", "x.jpg", "-e", tmp_path / "no.onnx"],
    ):
        result = zoo(*command)
        assert result.exit_code == 2
        assert "does not exist" in result.stderr.replace("\n", " ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(shell):
    result = zoo("completion", shell)
    assert result.exit_code == 0
    assert "_ZOO_COMPLETE" in result.output


def test_damaged_weights_make_check_exit_1(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_WEIGHTS", str(tmp_path))
    (tmp_path / "Meso4_DF.h5").write_bytes(b"cut")
    result = zoo("weights", "check")
    assert result.exit_code == 1
    assert "damaged" in result.output


def test_the_installed_command_works_and_costs_no_framework():
    code = (
        "import sys; from zoo.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow','torch','onnx','onnxruntime','tensorrt_rtx','PIL','rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
