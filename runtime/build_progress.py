"""From TensorRT's nested build phases to one fraction that only grows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

#: Called as ``progress(fraction, phase)``: how much of the build is done (0 to 1, never
#: falling) and the phase at work, in TensorRT's own words. TensorRT may call from a
#: thread of its own. An exception raised here stops the build and comes out of it.
Progress = Callable[[float, str], None]


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class PhaseTracker:
    """Turns phases, which begin, step and end inside one another, into a fraction.

    A phase is worth one step of its parent, shared out over its own steps.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phases: dict[str, _Phase] = {}
        self._fraction = 0.0
        self._lock = threading.Lock()
        #: What `progress` raised, or a Ctrl-C while it ran. An exception cannot cross
        #: TensorRT's C++ frames, so it waits here until the build has stopped.
        self.error: BaseException | None = None

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins."""
        with self._lock:
            self._phases[phase] = _Phase(parent, max(steps, 1))
        self._report(phase)

    def step(self, phase: str, index: int) -> bool:
        """Step ``index`` (from 0) of a phase is done; False asks TensorRT to stop."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase].done = index + 1
        self._report(phase)
        return self.error is None

    def finish(self, phase: str) -> None:
        """A phase ended, perhaps before all its steps were reported."""
        with self._lock:
            ended = self._phases.pop(phase, None)
        if ended is not None and ended.parent is None:
            self._report(phase, at_least=1.0)

    def _report(self, phase: str, at_least: float = 0.0) -> None:
        try:
            with self._lock:
                # A phase may be reused within another: what was reported stays reported.
                self._fraction = max(self._fraction, at_least, self._done(None))
                fraction = self._fraction
            if self.error is None:
                self._progress(fraction, phase)
        except BaseException as error:
            self.error = error

    def _done(self, parent: str | None) -> float:
        children = [(n, p) for n, p in self._phases.items() if p.parent == parent]
        return max((min((p.done + self._done(n)) / p.steps, 1.0) for n, p in children), default=0.0)
