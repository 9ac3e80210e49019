"""Find the smallest set of nodes that must stay in FP32 for half precision to do.

A network fails in half precision mostly because a few nodes do: a sum that overflows
65504, a difference of large numbers. First a bisection narrows the graph to the shortest
run of nodes that contains them, then every node of that run is tried without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from export.precision import LARGEST, to_half
from runtime.engine_info import FAKE_NAME, INPUT_NAME, LOGIT_NAME
from runtime.errors import ExportError

if TYPE_CHECKING:
    import onnx

REASON = "half precision is not enough here"

#: Whether a half-precision graph says what the original says.
Passes = Callable[["onnx.ModelProto"], bool]


def to_verified_half(
    proto: onnx.ModelProto,
    passes: Passes,
    search: Callable[[], Passes] | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Half precision wherever it does, FP32 where it has to be.

    Args:
        proto: an FP32 graph that keeps the engine contract.
        passes: the judge, on a half-precision graph.
        search: makes the stricter judge of a search, where one is needed: what the search
            ends with has passed it by a hair. Where not even FP32 in every node passes
            that one, ``passes`` judges the search too.
        report: told in words what is tried.

    Returns:
        As `export.precision.to_half`.

    Raises:
        ExportError: even with every node in FP32 the judge says no.
    """
    too_large = oversized(proto)
    half, kept = to_half(proto, too_large)
    if passes(half):
        return half, kept
    del half  # a large network's trials need the room

    def enough(judge: Passes, nodes: Sequence[str]) -> bool:
        good = judge(to_half(proto, {**dict.fromkeys(nodes, REASON), **too_large})[0])
        report(f"{len(nodes)} nodes in FP32: {'enough' if good else 'not enough'}")
        return good

    judges = [search(), passes] if search is not None else [passes]
    for judge in judges:
        nodes = smallest_set(candidates(proto), partial(enough, judge))
        if nodes is not None:
            break
    else:
        raise ExportError(
            "half precision cannot reach the bar",
            "it fails with every node of the graph in FP32 too",
            "export without --fp16",
        )
    return to_half(proto, {**dict.fromkeys(nodes, REASON), **too_large})


def oversized(proto: onnx.ModelProto) -> dict[str, str]:
    """Nodes with a weight beyond the largest half, with that as the reason."""
    from onnx import numpy_helper

    found: dict[str, float] = {}
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or not array.size:
            continue
        most = max(float(array.max()), -float(array.min()))  # no copy of half a gigabyte
        if most > LARGEST:
            found[tensor.name] = most
    return {
        node.name: f"a weight of {found[name]:.6g} does not fit half precision"
        for node in proto.graph.node
        for name in node.input
        if name in found
    }


def candidates(proto: onnx.ModelProto) -> list[str]:
    """Names of the nodes that compute, in order of execution; not the contract's own."""
    outputs = {LOGIT_NAME, FAKE_NAME}
    return [
        node.name
        for node in proto.graph.node
        if not outputs & set(node.output) and INPUT_NAME not in node.input
    ]


def smallest_set(nodes: Sequence[str], enough: Callable[[Sequence[str]], bool]) -> list[str] | None:
    """A set for which ``enough`` holds and from which no node can be left out.

    Args:
        nodes: in order of execution; neighbours are tried together first.
        enough: holds for every superset of a set for which it holds.

    Returns:
        The set in the order of ``nodes``, or ``None`` where not even all are enough. About
        ``2 log2(n)`` trials, and one or two more for each node of the set.
    """
    if not enough(nodes):
        return None
    # The shortest prefix that is enough ends with a node that is needed ...
    stop = _first(1, len(nodes), lambda end: enough(nodes[:end]))
    # ... and the shortest end of that prefix begins with one.
    start = stop - _first(1, stop, lambda length: enough(nodes[stop - length : stop]))
    found = list(nodes[start:stop])
    # Between the two, drop what can be dropped: halves first, then smaller parts.
    size = max(1, (len(found) - 2) // 2)
    while True:
        place = 1
        while place < len(found) - 1:
            part = found[:place] + found[min(place + size, len(found) - 1) :]
            if len(part) < len(found) and enough(part):
                found = part
            else:
                place += size
        if size == 1:
            return found
        size = max(1, size // 2)


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest number in [low, high] for which a monotone property holds; high does."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
