"""Name every difference between a file's network and the one on a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from zoo.originals.keras_steps import ACTIVATION, CONVOLUTIONS, Step, signatures, steps_of

#: What may stand between two convolutions, by kind.
_FOLLOWERS = {
    ACTIVATION: "activation",
    "BatchNormalization": "normalisation",
    "MaxPooling2D": "pooling",
    "AveragePooling2D": "pooling",
}
#: Said apart, see `keras_whole`.
_SCALERS = {"Rescaling", "Normalization"}
_WORDS = {"dilation_rate": "dilation", "kernel_size": "kernel", "pool_size": "size"}


def convolutions(model: Any) -> list[str]:
    """What makes a network another one: its convolutions, sorted, for people."""
    return sorted(
        f"{s.kind} of {facts.get('filters', facts.get('depth_multiplier'))} filters"
        f" {facts['kernel_size']}"
        for s in steps_of(model)
        if s.kind in CONVOLUTIONS
        for facts in [dict(s.facts)]
    )


def differences(own: Any, card: Any, title: str) -> list[str]:
    """How a file's network differs from the card's, each as a short sentence.

    Args:
        own, card: ``keras.Model`` of the file and of the card; their input sizes are not
            compared.
        title: of the card's.
    """
    mine, theirs = steps_of(own), steps_of(card)
    if signatures(mine)[-1] == signatures(theirs)[-1]:
        return []
    found = [
        *_kinds(mine, theirs, title),
        *_said("{}", _facts(mine), _facts(theirs), title),
        *_said("the activation of its {} layers", _activations(mine), _activations(theirs), title),
        *_said("behind its convolutions", _chains(mine), _chains(theirs), title),
    ]
    return found or [f"its layers are connected otherwise than {title}'s"]


def _kinds(mine: list[Step], theirs: list[Step], title: str) -> Iterator[str]:
    own = Counter(s.kind for s in mine if s.kind not in (ACTIVATION, *_SCALERS))
    due = Counter(s.kind for s in theirs if s.kind not in (ACTIVATION, *_SCALERS))
    for kind in sorted({*own, *due}):
        if own[kind] != due[kind]:
            yield f"{own[kind] or 'no'} {kind} ({title}: {due[kind] or 'none'})"


def _facts(steps: list[Step]) -> dict[str, Counter[str]]:
    """The values of every setting of every kind of layer."""
    found: dict[str, Counter[str]] = {}
    for step in steps:
        for name, value in step.facts if step.kind not in (ACTIVATION, *_SCALERS) else ():
            found.setdefault(f"{step.kind} {_WORDS.get(name, name)}", Counter())[value] += 1
    return found


def _said(
    what: str, own: dict[str, Counter[str]], due: dict[str, Counter[str]], title: str
) -> Iterator[str]:
    for key in sorted({*own, *due}):
        a, b = own.get(key, Counter()), due.get(key, Counter())
        if " " in key and not (a and b):  # of a kind that one of the two lacks
            continue
        if set(a) != set(b) or (sum(a.values()) == sum(b.values()) and a != b):
            yield f"{what.format(key)}: {_told(a, b)} ({title}: {_told(b, a)})"


def _told(own: Counter[str], other: Counter[str]) -> str:
    """The values, with how often where that is needed to see the difference."""
    count = set(own) & set(other)
    shown = [
        f"{v} ({n} times)" if count else v for v, n in sorted(own.items()) if own[v] != other[v]
    ]
    return ", ".join(shown) or "none"


def _activations(steps: list[Step]) -> dict[str, Counter[str]]:
    """By whether they follow convolutions or dense layers, the output's own aside."""
    found: dict[str, Counter[str]] = {}
    for step in steps[:-1]:
        if step.kind == ACTIVATION:
            before = step
            while before.inputs[0] >= 0 and before.kind in _FOLLOWERS:
                before = steps[before.inputs[0]]
            kind = "dense" if before.kind == "Dense" else "convolutional"
            found.setdefault(kind, Counter())[step.facts[0][1]] += 1
    return found


def _chains(steps: list[Step]) -> dict[str, Counter[str]]:
    """What follows each convolution, by kind and in order."""
    users: dict[int, list[int]] = {}
    for number, step in enumerate(steps):
        for source in step.inputs:
            users.setdefault(source, []).append(number)
    found: Counter[str] = Counter()
    for number, step in enumerate(steps):
        if step.kind not in CONVOLUTIONS:
            continue
        chain = []
        while len(users.get(number, [])) == 1:
            (number,) = users[number]
            if steps[number].kind not in _FOLLOWERS:
                break
            chain.append(_FOLLOWERS[steps[number].kind])
        found[" then ".join(chain) or "nothing"] += 1
    return {"": found}
