"""The C library and the example without our runtime, on a plan: Python's scores."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Detector
from zoo.noise import seeded_frames

pytestmark = pytest.mark.gpu

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "cpp"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the C library."""
    pytest.importorskip("cffi")
    from runtime.capi.build import build

    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("capi")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def examples(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built examples."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("no cmake")
    folder = tmp_path_factory.mktemp("examples")
    configure = [cmake, "-S", EXAMPLES, "-B", folder, f"-DZooDetector_DIR={library}"]
    for command in (configure, [cmake, "--build", folder]):
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return folder


@pytest.fixture
def frames(detector: Detector) -> np.ndarray:
    how = detector.info.preprocessing
    return seeded_frames(40, how.height, how.width, 3)


def printed(program: Path, plan: Path, raw: Path, first: int) -> tuple[np.ndarray, np.ndarray]:
    """(fake, logit) as a program prints them, from a column on."""
    done = subprocess.run([program, plan, raw], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    fake, logit = (np.array([row[first + i] for row in rows], np.float32) for i in (0, 1))
    return fake, logit


def test_detect_prints_pythons_scores(
    examples: Path, plan: Path, detector: Detector, frames: np.ndarray, tmp_path: Path
) -> None:
    frames.tofile(tmp_path / "frames.rgb")
    fake, logit = printed(examples / "detect", plan, tmp_path / "frames.rgb", 3)
    due = detector.infer(frames)
    np.testing.assert_array_equal(logit, due[0])
    np.testing.assert_array_equal(fake, due[1])


def test_the_way_without_our_runtime(
    examples: Path, plan: Path, detector: Detector, frames: np.ndarray, tmp_path: Path
) -> None:
    if not (examples / "pure_tensorrt").exists():
        pytest.skip("NVIDIA's headers, library or CUDA toolkit are not installed")
    if "tensorrt_rtx" in plan.with_suffix(".json").read_text():
        pytest.skip("it is linked with one of the two TensorRTs")
    frames.tofile(tmp_path / "frames.rgb")
    fake, logit = printed(examples / "pure_tensorrt", plan, tmp_path / "frames.rgb", 2)
    due = detector.infer(frames)
    np.testing.assert_allclose(logit, due[0], atol=1e-3)
    np.testing.assert_allclose(fake, due[1], atol=1e-3)


def test_frames_in_device_memory_through_c(
    library: Path, plan: Path, detector: Detector, frames: np.ndarray
) -> None:
    """In a host that runs Python itself: it must not hold its lock, which ctypes gives up."""
    from benchmarks.phases import DeviceFrames, DeviceResults
    from runtime.cuda import Device, call, copy_to_host

    c: Any = ctypes.CDLL(str(library / "libzoo_detector.so"))
    c.zoo_last_error.restype = ctypes.c_char_p
    handle = ctypes.c_uint64()
    opened = c.zoo_detector_open(str(plan).encode(), 0, ctypes.byref(handle))
    assert opened == 0, c.zoo_last_error()
    device, given, out = Device(0), DeviceFrames(frames), DeviceResults(2 * len(frames))
    address, count = given.__cuda_array_interface__["data"][0], len(frames)
    logit = ctypes.c_void_p(out.handle)
    fake = ctypes.c_void_p(out.handle + 4 * count)
    arguments = ctypes.c_void_p(address), ctypes.c_size_t(frames.nbytes), ctypes.c_size_t(count)
    done = c.zoo_detector_score_device(handle, *arguments, None, logit, fake)
    assert done == 0, c.zoo_last_error()
    found = np.empty((2, count), np.float32)
    with device.current():
        copy_to_host(found.ctypes.data, out.handle, found.nbytes, 0)
        call("cuCtxSynchronize")
    due = detector.infer(frames)
    np.testing.assert_array_equal(found[0], due[0])
    np.testing.assert_array_equal(found[1], due[1])
    assert c.zoo_detector_close(handle) == 0
