"""ONNX Runtime on a GPU is had by name alone, and never turns into something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.machine import DEVICES

from runtime import Detector, EngineError, cuda_driver, tensorrt_api
from runtime.backends.onnxruntime import providers
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
    told = capfd.readouterr()
    assert "Falling back" not in told.out
    if "as installed has" not in caught.value.why:
        assert "Failed to load library" in told.err, "or nobody learns which one is missing"


@pytest.mark.parametrize("backend", GPU_PROVIDERS)
def test_a_gpu_that_is_not_there(
    tiny_engine: Any, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(DEVICES, "13.0", "")
    monkeypatch.setattr(tensorrt_api, "query_driver", lambda: driver)
    with pytest.raises(EngineError) as caught:
        Detector(tiny_engine.path, backend=backend, device=2)
    assert caught.value.what == f"there is no GPU 2 for {tiny_engine.path}"
    assert caught.value.why == "there is 0 (NVIDIA Fake 1), 1 (NVIDIA Fake 2)"


@pytest.mark.parametrize("backend", GPU_PROVIDERS)
def test_a_provider_that_is_not_built_in(
    tiny_engine: Any, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the distribution of ONNX Runtime for CPUs."""
    import onnxruntime as ort

    driver = Driver(DEVICES, "13.0", "")
    monkeypatch.setattr(tensorrt_api, "query_driver", lambda: driver)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError) as caught:
        Detector(tiny_engine.path, backend=backend)
    assert caught.value.what == f"{tiny_engine.path} cannot be run by '{backend}'"
    assert caught.value.why.endswith("as installed has CPUExecutionProvider")
    assert "onnxruntime-gpu" in caught.value.todo


def test_a_provider_is_told_its_gpu_and_keeps_fp32() -> None:
    assert providers("onnxruntime") == [("CPUExecutionProvider", {})]
    cuda = ("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0})
    assert providers("onnxruntime-cuda", 1) == [cuda]
    tensorrt = ("TensorrtExecutionProvider", {"device_id": 1})
    assert providers("onnxruntime-tensorrt", 1) == [tensorrt, cuda]


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
