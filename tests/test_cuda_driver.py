"""What is asked of the NVIDIA driver, against a driver made for the purpose."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runtime import cuda_driver
from runtime.cuda_driver import Device, query_driver

#: A driver of CUDA 13.1 with two GPUs; `INIT` is what cuInit answers, `COUNT` how many it has.
SOURCE = """
#include <stddef.h>
#include <stdio.h>
int cuDriverGetVersion(int *version) { *version = 13010; return 0; }
int cuInit(unsigned flags) { return flags ? 1 : INIT; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int index) { *device = 40 + index; return index >= COUNT; }
int cuDeviceGetName(char *name, int size, int device) {
    snprintf(name, size, "GPU of handle %d", device);
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (attribute == 75) *value = device == 40 ? 8 : 12;      /* compute capability, major */
    else if (attribute == 76) *value = device == 40 ? 9 : 0;  /* and minor */
    else return 1;
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)(device - 39) << 33;
    return 0;
}
int cuGetErrorString(int code, const char **text) {
    *text = code == 100 ? "no CUDA-capable device is detected" : NULL;
    return code != 100;
}
"""


def driver(folder: Path, monkeypatch: pytest.MonkeyPatch, init: int = 0, count: int = 2) -> None:
    """Put a driver in place of the machine's."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a driver")
    source, library = folder / "driver.c", folder / "libcuda.so.1"
    source.write_text(SOURCE)
    subprocess.run(
        [
            *(compiler, "-shared", "-fPIC", f"-DINIT={init}", f"-DCOUNT={count}"),
            *(str(source), "-o", str(library)),
        ],
        check=True,
    )
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(library))


def test_devices_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch)
    found = query_driver()
    assert found.cuda_version == "13.1"
    assert found.reason == ""
    assert found.devices == (
        Device(0, "GPU of handle 40", "8.9", 1 << 33),
        Device(1, "GPU of handle 41", "12.0", 2 << 33),
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [(100, "cuInit: no CUDA-capable device is detected (CUDA error 100)"), (7, "unknown error")],
)
def test_the_drivers_error_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    driver(tmp_path, monkeypatch, init=code)
    found = query_driver()
    assert found.devices == ()
    assert found.cuda_version == "13.1"
    assert words in found.reason


def test_no_devices_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, count=0)
    assert (query_driver().devices, query_driver().reason) == ((), "the NVIDIA driver sees no GPU")


def test_no_driver_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-of-no-machine.so.1")
    found = query_driver()
    assert found.devices == ()
    assert found.cuda_version is None
    assert "there is no NVIDIA driver" in found.reason


def test_a_library_that_is_no_driver_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libm.so.6")
    assert "has no cuDriverGetVersion" in query_driver().reason
