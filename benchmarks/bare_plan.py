"""A plan under the bare calls of TensorRT and CUDA: what the runtime is held against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.cuda import (
    Device,
    DeviceBuffer,
    Graph,
    PinnedBuffer,
    Stream,
    align,
    capture,
    copy_to_device,
    copy_to_host,
)
from runtime.engine_info import FAKE_NAME, INPUT_NAME, LOGIT_NAME
from runtime.plan_checks import check_plan
from runtime.tensorrt_api import Flavour, RtxOptions


class BarePlan:
    """One context of a plan, set up once for one batch size. Use it in a ``with``.

    Args:
        path: of the ``.plan``.
        frames: uint8 [N, H, W, 3]; copied to the device, and into page-locked memory.
        device: index of the GPU.

    Raises:
        EngineError, MissingPackageError: see `runtime.plan_checks.check_plan`.
    """

    def __init__(self, path: Path, frames: NDArray[np.uint8], device: int = 0) -> None:
        plan = check_plan(path, device)
        self.device = Device(device)
        self._count = len(frames)
        self._size = frames.nbytes
        self._captures_itself = plan.api.flavour is Flavour.TENSORRT_RTX
        self._graph: Graph | None = None
        with plan.content, self.device.current():
            self._engine = plan.api.deserialize(plan.content.read(), RtxOptions(cuda_graphs=True))
            self._context = self._engine.create_context()
            self._context.set_input_shape(INPUT_NAME, frames.shape)
            self.stream = Stream(self.device)
            scratch = self._context.scratch_size()
            self._scratch = DeviceBuffer(self.device, align(max(scratch, 1)), "activations")
            self._context.set_scratch(self._scratch.handle, self._scratch.size)
            self._frames = DeviceBuffer(self.device, self._size, "frames")
            self._pinned = PinnedBuffer(self.device, self._size)
            # Both results in one buffer, so that one copy brings them back.
            self._half = align(4 * self._count)
            self._results = DeviceBuffer(self.device, 2 * self._half, "results")
            self._fetched = PinnedBuffer(self.device, 2 * self._half)
            self._context.set_tensor_address(INPUT_NAME, self._frames.handle)
            self._context.set_tensor_address(LOGIT_NAME, self._results.handle)
            self._context.set_tensor_address(FAKE_NAME, self._results.handle + self._half)
            self._pinned.array()[:] = frames.reshape(-1)
            # The first execution after a change of shape does work of its own.
            self.round_trip()
            self.wait()
            if not self._captures_itself:
                with capture(self.device, self.stream) as made:
                    self.round_trip()
                (self._graph,) = made

    def copy_in(self) -> None:
        """Enqueue the copy of the frames from page-locked memory."""
        copy_to_device(self._frames.handle, self._pinned.handle, self._size, self.stream.handle)

    def compute(self) -> None:
        """Enqueue the network alone, ``execute_async_v3``."""
        self._context.execute(self.stream.handle)

    def round_trip(self) -> None:
        """Enqueue copy in, network and copy out."""
        self.copy_in()
        self.compute()
        copy_to_host(
            self._fetched.handle, self._results.handle, self._fetched.size, self.stream.handle
        )

    def replay(self) -> None:
        """Enqueue the graph of a round trip; TensorRT-RTX replays the network's by itself."""
        if self._graph is None:
            self.round_trip()
        else:
            self._graph.launch(self.stream.handle)

    def wait(self) -> None:
        """Wait for all that was enqueued."""
        self.stream.synchronize()

    def fake(self) -> NDArray[np.float32]:
        """P(fake) of the last round trip, float32 [N]."""
        floats = self._fetched.array().view(np.float32)
        start = self._half // 4
        return floats[start : start + self._count].copy()

    def close(self) -> None:
        """Give back everything."""
        with self.device.current():
            self.wait()
            if self._graph is not None:
                self._graph.close()
            del self._context, self._engine
            for resource in (
                *(self._scratch, self._frames, self._results),
                *(self._pinned, self._fetched, self.stream),
            ):
                resource.close()

    def __enter__(self) -> BarePlan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
