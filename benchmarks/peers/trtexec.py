"""NVIDIA's own trtexec on the very plan: what the engine gives without our runtime."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Run, WarmUp
from benchmarks.peers.peer import Call, Job, PeerMissingError
from runtime.engine_info import INPUT_NAME
from runtime.errors import EngineError


class TrtexecPeer:
    """See `benchmarks.peers.peer.Peer`; trtexec times itself, see `measure`."""

    def __init__(self, job: Job) -> None:
        self.info = job.engine_info
        flavour = self.info.builder.flavour if self.info.builder else "tensorrt"
        name = "tensorrt_rtx" if flavour == "tensorrt_rtx" else "trtexec"
        tool = shutil.which(name)
        if tool is None:
            raise PeerMissingError(f"{name} is not on the PATH")
        self._tool, self._plan, self._on_device = tool, job.engine, job.source == "device"
        self.title = f"{name} on the same plan"
        what = "compute alone" if self._on_device else "host-to-device, compute, device-to-host"
        self.scope = f"the engine alone, by {name}: {what}; random pixels"

    def prepare(self, frames: NDArray[np.uint8]) -> Call:
        """Never called: the tool is a program of its own, see `measure`."""
        raise NotImplementedError

    def measure(self, frames: NDArray[np.uint8], *, duration: float, repetitions: int) -> Run:
        """Let trtexec measure batches of this size.

        Raises:
            EngineError: it failed; the message has its last words.
        """
        how = self.info.preprocessing
        shape = f"{INPUT_NAME}:{len(frames)}x{how.height}x{how.width}x3"
        with tempfile.TemporaryDirectory() as folder:
            pixels, times = Path(folder, "frames.bin"), Path(folder, "times.json")
            pixels.write_bytes(frames.tobytes())
            command = [
                self._tool,
                f"--loadEngine={self._plan}",
                f"--shapes={shape}",
                f"--loadInputs={INPUT_NAME}:{pixels}",
                f"--duration={duration:.3f}",
                f"--iterations={repetitions}",
                "--warmUp=500",
                f"--exportTimes={times}",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode or not times.is_file():
                words = [line for line in done.stdout.splitlines() if "[E]" in line]
                last = words or (done.stdout + done.stderr).splitlines() or ["nothing"]
                raise EngineError(f"trtexec failed on {self._plan}", re.sub(r"\s+", " ", last[-1]))
            entries = json.loads(times.read_text("utf-8"))
        field = "computeMs" if self._on_device else "latencyMs"
        return Run(tuple(entry[field] / 1000 for entry in entries), WarmUp(0, 0.5, True))

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """It shows no scores."""
        return np.full(len(output), np.nan, np.float32)

    def close(self) -> None:
        """See `benchmarks.peers.peer.Peer.close`."""


def open_peer(job: Job) -> TrtexecPeer:
    """Find trtexec.

    Raises:
        PeerMissingError: it is not installed.
    """
    return TrtexecPeer(job)
