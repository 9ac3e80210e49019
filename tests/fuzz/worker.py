"""The process that reads: one input after another, and what came of each.

It is told a reader and a number on a line of standard input, and answers with a line when
the input lies there and another when it is read; `runner` watches it in between.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random
from typing import IO, Any

from .readers import Reader
from .seeds import CANARY, Seed

ROOT = Path(__file__).resolve().parents[2]
#: A way out must not be to open the door.
_UNSAFE = re.compile(
    r"weights_only|allow_pickle|safe_mode|enable_unsafe|unsafe|LOAD_TRUNCATED|MAX_IMAGE_PIXELS"
    r"|trusted source|field_size_limit|set_int_max_str_digits",
    re.IGNORECASE,
)
#: Stands in for Ghostscript, and for any command of an input.
_OWNED = "owned"


def input_of(reader: Reader, number: int) -> Seed:
    """An input: a seed as it is, or what a mutator made of one."""
    if number < len(reader.inputs):
        return reader.inputs[number]
    rng = Random(f"{reader.name} {number}")
    # Those that are large or hostile on their own leave little to find around them.
    pristine = [seed for seed in reader.seeds if not seed.hostile] or list(reader.seeds)
    seed = rng.choice(pristine)
    content = reader.mutate(seed.make(), rng)
    return Seed(seed.name, lambda: content, hostile=True)


def serve(table: dict[str, Reader], place: Path, answers: IO[str]) -> None:
    """Read what standard input names, until it ends.

    Args:
        table: the readers by name.
        place: a folder of this process.
        answers: where lines of JSON go.
    """
    warm: set[str] = set()
    _ghostscript(place)
    for line in sys.stdin:
        order = json.loads(line)
        reader = table[order["reader"]]
        if reader.name not in warm:  # imports are not the input's time nor memory
            first = reader.warm or reader.seeds[0].make
            _read(reader, _lay(reader, Seed("warm", first), place))
            warm.add(reader.name)
        if order["file"]:
            seed = Seed("file", Path(order["file"]).read_bytes, hostile=True)
        else:
            seed = input_of(reader, order["number"])
        path = _lay(reader, seed, place)
        _say(answers, {"ready": str(path), "seed": seed.name})
        found = _watched(reader, path)
        if found["outcome"] == "refused" and not seed.hostile:
            found.setdefault("finding", "seed refused: it was to be read")
        _say(answers, found)


def _say(answers: IO[str], what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _ghostscript(place: Path) -> None:
    """A program of that name, first on the path, that says it was run."""
    folder = place / "bin"
    folder.mkdir()
    program = folder / "gs"
    program.write_text(f"#!/bin/sh\ntouch {place}/work/{_OWNED}\n")
    program.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def _lay(reader: Reader, seed: Seed, place: Path) -> Path:
    """Put an input into a fresh folder, which is the current one then."""
    work, temporary = place / "work", place / "tmp"
    for folder in (work, temporary):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    os.chdir(work)
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    os.mkfifo("pipe")
    Path("canary").write_bytes(CANARY)
    data = seed.make()
    Path("other").write_bytes(data)
    path = work / reader.file
    if seed.place is None:
        path.write_bytes(data)
    else:
        seed.place(path)
    return path


def _watched(reader: Reader, path: Path) -> dict[str, Any]:
    """Read one input and look at everything that it may not do."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before, children = _status("VmRSS"), _children()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    found = _read(reader, path)
    found["most"] = max(0, _status("VmHWM") - before)
    if _children() > children:  # the largest child so far was one of this input
        found["most"] = max(found["most"], _children())
    found["descriptors"] = len(list(Path("/proc/self/fd").iterdir())) - descriptors
    if (path.parent / _OWNED).exists():
        found["finding"] = "code ran: a command of the input was run"
    left = sorted(os.listdir(os.environ["TMPDIR"]))
    if left:
        found.setdefault("finding", f"left behind: {', '.join(left)} among temporary files")
    return found


def _read(reader: Reader, path: Path) -> dict[str, Any]:
    from runtime.errors import ZooError

    sys.stderr.flush()
    os.ftruncate(2, 0)
    os.lseek(2, 0, os.SEEK_SET)
    found: dict[str, Any] = {"outcome": "accepted", "words": ""}
    try:
        content = reader.read(path)
        if content is not None and CANARY[:16] in content:
            found["finding"] = "leak: bytes of another file were read"
    except ZooError as error:
        found = {"outcome": "refused", **_shown(error, path)}
    except (Exception, SystemExit) as error:
        found = {
            "outcome": "failed",
            "finding": f"traceback: {_where(error)}",
            "words": traceback.format_exc()[-4000:],
        }
    sys.stderr.flush()
    log = _log()
    if any(not character.isprintable() and character not in "\n\t" for character in log):
        found.setdefault("finding", "unprintable: characters that a terminal obeys are shown")
    if len(log) > 20_000:
        found.setdefault("finding", f"long words: {len(log):,} characters are shown")
    if "Traceback (most recent call last)" in log:
        found.setdefault("finding", f"traceback: in a thread: {log.strip().splitlines()[-1]}")
    return found


def _shown(error: Any, path: Path) -> dict[str, Any]:
    """The words of an error as the command line shows them, and what is wrong with them."""
    from zoo.printing import print_error

    before = len(_log())
    print_error(error)
    sys.stderr.flush()
    text = _log()[before:]
    shown: dict[str, Any] = {"words": text.strip()}
    if unsafe := _UNSAFE.search(text.replace(str(path.parent), "")):
        shown["finding"] = f"unsafe advice: {unsafe.group()}"
    elif not error.what.strip():
        shown["finding"] = f"no words: {type(error).__name__}"
    return shown


def _log() -> str:
    size = os.fstat(2).st_size
    return os.pread(2, min(size, 1 << 20), max(0, size - (1 << 20))).decode("utf-8", "replace")


def _where(error: BaseException) -> str:
    """The exception and the project's own line that it came through last."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if str(ROOT) in f.filename]
    own = [f for f in frames if "/tests/fuzz/" not in f.filename] or frames
    at = f"{Path(own[-1].filename).relative_to(ROOT)}:{own[-1].lineno}" if own else "?"
    return f"{type(error).__name__} at {at}"


def _status(field: str) -> int:
    """Bytes, from ``/proc/self/status``."""
    text = Path("/proc/self/status").read_text("ascii", "replace")
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", text)[1])  # type: ignore[index]


def _children() -> int:
    """Most bytes that a child which has ended ever had."""
    return 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def main(module: str, place: str) -> None:
    """Standard output is for the answers; whatever libraries print goes into a file."""
    answers = os.fdopen(os.dup(1), "w")
    log = os.open(Path(place, "log"), os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    serve(importlib.import_module(module).READERS, Path(place), answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
