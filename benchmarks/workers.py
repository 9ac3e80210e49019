"""The other end of `benchmarks.worker`: starts the processes and asks them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.environment import seeing_gpu
from benchmarks.measure import Run, WarmUp
from benchmarks.peers.peer import Job, PeerMissingError
from benchmarks.phases import Phases
from runtime.engine_info import EngineInfo
from runtime.errors import EngineError


class OutOfMemoryError(Exception):
    """A batch does not fit; the message says what of."""


@dataclass(frozen=True)
class Measured:
    """What a worker says of one round.

    Attributes:
        run: the times.
        resident_bytes, peak_bytes: of its process, now and at most so far.
        device_bytes: taken on the GPU, where the peer knows.
    """

    run: Run
    resident_bytes: int
    peak_bytes: int | None
    device_bytes: int | None


class Worker:
    """A process with one peer in it.

    Raises:
        PeerMissingError: the peer cannot run here.
        EngineError: the engine is not there, not ours, or does not fit this machine.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        # What it writes to standard error, for when it dies.
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=seeing_gpu(job.gpu),
            # Ctrl-C is for us: we keep what was measured, then end the workers.
            start_new_session=True,
        )
        try:
            ready = self._ask(job.to_json())
        except BaseException:
            self.close()
            raise
        self.title = str(ready["title"])
        self.scope = str(ready["scope"])
        self.info = EngineInfo.from_json(ready["info"], job.engine)
        self.start_seconds = float(ready["start_seconds"])

    def measure(self, batch: int, *, duration: float, repetitions: int) -> Measured:
        """One round.

        Raises:
            OutOfMemoryError: the batch does not fit in memory.
            EngineError: the peer failed, or its process died.
        """
        answer = self._request("measure", batch=batch, duration=duration, repetitions=repetitions)
        run = Run(tuple(answer["seconds"]), WarmUp(**answer["warm_up"]))
        return Measured(run, answer["resident_bytes"], answer["peak_bytes"], answer["device_bytes"])

    def phases(self, batch: int) -> Phases | None:
        """Where the time goes on a GPU; nothing on a CPU."""
        found = self._request("phases", batch=batch)["phases"]
        return None if found is None else Phases(**found)

    def scores(self) -> Sequence[float]:
        """P(fake) of the first frames; empty where the peer shows none."""
        scores: list[float] = self._request("score")["fake"]
        return scores

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, do: str, **data: Any) -> dict[str, Any]:
        return self._ask(json.dumps({"do": do, **data}))

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            text = self._process.stdout.readline()
        except BrokenPipeError:
            text = ""
        if not text:
            self._died()
        answer: dict[str, Any] = json.loads(text)
        event = answer.pop("event")
        if event == "missing":
            raise PeerMissingError(answer["reason"])
        if event == "no_memory":
            raise OutOfMemoryError(answer["reason"])
        if event == "failed":
            raise EngineError(answer["what"], answer["why"], answer["todo"])
        return answer

    def _died(self) -> None:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            raise OutOfMemoryError("the system ended its process, as it does when memory runs out")
        self._log.seek(0)
        words = [line for line in self._log.read().splitlines() if line.strip()]
        raise EngineError(
            f"the process of '{self.job.peer}' died with {code}",
            words[-1].strip() if words else "it left no word",
        )
