"""From an ONNX file of the engine contract to a TensorRT plan."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.batch import BatchProfile
from runtime.build_progress import Progress
from runtime.cuda_driver import query_driver
from runtime.engine_info import FAKE_NAME, INPUT_NAME, LOGIT_NAME
from runtime.errors import EngineError, ExportError, MissingPackageError, ZooError
from runtime.tensorrt_api import Api, Flavour, LayerInfo, TensorInfo, load, require_device

logger = logging.getLogger(__name__)

BuilderName = Literal["auto", "tensorrt", "tensorrt_rtx"]

#: Layers whose arithmetic or memory traffic is what half precision is for. The rest is
#: pointwise, moves data or computes shapes, and takes the type of what it stands between.
COMPUTE_LAYERS = frozenset(
    {
        "CONVOLUTION",
        "DECONVOLUTION",
        "EINSUM",
        "LRN",
        "MATRIX_MULTIPLY",
        "NORMALIZATION",
        "PARAMETRIC_RELU",
        "POOLING",
        "SCALE",
    }
)


@dataclass(frozen=True)
class BuiltPlan:
    """A plan and how it was made.

    Attributes:
        plan: the serialised engine, TensorRT's bytes alone.
        flavour: ``tensorrt`` or ``tensorrt_rtx``.
        version: of that library; the plan is tied to it.
        targets: compute capabilities it was built for, as ``8.9``; empty is TensorRT-RTX's
            default (8.0 and later).
        profile: batch sizes it accepts.
        layers: how many layers the network had by type and output dtype, as
            ``"CONVOLUTION HALF": 4``, before TensorRT fused them.
        seconds: wall clock of parsing and building.
    """

    plan: bytes
    flavour: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    targets: tuple[str, ...]
    profile: BatchProfile
    layers: dict[str, int]
    seconds: float


def choose_flavour(builder: BuilderName = "auto") -> Api:
    """The library to build with: TensorRT where a GPU and it are, else TensorRT-RTX.

    Raises:
        MissingPackageError: the one asked for, or with ``auto`` either, is not installed.
        EngineError: it is installed but does not load, or is TensorRT without a GPU.
    """
    if builder == "tensorrt":
        api = load(Flavour.TENSORRT)
        require_device(f"building with {api.title}", "use --builder tensorrt_rtx")
        return api
    if builder == "tensorrt_rtx":
        return load(Flavour.TENSORRT_RTX)
    without: ZooError | None = None
    if query_driver().devices:
        try:
            return load(Flavour.TENSORRT)
        except ZooError as error:
            without = error
    try:
        return load(Flavour.TENSORRT_RTX)
    except MissingPackageError:
        # A TensorRT that is there but does not load is the nearer thing to put right.
        if isinstance(without, EngineError):
            raise without from None
        raise


def build_plan(
    onnx_path: Path,
    *,
    builder: BuilderName = "auto",
    batch: BatchProfile | None = None,
    expect_fp16: bool,
    keep_fp32: Collection[str] = (),
    targets: Sequence[str] = (),
    workspace: int | None = None,
    timing_cache: Path | None = None,
    progress: Progress | None = None,
) -> BuiltPlan:
    """Build a strongly typed plan, and prove from its network what is in half precision.

    Args:
        onnx_path: a graph of the engine contract.
        builder: which library; see `choose_flavour`.
        batch: batch sizes of the profile, 1:32:256 unless given.
        expect_fp16: refuse a network whose compute layers are not in half precision.
        keep_fp32: names of ONNX nodes that may stay in FP32 nevertheless.
        targets: compute capabilities to build for (TensorRT-RTX only).
        workspace: most bytes of scratch memory a layer may use; ``None`` is TensorRT's own
            choice.
        timing_cache: file that keeps TensorRT's kernel measurements between builds, made
            where it is missing. TensorRT-RTX measures nothing and leaves it alone.
        progress: called with the fraction done and the phase at work.

    Raises:
        MissingPackageError, EngineError: see `choose_flavour`.
        ExportError: the file is missing, TensorRT refused it, it is not of the engine
            contract, or its precision is not what was asked for (naming the layers).
    """
    batch = batch or BatchProfile()
    if not onnx_path.is_file():
        raise ExportError(f"{onnx_path} is not a file", "", "zoo export NAME makes one")
    api = choose_flavour(builder)
    started = time.perf_counter()
    network = api.parse(onnx_path)
    layers = network.layers()
    frame = _check_contract(onnx_path, network.tensors(), layers)
    if expect_fp16:
        check_precision(str(onnx_path), layers, keep_fp32)
    built = network.build(
        {
            INPUT_NAME: (
                (batch.minimum, *frame),
                (batch.optimum, *frame),
                (batch.maximum, *frame),
            )
        },
        workspace=workspace,
        targets=targets,
        timing_cache=_read_cache(timing_cache),
        progress=progress,
    )
    if timing_cache is not None and built.timing_cache is not None:
        _write_cache(timing_cache, built.timing_cache)
    if api.flavour is Flavour.TENSORRT:
        targets = (query_driver().devices[0].compute_capability,)
    return BuiltPlan(
        plan=built.plan,
        flavour=api.flavour.value,
        version=api.version,
        targets=tuple(targets),
        profile=batch,
        layers=count_layers(layers),
        seconds=time.perf_counter() - started,
    )


def count_layers(layers: Sequence[LayerInfo]) -> dict[str, int]:
    """How many layers there are of each type and output dtype, sorted by name."""
    counts = Counter(f"{layer.type} {'/'.join(layer.output_types)}".strip() for layer in layers)
    return dict(sorted(counts.items()))


def check_precision(source: str, layers: Sequence[LayerInfo], keep_fp32: Collection[str]) -> None:
    """Prove that a network computes in half precision, from its layers' types.

    A strongly typed network keeps these types: TensorRT may fuse layers, not retype them.

    Raises:
        ExportError: naming the compute layers that are not in half precision and not in
            ``keep_fp32``, or saying that none is in half precision at all.
    """
    compute = [layer for layer in layers if layer.type in COMPUTE_LAYERS]
    half = [layer for layer in compute if set(layer.output_types) == {"HALF"}]
    if not half:
        raise ExportError(
            f"{source} is not in half precision",
            f"none of its {len(compute)} compute layers gives HALF",
            "build the plan from the .fp16.onnx",
        )
    others = [
        f"'{layer.node or layer.name}' ({layer.type} {'/'.join(layer.output_types)})"
        for layer in compute
        if layer not in half and not {layer.node, layer.name} & set(keep_fp32)
    ]
    if others:
        raise ExportError(
            f"{source} is in half precision only in part",
            f"{len(others)} of {len(compute)} compute layers are not: {', '.join(others)}",
            "convert these nodes, or name them among those that stay in FP32",
        )


def _check_contract(
    onnx_path: Path, tensors: Sequence[TensorInfo], layers: Sequence[LayerInfo]
) -> tuple[int, int, int]:
    """The frame's (height, width, 3), if the parsed network keeps the engine contract."""
    found = {(t.name, t.is_input, t.dtype, t.shape) for t in tensors}
    frames = next((t for t in tensors if t.name == INPUT_NAME and t.is_input), None)
    frame = frames.shape[1:] if frames is not None else ()
    whole = len(frame) == 3 and frame[2] == 3 and min(frame) > 0
    height, width = frame[:2] if whole else (0, 0)
    due = {
        (INPUT_NAME, True, "UINT8", (-1, height, width, 3)),
        (LOGIT_NAME, False, "FLOAT", (-1,)),
        (FAKE_NAME, False, "FLOAT", (-1,)),
    }
    if not whole or found != due:
        listed = ", ".join(
            f"{'in' if t.is_input else 'out'} {t.name} {t.dtype} {list(t.shape)}" for t in tensors
        )
        raise ExportError(
            f"{onnx_path} is not of the engine contract",
            f"it has {listed}",
            f"due are in {INPUT_NAME} UINT8 [-1, H, W, 3], out {LOGIT_NAME} FLOAT [-1], "
            f"out {FAKE_NAME} FLOAT [-1]",
        )
    # TensorRT takes bytes into nothing but a cast, and says so in some versions only when
    # the plan is built.
    for layer in layers:
        if INPUT_NAME in layer.inputs and layer.type != "CAST":
            raise ExportError(
                f"{onnx_path} cannot be built by TensorRT",
                f"its uint8 input feeds '{layer.node or layer.name}' ({layer.type})",
                "it may feed only a Cast: put the Cast first",
            )
    return height, width, 3


def _read_cache(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ExportError(
            f"the timing cache {path} cannot be read", str(error), "name another file"
        ) from None


def _write_cache(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        # Only time is lost, and the plan that took it is good.
        logger.warning("the timing cache %s cannot be written: %s", path, error)
