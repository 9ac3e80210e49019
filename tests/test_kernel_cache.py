"""Kernels on disk: whole or not at all, and never in the way."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runtime.cuda_driver import Device
from runtime.kernel_cache import cache_path, read_cache, write_cache


def test_kernels_are_named_after_plan_gpu_and_version() -> None:
    """Those of another GPU or version lie beside them and are not read."""
    plan = Path("engines/meso4.plan")
    gpu = Device(0, "NVIDIA L4", "8.9", 1 << 30)
    assert cache_path(plan, gpu, "1.7.1").name == "meso4.plan.sm89-nvidia-l4.1.7.1.kernels"
    others = [
        cache_path(plan, Device(1, "NVIDIA L40S", "8.9", 1 << 30), "1.7.1"),
        cache_path(plan, Device(0, "NVIDIA L4", "12.0", 1 << 30), "1.7.1"),
        cache_path(plan, gpu, "1.7.2"),
        cache_path(plan.with_name("b.plan"), gpu, "1.7.1"),
    ]
    assert len({cache_path(plan, gpu, "1.7.1"), *others}) == 5


def test_a_disk_that_fills_up_leaves_the_old_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    path = tmp_path / "a.kernels"
    write_cache(path, b"old")
    plain = os.fdopen

    def full(handle: int, mode: str) -> Any:
        file = plain(handle, mode, buffering=0)
        write = file.write

        class Disk:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, data: bytes) -> int:
                write(data[: len(data) // 2])
                raise OSError(28, "No space left on device")

        return Disk()

    monkeypatch.setattr(os, "fdopen", full)
    with caplog.at_level(logging.WARNING):
        write_cache(path, b"new kernels")
    monkeypatch.undo()
    assert read_cache(path) == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert f"the kernel cache {path} cannot be written" in caplog.text
    assert "No space left" in caplog.text


def test_an_interrupt_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_cache(tmp_path / "a.kernels", b"kernels")
    assert not list(tmp_path.iterdir())


def test_who_reads_while_others_write_sees_whole_kernels(tmp_path: Path) -> None:
    path = tmp_path / "a.kernels"
    contents = [bytes([number]) * 200_000 for number in range(4)]
    write_cache(path, contents[0])
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write_cache, path, each) for each in contents * 10]
        while not all(each.done() for each in writing):
            assert read_cache(path) in contents
    assert read_cache(path) in contents
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_kernels_that_cannot_be_read_are_none(tmp_path: Path, caplog: Any) -> None:
    assert read_cache(tmp_path / "none.kernels") == b""
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        assert read_cache(tmp_path) == b""  # a folder
    assert f"the kernel cache {tmp_path} cannot be read" in caplog.text
