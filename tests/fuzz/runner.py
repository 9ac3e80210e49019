"""Watches the workers: time, memory, deaths; keeps the inputs of findings."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: For a worker to start, and to make an input.
_PATIENCE = 120.0
_LOOK = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Limits:
    """What an input may take: seconds, and bytes above what the worker had before."""

    seconds: float = 10.0
    memory: int = 1 << 30


@dataclass(frozen=True)
class Finding:
    """What a reader did that it may not.

    Attributes:
        reader, number: which input; ``python -m tests.fuzz READER --seed NUMBER --count 1``.
        seed: what it was made from.
        what: kind and, after a colon, the place or cause.
        words: a traceback or what was shown.
        file: where the input was kept.
    """

    reader: str
    number: int
    seed: str
    what: str
    words: str
    file: Path | None


@dataclass
class Row:
    """What came of one reader's inputs."""

    reader: str
    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0
    most: int = 0
    descriptors: int = 0
    findings: list[Finding] = field(default_factory=list)


def run(
    jobs: Sequence[tuple[str, int, int]],
    *,
    module: str = "readers",
    limits: Limits = Limits(),
    workers: int = 2,
    keep: Path | None = None,
    tell: Callable[[Row], None] = lambda row: None,
    file: Path | None = None,
) -> list[Row]:
    """Run readers on inputs.

    Args:
        jobs: reader, number of its first input, how many.
        module: of this package, whose ``READERS`` are meant.
        limits: of one input.
        workers: processes at once.
        keep: folder for the inputs of findings.
        tell: called with each row that is done.
        file: an input to read instead of the numbered ones.
    """
    table = importlib.import_module(f".{module}", __package__).READERS
    due: queue.SimpleQueue[tuple[int, tuple[str, int, int]]] = queue.SimpleQueue()
    for item in enumerate(jobs):
        due.put(item)
    rows: dict[int, Row] = {}
    broken: list[BaseException] = []

    def work() -> None:
        with _Worker(module) as worker:
            while not broken:
                try:
                    index, (reader, first, count) = due.get_nowait()
                except queue.Empty:
                    return
                row = rows[index] = Row(reader)
                worker.prepare(table[reader].alone)
                for number in range(first, first + count):
                    _count(row, worker.read(reader, number, limits, keep, file))
                _count_descriptors(row)
                tell(row)

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
    return [rows[index] for index in sorted(rows)]


def _count(row: Row, found: dict[str, Any]) -> None:
    row.inputs += 1
    row.refused += found["outcome"] == "refused"
    row.accepted += found["outcome"] == "accepted"
    row.slowest = max(row.slowest, found["seconds"])
    row.most = max(row.most, found["most"])
    row.descriptors += found.get("descriptors", 0)
    if "finding" in found:
        row.findings.append(
            Finding(
                row.reader,
                found["number"],
                found["seed"],
                found["finding"],
                found["words"],
                found["file"],
            )
        )


def _count_descriptors(row: Row) -> None:
    """Files that stay open, some at every tenth input or so, are a finding of them all."""
    if row.descriptors > 16 + row.inputs // 10:
        what = "descriptors: files stay open"
        words = f"{row.descriptors} of {row.inputs} inputs"
        row.findings.append(Finding(row.reader, -1, "all", what, words, None))


class _Worker:
    """A process that reads, started again whenever it was lost."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._alone = False

    def __enter__(self) -> _Worker:
        self._folder = Path(tempfile.mkdtemp(prefix="zoo-fuzz-"))
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepare(self, alone: bool) -> None:
        """Begin with another reader, in a process of its own where it needs one."""
        if alone or self._alone:
            self._kill()
        self._alone = alone

    def read(
        self, reader: str, number: int, limits: Limits, keep: Path | None, file: Path | None
    ) -> dict[str, Any]:
        """Have one input read, and say what came of it."""
        process = self._process or self._start()
        assert process.stdin is not None
        order = {"reader": reader, "number": number, "file": None if file is None else str(file)}
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        patience = _Watch(process.pid)
        ready = self._answer(lambda: patience.seconds() > _PATIENCE)
        if ready is None:
            words = self._log()
            self._kill()
            return {"outcome": "failed", "finding": "no input: it cannot be made", "words": words,
                    "number": number, "seed": "", "file": None, "seconds": 0.0,
                    "most": 0}  # fmt: skip
        watch = _Watch(process.pid)

        def enough() -> bool:
            return watch.seconds() > limits.seconds or watch.most > limits.memory

        found = self._answer(enough)
        seconds, most = watch.seconds(), watch.most
        if found is None:
            found = {"outcome": "failed", "most": most, "words": self._log()}
            if most > limits.memory:
                found["finding"] = f"memory: over {limits.memory >> 20} MB"
            elif process.poll() is None:
                found["finding"] = f"hang: over {limits.seconds:g} s"
            else:
                found["finding"] = f"crash: {_end(process.returncode)}"
            self._kill()
        elif found["most"] > limits.memory:
            found.setdefault("finding", f"memory: {found['most'] >> 20} MB at most")
        found["most"] = max(found["most"], most)
        kept = None
        if "finding" in found and keep is not None:
            path = Path(ready["ready"])
            keep.mkdir(parents=True, exist_ok=True)
            # The input as it was: the reader may have written into its own.
            kept = keep / f"{reader}-{number}{path.suffix}"
            shutil.copy(path.with_name("other"), kept)
        return {**found, "seconds": seconds, "number": number, "seed": ready["seed"], "file": kept}

    def _start(self) -> subprocess.Popen[bytes]:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        paths = [str(ROOT / "tests"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", f"fuzz.{self._module}", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._folder / "log").open("wb"),
            env={**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # its children end with it
            bufsize=0,
        )
        self._buffer = b""
        return self._process

    def _answer(self, enough: Callable[[], bool]) -> dict[str, Any] | None:
        """The next line of the worker; ``None`` where it was enough or it has ended."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        while b"\n" not in self._buffer:
            if enough():
                return None
            if select.select([process.stdout], [], [], _LOOK)[0]:
                block = os.read(process.stdout.fileno(), 1 << 16)
                if not block:
                    process.wait()
                    return None
                self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _log(self) -> str:
        log = self._folder / "log"
        return log.read_bytes()[-4000:].decode("utf-8", "replace") if log.exists() else ""

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # All of its session: what it started must not outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class _Watch:
    """What a process and its children have taken since a moment.

    Attributes:
        most: bytes of memory at most, above what the process had.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._start = time.monotonic()
        self._waits: dict[int, float] = {}
        self.most = self._before = 0
        self._waited = 0.0
        self.seconds()
        self._before, self.most = self.most, 0
        self._waited = sum(self._waits.values())

    def seconds(self) -> float:
        """Seconds, less those in which it only waited for a core that others had.

        A machine at work on other things makes no reader hang.
        """
        memory = 0
        for pid in _family(self._pid):
            try:
                memory += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
                wait = Path(f"/proc/{pid}/schedstat").read_text().split()[1]
            except (OSError, IndexError):  # it has just ended
                continue
            self._waits[pid] = int(wait) / 1e9
        self.most = max(self.most, memory - self._before)
        waited = sum(self._waits.values()) - self._waited
        return time.monotonic() - self._start - waited


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):  # it has just ended
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found
