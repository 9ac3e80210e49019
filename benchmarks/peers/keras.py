"""The original in Keras: eager, ``predict_on_batch``, and a compiled function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import HOST_SCOPE, Call, Job, OriginalNetwork, PeerMissingError

_WAYS = {
    "keras": "predict_on_batch",
    "keras-eager": "model(x), eager",
    "keras-compiled": "tf.function",
}


class KerasPeer:
    """See `benchmarks.peers.peer.Peer`."""

    def __init__(self, job: Job) -> None:
        if job.source == "device":
            raise PeerMissingError("the original in Keras runs on the CPU")
        from zoo.originals.keras_framework import import_keras

        keras = import_keras()
        import tensorflow as tf

        if job.threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(job.threads)
            tf.config.threading.set_inter_op_parallelism_threads(job.threads)
        self._network = OriginalNetwork(job.engine_info)
        original = self._network.load()
        self._model = original.module
        self._way = job.peer
        self._tf = tf
        self.info = self._network.info
        self.title = f"Keras {keras.__version__} {_WAYS[job.peer]} (CPU)"
        self.scope = f"the network alone: normalised float32 frames {HOST_SCOPE}"
        self._compiled = tf.function(lambda x: self._model(x, training=False))

    def prepare(self, frames: NDArray[np.uint8]) -> Call:
        """See `benchmarks.peers.peer.Peer.prepare`."""
        values, model = self._network.values(frames), self._model
        if self._way == "keras":
            return lambda: np.asarray(model.predict_on_batch(values))
        if self._way == "keras-eager":
            return lambda: np.asarray(model(values, training=False))
        # Of a fixed shape: TensorFlow optimises more when it knows all axes.
        compiled = self._compiled.get_concrete_function(
            self._tf.TensorSpec(values.shape, self._tf.float32)
        )
        return lambda: np.asarray(compiled(self._tf.convert_to_tensor(values)))

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `benchmarks.peers.peer.Peer.fake`."""
        return self._network.fake(output)

    def close(self) -> None:
        """See `benchmarks.peers.peer.Peer.close`."""


def open_peer(job: Job) -> KerasPeer:
    """Load the original.

    Raises:
        MissingPackageError: TensorFlow is not installed.
        PeerMissingError: the frames are in device memory.
    """
    return KerasPeer(job)
