"""The backends by name, and which engine files each of them runs. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from runtime.errors import EngineError

#: What runs an engine. ``auto`` is the CPU for a ``.onnx`` and TensorRT for a ``.plan``.
BackendName = Literal["auto", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"]

BACKENDS: tuple[BackendName, ...] = get_args(BackendName)

#: The one that uses no GPU.
ON_CPU: BackendName = "onnxruntime"

#: By the ending of the file; the first is what ``auto`` stands for.
RUNS: dict[str, tuple[BackendName, ...]] = {
    ".onnx": ("onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt"),
    ".plan": ("tensorrt",),
}


def choose_backend(path: Path, backend: BackendName = "auto") -> BackendName:
    """The backend that runs a file; never ``auto``, and never another than was asked for.

    Args:
        path: of the engine; only its name is looked at.
        backend: what was asked for.

    Raises:
        EngineError: no backend runs such files, or the one asked for does not.
    """
    if path.suffix not in RUNS:
        raise EngineError(
            f"{path} is not an engine",
            f"engines end in .onnx or .plan, not in '{path.suffix}'",
            "zoo export NAME --fp16 makes engines",
        )
    runs = RUNS[path.suffix]
    if backend == "auto":
        return runs[0]
    if backend not in runs:
        raise EngineError(
            f"{path} cannot be run by '{backend}'",
            f"a {path.suffix} is run by {', '.join(runs)}",
            "name one of these, or 'auto'",
        )
    return backend
