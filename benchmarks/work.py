"""How much a network has to compute and to move, counted from its graph."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from runtime.engine_info import EngineInfo, sidecar_path

#: Operators that run as a pass of their own over memory. The rest (activations, additions,
#: scalings) is taken as fused into its neighbours, so the count is a lower bound.
_PASSES = {
    "Conv",
    "Gemm",
    "MatMul",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMean",
    "Concat",
}


@dataclass(frozen=True)
class Work:
    """Of one engine.

    Attributes:
        operations: an image; a multiplication and an addition are two.
        image_bytes: an image: what each convolution, product, pool and concatenation has
            to read and write.
        weight_bytes: a batch: every weight once.
    """

    operations: int
    image_bytes: int
    weight_bytes: int

    def of_batch(self, batch: int) -> tuple[int, int]:
        """(operations, bytes) of one batch."""
        return self.operations * batch, self.image_bytes * batch + self.weight_bytes


def find_graph(engine: Path, info: EngineInfo) -> Path | None:
    """The ONNX that an engine is or was built from; ``None`` where it is not beside it."""
    if engine.suffix == ".onnx":
        return engine
    artefact = info.artefacts.get(engine.name)
    stem = sidecar_path(engine).stem
    names = [f"{stem}.fp16.onnx", f"{stem}.onnx"]
    if artefact is not None and artefact.precision == "fp32":
        names = names[1:]
    return next((p for p in (engine.with_name(n) for n in names) if p.is_file()), None)


def count_work(path: Path) -> Work:
    """Count a graph's work for a batch of one.

    Args:
        path: an ONNX file whose first input has a dynamic first axis.
    """
    import onnx

    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        dimension = value.type.tensor_type.shape.dim[0]
        if not dimension.HasField("dim_value"):
            dimension.dim_value = 1
    # Shapes that were inferred for a dynamic batch would stand in the way.
    del model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, tuple[int, ...]] = {}
    sizes: dict[str, int] = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        tensor = value.type.tensor_type
        shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
        sizes[value.name] = prod(shapes[value.name]) * _width(onnx, tensor.elem_type)
    weights = 0
    constants = {w.name for w in graph.initializer}
    for weight in graph.initializer:
        shapes[weight.name] = tuple(weight.dims)
        weights += prod(weight.dims) * _width(onnx, weight.data_type)
    operations = moved = 0
    for node in graph.node:
        operations += _operations(node, shapes)
        if node.op_type in _PASSES:
            ends = [*(n for n in node.input if n not in constants), *node.output]
            moved += sum(sizes.get(name, 0) for name in ends)
    return Work(operations, moved, weights)


def _width(onnx: Any, element: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(element).itemsize) if element else 0


def _operations(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    """Of the operators that do the work; two for each multiplication with its addition."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0
    out, weight = shapes.get(node.output[0], ()), shapes.get(node.input[1], ())
    if not out or not weight:
        return 0
    if node.op_type == "Conv":  # weight [out, in / groups, kernel...]
        return 2 * prod(out) * prod(weight[1:])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 2 * prod(out) * (weight[-1] if transposed else weight[-2])
