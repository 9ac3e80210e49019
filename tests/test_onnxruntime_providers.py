"""ONNX Runtime on a GPU is had by name alone, and never turns into something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.machine import DEVICES

from runtime import Detector, EngineError, cuda_driver, tensorrt_api
from runtime.cuda_driver import Driver

GPU_PROVIDERS = ["onnxruntime-cuda", "onnxruntime-tensorrt"]


@pytest.mark.parametrize("backend", GPU_PROVIDERS)
def test_without_a_driver(tiny_engine: Any, backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-of-no-machine.so.1")
    with pytest.raises(EngineError, match=f"by {backend} needs an NVIDIA GPU\nthere is no NVIDIA"):
        Detector(tiny_engine.path, backend=backend)


@pytest.mark.skipif(bool(cuda_driver.query_driver().devices), reason="the provider may load here")
@pytest.mark.parametrize("backend", GPU_PROVIDERS)
def test_a_provider_that_does_not_load(
    tiny_engine: Any, backend: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """ONNX Runtime itself would go on with the CPU."""
    driver = Driver(DEVICES, "13.0", "")
    monkeypatch.setattr(tensorrt_api, "query_driver", lambda: driver)
    with pytest.raises(EngineError) as caught:
        Detector(tiny_engine.path, backend=backend)
    assert str(tiny_engine.path) in caught.value.what
    assert "Falling back" not in capfd.readouterr().out


def test_the_cpu_by_name(tiny_engine: Any) -> None:
    with Detector(tiny_engine.path, backend="onnxruntime") as detector:
        assert detector.title.endswith("(CPU)")


@pytest.mark.parametrize(
    ("name", "backend", "words"),
    [
        ("a.onnx", "tensorrt", "a .onnx is run by onnxruntime, onnxruntime-cuda"),
        ("a.plan", "onnxruntime", "a .plan is run by tensorrt"),
        ("a.plan", "onnxruntime-tensorrt", "a .plan is run by tensorrt"),
        ("a.onnx", "openvino", "a .onnx is run by"),
    ],
)
def test_a_backend_that_cannot_run_it(tmp_path: Path, name: str, backend: Any, words: str) -> None:
    (tmp_path / name).write_bytes(b"engine")
    with pytest.raises(EngineError, match=words):
        Detector(tmp_path / name, backend=backend)
