"""What the numbers that go into a network and come out of it mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: What a network's own last layer gives.
#:
#: ``sigmoid``   one probability, shape [N, 1]
#: ``logit``     one log-odds, shape [N, 1]
#: ``softmax``   two probabilities, shape [N, 2]
#: ``logits``    two unnormalised logits, shape [N, 2]
HeadKind = Literal["sigmoid", "logit", "softmax", "logits"]


@dataclass(frozen=True)
class Head:
    """How a network says what it thinks.

    Attributes:
        kind: see `HeadKind`.
        says: of a one-way head, what a high value means; ``None`` where that is unknown
            and the user has to say it.
        fake_index: of a two-way head, which output is "fake"; ``None`` where the class
            order is unknown and the user has to say it.
    """

    kind: HeadKind
    says: Literal["real", "fake"] | None = None
    fake_index: int | None = None

    def __post_init__(self) -> None:
        if self.outputs == 1 and self.fake_index is not None:
            raise ValueError(f"a {self.kind} head says 'real' or 'fake' and has no class index")
        if self.outputs == 2 and self.says is not None:
            raise ValueError(f"a {self.kind} head has a class index, not a polarity")
        if self.fake_index not in (None, 0, 1):
            raise ValueError("fake_index is 0 or 1")

    @property
    def outputs(self) -> int:
        """How many numbers come out for one image."""
        return 1 if self.kind in ("sigmoid", "logit") else 2

    @property
    def known(self) -> bool:
        """Whether it is known what means "fake"."""
        return self.says is not None or self.fake_index is not None


@dataclass(frozen=True)
class Normalisation:
    """Pixels 0..255 to the network's input: ``(x * scale - mean) / std`` by channel."""

    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if not np.isfinite([self.scale, *self.mean, *self.std]).all() or not all(self.std):
            raise ValueError(f"{self} is not finite, or its std is 0")

    def apply(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pixels uint8 [N, H, W, 3] to the network's input, float32 of the same shape."""
        values = frames.astype(np.float32) * np.float32(self.scale)
        if any(self.mean):
            values -= np.asarray(self.mean, np.float32)
        if self.std != (1.0, 1.0, 1.0):
            values /= np.asarray(self.std, np.float32)
        return values

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value that a pixel can become, over all channels."""
        ends = [
            (x * self.scale - mean) / std
            for mean, std in zip(self.mean, self.std, strict=True)
            for x in (0, 255)
        ]
        return min(ends), max(ends)
