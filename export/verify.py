"""Certify an engine that is already on disk, by its original or by another engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from export.certificate import Certificate
from export.certify import certify, run_scores
from export.goldens import read_goldens
from export.samples import Samples, default_samples, read_samples
from runtime.backend_names import ON_CPU, BackendName
from runtime.backends import open_backend
from runtime.engine_info import Artefact, EngineInfo, file_sha256
from runtime.errors import EngineError, ImageError, MissingPackageError
from zoo.catalog import find_card
from zoo.originals import Scores
from zoo.originals.inside import load_original_of
from zoo.recipe import recipe_of_engine
from zoo.scores import golden_scores


def verify_engine(
    engine: Path,
    *,
    images: Path | None = None,
    limit: int | None = None,
    goldens: Path | None = None,
    column: str | None = None,
    weights: str | None = None,
    against: Path | None = None,
    backend: BackendName = "auto",
    device: int = 0,
    report: Callable[[str, float | None], None] = lambda title, seconds: None,
) -> Certificate:
    """Compare one engine file with the original, or with another engine, on this machine.

    Args:
        engine: a ``.onnx`` or ``.plan`` with its sidecar or metadata.
        images: a folder, tar or image; the default samples otherwise.
        limit: at most so many of those images, evenly spread; all by default.
        goldens: the original's own probabilities for those images, instead of running it,
            see `zoo.scores.golden_scores`.
        column: of that CSV; the stem of the weights file by default.
        weights: the file, where the engine was made from one of the user's.
        against: an ``.onnx`` of the same weights to compare with, run on the CPU, where the
            original's framework is not installed: on a machine with a GPU that only runs
            what another one exported and compared with the original.
        backend: what runs the engine.
        device: index of the GPU, where the backend uses one.
        report: called as each step begins and ends.

    Raises:
        EngineError: the engine is missing, damaged, or cannot run here; or ``against`` is
            of other weights, makes other frames, or is the engine itself.
        MissingPackageError: the original's framework is not installed.
        ImageError: images or goldens are missing or damaged.
        WeightsError: the original's weights cannot be had.
    """
    opened = open_backend(engine, backend=backend, device=device)
    info = opened.info
    opened.close()
    how = info.preprocessing
    start = perf_counter()
    report("read the images", None)
    samples = default_samples(how) if images is None else read_samples(images, how, limit)
    report("read the images", perf_counter() - start)
    start = perf_counter()
    step = "the original" if against is None else f"{against.name}, on the CPU"
    report(step, None)
    if against is not None:
        reference = _scores_of(against, engine, info, samples)
    elif goldens is None:
        reference = _original_scores(engine, info, weights, samples)
    else:
        reference, samples = _golden_scores(info, samples, goldens, column)
    report(step, perf_counter() - start)
    artefact = info.artefacts.get(engine.name) or Artefact(
        "onnx",
        "fp16" if engine.name.endswith(".fp16.onnx") else "fp32",
        engine.stat().st_size,
        file_sha256(engine),
    )
    start = perf_counter()
    report("the engine", None)
    only = replace(info, artefacts={engine.name: artefact})
    certificate = certify(
        reference,
        engine.parent,
        only,
        samples,
        backend=backend,
        device=device,
        source=None if against is None else against.name,
    )
    report("the engine", perf_counter() - start)
    return certificate


def _original_scores(
    engine: Path, info: EngineInfo, weights: str | None, samples: Samples
) -> Scores:
    try:
        return load_original_of(engine, info, weights).scores(samples.frames)
    except MissingPackageError as error:
        error.todo += (
            "; or, if another machine compared an .onnx of the same export with the original: "
            f"zoo verify {engine} --against THAT.onnx"
        )
        raise


def _scores_of(against: Path, engine: Path, info: EngineInfo, samples: Samples) -> Scores:
    """What another engine of the same weights says, run on the CPU."""
    if against.resolve() == engine.resolve():
        raise EngineError(
            f"{engine} cannot be held against itself", "", "name the .onnx that the export made"
        )
    other = open_backend(against, backend=ON_CPU)
    try:
        for what, ours, theirs in (
            ("weights", info.weights, other.info.weights),
            ("preprocessing", info.preprocessing, other.info.preprocessing),
            ("normalisation", info.normalisation, other.info.normalisation),
            ("head", info.head, other.info.head),
        ):
            if ours != theirs:
                raise EngineError(
                    f"{against} says nothing about {engine}",
                    f"its {what}: {theirs}; the engine's: {ours}",
                    "name an .onnx of the same export",
                )
        return run_scores(other, samples)
    finally:
        other.close()


def _golden_scores(
    info: EngineInfo, samples: Samples, goldens: Path, column: str | None
) -> tuple[Scores, Samples]:
    """The original's scores from a file, and the samples that have one."""
    column = column or Path(info.weights.file or "").stem
    by_name = read_goldens(goldens, column)
    keep = [i for i, name in enumerate(samples.names) if name in by_name]
    if not keep:
        raise ImageError(
            f"{goldens} has a score for none of the images",
            f"the first image is {samples.names[0]}",
            "names are relative to the folder, or as in the tar",
        )
    own = np.asarray([by_name[samples.names[i]] for i in keep], np.float64)
    chosen = Samples(
        samples.frames[keep],
        tuple(samples.names[i] for i in keep),
        f"{len(keep)} images of {samples.origin.rpartition(' of ')[2]}, golden scores",
    )
    head = recipe_of_engine(find_card(info.network), info).head
    return golden_scores(head, own), chosen
