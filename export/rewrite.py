"""Exact rewrites: the same function in fewer and cheaper operations.

Each rewrite is a small function that changes a graph in place and returns how often it
applied. "Exact" means equal in real arithmetic; in float32 the results differ by
rounding alone (measured: 1e-6 in probability at most).

The heart of it, for networks of Meso's build: BatchNorm follows ReLU and MaxPool
follows BatchNorm. ``relu(s z) = s relu(z)`` for s >= 0, so the scale goes into the
convolution; a maximum commutes with a shift, so the shift moves behind the pool, where
there are 4 to 16 times fewer values; the last shift goes into the dense layer's bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes import common as passes

from export.rewrites.affine import (
    affine_into_convolutions,
    batchnorm_to_affine,
    scale_into_convolution,
    shift_behind_pool,
    shift_into_convolution,
)
from export.rewrites.dense import dense_to_gemm, shift_into_dense, tail_into_dense
from export.rewrites.layout import transpose_into_dense, transposes_cancel
from export.rewrites.mean import transpose_into_mean
from runtime.errors import MissingPackageError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Applied:
    """A rewrite and how often it applied."""

    name: str
    count: int


#: In the order in which they make work for each other.
REWRITES: tuple[Callable[[ir.Model], int], ...] = (
    transposes_cancel,
    transpose_into_mean,
    batchnorm_to_affine,
    scale_into_convolution,
    shift_into_convolution,
    shift_behind_pool,
    affine_into_convolutions,
    dense_to_gemm,
    transpose_into_dense,
    shift_into_dense,
    tail_into_dense,
)


def rewrite(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Applied]]:
    """Apply every rewrite until none applies any more.

    Args:
        proto: a graph that keeps the engine contract.

    Returns:
        The rewritten graph, and what applied how often.
    """
    # onnxslim folds constants and drops dead shape arithmetic: tf2onnx writes Flatten as
    # Shape, Gather, Cast, Concat and Reshape.
    model = ir.from_proto(_slim(proto))
    counts = dict.fromkeys((step.__name__ for step in REWRITES), 0)
    changed = True
    while changed:
        model = passes.ShapeInferencePass()(model).model
        changed = False
        for step in REWRITES:
            count = step(model)
            counts[step.__name__] += count
            changed = changed or count > 0
    _tidy(model)
    return ir.to_proto(model), [Applied(name, count) for name, count in counts.items() if count]


def _slim(proto: onnx.ModelProto) -> onnx.ModelProto:
    try:
        import onnxslim
    except ImportError:
        raise MissingPackageError("onnxslim", "rewriting the graph", "keras") from None
    return onnxslim.slim(proto)  # type: ignore[no-any-return]


def _tidy(model: ir.Model) -> None:
    """Drop what nothing uses, give every node and value a short name, sort."""
    passes.LiftConstantsToInitializersPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    model.graph.sort()
    counts: dict[str, int] = {}
    outputs = set(model.graph.outputs)
    for node in model.graph:
        kind = node.op_type.lower()
        counts[kind] = counts.get(kind, 0) + 1
        node.name = f"{kind}_{counts[kind]}"
        for index, made in enumerate(node.outputs):
            if made not in outputs:
                made.name = f"{node.name}_out{index or ''}"
        for place, value in enumerate(node.inputs):
            if value is not None and value.is_initializer():
                _rename_initializer(model, value, f"{node.name}_{_ROLES.get(place, place)}")


#: What the inputs of convolutions and dense layers are called.
_ROLES = {0: "x", 1: "weight", 2: "bias"}


def _rename_initializer(model: ir.Model, value: ir.Value, name: str) -> None:
    if name not in model.graph.initializers:
        value.name = name
