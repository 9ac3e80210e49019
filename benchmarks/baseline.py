"""Today's throughput against an earlier run's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import ENGINE
from benchmarks.result import BenchResult, EngineRecord, read_result
from runtime.errors import ZooError
from runtime.text import printable


@dataclass(frozen=True)
class Change:
    """Of one batch size: images/s before and now, and now over before."""

    batch: int
    before: float
    now: float

    @property
    def ratio(self) -> float:
        """Below 1 where it became slower."""
        return self.now / self.before


@dataclass(frozen=True)
class BaselineComparison:
    """Against an earlier run.

    Attributes:
        changes: of each batch size that both have.
        differences: what else is not the same, and may explain a change.
        fail_below: smallest ratio that passes; ``None`` passes all.
    """

    changes: tuple[Change, ...]
    differences: tuple[str, ...]
    fail_below: float | None

    @property
    def passed(self) -> bool:
        """Whether no batch size fell too far."""
        return self.fail_below is None or all(c.ratio >= self.fail_below for c in self.changes)


def read_baseline(path: Path, fail_below: float | None) -> dict[str, Any]:
    """Read an earlier run before anything is measured, so that a wrong path costs no time.

    Raises:
        ZooError: it is no result of this command, or `fail_below` is no ratio.
    """
    if fail_below is not None and not 0 < fail_below < 10:
        raise ZooError(
            f"--fail-below {fail_below:g} is no share of an earlier throughput",
            "1 is as fast as before",
            "--fail-below 0.9",
        )
    data = read_result(path)
    shown = printable(path)
    try:
        figures = _throughput(data)
        for name in ("engine", "environment", "settings"):
            if not isinstance(data.get(name, {}), dict):
                raise ValueError(f"'{name}' is no object")
        _gpus(data.get("environment", {}))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        why = f"its figures lack a field or are none: {printable(str(error))[:200]}"
        raise ZooError(f"{shown} is damaged", why, "measure it again") from None
    if not figures:
        raise ZooError(f"{shown} has no figures of an engine", "", "measure it again")
    return data


def check_comparable(
    engine: EngineRecord, batches: tuple[int, ...] | None, old: dict[str, Any]
) -> None:
    """See that there is something to compare, before minutes are spent on measuring.

    Args:
        engine: that is to be measured.
        batches: sizes that were asked for, ``None`` in a sweep.
        old: see `read_baseline`.

    Raises:
        ZooError: the earlier run is one of another network, or of none of these sizes.
    """
    network = old["engine"].get("network")
    if network != engine.network:
        raise ZooError(
            f"the earlier run measured {network}, {engine.file} is {engine.network}",
            "the speed of two networks says nothing about either",
            f"give a --baseline of {engine.network}",
        )
    before = _throughput(old)
    if batches is not None and not set(batches) & set(before):
        raise ZooError(
            "the earlier run has none of these batch sizes",
            f"it has {', '.join(map(str, before))}",
            f"--batch {','.join(map(str, before))}",
        )


def compare_with_baseline(
    result: BenchResult, old: dict[str, Any], fail_below: float | None
) -> BaselineComparison:
    """Compare batch size by batch size.

    Args:
        result: of now.
        old: see `read_baseline`.
        fail_below: smallest share of the old throughput that passes.

    Raises:
        ZooError: no batch size is in both.
    """
    before = _throughput(old)
    changes = tuple(
        Change(figure.batch, before[figure.batch], figure.images_per_s)
        for figure in result.of(ENGINE)
        if figure.batch in before
    )
    if not changes:
        raise ZooError(
            "the earlier run has none of these batch sizes",
            f"it has {', '.join(map(str, before))}",
            f"--batch {','.join(map(str, before))}",
        )
    was, environment = old["engine"], old.get("environment", {})
    backend = result.settings.get("backend")
    pairs = {
        "kind of engine": (was.get("kind"), result.engine.kind),
        "weights": (was.get("weights"), result.engine.weights),
        "precision": (was.get("precision"), result.engine.precision),
        "CPU": (environment.get("cpu"), result.environment["cpu"]),
        "cores": (environment.get("cores"), result.environment["cores"]),
        "GPU": (_gpus(environment), _gpus(result.environment)),
        "frames from": (old.get("settings", {}).get("from"), result.source),
        # Runs from before it could be chosen do not say.
        "backend": (old.get("settings", {}).get("backend", backend), backend),
        "threads": (old.get("settings", {}).get("threads"), result.settings["threads"]),
    }
    differences = tuple(
        f"{name} was {a or 'not given'}, is {b or 'not given'}"
        for name, (a, b) in pairs.items()
        if a != b
    )
    return BaselineComparison(changes, differences, fail_below)


def _throughput(data: dict[str, Any]) -> dict[int, float]:
    """Images/s of the engine by batch size."""
    figures = [f for f in data["figures"] if f["peer"] == ENGINE]
    found = {int(f["batch"]): float(f["images_per_s"]) for f in figures}
    for batch, speed in found.items():
        if batch < 1 or not 0 < speed < math.inf:
            raise ValueError(f"{speed} images/s at batch {batch}")
    return found


def _gpus(environment: dict[str, Any]) -> str:
    return ", ".join(str(gpu.get("name", "")) for gpu in environment.get("gpus", []))
