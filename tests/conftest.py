"""What all tests share: where the published files are, a tiny engine, and two markers.

`weights` marks tests of the published weights, images and goldens. They lie in a folder
``shared`` beside the checkout, and a machine without it skips those tests and says why.
In continuous integration (``CI=true``) with that folder there, a skipped one fails the
run: nobody would notice that the main job is no longer tested. `gpu` marks tests that
need an NVIDIA GPU.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from published import NO_SHARED, SHARED
from tiny_engine import TinyEngine, random_frames

if TYPE_CHECKING:
    from labelled_sets import MakeSet

#: Fixtures that make a test one of the published files, marked or not.
_OF_SHARED = {"afchar_images", "weights_dir"}

_skipped_weights = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def afchar_images() -> list[Path]:
    """The four test images of Afchar's repository: two forged faces, then two real ones."""
    assert SHARED is not None  # the marker has skipped the test otherwise
    folder = SHARED / "images" / "afchar"
    names = ["df/df00204.jpg", "df/df01254.jpg", "real/real00240.jpg", "real/real00772.jpg"]
    return [folder / name for name in names]


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The folder of published weights files."""
    assert SHARED is not None
    return SHARED / "weights"


@pytest.fixture(scope="session")
def tiny_engine(tmp_path_factory: pytest.TempPathFactory) -> TinyEngine:
    """A small engine that keeps the engine contract, its sidecar beside it. Do not change it."""
    return TinyEngine.write(tmp_path_factory.mktemp("engine"))


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


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_skipped_weights] = []
    config.pluginmanager.register(_SkippedWeights(config), "skipped-weights")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_gpu: str | None = None
    for item in items:
        if _OF_SHARED & set(getattr(item, "fixturenames", ())):
            item.add_marker("weights")
        if SHARED is None and item.get_closest_marker("weights"):
            item.add_marker(pytest.mark.skip(reason=NO_SHARED))
        if item.get_closest_marker("gpu"):
            if no_gpu is None:
                from runtime.cuda_driver import query_driver

                no_gpu = query_driver().reason
            if no_gpu:
                item.add_marker(pytest.mark.skip(reason=no_gpu))


class _SkippedWeights:
    """Fails a run of continuous integration that skipped what it could have tested."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and "weights" in report.keywords:
            self._config.stash[_skipped_weights].append(report.nodeid)

    @property
    def _failed(self) -> bool:
        in_ci = os.environ.get("CI", "").lower() == "true"
        return in_ci and SHARED is not None and bool(self._config.stash[_skipped_weights])

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._failed:
            return
        terminalreporter.section("skipped although their files are there", red=True, bold=True)
        for name in self._config.stash[_skipped_weights]:
            terminalreporter.line(name, red=True)
