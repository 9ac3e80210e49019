"""The original in PyTorch: eager, channels-last, ``torch.compile``, and FP16 on a GPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import (
    DEVICE_SCOPE,
    HOST_SCOPE,
    Call,
    Job,
    OriginalNetwork,
    PeerMissingError,
    shown_device,
)

_WAYS = {
    "torch": "eager",
    "torch-channels-last": "eager, channels last",
    "torch-compiled": "torch.compile",
    "torch-fp16": "eager, FP16, channels last",
    "torch-compiled-fp16": "torch.compile, FP16, channels last",
}


class TorchPeer:
    """See `benchmarks.peers.peer.Peer`."""

    def __init__(self, job: Job) -> None:
        from zoo.originals.torch_files import import_torch

        torch = import_torch()
        if job.device == "cuda" and not torch.cuda.is_available():
            raise PeerMissingError("this torch sees no GPU")
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        self._torch, self._job = torch, job
        self._network = OriginalNetwork(job.engine_info)
        original = self._network.load()
        half = job.peer.endswith("fp16")
        self._dtype = torch.float16 if half else torch.float32
        last = half or "channels-last" in job.peer
        self._layout = torch.channels_last if last else torch.contiguous_format
        module = original.module.to(job.device, self._dtype).to(memory_format=self._layout)
        # Of fixed shapes, one compilation a batch size: the faster way.
        self._module = torch.compile(module, dynamic=False) if "compiled" in job.peer else module
        self.info = self._network.info
        version = torch.__version__.split("+")[0]
        self.title = f"torch {version} {_WAYS[job.peer]} ({shown_device(job.device)})"
        where = HOST_SCOPE if job.source == "host" else DEVICE_SCOPE
        kind = "float16" if half else "float32"
        self.scope = f"the network alone: normalised {kind} frames {where}"

    def prepare(self, frames: NDArray[np.uint8]) -> Call:
        """See `benchmarks.peers.peer.Peer.prepare`."""
        torch, module, device = self._torch, self._module, self._job.device
        values = torch.from_numpy(self._network.values(frames).transpose(0, 3, 1, 2))
        values = values.to(self._dtype).contiguous(memory_format=self._layout)
        if self._job.source == "device":
            values = values.to(device)

        def call() -> NDArray[np.float32]:
            with torch.inference_mode():
                output: NDArray[np.float32] = module(values.to(device)).float().cpu().numpy()
            return output

        return call

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `benchmarks.peers.peer.Peer.fake`."""
        return self._network.fake(output)

    def close(self) -> None:
        """See `benchmarks.peers.peer.Peer.close`."""


def open_peer(job: Job) -> TorchPeer:
    """Load the original.

    Raises:
        MissingPackageError: torch is not installed.
        PeerMissingError: there is no GPU.
    """
    return TorchPeer(job)
