"""The very engine under a bare ``session.run``: what our runtime adds to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import HOST_SCOPE, Call, Job, PeerMissingError, shown_device
from runtime.backend_names import choose_backend
from runtime.backends.onnxruntime import providers
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
        backend = choose_backend(Path(job.engine), job.backend)
        wanted = providers(backend)
        self._session: Any = ort.InferenceSession(job.engine, options, providers=wanted)
        if self._session.get_providers()[0] != wanted[0][0]:
            raise PeerMissingError(f"{wanted[0][0]} does not start here")
        self.info = job.engine_info
        where = shown_device(job.device)
        self.title = f"ONNX Runtime {ort.__version__}, session.run on this engine ({where})"
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
