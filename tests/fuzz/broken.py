"""Readers with one fault each, which the fuzzer has to find."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from runtime.errors import ZooError

from .mutators import of_bytes
from .readers import Reader
from .seeds import Seed


def _hangs(path: Path) -> None:
    time.sleep(60)


def _hangs_beyond_python(path: Path) -> None:
    Path("pipe").open("rb").close()  # waits for a writer


def _swells(path: Path) -> None:
    _ = [bytearray(b"x" * (10 << 20)) for _ in range(1000)]


def _swells_for_a_moment(path: Path) -> None:
    len(b"x" * (150 << 20) + path.read_bytes())


def _swells_in_a_child(path: Path) -> None:
    code = "import time; x = b'x' * (400 << 20); time.sleep(60)"
    subprocess.run([sys.executable, "-c", code], check=True)


def _raises(path: Path) -> None:
    raise KeyError("no such layer")


def _raises_in_a_thread(path: Path) -> None:
    thread = threading.Thread(target=_raises, args=(path,))
    thread.start()
    thread.join()


def _crashes(path: Path) -> None:
    os.abort()


def _ends(path: Path) -> None:
    os._exit(0)


def _runs_code(path: Path) -> None:
    subprocess.run(["touch", "owned"], check=True)


def _runs_ghostscript(path: Path) -> None:
    subprocess.run(["gs", "-q", path], check=True)


def _leaks(path: Path) -> bytes:
    return Path("canary").read_bytes()


def _leaves_files(path: Path) -> None:
    os.close(tempfile.mkstemp(suffix="left")[0])


def _keeps_files_open(path: Path) -> None:
    os.open(path, os.O_RDONLY)


def _obeys_the_terminal(path: Path) -> None:
    os.write(2, b"\x1b]0;of the file\x07")


def _advises_harm(path: Path) -> None:
    raise ZooError("not loaded", "", "set weights_only=False")


def _says_nothing(path: Path) -> None:
    raise ZooError("")


def _says_too_much(path: Path) -> None:
    os.write(2, b"x" * 100_000)


def _refuses_all(path: Path) -> None:
    raise ZooError("no")


def _sound(path: Path) -> None:
    if path.read_bytes() != b"good":
        raise ZooError(f"{path} is not good", "it is bad", "bring a good one")


def _reader(read: Callable[[Path], bytes | None]) -> Reader:
    name = read.__name__.strip("_").replace("_", "-")
    # What is read first, to be warm, has to be harmless.
    return Reader(name, "input.bin", (Seed("good", lambda: b"good"),), of_bytes,
                  lambda path: None if path.read_bytes() == b"warm" else read(path),
                  warm=lambda: b"warm", places=False)  # fmt: skip


_FAULTS = (
    _hangs, _hangs_beyond_python, _swells, _swells_for_a_moment, _swells_in_a_child, _raises,
    _raises_in_a_thread, _crashes, _ends, _runs_code, _runs_ghostscript, _leaks,
    _keeps_files_open, _leaves_files, _obeys_the_terminal, _advises_harm, _says_nothing,
    _says_too_much, _refuses_all, _sound,
)  # fmt: skip
READERS = {reader.name: reader for reader in map(_reader, _FAULTS)}
