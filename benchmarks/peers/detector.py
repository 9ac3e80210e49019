"""The engine itself, through the runtime's own front."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import DEVICE_SCOPE, HOST_SCOPE, Call, Job
from benchmarks.phases import Phases, measure_phases
from runtime import Detector
from runtime.engine_info import EngineInfo
from runtime.errors import EngineError


class DetectorPeer:
    """See `benchmarks.peers.peer.Peer`."""

    def __init__(self, job: Job) -> None:
        self._detector = Detector(job.engine, backend=job.backend, threads=job.threads)
        if job.source == "device" and not self._detector.takes_device_arrays:
            title = self._detector.title
            self._detector.close()
            raise EngineError(
                f"{job.engine} takes no frames in the memory of a GPU",
                f"it is run by {title}",
                "give a .plan, or leave --from device out",
            )
        self._source = job.source
        self.title = f"Detector, {self._detector.title}"
        where = HOST_SCOPE if job.source == "host" else DEVICE_SCOPE
        self.scope = f"Detector.score: uint8 frames {where}; scaling included"

    @property
    def info(self) -> EngineInfo:
        """See `benchmarks.peers.peer.Peer.info`."""
        return self._detector.info

    def prepare(self, frames: NDArray[np.uint8]) -> Call:
        """See `benchmarks.peers.peer.Peer.prepare`."""
        given: Any = frames
        if self._source == "device":
            from benchmarks.phases import DeviceFrames

            given = DeviceFrames(frames)
        return lambda: self._detector.score(given)

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `benchmarks.peers.peer.Peer.fake`."""
        return output

    def device_memory(self) -> int:
        """Bytes that the engine has taken on the GPU."""
        return self._detector.device_memory

    def phases(self, frames: NDArray[np.uint8]) -> Phases | None:
        """The parts of one batch of a plan; nothing of ONNX Runtime, which shows none."""
        if not self._detector.takes_device_arrays:
            return None
        return measure_phases(self._detector, frames)

    def close(self) -> None:
        """See `benchmarks.peers.peer.Peer.close`."""
        self._detector.close()


def open_peer(job: Job) -> DetectorPeer:
    """Open the engine.

    Raises:
        EngineError: it is missing, not ours, or does not fit this machine.
    """
    return DetectorPeer(job)
