"""From what a network gives to log-odds and probability of FAKE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.recipe import Head

#: Stands for the infinite log-odds of a golden probability of 0 or 1. Those of the double
#: next to 1 are 36.7.
_SATURATED = 40.0


@dataclass(frozen=True)
class Scores:
    """What a network thinks of N frames.

    Attributes:
        logit: float32 [N], log-odds of FAKE.
        fake: float32 [N], P(fake), as the network's own last layer gives it.
    """

    logit: NDArray[np.float32]
    fake: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.logit)


def fake_scores(head: Head, own: NDArray[np.float32], logits: NDArray[np.float32]) -> Scores:
    """A network's own outputs, in its own polarity, as log-odds and P of FAKE.

    Args:
        head: what the outputs mean; known.
        own: the network's output, float32 [N, 1] or [N, 2].
        logits: the same before the last activation.
    """
    if head.outputs == 1:
        logit, probability = logits[:, 0], own[:, 0]
        if head.kind == "logit":
            probability = sigmoid(own[:, 0])
        if head.says == "real":
            return Scores(-logit, np.float32(1) - probability)
        return Scores(logit, probability)
    assert head.fake_index is not None, "settled when the original was loaded"
    fake, real = head.fake_index, 1 - head.fake_index
    logit = logits[:, fake] - logits[:, real]
    return Scores(logit, own[:, fake] if head.kind == "softmax" else sigmoid(logit))


def golden_scores(head: Head, probabilities: NDArray[np.float64]) -> Scores:
    """Golden probabilities as log-odds and P of FAKE.

    Goldens are probabilities whatever the network's last layer is: of one output P of what
    that output says, which may be "real"; of two P(fake). Log-odds are found from them in
    float64, and are as exact as their digits.

    Args:
        head: of the network that gave them.
        probabilities: float64 [N], 0..1.

    Raises:
        ValueError: one of them is no probability.
    """
    wrong = ~((probabilities >= 0) & (probabilities <= 1))  # NaN too
    if wrong.any():
        raise ValueError(f"{probabilities[wrong][0]:g} is no probability")
    with np.errstate(divide="ignore"):
        logit = np.log(probabilities) - np.log1p(-probabilities)
    logit = np.clip(logit, -_SATURATED, _SATURATED)
    fake = probabilities
    if head.says == "real":
        # Of P itself: 1 - P has lost the digits of a small one.
        logit, fake = -logit, 1 - fake
    return Scores(logit.astype(np.float32), fake.astype(np.float32))


def sigmoid(logit: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function in float32, without overflow at either end."""
    half = np.tanh(logit.astype(np.float64) / 2) / 2
    return (half + 0.5).astype(np.float32)
