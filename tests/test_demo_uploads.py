"""Uploads of `zoo demo`: bounded, and gone with their answer."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runtime.errors import ZooError
from zoo.demo.folder import private_folder
from zoo.demo.uploads import Uploads


def dropped(folder: Path, name: str, size: int = 10) -> Path:
    path = folder / name / "x.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def bring(uploads: Uploads, folder: Path, name: str, size: int = 10) -> Path:
    """A whole upload, as Gradio keeps it: under the hash of its bytes."""
    assert uploads.begin(size)
    path = dropped(folder, name, size)
    uploads.arrived(path)
    uploads.end(size)
    return path


def test_a_file_that_two_brought_stays_until_both_have_an_answer(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    path = bring(uploads, tmp_path, "same")
    assert bring(uploads, tmp_path, "same") == path
    with uploads.answering(path):
        assert path.exists()
    assert path.exists(), "the second is still waiting"
    with pytest.raises(ZooError), uploads.answering(path):
        raise ZooError("it cannot be judged")
    assert not list(tmp_path.iterdir())


def test_nothing_is_deleted_while_a_file_arrives(tmp_path: Path) -> None:
    """It may be the one that was just answered, and is counted only when it is whole."""
    uploads = Uploads(tmp_path)
    path = bring(uploads, tmp_path, "same")
    assert uploads.begin(10)
    with uploads.answering(path):
        pass
    assert path.exists()
    uploads.arrived(path)
    uploads.end(10)
    assert path.exists()
    with uploads.answering(path):
        pass
    assert not list(tmp_path.iterdir())


def test_what_arrived_only_in_part_is_deleted(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    assert uploads.begin(10)
    (tmp_path / "tmpabc").write_bytes(b"half")
    uploads.end(10)
    assert not list(tmp_path.iterdir())


def test_uploads_have_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.demo import uploads as module

    monkeypatch.setattr(module, "MOST_WAITING_BYTES", 100)
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    uploads = Uploads(tmp_path)
    large = bring(uploads, tmp_path, "large", 60)
    assert uploads.begin(30)
    assert not uploads.begin(30), "60 wait, 30 arrive"
    uploads.end(30)
    assert not uploads.begin(50)
    with uploads.answering(large):
        pass
    paths = [bring(uploads, tmp_path, str(number)) for number in range(3)]
    assert not uploads.begin(1), "three wait"
    paths[0].unlink()  # by Gradio, which deletes what nobody asked about
    assert uploads.begin(1)


def test_the_folder_of_a_killed_page_is_deleted_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = "\n".join(
        [
            "import time",
            "from zoo.demo.folder import private_folder",
            "with private_folder() as folder:",
            "    (folder / 'face.png').write_bytes(b'x')",
            "    print(folder, flush=True)",
            "    time.sleep(60)",
        ]
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        other = Path(process.stdout.readline().strip())
        with private_folder() as mine:
            assert other.exists(), "its process is alive"
            assert mine.exists()
        process.kill()
    assert other.exists()
    with private_folder() as mine:
        assert list(tmp_path.iterdir()) == [mine]
    assert not list(tmp_path.iterdir())
