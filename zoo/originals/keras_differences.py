"""Name every difference between a file's network and the one on a card."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from zoo.originals.keras_steps import ACTIVATION, CONVOLUTIONS, Step, signatures, steps_of

#: What may stand between two convolutions, by kind.
_FOLLOWERS = {
    ACTIVATION: "activation",
    "BatchNormalization": "normalisation",
    "MaxPooling2D": "pooling",
    "AveragePooling2D": "pooling",
}
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
    own = Counter(s.kind for s in mine if s.kind != ACTIVATION)
    due = Counter(s.kind for s in theirs if s.kind != ACTIVATION)
    for kind in sorted({*own, *due}):
        if own[kind] != due[kind]:
            yield f"{own[kind] or 'no'} {kind} ({title}: {due[kind] or 'none'})"


def _facts(steps: list[Step]) -> dict[str, Counter[str]]:
    """The values of every setting of every kind of layer."""
    found: dict[str, Counter[str]] = {}
    for step in steps:
        for name, value in step.facts if step.kind != ACTIVATION else ():
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


def named_otherwise(names: Sequence[str], card: Any, title: str) -> list[str]:
    """How a file of arrays alone contradicts the card by the names of its layers.

    Keras names a layer by its class unless told otherwise, and its older layout lists the
    names of all layers. Only what such names say for certain is compared: the kinds of
    pooling, and whether an activation stands behind a normalisation.

    Args:
        names: of the file's layers, in order.
        card: ``keras.Model`` of the card.
        title: of the card's.
    """
    own = [re.sub(r"_\d+$", "", name) for name in names]
    due = [_SNAKE.sub("_", type(layer).__name__).lower() for layer in card.layers]
    found = []
    for kind in _POOLS:
        # A pooling of another name is of an unknown kind, and says nothing.
        if kind in own and own.count(kind) != due.count(kind):
            found.append(f"{own.count(kind)} {kind} ({title}: {due.count(kind) or 'none'})")
    if _behind_normalisation(own) and not _behind_normalisation(due):
        found.append(f"an activation behind a normalisation ({title}: before it)")
    return found


_POOLS = ("max_pooling2d", "average_pooling2d")
_ACTIVATIONS = {"activation", "re_lu", "elu", "leaky_re_lu"}
#: As Keras makes names of classes: MaxPooling2D is max_pooling2d, LeakyReLU leaky_re_lu.
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def _behind_normalisation(kinds: list[str]) -> bool:
    pairs = itertools.pairwise(kinds)
    return any(a == "batch_normalization" and b in _ACTIVATIONS for a, b in pairs)
