"""A forked child that ends as programs do, in real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_engine import TinyEngine

#: A child that hangs is ended by its alarm; ONNX Runtime's threads need time to go to sleep,
#: which is when freeing them hangs.
_PROGRAM = """
import atexit, ctypes, os, signal, sys, time
from pathlib import Path
import numpy as np
from runtime import Detector

engine, written = sys.argv[1], Path(sys.argv[2])
frames = np.zeros((9, 8, 8, 3), np.uint8)

def in_child(work):
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        work()
        sys.exit(3)
    return os.waitpid(child, 0)[1]

def nothing():
    pass

def leaves_traces():
    print("python's output", end="")
    file = written.open("w")
    file.write("python's file")
    globals()["kept"] = file
    atexit.register(print, ", atexit's", end="")
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    place = os.fsencode(written.with_suffix(".c"))
    libc.fputs(b"C's file", ctypes.c_void_p(libc.fopen(place, b"w")))

def opens_its_own():
    own = Detector(engine)
    assert own.score(frames).shape == (9,)
    globals()["own"] = own

detector = Detector(engine)
time.sleep(0.1)
codes = [in_child(nothing)]
detector.score(frames)
time.sleep(0.1)
codes.append(in_child(leaves_traces))
codes.append(in_child(opens_its_own))
codes.append(in_child(lambda: in_child(nothing) == 3 << 8 or sys.exit(4)))
detector.score(frames)
detector.close()
codes.append(in_child(nothing))
print()
print(*codes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's exit is mended")
def test_a_child_that_exits_normally_ends(tiny_engine: TinyEngine, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, tiny_engine.path, tmp_path / "written"],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    output, codes = done.stdout.splitlines()
    assert codes.split() == [str(3 << 8)] * 5, "each ended by itself, with its exit code"
    assert output == "python's output, atexit's"
    assert (tmp_path / "written").read_text() == "python's file"
    assert (tmp_path / "written.c").read_text() == "C's file"
