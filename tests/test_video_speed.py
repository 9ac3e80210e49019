"""The measurement on clips: its bars, and what was committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_engine import TinyEngine

pytest.importorskip("psutil", reason="psutil is not installed (extra: bench)")
pytest.importorskip("av", reason="PyAV is not installed (extra 'media')")

from video_files import write_video

from benchmarks.video_speed import RESULTS, check, describe, judge, measure


@pytest.fixture
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "video.json").read_text("utf-8"))
    return found


def test_the_committed_results_meet_every_bar(committed: dict[str, Any]) -> None:
    assert set(committed["engines"]) == {"meso4", "mesoinception4"}
    assert check(committed) == []
    assert (committed["clip"]["width"], committed["clip"]["height"]) == (1920, 1080)
    assert (committed["every"], committed["machine"]["cores"]) == (10, 2)
    for found in committed["engines"].values():
        speed = found["speed"]
        assert set(speed["stage_seconds"]) == {"decode", "faces", "score"}
        seconds = committed["clip"]["seconds"]
        assert speed["times_real_time"] == pytest.approx(
            seconds / speed["command_seconds"], abs=0.01
        )


def test_each_bar_can_be_missed(committed: dict[str, Any]) -> None:
    found = committed["engines"]["meso4"]
    found["speed"]["times_real_time"] = 0.99
    assert check(committed) == ["meso4: 0.99 times real time"]
    found["speed"]["times_real_time"] = 1.0
    found["pair"]["pair_fake.mp4"]["label"] = "real"
    found["pair"]["pair_real.mp4"]["label"] = None
    assert check(committed) == [
        "meso4: pair_fake.mp4 is called real",
        "meso4: pair_real.mp4 is called None",
    ]


def test_an_uncertain_verdict_misses_no_bar_while_its_mean_is_right(
    committed: dict[str, Any],
) -> None:
    fake = committed["engines"]["meso4"]["pair"]["pair_fake.mp4"]
    fake["label"] = "uncertain"
    assert check(committed) == []
    fake["mean"] = 0.49
    assert check(committed) == ["meso4: pair_fake.mp4 is called uncertain"]


@pytest.mark.weights
@pytest.mark.slow
def test_the_command_itself_is_measured(
    tmp_path: Path, weights_dir: Path, tiny_engine: TinyEngine
) -> None:
    clip = write_video(tmp_path / "c.mp4", frames=50)
    found = measure(tiny_engine.path, clip, 1)
    assert (found["rounds"], found["frames"], found["faces"]) == (1, 5, 0)
    assert found["command_seconds"] > 0
    assert found["times_real_time"] == pytest.approx(2.0 / found["command_seconds"], abs=0.006)
    assert min(found["stage_seconds"].values()) >= 0
    assert judge(tiny_engine.path, clip)["label"] is None
    assert describe(clip)["frames_per_second"] == pytest.approx(25)
    real = weights_dir.parent / "videos" / "pair_real.mp4"
    assert judge(tiny_engine.path, real)["faces"] == 30
