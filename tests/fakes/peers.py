"""Peers of a benchmark that behave as told, for the worker process to open."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import Job, PeerMissingError
from benchmarks.phases import Phases
from runtime.engine_info import Builder, EngineInfo, Preprocessing, WeightsInfo

#: Seconds that `sleeping` takes for a call, whatever its batch.
SLEEP = 0.05

INFO = EngineInfo(
    network="meso4",
    title="Fake",
    weights=WeightsInfo("random", trained=False),
    preprocessing=Preprocessing(8, 8, "nearest"),
)


class FakePeer:
    def __init__(self, work: Callable[[int], None], info: EngineInfo = INFO, said: float = 0.5):
        self._work, self._said, self.info = work, said, info
        self.title, self.scope = "a fake", "nothing but time"

    def prepare(self, frames: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        count = len(frames)

        def call() -> NDArray[np.float32]:
            self._work(count)
            return np.full(count, self._said, np.float32)

        return call

    def fake(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        return output

    def close(self) -> None:
        pass


def sleeping(_: Job) -> FakePeer:
    return FakePeer(lambda count: time.sleep(SLEEP))


def jittering(_: Job) -> FakePeer:
    """The same program every time, and never the same time."""
    chance = random.Random()
    return FakePeer(lambda count: time.sleep(chance.uniform(0.8, 1.2) * SLEEP / 2))


def shows_process(job: Job) -> FakePeer:
    """Its title is its process, and what it was told."""
    peer = FakePeer(lambda count: time.sleep(0.002))
    peer.title = f"{os.getpid()} threads {job.threads}"
    return peer


class _NoRoomForPhases(FakePeer):
    def phases(self, frames: NDArray[np.uint8]) -> Phases:
        raise MemoryError("too little device memory for a copy of the frames")


def no_room_for_phases(_: Job) -> FakePeer:
    return _NoRoomForPhases(lambda count: time.sleep(0.002))


def too_large(_: Job) -> FakePeer:
    """An engine that the system ends while it is loaded."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def shows_gpus(_: Job) -> FakePeer:
    """Its title is the GPUs that its process may use."""
    peer = FakePeer(lambda count: None)
    peer.title = str(os.environ.get("CUDA_VISIBLE_DEVICES"))
    return peer


def sleeping_plan(_: Job) -> FakePeer:
    builder = Builder("tensorrt", "10.16", [], 2, 4, 8)
    return FakePeer(lambda count: time.sleep(0.01), replace(INFO, builder=builder))


def by_image(_: Job) -> FakePeer:
    """Throughput falls with the batch, by far more than a busy machine hides."""
    return FakePeer(lambda count: time.sleep(0.01 * count**1.5))


def unstable(_: Job) -> FakePeer:
    chance = random.Random(1)
    return FakePeer(lambda count: time.sleep(chance.choice((0.002, 0.03))))


def other_scores(_: Job) -> FakePeer:
    return FakePeer(lambda count: time.sleep(0.002), said=0.9)


def missing(_: Job) -> FakePeer:
    raise PeerMissingError("it is not installed on this machine")


def _above_four(end: Callable[[], None]) -> Callable[[int], None]:
    def work(count: int) -> None:
        time.sleep(0.01)  # long enough for throughput to grow on a busy machine too
        if count > 4:
            end()

    return work


def hungry(_: Job) -> FakePeer:
    def refuse() -> None:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 12345")

    return FakePeer(_above_four(refuse))


def killed(_: Job) -> FakePeer:
    return FakePeer(_above_four(lambda: os.kill(os.getpid(), signal.SIGKILL)))


def broken(_: Job) -> FakePeer:
    def fail() -> None:
        raise RuntimeError("the flux capacitor is empty")

    return FakePeer(_above_four(fail))


def chatty(_: Job) -> FakePeer:
    """Writes where the answers of the worker go."""
    print("a library's banner")
    os.write(1, b"and its C part's\n")
    return FakePeer(lambda count: time.sleep(0.002))
