"""An export's files take the place of an older one's as one switch, whoever is killed when."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forks import in_child
from tiny_engine import TINY_INFO, TinyEngine, TinyWeights, describe, random_frames

from export import publishing, staging
from export.publishing import publish_engines
from runtime import Detector, EngineInfo
from runtime.engine_file import take_engine
from runtime.errors import ExportError
from runtime.locks import alone, is_held

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["tiny.onnx", "tiny.fp16.onnx", "tiny.plan", "tiny.json"]
FRAMES = random_frames(2)


def make(folder: Path, seed: int) -> EngineInfo:
    """Engines of a network of its own; what stands for a plan is of another size each time."""
    engines = [
        TinyEngine.write(folder, name=name, weights=TinyWeights.seeded(seed)).path
        for name in NAMES[:2]
    ]
    (folder / NAMES[2]).write_bytes(b"plan" * (seed + 1))
    info = replace(TINY_INFO, title=f"seed {seed}")
    return describe(*engines, folder / NAMES[2], info=info)


def export(out: Path, seed: int) -> None:
    with staging.staging(out, "tiny") as folder:
        publish_engines(folder, out, NAMES, make(folder, seed))


def title_of(path: Path) -> str:
    """Which export an engine is of, as its sidecar says; its scores have to be that one's."""
    if path.suffix == ".plan":
        info = take_engine(path).info
        assert info is not None
        return info.title
    with Detector(path, threads=1) as detector:
        title = detector.info.title
        due = 1 / (1 + np.exp(-TinyWeights.seeded(int(title[-1])).logit(FRAMES)))
        np.testing.assert_allclose(detector.score(FRAMES), due, atol=1e-6)
        return title


def whole(out: Path, seed: int) -> None:
    assert {title_of(out / name) for name in NAMES[:3]} == {f"seed {seed}"}
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)
    assert "previous" not in json.loads((out / NAMES[3]).read_text())


def killed_at(step: int, *, after: bool, out: Path, seed: int) -> bool:
    """An export in a process that ends at once as a file is renamed; whether it came so far."""
    seen = []

    def moving(made: Path, final: Path) -> None:
        seen.append(final)
        if len(seen) == step and not after:
            os._exit(0)
        staging.move(made, final)
        if len(seen) == step:
            os._exit(0)

    def work() -> bool:
        publishing.move = moving  # type: ignore[attr-defined]
        export(out, seed)
        return False

    return in_child(work)


STEPS = [(step, after) for step in range(1, 6) for after in (False, True)]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("step", "after"), STEPS)
def test_a_kill_at_any_moment_leaves_engines_that_open(
    tmp_path: Path, step: int, after: bool
) -> None:
    export(tmp_path, 0)
    assert killed_at(step, after=after, out=tmp_path, seed=1)
    new = min(3, max(0, step - 2 + after))  # engines that were renamed; the sidecar is first
    assert [title_of(tmp_path / name) for name in NAMES[:3]] == [
        f"seed {1 if index < new else 0}" for index in range(3)
    ]
    # Killed a second time, three exports meet; one that goes through leaves its own alone.
    assert killed_at(3, after=True, out=tmp_path, seed=2)
    assert title_of(tmp_path / NAMES[0]) == "seed 2"
    for name in NAMES[1:3]:
        assert title_of(tmp_path / name) in ("seed 0", "seed 1", "seed 2")
    export(tmp_path, 3)
    whole(tmp_path, 3)


def test_every_rename_was_killed(tmp_path: Path) -> None:
    export(tmp_path, 0)
    assert not killed_at(6, after=False, out=tmp_path, seed=1), "there is no sixth"
    whole(tmp_path, 1)


def test_a_first_export_that_is_killed(tmp_path: Path) -> None:
    assert killed_at(3, after=True, out=tmp_path, seed=1)
    assert [title_of(tmp_path / name) for name in NAMES[:2]] == ["seed 1"] * 2
    export(tmp_path, 2)
    whole(tmp_path, 2)


@pytest.mark.parametrize("text", ["", "{", '{"format": 7}'])
def test_a_damaged_sidecar_is_replaced(tmp_path: Path, text: str) -> None:
    export(tmp_path, 0)
    (tmp_path / NAMES[3]).write_text(text)
    export(tmp_path, 1)
    whole(tmp_path, 1)


def test_a_sidecar_that_names_files_elsewhere_is_not_followed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out, 0)
    old = EngineInfo.from_json((out / NAMES[3]).read_text(), "sidecar")
    (tmp_path / "elsewhere.onnx").write_bytes(b"x")
    outside = replace(old.artefacts[NAMES[0]], bytes=1, sha256="0" * 64)
    strange = replace(old, artefacts={"../elsewhere.onnx": outside, "/dev/zero": outside})
    (out / NAMES[3]).write_text(strange.to_json())
    export(out, 1)
    whole(out, 1)


def test_exports_of_one_name_at_once_and_readers_meanwhile(tmp_path: Path) -> None:
    export(tmp_path, 0)
    stop = threading.Event()

    def read() -> int:
        count = 0
        while not stop.is_set():
            for name in NAMES[:3]:
                title_of(tmp_path / name)
                count += 1
        return count

    with ThreadPoolExecutor(6) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        try:
            writing = [pool.submit(export, tmp_path, seed) for seed in range(8)]
            for each in writing:
                each.result(60)
        finally:
            stop.set()
        assert all(each.result(60) > 3 for each in reading)
    titles = {title_of(tmp_path / name) for name in NAMES[:3]}
    assert len(titles) == 1
    whole(tmp_path, int(titles.pop()[-1]))


# Whose folder is whose.


@pytest.fixture
def other_export(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has begun an export and goes on for ever."""
    code = (
        "import sys; from pathlib import Path; from export.staging import staging\n"
        "with staging(Path(sys.argv[1]), 'tiny') as folder:\n"
        "    (folder / 'tiny.onnx').write_bytes(b'half'); print(folder, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_a_folder_lives_as_long_as_its_maker_whatever_its_number(
    tmp_path: Path, other_export: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes of two containers may have the same number, and none of it means anything."""
    assert other_export.stdout is not None
    theirs = Path(other_export.stdout.readline().strip())
    monkeypatch.setattr(os, "getpid", lambda: other_export.pid)
    with staging.staging(tmp_path, "tiny") as ours:
        assert {theirs, ours} <= set(tmp_path.iterdir())
        with staging.staging(tmp_path, "tiny") as second:
            assert second != ours
    assert (theirs / "tiny.onnx").read_bytes() == b"half"
    other_export.send_signal(signal.SIGKILL)
    other_export.wait()
    assert list(tmp_path.iterdir()) == [theirs]
    with staging.staging(tmp_path, "another") as ours:
        assert list(tmp_path.iterdir()) == [ours]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_renamed_into_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(made: Path, final: Path) -> None:
        raise PermissionError(13, "Permission denied", str(made), None, str(final))

    monkeypatch.setattr(publishing, "move", refuse)
    with pytest.raises(ExportError, match="cannot be written"):
        export(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


# Locks.


def test_one_holds_a_lock_and_the_others_wait(tmp_path: Path) -> None:
    lock, inside, waited = tmp_path / "lock", [], []

    def work(number: int) -> None:
        with alone(lock, lambda: waited.append(number)):
            inside.append(number)
            assert len(inside) == 1
            assert is_held(lock)
            inside.remove(number)

    run: Callable[[int], None] = work
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(200)))
    assert not lock.exists()
    assert not is_held(lock)


def test_where_there_are_no_locks_exports_work_and_nothing_is_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with staging.staging(tmp_path, "other") as other:
        export(tmp_path, 1)
        assert other.is_dir()
    whole(tmp_path, 1)
