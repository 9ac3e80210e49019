"""That tests of the published weights cannot be skipped unnoticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

SAMPLE = """
import pytest

@pytest.mark.weights
def test_marked():
    assert SKIP is None, pytest.skip(SKIP)

def test_by_fixture(weights_dir):
    assert weights_dir.is_dir()

@pytest.mark.weights
@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert False

def test_plain():
    pass
"""


def run(checkout: Path, *, skip: str | None, ci: str) -> tuple[int, str]:
    """Run the sample in a checkout of its own with the shared conftest."""
    tests = checkout / "tests"
    tests.mkdir(parents=True)
    for name in ("conftest.py", "published.py", "tiny_engine.py"):
        shutil.copy(TESTS / name, tests)
    (tests / "test_sample.py").write_text(f"SKIP = {skip!r}\n{SAMPLE}")
    (checkout / "pytest.ini").write_text(
        "[pytest]\naddopts = -ra --strict-markers -p no:cacheprovider\n"
        "markers =\n    gpu: a\n    weights: b\n    slow: c\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests"],
        cwd=checkout,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_skipped_with_a_reason_where_the_files_are_absent(tmp_path: Path) -> None:
    code, text = run(tmp_path / "checkout", skip=None, ci="true")
    assert code == 0, text
    assert "1 passed, 3 skipped" in text
    assert "the published weights and images are not beside the checkout" in text


@pytest.mark.parametrize(
    ("skip", "ci", "expected"),
    [
        ("for a reason", "true", 1),
        ("for a reason", "false", 0),
        ("for a reason", "", 0),
        (None, "true", 0),
    ],
)
def test_skipped_although_the_files_are_there(
    tmp_path: Path, skip: str | None, ci: str, expected: int
) -> None:
    (tmp_path / "shared" / "weights").mkdir(parents=True)
    code, text = run(tmp_path / "checkout", skip=skip, ci=ci)
    assert code == expected, text
    assert ("skipped although their files are there" in text) == bool(expected)
    named = [line for line in text.splitlines() if line.endswith("test_sample.py::test_marked")]
    assert len(named) == expected, text


@pytest.mark.gpu
def test_gpu_tests_run_only_with_a_gpu() -> None:
    from runtime.cuda_driver import query_driver

    assert query_driver().devices
