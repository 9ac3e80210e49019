"""The very engine under a bare ``session.run``: what our runtime adds to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import HOST_SCOPE, Call, Job, PeerMissingError
from runtime.engine_info import FAKE_NAME, INPUT_NAME, LOGIT_NAME


class SessionPeer:
    """See `benchmarks.peers.peer.Peer`."""

    def __init__(self, job: Job) -> None:
        if not job.engine.endswith(".onnx"):
            raise PeerMissingError("ONNX Runtime runs no plan; for that there is trtexec")
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        if job.threads is not None:
            options.intra_op_num_threads = job.threads
        self._session: Any = ort.InferenceSession(
            job.engine, options, providers=["CPUExecutionProvider"]
        )
        self.info = job.engine_info
        self.title = f"ONNX Runtime {ort.__version__}, session.run on this engine (CPU)"
        self.scope = f"session.run: uint8 frames {HOST_SCOPE}; scaling included"

    def prepare(self, frames: NDArray[np.uint8]) -> Call:
        """See `benchmarks.peers.peer.Peer.prepare`."""
        session = self._session
        return lambda: session.run([LOGIT_NAME, FAKE_NAME], {INPUT_NAME: frames})[1]

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `benchmarks.peers.peer.Peer.fake`."""
        return output

    def close(self) -> None:
        """See `benchmarks.peers.peer.Peer.close`."""
        self._session = None


def open_peer(job: Job) -> SessionPeer:
    """Load the engine.

    Raises:
        PeerMissingError: it is a plan.
    """
    return SessionPeer(job)
