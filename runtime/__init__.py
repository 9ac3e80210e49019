"""Run a detector: batches of RGB frames in, the probability of forgery out.

    from runtime import Detector

    with Detector("engines/meso4.onnx") as detector:
        fake = detector.score(frames)          # uint8 [N, H, W, 3] -> float32 [N]
        verdicts = detector.classify(["a.jpg", "b.png"])

Importing this package costs numpy at most: its names are loaded when they are first
used, and ONNX Runtime, TensorRT and CUDA by the backend that needs them, when an engine
is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.errors import EngineError, FramesError, ImageError, ZooError

if TYPE_CHECKING:
    from runtime.detector import Detector, Verdict
    from runtime.engine_info import EngineInfo, Preprocessing

__all__ = [
    "Detector",
    "EngineError",
    "EngineInfo",
    "FramesError",
    "ImageError",
    "Preprocessing",
    "Verdict",
    "ZooError",
]

_LAZY = {
    "Detector": "runtime.detector",
    "Verdict": "runtime.detector",
    "EngineInfo": "runtime.engine_info",
    "Preprocessing": "runtime.engine_info",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'runtime' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value  # asked for once only
    return value
