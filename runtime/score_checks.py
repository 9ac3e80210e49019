"""What an engine gave back is looked at before anybody believes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import EngineRunError
from runtime.text import printable

#: (logit, fake), both float32 [N].
Scores = tuple[NDArray[np.float32], NDArray[np.float32]]


def check_shapes(path: Path, count: int, logit: Any, fake: Any) -> None:
    """Refuse what are not two scores an image.

    Args:
        path: of the engine.
        count: images that it was given.
        logit, fake: what it gave back.

    Raises:
        EngineRunError: one of them is not float32 [count].
    """
    for name, found in (("logit", logit), ("fake", fake)):
        if found.dtype != np.float32 or found.shape != (count,):
            raise EngineRunError(
                f"{printable(path)} does not give one score an image",
                f"of {count} images '{name}' is {found.dtype} {list(found.shape)}, float32 "
                f"[{count}] is due",
                "export it again: zoo export NAME",
            )


def check_values(path: Path, logit: NDArray[np.float32], fake: NDArray[np.float32]) -> None:
    """Refuse numbers that are no log-odds and no probability.

    Args:
        path: of the engine.
        logit, fake: float32 [N], N >= 1.

    Raises:
        EngineRunError: a logit is not finite, or P(fake) not within 0..1.
    """
    # What is no number is neither above nor below another one.
    if fake.min() >= 0 and fake.max() <= 1 and np.isfinite(logit).all():
        return
    wrong = int(np.argmin((fake >= 0) & (fake <= 1) & np.isfinite(logit)))
    raise EngineRunError(
        f"{printable(path)} gives no score",
        f"image {wrong + 1} of {len(fake)} has P(fake) {fake[wrong]:.6g} and logit "
        f"{logit[wrong]:.6g}; 0..1 and a finite number are due",
        f"zoo verify {printable(path)}",
    )
