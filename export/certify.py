"""Run every engine of an export and compare it with the original."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.certificate import (
    BATCH_TOLERANCE,
    ORIGINAL,
    BatchCheck,
    Certificate,
    Comparison,
    EngineKind,
    bar_for,
    check_batches,
    compare,
)
from export.samples import Samples
from runtime.backend_names import BackendName
from runtime.backends import Backend, open_backend
from runtime.backends.shared_cores import count_cores
from runtime.cuda_driver import query_driver
from runtime.engine_info import FAKE_NAME, INPUT_NAME, LOGIT_NAME, Artefact, EngineInfo
from runtime.errors import EngineError, MissingPackageError
from zoo.originals import Scores

if TYPE_CHECKING:
    import onnx

#: What the emulated joint is called, for people: ONNX Runtime's CPU rounds no activation.
ROUNDED = "rounded"
#: Frames a call of the emulation: their activations stay in a core's cache.
_EMULATED_AT_ONCE = 2
#: Calls of the emulation at once, for the memory of their activations.
_MOST_WORKERS = 8


def certify(
    reference: Scores,
    folder: Path,
    info: EngineInfo,
    samples: Samples,
    *,
    backend: BackendName = "auto",
    device: int = 0,
    source: str | None = None,
) -> Certificate:
    """Compare every engine of a sidecar with the original and with the one before it.

    Args:
        reference: the original's scores of ``samples``.
        folder: where the engine files are.
        info: the sidecar.
        samples: frames.
        backend: what runs the engines; one that is named here is named in the certificate.
        device: index of the GPU, where the backend uses one.
        source: what gave ``reference``, where that is not the original.
    """
    comparisons: list[Comparison] = []
    batches: list[BatchCheck] = []
    unchecked: dict[str, str] = {}
    before: tuple[str, Scores] | None = None
    original = source or f"{info.network} {ORIGINAL}"
    for name, artefact in info.artefacts.items():
        try:
            opened = open_backend(folder / name, backend=backend, device=device)
        except EngineError as error:
            if artefact.kind == "plan" and not query_driver().devices:
                unchecked[name] = f"{error.why or error.what}"
                continue
            raise
        shown = name if backend == "auto" else f"{name} by {backend}"
        bar = bar_for(artefact.precision, info.weights.trained)

        kind: EngineKind = "plan" if artefact.kind == "plan" else artefact.precision
        judge = partial(compare, bar=bar, threshold=info.threshold)

        try:
            sizes = corners(opened, artefact, info)
            scores = run_scores(opened, samples, min(sizes))
            whole = source is None
            names = (original, shown)
            comparisons.append(judge(reference, scores, names=names, kind=kind, to_original=whole))
            if before is not None:
                names = (before[0], shown)
                comparisons.append(
                    judge(before[1], scores, names=names, kind=kind, to_original=False)
                )
            if artefact.kind == "onnx" and artefact.precision == "fp16":
                rounded = emulated_scores(_load(folder / name), samples.frames)
                names = (original, f"{name} {ROUNDED}")
                comparisons.append(
                    judge(reference, rounded, names=names, kind="fp16 rounded", to_original=whole)
                )
            batches.append(
                check_batches(
                    opened.infer,
                    samples.frames[:: max(1, len(samples.frames) // 8)][:8],
                    sizes,
                    BATCH_TOLERANCE[artefact.precision],
                    shown,
                )
            )
            before = shown, scores
        finally:
            opened.close()
    return Certificate(
        samples.origin,
        float(reference.logit.astype("float64").std()),
        float(reference.logit.min()),
        float(reference.logit.max()),
        info.threshold,
        tuple(comparisons),
        tuple(batches),
        unchecked,
    )


def corners(backend: Backend, artefact: Artefact, info: EngineInfo) -> list[int]:
    """Batch sizes worth checking: a plan's profile corners, ONNX's smallest and largest."""
    if artefact.kind == "plan" and info.builder is not None:
        profile = (info.builder.min_batch, info.builder.opt_batch, info.builder.max_batch)
        return sorted(set(profile))
    return sorted({1, max(1, backend.max_batch - 1), backend.max_batch})


def run_scores(backend: Backend, samples: Samples, smallest: int = 1) -> Scores:
    """Scores of all frames, in the engine's largest batches.

    A last batch below the ``smallest`` that the engine takes is filled up with frames that
    were judged already; their scores are dropped.
    """
    step, frames = backend.max_batch, samples.frames
    parts = []
    for start in range(0, len(frames), step):
        part = frames[start : start + step]
        count = len(part)
        if count < smallest:
            part = np.resize(part, (smallest, *part.shape[1:]))
        logit, fake = backend.infer(np.ascontiguousarray(part))
        parts.append((logit[:count], fake[:count]))
    return Scores(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))


def emulated_scores(half: onnx.ModelProto, frames: NDArray[np.uint8]) -> Scores:
    """Scores of an FP16 graph as a GPU would compute them; see `export.half_emulation`."""
    import onnxruntime as ort

    try:
        from export.half_emulation import emulate_half
    except ModuleNotFoundError as error:
        if error.name != "onnx_ir":
            raise
        raise MissingPackageError("onnx-ir", "rounding as a GPU does", "verify") from None
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # The layout that suits convolutions on a CPU is left again at every rounding: half of
    # the time went there. And threads that share one convolution wait for each other at
    # each of a hundred small nodes, long where other programs use the cores too: so each
    # works on frames of its own. The sums' order differs, as it does between two GPUs.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1
    data = emulate_half(half).SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    del data  # the session has its own; VGG16's is half a gigabyte

    def score(start: int) -> Scores:
        part = frames[start : start + _EMULATED_AT_ONCE]
        return Scores(*session.run([LOGIT_NAME, FAKE_NAME], {INPUT_NAME: part}))

    with ThreadPoolExecutor(min(count_cores(), _MOST_WORKERS)) as workers:
        parts = list(workers.map(score, range(0, len(frames), _EMULATED_AT_ONCE)))
    return Scores(np.concatenate([p.logit for p in parts]), np.concatenate([p.fake for p in parts]))


def _load(path: Path) -> onnx.ModelProto:
    import onnx

    return onnx.load(path)
