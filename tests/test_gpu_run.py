"""`make gpu` on a machine without a GPU, and what it makes of what it finds."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize(("plan", "tests", "code"), [(True, 0, 0), (False, 0, 1), (True, 5, 1)])
def test_anything_that_failed_makes_it_exit_1(monkeypatch, tmp_path, plan, tests, code):
    device = Device(0, "a GPU", "8.9", 2**34)
    monkeypatch.setattr(gpu_run, "query_driver", lambda: Driver((device,), "13.0", ""))
    monkeypatch.setattr(gpu_run, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu_run, "certify_plan", lambda card: {"passed": plan})
    monkeypatch.setattr(gpu_run, "run_tests", lambda: {"exit": tests})
    monkeypatch.setattr(gpu_run, "describe_machine", dict)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0)
    )
    assert gpu_run.main() == code
    assert json.loads((tmp_path / "gpu.json").read_text())["passed"] is (code == 0)
