"""The engine by which the cost of a call is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.least_engine import write_least_engine
from runtime import Detector
from zoo.noise import seeded_frames


def test_it_is_an_engine_like_any_other(tmp_path: Path) -> None:
    frames = seeded_frames(5, 8, 8, 0)
    with Detector(write_least_engine(tmp_path / "least.onnx")) as detector:
        assert not detector.info.weights.trained
        logit, fake = detector.infer(frames)
    np.testing.assert_allclose(logit, frames.mean((1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(fake, 1 / (1 + np.exp(-logit)), rtol=1e-6)
