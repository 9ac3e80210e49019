"""Engines as TensorRT plans, run on an NVIDIA GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.batch import BatchProfile
from runtime.batch_io import MemoryUse
from runtime.batch_runner import BatchRunner
from runtime.cuda import Device, PinnedBuffer
from runtime.device_arrays import DeviceArray
from runtime.engine_info import FAKE_NAME, INPUT_NAME, LOGIT_NAME
from runtime.errors import EngineError
from runtime.kernel_cache import cache_path, read_cache, write_cache
from runtime.plan_checks import CheckedPlan, check_plan
from runtime.score_checks import Scores
from runtime.tensorrt_api import Engine, Flavour, RtxOptions

#: Batches that run side by side at most; each has a context, streams and memory of its
#: own. The second one's copies fill the bus while the first one computes, and back.
MOST_RUNNERS = 2


class TensorRTBackend:
    """See `runtime.backends.Backend` and `runtime.backends.DeviceBackend`.

    Args:
        path: of the ``.plan``, its sidecar beside it.
        device: index of the GPU, as CUDA counts.

    Raises:
        EngineError, MissingPackageError: see `runtime.plan_checks.check_plan`; or TensorRT
            could not load the plan, or there is too little device memory for it.
    """

    def __init__(self, path: Path, *, device: int = 0) -> None:
        plan = check_plan(path, device)
        self.info = plan.info
        self.title = f"{plan.api.title} ({plan.device.name})"
        self._path = path
        builder = plan.builder
        self._profile = BatchProfile(builder.min_batch, builder.opt_batch, builder.max_batch)
        self.max_batch = self._profile.maximum
        how = plan.info.preprocessing
        self._frame_shape = (how.height, how.width, 3)
        self.device_index = device
        self.device = Device(device)
        self._rtx = plan.api.flavour is Flavour.TENSORRT_RTX
        self._cache = cache_path(path, plan.device, plan.api.version)
        self._cached = read_cache(self._cache) if self._rtx else b""
        # Opened from the bytes that were hashed; after that they are of no more use.
        with plan.content, self.device.current():
            self._engine = self._open(plan)
        self._free: list[BatchRunner] = []
        self._runners: list[BatchRunner] = []
        self._making = 0
        self._changed = threading.Condition()

    def _open(self, plan: CheckedPlan) -> Engine:
        options = RtxOptions(runtime_cache=self._cached, cuda_graphs=True)
        try:
            engine = plan.api.deserialize(plan.content.read(), options)
        except EngineError as error:
            free, total = self.device.memory()
            memory = f"{free >> 20} of {total >> 20} MiB of device memory are free"
            raise EngineError(
                f"{self._path}: {error.what}", f"{error.why} ({memory})", error.todo
            ) from error
        height, width, _ = self._frame_shape
        found = {(t.name, t.is_input, t.dtype, t.shape) for t in engine.tensors()}
        due = {
            (INPUT_NAME, True, "UINT8", (-1, height, width, 3)),
            (LOGIT_NAME, False, "FLOAT", (-1,)),
            (FAKE_NAME, False, "FLOAT", (-1,)),
        }
        shapes = engine.profile_shapes(INPUT_NAME) if found == due else ()
        if tuple(shape[0] for shape in shapes) != (
            self._profile.minimum,
            self._profile.optimum,
            self._profile.maximum,
        ):
            raise EngineError(
                f"{self._path} is not what its sidecar says",
                f"it has {sorted(found)} with profile {shapes}; "
                f"due are {sorted(due)} with batches {self._profile}",
                f"export it again: zoo export {self.info.network} --fp16",
            )
        return engine

    def memory_use(self) -> MemoryUse:
        """See `runtime.backends.DeviceBackend.memory_use`."""
        total = MemoryUse(weights=self._engine.weights_memory)
        with self._changed:
            for runner in self._runners:
                total += runner.memory
        return total

    def infer(self, frames: NDArray[np.uint8]) -> Scores:
        """See `runtime.backends.Backend.infer`.

        Raises:
            EngineError: fewer frames than the profile's minimum, or more than its maximum;
                too little memory for so many (fewer may fit); CUDA or TensorRT failed.
        """
        self._check_batch(len(frames))
        with self._runner() as runner:
            return runner.infer(frames)

    def infer_many(self, frames: NDArray[np.uint8]) -> Scores:
        """See `runtime.backends.Backend.infer_many`.

        Raises:
            EngineError: as `infer`, or N is no sum of batches of the profile.
        """
        sizes = self._profile.split(len(frames))
        ends = np.cumsum(sizes)
        batches = (
            np.ascontiguousarray(frames[end - size : end])
            for size, end in zip(sizes, ends.tolist(), strict=True)
        )
        with self._runner() as runner:
            parts = list(runner.infer_each(batches))
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def infer_device(self, frames: DeviceArray, stream: int) -> Scores:
        """See `runtime.backends.DeviceBackend.infer_device`."""
        sizes = self._profile.split(frames.shape[0])
        parts = []
        with self._runner() as runner:
            for part, _ in _parts(frames, sizes):
                parts.append(runner.infer_on_device(part, stream))
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def enqueue(
        self, frames: DeviceArray, logit: int | None, fake: int | None, stream: int
    ) -> None:
        """See `runtime.backends.DeviceBackend.enqueue`."""
        sizes = self._profile.split(frames.shape[0])
        with self._runner() as runner:
            for part, start in _parts(frames, sizes):
                runner.enqueue(
                    part,
                    None if logit is None else logit + 4 * start,
                    None if fake is None else fake + 4 * start,
                    stream,
                )

    def pinned_frames(self, count: int) -> NDArray[np.uint8]:
        """See `runtime.backends.DeviceBackend.pinned_frames`."""
        shape = (count, *self._frame_shape)
        return PinnedBuffer(self.device, int(np.prod(shape))).array().reshape(shape)

    def close(self) -> None:
        """Give back device memory, streams and the engine. Nothing may be running."""
        with self.device.current():
            for runner in self._runners:
                runner.close()
            self._keep_kernels()
            # TensorRT wants its contexts gone before the engine, and both on their device.
            self._runners.clear()
            self._free.clear()
            del self._engine
        del self.device

    @contextmanager
    def _runner(self) -> Iterator[BatchRunner]:
        """A runner for this thread alone, with its device current."""
        with self.device.current():
            runner, new = self._take()
            try:
                yield runner
            except BaseException:
                runner.settle()
                raise
            finally:
                with self._changed:
                    self._free.append(runner)
                    self._changed.notify()
        if new:
            # Now, not only when it is closed: a service may never come to that.
            self._keep_kernels()

    def _take(self) -> tuple[BatchRunner, bool]:
        """The runner used last, whose memory is there, or a new one; and whether it is new."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._free or len(self._runners) + self._making < MOST_RUNNERS
            )
            if self._free:
                return self._free.pop(), False
            self._making += 1
        made = None
        try:
            # TensorRT-RTX captures graphs of its own.
            graphs = not self._rtx
            made = BatchRunner(
                self.device, self._engine, self._frame_shape, self.max_batch, graphs=graphs
            )
            return made, True
        finally:
            with self._changed:
                self._making -= 1
                if made is not None:
                    self._runners.append(made)
                else:
                    self._changed.notify()

    def _keep_kernels(self) -> None:
        """Write what TensorRT-RTX has compiled since the plan was opened."""
        kernels = self._engine.runtime_cache()
        if kernels and kernels != self._cached:
            write_cache(self._cache, kernels)
            self._cached = kernels

    def _check_batch(self, count: int) -> None:
        if not self._profile.minimum <= count <= self._profile.maximum:
            raise EngineError(
                f"{self._path.name} takes no batch of {count}",
                f"its profile is {self._profile.minimum} to {self._profile.maximum} images",
                "give as many, or export with another --batch MIN:OPT:MAX",
            )


def _parts(frames: DeviceArray, sizes: list[int]) -> Iterator[tuple[DeviceArray, int]]:
    """Batches of a device array, and the index of each one's first frame."""
    step = frames.bytes // frames.shape[0]
    start = 0
    for size in sizes:
        shape = (size, *frames.shape[1:])
        yield replace(frames, address=frames.address + start * step, shape=shape), start
        start += size
