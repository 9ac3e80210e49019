"""`make gpu` on a machine without a GPU, and what it makes of what it finds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_run
from runtime.cuda_driver import Device, Driver, query_driver
from zoo.catalog import find_card

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(bool(query_driver().devices), reason="here is a GPU")
def test_without_a_gpu_it_says_so_and_exits_2():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_run"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "NVIDIA" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(bool(query_driver().devices), reason="here is a GPU")
@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_make_gpu_says_so_before_it_installs_anything(tmp_path):
    """In a copy of what the first step needs: there is nothing that could be installed."""
    for name in ("Makefile", "benchmarks/__init__.py", "benchmarks/gpu_here.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "runtime", tmp_path / "runtime")
    command = ["make", "gpu", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "NVIDIA" in done.stderr
    assert "installing" not in done.stdout
    assert not (tmp_path / ".venv-test").exists()


def answer(monkeypatch, certificate: dict, code: int = 0) -> None:
    sidecar = {"certificate": certificate, "builder": {}, "kept_fp32": {}}
    text = json.dumps({"sidecar": sidecar})

    def run(command, **_):
        return subprocess.CompletedProcess(command, code, text, "")

    monkeypatch.setattr(subprocess, "run", run)


def test_a_plan_that_was_not_run_has_not_passed(monkeypatch):
    answer(monkeypatch, {"passed": True, "unchecked": {"meso4.plan": "no driver"}})
    assert gpu_run.certify_plan(find_card("meso4"))["passed"] is False
    answer(monkeypatch, {"passed": True, "unchecked": {}})
    assert gpu_run.certify_plan(find_card("meso4"))["passed"] is True
    answer(monkeypatch, {"passed": False, "unchecked": {}}, 1)
    assert gpu_run.certify_plan(find_card("meso4"))["passed"] is False


def test_bars_are_measured_on_the_plan_that_is_there(monkeypatch, tmp_path):
    """Without a GPU there is none to measure, and that is told, not passed over."""
    found = gpu_run.measure_bars(tmp_path / "meso4.plan")
    assert found["bars"] == []
    assert found["bars_error"][0] == f"{tmp_path / 'meso4.plan'} does not exist"


def test_bars_are_read_from_the_process_that_measures_them(monkeypatch):
    text = json.dumps([{"name": "a", "limit": 1.2, "measured": 1.1, "better": "less", "met": True}])
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, f"a word of a library\n{text}\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert gpu_run.measure_bars(Path("meso4.plan")) == {"bars": json.loads(text)}
    assert asked[0][1:] == ["-m", "benchmarks.gpu_bars", "meso4.plan"]


MET, MISSED = [{"met": True}, {"met": True}], [{"met": True}, {"met": False}]


@pytest.mark.parametrize(
    ("plan", "tests", "bars", "bench", "code"),
    [
        (True, 0, MET, 0, 0),
        (False, 0, MET, 0, 1),
        (True, 5, MET, 0, 1),
        (True, 0, MISSED, 0, 1),
        (True, 0, [], 0, 1),
        (True, 0, MET, 130, 1),
    ],
)
def test_anything_that_failed_makes_it_exit_1(
    monkeypatch, tmp_path, plan, tests, bars, bench, code
):
    device = Device(0, "a GPU", "8.9", 2**34)
    monkeypatch.setattr(gpu_run, "query_driver", lambda: Driver((device,), "13.0", ""))
    monkeypatch.setattr(gpu_run, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu_run, "certify_plan", lambda card: {"passed": plan})
    monkeypatch.setattr(gpu_run, "run_tests", lambda: {"exit": tests})
    monkeypatch.setattr(gpu_run, "measure_bars", lambda path: {"bars": bars})
    monkeypatch.setattr(gpu_run, "describe_machine", dict)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, bench)
    )
    assert gpu_run.main() == code
    assert json.loads((tmp_path / "gpu.json").read_text())["passed"] is (code == 0)
