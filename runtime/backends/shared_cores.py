"""How calls of several threads share the cores of a CPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from runtime.score_checks import Scores

#: Runs a batch: frames uint8 [N, H, W, 3] to (logit, fake).
Run = Callable[[NDArray[np.uint8]], Scores]


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class SharedCores:
    """Runs few calls where they come from, and many of them in turn by a few workers.

    A call alone is fastest with all cores on its one batch. Calls from several threads,
    each with threads on all cores, get in each other's way; and where each waits for the
    one before it, the cores wait too while one thread goes to sleep and another wakes.
    Workers that find the next call already there lose neither. They take calls in the
    order in which those came, so that no thread is left out.

    Args:
        alone: runs a batch by as many cores as it can use.
        crowded: the same as a worker runs it; its results are equal to the last bit.
        few: calls at once that are run by ``alone``.
        workers: calls that run by ``crowded`` at once.
    """

    def __init__(self, alone: Run, crowded: Run, *, few: int, workers: int) -> None:
        self._alone, self._crowded = alone, crowded
        self._few = few
        self._here = 0  # calls under way by `alone`
        self._given = 0  # to the workers, and not back yet
        self._changed = threading.Condition()
        # Starts its threads with the first call given to it.
        self._workers = ThreadPoolExecutor(workers, "zoo-cpu")

    def run(self, frames: NDArray[np.uint8]) -> Scores:
        """Run one batch, from any thread.

        Args:
            frames: uint8 [N, H, W, 3]; must not change until the call is back.
        """
        with self._changed:
            # Behind calls that wait for the workers nobody starts before them.
            given: Future[Scores] | None = None
            if self._given or self._here >= self._few:
                # Inside the lock, so that no later call overtakes this one.
                given = self._workers.submit(self._run_given, frames)
                self._given += 1
            else:
                self._here += 1
        try:
            return self._alone(frames) if given is None else given.result()
        finally:
            with self._changed:
                if given is None:
                    self._here -= 1
                    if not self._here:
                        self._changed.notify_all()
                else:
                    self._given -= 1

    def _run_given(self, frames: NDArray[np.uint8]) -> Scores:
        with self._changed:
            self._changed.wait_for(lambda: not self._here)
        return self._crowded(frames)

    def close(self) -> None:
        """End the workers, after what they still run."""
        self._workers.shutdown()
