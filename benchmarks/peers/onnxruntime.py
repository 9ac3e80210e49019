"""ONNX Runtime on the framework's plain export: what users have without this project."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import (
    HOST_SCOPE,
    Call,
    Job,
    OriginalNetwork,
    PeerMissingError,
    plain_path,
    shown_device,
)


class OnnxRuntimePeer:
    """See `benchmarks.peers.peer.Peer`."""

    def __init__(self, job: Job) -> None:
        import onnxruntime as ort

        on_gpu = job.device == "cuda" or job.peer == "onnxruntime-cuda"
        provider = "CUDAExecutionProvider" if on_gpu else "CPUExecutionProvider"
        if provider not in ort.get_available_providers():
            raise PeerMissingError(f"this ONNX Runtime has no {provider}")
        if job.source == "device":
            raise PeerMissingError("its frames are given in host memory")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if job.threads is not None:
            options.intra_op_num_threads = job.threads
        self._session: Any = ort.InferenceSession(
            str(plain_path(job)), options, providers=[provider]
        )
        if self._session.get_providers()[0] != provider:
            raise PeerMissingError(f"{provider} does not start here")
        self._network = OriginalNetwork(job.engine_info)
        self.info = self._network.info
        where = shown_device("cuda" if on_gpu else "cpu")
        self.title = f"ONNX Runtime {ort.__version__}, plain export ({where})"
        self.scope = f"the network alone: normalised float32 frames {HOST_SCOPE}"

    def prepare(self, frames: NDArray[np.uint8]) -> Call:
        """See `benchmarks.peers.peer.Peer.prepare`."""
        values, session = own_layout(self._network, frames), self._session
        feeds = {session.get_inputs()[0].name: values}
        return lambda: session.run(None, feeds)[0]

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `benchmarks.peers.peer.Peer.fake`."""
        return self._network.fake(output)

    def close(self) -> None:
        """See `benchmarks.peers.peer.Peer.close`."""
        self._session = None


def own_layout(network: OriginalNetwork, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Normalised frames in the layout of the framework's plain export."""
    values = network.values(frames)
    if network.card.framework == "torch":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values)


def open_peer(job: Job) -> OnnxRuntimePeer:
    """Load the plain export.

    Raises:
        PeerMissingError: there is no plain export, or ONNX Runtime cannot run it so.
    """
    return OnnxRuntimePeer(job)
