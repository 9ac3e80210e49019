"""The certificate: proof that an engine still says what the original said.

The chain is compared at its ends and at each joint, against bars that are stated here
and nowhere else. What could not be checked on this machine is written down as unchecked,
never as passed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from zoo.originals import Scores

#: What was compared: a graph in FP32 or FP16 as its backend ran it, an FP16 graph computed
#: as a GPU does it, every result rounded to half, or a plan.
EngineKind = Literal["fp32", "fp16", "fp16 rounded", "plan"]

#: Behind a network's name in a certificate, for people: the original.
ORIGINAL = "in its own framework"

#: Scores one batch of frames: uint8 [N, H, W, 3] to (logit, fake), float32 [N].
Infer = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class Bar:
    """How far an engine may be from the original.

    Attributes:
        max_p, p99_p, mean_p: of |P(fake) - P(fake) of the original|.
        max_logit: of the same difference of logits, where the original's is within +-5;
            beyond, a probability is within .7 % of certainty and its logit is no decision.
        flip_zone: a decision may flip only where the original's probability is this close
            to the threshold.
        flip_share: and on at most this share of the images (one image is always allowed,
            or sets of less than 1 / share images could have none).
    """

    max_p: float
    p99_p: float
    mean_p: float
    max_logit: float
    flip_zone: float
    flip_share: float


#: FP32 may differ by rounding alone.
FP32_BAR = Bar(1e-5, 1e-5, 1e-5, 1e-3, 1e-5, 0.002)
FP16_BAR = Bar(2e-2, 1e-2, 1e-3, 0.1, 2e-2, 0.002)
BARS = {"fp32": FP32_BAR, "fp16": FP16_BAR}

#: An untrained network is undecided: its probabilities lie where they are steepest, and
#: its head is scaled up until its logits differ at all. The same rounding, a logit's
#: hundredth, shows several times as much in the mean as on a trained one (measured: 2e-3
#: to 5e-3). Its mean has no bar below that of the 99th percentile.
UNTRAINED_FP16_MEAN_P = FP16_BAR.p99_p

#: Which nodes stay in FP32 is chosen against half the bar, on a few samples; the
#: certificate is then judged by the whole, on as many as the user likes.
FP16_MARGIN = 0.5

#: Logits beyond this saturate float32 probabilities.
_DECIDED = 5.0
#: What the same frame may score in another place or batch, in probability.
BATCH_TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3}


def bar_for(precision: Literal["fp32", "fp16"], trained: bool) -> Bar:
    """The bar that an engine of this precision is judged by."""
    bar = BARS[precision]
    if precision == "fp16" and not trained:
        return replace(bar, mean_p=UNTRAINED_FP16_MEAN_P)
    return bar


def tightened(bar: Bar, margin: float) -> Bar:
    """The same bar with every error scaled by ``margin``."""
    return replace(
        bar,
        max_p=bar.max_p * margin,
        p99_p=bar.p99_p * margin,
        mean_p=bar.mean_p * margin,
        max_logit=bar.max_logit * margin,
    )


@dataclass(frozen=True)
class Comparison:
    """One joint of the chain.

    Attributes:
        reference, engine: what was compared with what.
        images: how many.
        max_p, p99_p, mean_p: of |difference in P(fake)|.
        max_logit: of |difference in logit| where the reference's is within +-5; 0 where
            none is.
        flips: decisions that differ.
        failures: what missed the bar, in words; empty when it passed.
        kind: of the engine.
        to_original: whether ``reference`` is the original, and not another engine.
    """

    reference: str
    engine: str
    images: int
    max_p: float
    p99_p: float
    mean_p: float
    max_logit: float
    flips: int
    failures: tuple[str, ...] = ()
    kind: EngineKind = "fp32"
    to_original: bool = True

    @property
    def passed(self) -> bool:
        """Whether nothing missed its bar."""
        return not self.failures


def joint_of(comparison: Mapping[str, Any]) -> tuple[EngineKind, bool]:
    """`Comparison.kind` and `Comparison.to_original` of one that was written to a file.

    Certificates of before have neither: there the names say it.
    """
    if "kind" in comparison:
        return comparison["kind"], comparison["to_original"]
    engine, _, more = comparison["engine"].partition(" ")
    kind: EngineKind = "fp16" if engine.endswith(".fp16.onnx") else "fp32"
    if engine.endswith(".plan"):
        kind = "plan"
    elif more == "rounded":
        kind = "fp16 rounded"
    return kind, comparison["reference"].endswith(ORIGINAL)


def compare(
    reference: Scores,
    engine: Scores,
    bar: Bar,
    *,
    names: tuple[str, str],
    threshold: float = 0.5,
    kind: EngineKind = "fp32",
    to_original: bool = True,
) -> Comparison:
    """Measure how far ``engine`` is from ``reference``, and judge it by ``bar``.

    Args:
        reference, engine: scores of the same N >= 1 frames.
        bar: what is allowed.
        names: of the two, for people.
        threshold: at or above which P(fake) is the verdict "fake".
        kind, to_original: see `Comparison`.
    """
    count = len(reference)
    if count == 0 or len(engine) != count:
        raise ValueError(f"{count} and {len(engine)} scores cannot be compared")
    p = np.abs(engine.fake.astype(np.float64) - reference.fake.astype(np.float64))
    z = np.abs(engine.logit.astype(np.float64) - reference.logit.astype(np.float64))
    # A NaN compares false with everything: it must not slip through as "not too large".
    finite = bool(np.isfinite(engine.fake).all() and np.isfinite(engine.logit).all())
    near = np.abs(reference.logit) <= _DECIDED
    max_logit = float(z[near].max()) if near.any() else 0.0
    flipped = (engine.fake >= threshold) != (reference.fake >= threshold)
    distance = np.abs(reference.fake[flipped] - threshold)
    flips = int(flipped.sum())
    failures: list[str] = []

    def check(what: str, value: float, limit: float) -> None:
        if not value <= limit:
            failures.append(f"{what} {value:.2e} > {limit:.0e}")

    if not finite:
        bad = int((~(np.isfinite(engine.fake) & np.isfinite(engine.logit))).sum())
        failures.append(f"{bad} of {count} scores are not finite")
    check("max |dP|", float(p.max()), bar.max_p)
    check("99th percentile |dP|", float(np.percentile(p, 99)), bar.p99_p)
    check("mean |dP|", float(p.mean()), bar.mean_p)
    check("max |dlogit|", max_logit, bar.max_logit)
    if flips and float(distance.max()) > bar.flip_zone:
        failures.append(
            f"a decision flipped at distance {distance.max():.2e} from the threshold"
            f" > {bar.flip_zone:.0e}"
        )
    allowed = max(1, int(bar.flip_share * count))
    if flips > allowed:
        failures.append(f"{flips} decisions flipped > {allowed}")
    return Comparison(
        *names,
        count,
        float(p.max()),
        float(np.percentile(p, 99)),
        float(p.mean()),
        max_logit,
        flips,
        tuple(failures),
        kind,
        to_original,
    )


@dataclass(frozen=True)
class BatchCheck:
    """Whether the place of a frame in a batch, and the batch's size, leave its score alone.

    Attributes:
        engine: which.
        sizes: batch sizes that were run.
        max_p: the largest difference in P(fake) that a frame met.
        failures: in words; empty when it passed.
    """

    engine: str
    sizes: tuple[int, ...]
    max_p: float
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing missed its bar."""
        return not self.failures


def check_batches(
    infer: Infer, frames: NDArray[np.uint8], sizes: Sequence[int], tolerance: float, engine: str
) -> BatchCheck:
    """Run the corners of a profile.

    For each size: rows in order against the same frames one by one, identical rows, and
    permuted rows. These are open defects of real engines (NVIDIA/TensorRT#4813: identical
    rows differ; #3744: a batch above 1 is wrong).

    Args:
        infer: the engine, splitting nothing.
        frames: uint8 [N, H, W, 3], at least two different ones.
        sizes: batch sizes that the engine takes, the profile's smallest among them.
        tolerance: in P(fake).
        engine: its name.
    """
    rng = np.random.default_rng(0)
    # Alone, or as near to it as the profile allows: a batch of nothing but this frame.
    smallest = min(sizes)
    alone = np.concatenate(
        [infer(np.repeat(frame[None], smallest, axis=0))[1][:1] for frame in frames]
    )
    worst, failures = 0.0, []

    def check(what: str, found: NDArray[np.float32], due: NDArray[np.float32]) -> None:
        nonlocal worst
        difference = float(np.abs(found.astype(np.float64) - due).max())
        worst = max(worst, difference)
        if not difference <= tolerance:  # a NaN fails
            failures.append(f"{what}: |dP| {difference:.2e} > {tolerance:.0e}")

    for size in sizes:
        rows = np.arange(size) % len(frames)
        check(f"batch of {size}", infer(frames[rows])[1], alone[rows])
        order = rng.permutation(rows)
        check(f"batch of {size}, permuted", infer(frames[order])[1], alone[order])
        same = infer(np.repeat(frames[:1], size, axis=0))[1]
        check(f"batch of {size}, identical rows", same, np.full(size, same[0]))
    return BatchCheck(engine, tuple(sizes), worst, tuple(failures))


@dataclass(frozen=True)
class Certificate:
    """Everything that was compared.

    Attributes:
        samples: what it was measured on.
        spread: standard deviation of the original's logits: near 0, nothing is shown.
        lowest, highest: of the original's logits.
        threshold: of the verdict.
        comparisons, batches: what was checked.
        unchecked: what could not be checked here, and why, by file name.
    """

    samples: str
    spread: float
    lowest: float
    highest: float
    threshold: float
    comparisons: tuple[Comparison, ...]
    batches: tuple[BatchCheck, ...]
    unchecked: dict[str, str]

    @property
    def _checks(self) -> list[Comparison | BatchCheck]:
        return [*self.comparisons, *self.batches]

    @property
    def failures(self) -> list[str]:
        """What missed its bar, in words."""
        found = [
            f"{check.engine}: {failure}" for check in self._checks for failure in check.failures
        ]
        if self.spread < 1e-3:
            # Not by exp, which overflows: a dead network may be certain.
            low, high = ((1 + math.tanh(z / 2)) / 2 for z in (self.lowest, self.highest))
            found.append(
                f"the original answers alike whatever it sees: P(fake) {low:.4f} to {high:.4f} on"
                f" {self.samples}. It tells nothing apart, so nothing could be shown; use weights"
                " that do, or --images with other faces"
            )
        return found

    @property
    def passed(self) -> bool:
        """Whether all that was checked passed. What is unchecked has not passed."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """For the sidecar: plain JSON, so that what is read back is what was written."""
        data = {**asdict(self), "passed": self.passed, "failures": self.failures}
        return cast("dict[str, Any]", json.loads(json.dumps(data)))
