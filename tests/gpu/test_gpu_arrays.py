"""Frames and results that stay on a GPU: torch, CuPy and PyCUDA, whichever is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime import Detector, FramesError
from zoo.noise import seeded_frames

pytestmark = pytest.mark.gpu


@pytest.fixture
def frames(detector: Detector) -> np.ndarray:
    how = detector.info.preprocessing
    return seeded_frames(48, how.height, how.width, 0)


def test_torch(detector: Detector, frames: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    due = detector.score(frames)
    on_gpu = torch.from_numpy(frames).cuda()
    np.testing.assert_array_equal(detector.score(on_gpu), due)
    out = torch.empty(len(frames), device="cuda")
    logit = torch.empty_like(out)
    detector.score_device(on_gpu, out, logit=logit)
    np.testing.assert_array_equal(out.cpu().numpy(), due)
    np.testing.assert_allclose(torch.sigmoid(logit).cpu().numpy(), due, atol=1e-3)


def test_a_stream_of_torchs(detector: Detector, frames: np.ndarray) -> None:
    """The frames are still being made when they are given, and results read without a wait."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    due = detector.score(frames)
    whole = torch.from_numpy(frames).cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    for _ in range(20):
        with torch.cuda.stream(stream):
            torch.cuda._sleep(20_000_000)
            made = whole.clone()
            out = torch.zeros(len(frames), device="cuda")
            detector.score_device(made, out, stream=stream)
            seen = out.clone()
            made.zero_()
        stream.synchronize()
        np.testing.assert_array_equal(seen.cpu().numpy(), due)


def test_a_slice_that_is_not_aligned(detector: Detector, frames: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    room = torch.empty(frames.size + 13, dtype=torch.uint8, device="cuda")
    moved = room[13:].view(frames.shape)
    moved.copy_(torch.from_numpy(frames))
    np.testing.assert_array_equal(detector.score(moved), detector.score(frames))


def test_torch_on_the_cpu_is_told(detector: Detector, frames: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(FramesError, match="Tensor"):
        detector.score(torch.from_numpy(frames))


def test_cupy(detector: Detector, frames: np.ndarray) -> None:
    cupy = pytest.importorskip("cupy")
    on_gpu, out = cupy.asarray(frames), cupy.zeros(len(frames), cupy.float32)
    detector.score_device(on_gpu, out)
    np.testing.assert_array_equal(cupy.asnumpy(out), detector.score(frames))


def test_pycuda_shares_the_primary_context(detector: Detector, frames: np.ndarray) -> None:
    driver: Any = pytest.importorskip("pycuda.driver")
    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    try:
        from pycuda import gpuarray

        on_gpu = gpuarray.to_gpu(frames)
        out = gpuarray.zeros(len(frames), np.float32)
        detector.score_device(on_gpu, out)
        np.testing.assert_array_equal(out.get(), detector.score(frames))
        del on_gpu, out
    finally:
        context.pop()
