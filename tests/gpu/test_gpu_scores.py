"""The plan's very bytes on a GPU: parity, batches, graphs, threads, memory, refusals."""

from __future__ import annotations

import gc
import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Detector, EngineError
from runtime.cuda import Device
from runtime.cuda_driver import query_driver
from runtime.engine_info import EngineInfo, file_sha256, sidecar_path
from zoo.noise import seeded_frames

pytestmark = pytest.mark.gpu

#: FP16 against FP32, as the certificate allows.
LOGIT_BAR = 0.1


def make_frames(detector: Detector, count: int, seed: int = 0) -> np.ndarray:
    how = detector.info.preprocessing
    return seeded_frames(count, how.height, how.width, seed)


def test_the_plan_says_what_the_onnx_says(engines: Path, detector: Detector) -> None:
    frames = make_frames(detector, 40)
    with Detector(engines / "meso4.onnx") as reference:
        due, _ = reference.infer(frames)
    logit, fake = detector.infer(frames)
    assert float(np.std(due)) > 1e-3
    close = np.abs(due) <= 5
    assert float(np.abs(logit - due)[close].max()) <= LOGIT_BAR
    np.testing.assert_allclose(fake, 1 / (1 + np.exp(-logit.astype(np.float64))), atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 255, 256, 257, 700])
def test_every_batch_size_agrees(detector: Detector, count: int) -> None:
    frames = make_frames(detector, 64)[np.arange(count) % 64]
    alone = np.concatenate([detector.infer(frame[None])[0] for frame in frames[:64]])
    logit, _ = detector.infer(frames)
    np.testing.assert_allclose(logit, alone[np.arange(count) % len(alone)], atol=2e-2)
    # Identical rows of one batch give identical results.
    same = np.repeat(frames[:1], min(count, 256), axis=0)
    assert len(set(detector.score(same).tolist())) == 1


def test_graphs_are_trusted_and_right(detector: Detector, caplog: pytest.LogCaptureFixture) -> None:
    frames = make_frames(detector, 8)
    with caplog.at_level(logging.WARNING, "runtime"):
        plain = detector.infer(frames[:4])
        for turn in range(5):
            again = detector.infer(frames[:4])
            np.testing.assert_array_equal(again[0], plain[0], err_msg=f"turn {turn}")
        other = detector.infer(frames[4:])
    assert not np.array_equal(other[0], plain[0])
    assert "no CUDA graph" not in caplog.text


def test_kernels_are_kept_beside_the_plan(copied: Path) -> None:
    """TensorRT-RTX's; they are taken by the next process, and TensorRT has none."""
    rtx = "tensorrt_rtx" in sidecar_path(copied).read_text()
    with Detector(copied) as detector:
        frames = make_frames(detector, 4)
        due = detector.score(frames)
    kept = list(copied.parent.glob(f"{copied.name}.sm*.kernels"))
    assert len(kept) == (1 if rtx else 0)
    with Detector(copied) as detector:
        backend: Any = detector._backend
        assert backend._engine.runtime_cache_used is rtx
        np.testing.assert_array_equal(detector.score(frames), due)


def test_closing_waits_for_who_scores(plan: Path) -> None:
    detector = Detector(plan)
    frames = make_frames(detector, 600)
    due = detector.score(frames)
    with ThreadPoolExecutor(4) as pool:
        scoring = [pool.submit(detector.score, frames) for _ in range(4)]
        detector.close()
    for each in scoring:
        error = each.exception()
        if error is None:
            np.testing.assert_array_equal(each.result(), due)
        else:
            assert "is closed" in str(error)


def test_a_gpu_that_is_not_there(plan: Path) -> None:
    count = len(query_driver().devices)
    with pytest.raises(EngineError, match=f"there is no GPU {count} for"):
        Detector(plan, device=count)


def test_page_locked_frames(detector: Detector) -> None:
    frames = make_frames(detector, 600)
    pinned = detector.pinned_frames(600)
    pinned[:] = frames
    np.testing.assert_array_equal(detector.score(pinned), detector.score(frames))


def test_threads(detector: Detector) -> None:
    frames = make_frames(detector, 300)
    counts = [1, 4, 32, 300]
    due = {n: detector.infer(frames[:n])[0] for n in counts}

    def work(number: int) -> None:
        for turn in range(20):
            count = counts[(number + turn) % len(counts)]
            np.testing.assert_array_equal(detector.infer(frames[:count])[0], due[count])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_a_thousand_rounds_leave_nothing(plan: Path) -> None:
    device = Device(0)  # keeps the primary context, whose own memory is not in question

    def round_trip() -> None:
        with Detector(plan) as detector:
            detector.score(make_frames(detector, 4))

    for _ in range(20):
        round_trip()
    gc.collect()
    before, _ = device.memory()
    for _ in range(1000):
        round_trip()
    gc.collect()
    after, _ = device.memory()
    assert before - after <= 4 << 20, f"{before - after} bytes of device memory are gone"


def test_out_of_memory_names_the_bytes_and_smaller_batches_go_on(plan: Path) -> None:
    from runtime.cuda import DeviceBuffer

    device = Device(0)
    with Detector(plan) as detector:
        frames = make_frames(detector, 256)
        due = detector.score(frames[:2])
        free, _ = device.memory()
        hogs = []
        size = free
        while size > 1 << 20:  # the allocator's granularity keeps the last bytes from anybody
            try:
                hogs.append(DeviceBuffer(device, size, "a test"))
            except EngineError:
                size //= 2
        with pytest.raises(EngineError, match=r"wanted, .* free"):
            detector.score(frames)
        np.testing.assert_array_equal(detector.score(frames[:2]), due)
        for hog in hogs:
            hog.close()
        assert len(detector.score(frames)) == 256


@pytest.fixture
def copied(plan: Path, tmp_path: Path) -> Path:
    """A copy of the plan and its sidecar, to be changed."""
    for path in (plan, sidecar_path(plan)):
        shutil.copy(path, tmp_path)
    return tmp_path / plan.name


def rewrite(plan: Path, **builder: Any) -> None:
    path = sidecar_path(plan)
    told = json.loads(path.read_text())
    told["builder"] |= builder
    artefact = told["artefacts"][plan.name]
    artefact["bytes"], artefact["sha256"] = plan.stat().st_size, file_sha256(plan)
    path.write_text(json.dumps(told))
    EngineInfo.from_json(path.read_text(), str(path))


@pytest.mark.parametrize(
    ("builder", "words"),
    [
        ({"version": "1.2.3.4"}, "another version"),
        ({"target": ["3.5"]}, "not built for this GPU"),
        ({"max_batch": 512}, "not what its sidecar says"),
    ],
)
def test_what_does_not_fit(copied: Path, builder: dict[str, Any], words: str) -> None:
    rewrite(copied, **builder)
    with pytest.raises(EngineError, match=words):
        Detector(copied)


def test_bytes_that_are_no_plan(copied: Path) -> None:
    """With a sidecar that vouches for them, TensorRT itself has to refuse."""
    copied.write_bytes(copied.read_bytes()[: copied.stat().st_size // 2])
    rewrite(copied)
    with pytest.raises(EngineError, match="cannot load the plan"):
        Detector(copied)


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_onnxruntime_on_the_gpu(engines: Path, backend: Any) -> None:
    """By name; where its libraries lack, an error and not another provider."""
    with Detector(engines / "meso4.onnx") as reference:
        frames = make_frames(reference, 20)
        due, _ = reference.infer(frames)
    try:
        other = Detector(engines / "meso4.onnx", backend=backend)
    except EngineError as error:
        pytest.skip(f"{error.what}: {error.why}")
    with other:
        assert "CPU" not in other.title
        np.testing.assert_allclose(other.infer(frames)[0], due, atol=5e-2)
