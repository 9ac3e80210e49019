"""Which frames of a video are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Sampling:
    """A choice of frames.

    Attributes:
        kind: ``every``: each ``number``-th frame, from the first on. ``spread``:
            ``number`` frames, evenly over the time. ``keyframes``: those that the file
            can be entered at, which cost the least to decode.
        number: see ``kind``; without meaning for ``keyframes``.
    """

    kind: Literal["every", "spread", "keyframes"] = "every"
    number: int = 10

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"number is {self.number}; it is at least 1")

    def __str__(self) -> str:
        return "keyframes" if self.kind == "keyframes" else f"{self.kind} {self.number}"


def spread_times(duration: float, number: int) -> list[float]:
    """The middles of ``number`` equal parts of ``duration``, in seconds."""
    return [duration * (i + 0.5) / number for i in range(number)]
