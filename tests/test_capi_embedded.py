"""What runs inside the C library, called as the library calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.machine import HEIGHT, WIDTH, frames, make_machine
from fakes.tensorrt import logits, sigmoid
from tiny_engine import TinyEngine, random_frames

from runtime import cuda
from runtime.capi.embedded import DetectorTable, NoSuchDetectorError, attach
from runtime.tensorrt_api import Flavour

cffi = pytest.importorskip("cffi", reason="cffi, which builds the C library, is not installed")


class RecordingFfi:
    """The parts of a compiled module's ffi that `attach` uses, over memory of this process."""

    def __init__(self) -> None:
        self._ffi: Any = cffi.FFI()
        self.calls: dict[str, Callable[..., int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ffi, name)

    def def_extern(self, name: str, error: int) -> Callable[[Any], None]:
        def take(call: Callable[..., int]) -> None:
            self.calls[name.removeprefix("zoo_python_")] = call

        return take


class Codes:
    """Stands for the compiled module's lib."""

    ZOO_E_START, ZOO_E_DETECTOR, ZOO_E_ENGINE, ZOO_E_FRAMES = 2, 3, 4, 5
    ZOO_E_BUFFER, ZOO_E_UNSUPPORTED, ZOO_E_INTERNAL = 6, 7, 8
    text = ""

    def zoo_set_error(self, text: bytes) -> None:
        self.text = text.decode()


def open_it(
    ffi: RecordingFfi, codes: Codes, path: Path, backend: str = "auto", gpu: int = 0
) -> Any:
    """The detector's handle, in memory for it."""
    handle = ffi.new("uint64_t *")
    texts = [ffi.new("char[]", text) for text in (bytes(path), backend.encode())]
    assert ffi.calls["open"](*texts, gpu, 0, handle) == 0, codes.text
    return handle


@pytest.mark.parametrize(("gpu", "stream_is_own"), [(0, False), (0, True), (1, True)])
def test_frames_in_device_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu: int, stream_is_own: bool
) -> None:
    # The second GPU is of another kind: a plan of TensorRT-RTX fits both.
    machine = make_machine(monkeypatch, tmp_path, seed=1, flavour=Flavour.TENSORRT_RTX)
    ffi, codes = RecordingFfi(), Codes()
    table = attach(ffi, codes)
    handle = open_it(ffi, codes, machine.plan, gpu=gpu)
    backend: Any = table.get(handle[0]).detector._backend
    assert backend.device_index == gpu
    given = frames(5, seed=3)
    device = cuda.Device(gpu)
    with device.current():
        pixels = cuda.DeviceBuffer(device, given.nbytes, "frames")
        results = [cuda.DeviceBuffer(device, 5 * 4, "results") for _ in range(2)]
        stream = cuda.Stream(device)
        queue = stream.handle if stream_is_own else 0
        queue_of_copies = queue or cuda.LEGACY_STREAM
        cuda.copy_to_device(pixels.handle, given.ctypes.data, given.nbytes, queue_of_copies)

        def score(bytes_: int = given.nbytes, count: int = 5) -> int:
            at = [ffi.cast("void *", b.handle) for b in (pixels, *results)]
            return ffi.calls["score_device"](
                handle[0], at[0], bytes_, count, ffi.cast("void *", queue), at[1], at[2]
            )

        assert score() == 0, codes.text
        seen = [np.empty(5, np.float32) for _ in results]
        for buffer, array in zip(results, seen, strict=True):
            cuda.copy_to_host(array.ctypes.data, buffer.handle, array.nbytes, queue_of_copies)
        cuda.call("cuStreamSynchronize", queue_of_copies)
    np.testing.assert_array_equal(seen[0], logits(given))
    np.testing.assert_array_equal(seen[1], sigmoid(logits(given)))
    assert score(count=4) == codes.ZOO_E_FRAMES
    assert f"4 x {HEIGHT} x {WIDTH} x 3" in codes.text
    assert ffi.calls["close"](handle[0]) == 0
    assert score() == codes.ZOO_E_DETECTOR
    assert len(table) == 0


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    ffi, codes = RecordingFfi(), Codes()
    attach(ffi, codes)
    monkeypatch.setattr(DetectorTable, "get", lambda *_: 1 / 0)
    assert ffi.calls["close"](1) == codes.ZOO_E_INTERNAL
    assert codes.text.startswith("ZeroDivisionError: division by zero\n")
    assert "embedded.py" in codes.text


def test_a_close_just_after_the_look_up_is_named(
    monkeypatch: pytest.MonkeyPatch, tiny_engine: TinyEngine
) -> None:
    ffi, codes = RecordingFfi(), Codes()
    table = attach(ffi, codes)
    handle = table.open(str(tiny_engine.path), 1)
    given = random_frames(2)
    result = ffi.new("float[2]"), ffi.new("float[2]")
    look_up = DetectorTable.get

    def look_up_and_lose(self: DetectorTable, which: int) -> Any:
        opened = look_up(self, which)
        monkeypatch.setattr(DetectorTable, "get", look_up)
        self.close(which)
        return opened

    monkeypatch.setattr(DetectorTable, "get", look_up_and_lose)
    pixels = ffi.from_buffer("uint8_t[]", given)
    assert ffi.calls["score"](handle, pixels, given.nbytes, 2, *result) == codes.ZOO_E_DETECTOR
    assert f"no detector {handle}" in codes.text


def test_handles_are_never_given_out_again(tiny_engine: TinyEngine) -> None:
    table = DetectorTable()
    first = table.open(str(tiny_engine.path), 1)
    table.close(first)
    second = table.open(str(tiny_engine.path), 1)
    assert second != first
    with pytest.raises(NoSuchDetectorError):
        table.close(first)
    table.close(second)
    assert len(table) == 0


def test_info_is_the_sidecar(tiny_engine: TinyEngine) -> None:
    ffi, codes = RecordingFfi(), Codes()
    attach(ffi, codes)
    handle, needed = open_it(ffi, codes, tiny_engine.path, "onnxruntime"), ffi.new("size_t *")
    assert ffi.calls["info"](handle[0], ffi.NULL, 0, needed) == 0
    buffer = ffi.new("char[]", needed[0])
    assert ffi.calls["info"](handle[0], buffer, needed[0], needed) == 0
    told = json.loads(ffi.string(buffer))
    assert "CPU" in told.pop("runs_on")
    assert told == json.loads(tiny_engine.info.to_json())
