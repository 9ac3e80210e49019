"""One peer in a process of its own: ``python -m benchmarks.worker``, for `benchmarks.workers`.

It is spoken to in lines of JSON: a job first, then one request a line. Between requests it
waits, and leaves the processor to the other peers.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import import_psutil
from benchmarks.measure import Run, measure
from benchmarks.peers.peer import Job, Peer, PeerMissingError
from runtime.errors import ZooError
from zoo.noise import seeded_frames

SEED = 7
#: So many frames of a batch differ; they repeat from there.
_DISTINCT = 32
#: Scores of so many frames are compared between peers.
CHECKED = 2
#: Bytes that a peer needs for each of a frame's: the frame, its floats, some activations.
_BYTES_PER_PIXEL = 16

_NO_MEMORY = re.compile(
    r"bad_alloc|out of memory|too little (device |page-locked )?memory|fail\w* to allocate"
    r"|unable to allocate|can't allocate|cannot allocate|not enough memory|resource ?exhausted",
    re.IGNORECASE,
)


class _Server:
    """Answers the requests of one parent."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._peer: Peer | None = None
        self._prepared: tuple[int, NDArray[np.uint8], Any] | None = None

    def answer(self, event: str, **data: Any) -> None:
        self._answers.write(json.dumps({"event": event, **data}) + "\n")
        self._answers.flush()

    def open(self, line: str) -> bool:
        """Open the peer; whether there is something to measure."""
        start = perf_counter()
        try:
            job = Job(**json.loads(line))
            module, _, function = job.opener.partition(":")
            peer: Peer = getattr(importlib.import_module(module), function)(job)
        except PeerMissingError as error:
            self.answer("missing", reason=str(error))
            return False
        except ZooError as error:
            self.answer("failed", what=error.what, why=error.why, todo=error.todo)
            return False
        self._peer = peer
        self.answer(
            "ready",
            title=peer.title,
            scope=peer.scope,
            info=peer.info.to_json(),
            start_seconds=perf_counter() - start,
        )
        return True

    def serve(self, request: dict[str, Any]) -> None:
        try:
            self._serve(request)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
                self._prepared = None
                self.answer("no_memory", reason=text.splitlines()[0])
            elif isinstance(error, ZooError):
                self.answer("failed", what=error.what, why=error.why, todo=error.todo)
            else:
                raise

    def _serve(self, request: dict[str, Any]) -> None:
        assert self._peer is not None
        peer, do = self._peer, request.pop("do")
        if do == "score":
            frames = self._frames(CHECKED)
            if hasattr(peer, "measure"):
                self.answer("scored", fake=[])
                return
            fake = peer.fake(peer.prepare(frames)())
            self.answer("scored", fake=[float(p) for p in fake if np.isfinite(p)])
            return
        batch = int(request.pop("batch"))
        if do == "phases":
            timed: Any = getattr(peer, "phases", None)
            found = timed(self._frames(batch)) if timed is not None else None
            self.answer("phases", phases=asdict(found) if found is not None else None)
            return
        run = self._measure(batch, **request)
        memory: Any = getattr(peer, "device_memory", None)
        self.answer(
            "measured",
            seconds=run.seconds,
            warm_up=asdict(run.warm_up),
            device_bytes=(memory() if memory is not None else None) or None,
            **_resident(),
        )

    def _measure(self, batch: int, duration: float, repetitions: int) -> Run:
        peer: Any = self._peer
        if hasattr(peer, "measure"):  # an outside program that times itself
            run: Run = peer.measure(self._frames(batch), duration=duration, repetitions=repetitions)
            return run
        if self._prepared is None or self._prepared[0] != batch:
            self._prepared = None
            frames = self._frames(batch)
            self._prepared = batch, frames, peer.prepare(frames)
        return measure(self._prepared[2], duration=duration, repetitions=repetitions)

    def _frames(self, count: int) -> NDArray[np.uint8]:
        assert self._peer is not None
        how = self._peer.info.preprocessing
        need = count * how.height * how.width * 3 * _BYTES_PER_PIXEL
        free = available_memory()
        if need > free:
            raise MemoryError(
                f"{count} frames need about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
            )
        few = seeded_frames(min(count, _DISTINCT), how.height, how.width, SEED)
        return few[np.arange(count) % _DISTINCT] if count > _DISTINCT else few

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()


def available_memory() -> int:
    """Bytes this process may still take: what the machine has free, within its control group."""
    free = int(import_psutil().virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        free = min(free, limit - int((group / "memory.current").read_text()))
    return free


def _resident() -> dict[str, int | None]:
    """Bytes of this process in memory: now, and at most so far (where the system tells)."""
    now = int(import_psutil().Process().memory_info().rss)
    peak = None
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                # The kernel counts pages in batches: its peak may lag behind what is resident.
                peak = max(int(line.split()[1]) * 1024, now)
    return {"resident_bytes": now, "peak_bytes": peak}


def main() -> None:
    """Serve one parent until it closes the line."""
    # Libraries write to standard output when they like; the answers get a descriptor of
    # their own, and what was standard output goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        # Should memory run out all the same, this process is to go and not another.
        Path("/proc/self/oom_score_adj").write_text("1000")
    server = _Server(answers)
    try:
        if server.open(sys.stdin.readline()):
            for line in sys.stdin:
                server.serve(json.loads(line))
    finally:
        server.close()


if __name__ == "__main__":
    main()
