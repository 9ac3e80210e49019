"""OpenVINO on the framework's plain export, in FP32 as all the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.onnxruntime import own_layout
from benchmarks.peers.peer import (
    HOST_SCOPE,
    Call,
    Job,
    OriginalNetwork,
    PeerMissingError,
    plain_path,
)


class OpenVinoPeer:
    """See `benchmarks.peers.peer.Peer`."""

    def __init__(self, job: Job) -> None:
        try:
            import openvino
        except ImportError:
            raise PeerMissingError("openvino is not installed: pip install openvino") from None
        if job.source == "device" or job.device == "cuda":
            raise PeerMissingError("it runs on the CPU")
        # It would otherwise choose BF16 where the processor has it: other scores.
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if job.threads is not None:
            config["INFERENCE_NUM_THREADS"] = job.threads
        core = openvino.Core()
        self._model = core.read_model(str(plain_path(job)))
        self._core, self._config = core, config
        self._network = OriginalNetwork(job.engine_info)
        self.info = self._network.info
        self.title = f"OpenVINO {openvino.__version__.split('-')[0]} FP32, plain export (CPU)"
        self.scope = f"the network alone: normalised float32 frames {HOST_SCOPE}"

    def prepare(self, frames: NDArray[np.uint8]) -> Call:
        """See `benchmarks.peers.peer.Peer.prepare`."""
        values = own_layout(self._network, frames)
        self._model.reshape(list(values.shape))  # of a fixed shape: the faster way
        request = self._core.compile_model(self._model, "CPU", self._config).create_infer_request()

        def call() -> NDArray[np.float32]:
            request.infer([values], share_inputs=True)
            return np.array(request.get_output_tensor(0).data, np.float32)

        return call

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `benchmarks.peers.peer.Peer.fake`."""
        return self._network.fake(output)

    def close(self) -> None:
        """See `benchmarks.peers.peer.Peer.close`."""


def open_peer(job: Job) -> OpenVinoPeer:
    """Load the plain export.

    Raises:
        PeerMissingError: OpenVINO is not installed, or the engine runs on a GPU.
    """
    return OpenVinoPeer(job)
