"""Limits that this project sets itself, and whether a measurement keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

#: What users have without this project, in whatever form is fastest.
BEST_OF = (
    "keras",
    "keras-eager",
    "keras-compiled",
    "torch",
    "torch-channels-last",
    "torch-compiled",
    "onnxruntime",
)


@dataclass(frozen=True)
class Bar:
    """One limit.

    Attributes:
        name: what is measured.
        limit, measured: in `unit`; ``None`` where it could not be measured.
        unit: ``s``, ``ms``, ``MB``, ``%`` or ``x`` (times as fast).
        better: whether more or less of it is.
        spread: interval or range of what was measured, for people.
        against: of a ratio, the fastest peer.
    """

    name: str
    limit: float
    measured: float | None
    unit: str
    better: Literal["less", "more"] = "less"
    spread: str = ""
    against: str = ""

    @property
    def met(self) -> bool:
        """Whether the limit is kept."""
        if self.measured is None:
            return False
        if self.better == "less":
            return self.measured <= self.limit
        return self.measured >= self.limit

    def to_dict(self) -> dict[str, Any]:
        """JSON data, `met` included."""
        return {**self.__dict__, "met": self.met}


def ratio_bar(
    name: str, result: Mapping[str, Any], batch: int, peers: Sequence[str], limit: float
) -> Bar:
    """How many times as fast the engine is as the fastest of some peers.

    Args:
        name: of the bar.
        result: JSON data of `benchmarks.result.BenchResult`.
        batch: batch size.
        peers: names; those that were not measured are left out.
        limit: to be reached.
    """
    found = [
        (figure["times_as_fast"], figure["peer"])
        for figure in result["figures"]
        if figure["batch"] == batch and figure["peer"] in peers and figure["times_as_fast"]
    ]
    if not found:
        return Bar(name, limit, None, "x", "more")
    ratio, peer = min(found, key=lambda pair: pair[0]["median"])
    spread = f"{ratio['low']:.2f} to {ratio['high']:.2f}"
    return Bar(name, limit, ratio["median"], "x", "more", spread, peer)


def network_bars(result: Mapping[str, Any]) -> list[Bar]:
    """The bars of one network on a CPU, from JSON data of a benchmark."""
    engine = result["engine"]
    bars = [
        ratio_bar(
            f"{engine['title']}, batch {batch}, against the best of its original and ONNX Runtime",
            result,
            batch,
            BEST_OF,
            1.0,
        )
        for batch in (1, 8)
    ]
    if engine["network"] == "meso4":
        bars += [
            ratio_bar(
                f"{engine['title']}, batch {batch}, against Keras predict_on_batch",
                result,
                batch,
                ["keras"],
                limit,
            )
            for batch, limit in ((1, 1.5), (32, 1.0))
        ]
    return bars
