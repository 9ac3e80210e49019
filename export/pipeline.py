"""The straight line: original, ONNX, contract, rewrites, FP16, plan, certificate."""

from __future__ import annotations

import gc
import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from export import steps
from export.certificate import Certificate
from export.certify import certify
from export.contract import apply_contract
from export.convert import to_plain_onnx
from export.half_judge import judge, search_judge
from export.keep_fp32 import to_verified_half
from export.plan import BuilderName, build_plan
from export.publishing import publish_engines
from export.rewrite import Applied, rewrite
from export.samples import Samples, default_samples, read_samples
from export.staging import staging
from export.steps import steps_of
from runtime.batch import BatchProfile
from runtime.build_progress import Progress
from runtime.engine_info import METADATA_KEY, Artefact, Builder, EngineInfo, file_sha256
from weights.store import cache_folder
from zoo.card import ModelCard
from zoo.originals import Original, load_original
from zoo.recipe import Said, recipe_fields

_log = logging.getLogger(__name__)

#: Called as ``step(title, seconds)`` when a step has ended, ``seconds`` None when it begins.
Report = Callable[[str, float | None], None]


@dataclass(frozen=True)
class ExportRequest:
    """What a user asked for.

    Attributes:
        card: of the network.
        weights: a name on the card, a path, ``random``, or ``None`` for the card's first.
        seed: of random weights.
        like: published weights that a file was trained like.
        said: what the user says of a file, or of random weights.
        out: folder for the files.
        name: stem of their names; by default the network's, with the weights' where they
            are not its first.
        fp16: also in half precision, and the plan from that.
        builder: of the plan; ``none`` for no plan.
        batch: the plan's profile.
        images: a folder or tar to certify on, instead of the default samples.
        limit: at most so many of those images, evenly spread; all by default.
    """

    card: ModelCard
    weights: str | None = None
    seed: int = 0
    like: str | None = None
    said: Said = field(default_factory=Said)
    out: Path = Path()
    name: str | None = None
    fp16: bool = False
    builder: BuilderName | Literal["none"] = "auto"
    batch: BatchProfile = field(default_factory=BatchProfile)
    images: Path | None = None
    limit: int | None = None

    @property
    def stem(self) -> str:
        """Of the files' names."""
        if self.name is not None:
            return self.name
        default = self.card.default_weights
        if self.weights is None or (default is not None and self.weights == default.name):
            return self.card.name
        own = Path(str(self.weights)).stem
        # This ending is an engine's in half precision, whose sidecar has none.
        return f"{self.card.name}-{own.removesuffix('.fp16')}"

    @property
    def files(self) -> list[str]:
        """Names of the files, the sidecar last."""
        names = [f"{self.stem}.onnx"]
        names += [f"{self.stem}.fp16.onnx"] * self.fp16
        names += [f"{self.stem}.plan"] * (self.builder != "none")
        return [*names, f"{self.stem}.json"]


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        files: final paths; none where the certificate failed.
        info: the sidecar.
        certificate: the proof.
        rewrites: what applied how often.
        seconds: wall clock by step.
    """

    files: list[Path]
    info: EngineInfo
    certificate: Certificate
    rewrites: list[Applied]
    seconds: dict[str, float]


def export_network(
    request: ExportRequest,
    report: Report = lambda title, seconds: None,
    progress: Progress | None = None,
) -> ExportResult:
    """Walk the whole line once.

    The files appear under their final names only when the certificate has passed.

    Args:
        request: what is wanted.
        report: called as each step begins and ends.
        progress: called by the builder of the plan, see `runtime.build_progress`.

    Raises:
        ZooError: weights, packages, folder or graph are not as they have to be.
    """
    import onnx

    seconds: dict[str, float] = {}

    planned = [step.title for step in steps_of(request)]

    @contextmanager
    def step(title: str) -> Iterator[None]:
        assert title == planned[len(seconds)], "a dry run tells these steps in this order"
        report(title, None)
        start = perf_counter()
        yield
        # Graphs refer to themselves, and hold hundreds of megabytes until the collector
        # comes by, which with a framework's millions of objects about is seldom.
        gc.collect()
        seconds[title] = perf_counter() - start
        report(title, seconds[title])

    stem = request.stem
    with staging(request.out, stem) as folder:
        with step(steps.LOAD):
            original = load_original(
                request.card,
                request.weights,
                seed=request.seed,
                like=request.like,
                said=request.said,
            )
        info = _describe(original)
        samples = _samples(request, original)
        with step(steps.SCORE):
            reference = original.scores(samples.frames)
        paths = {"fp32": folder / f"{stem}.onnx", "fp16": folder / f"{stem}.fp16.onnx"}
        with step(steps.CONVERT):
            plain = to_plain_onnx(original)
        original.release()
        with step(steps.REWRITE):
            graph, rewrites = rewrite(_with_contract(plain, original))
            del plain
            _save(onnx, graph, paths["fp32"], info)
        kept: dict[str, str] = {}
        if request.fp16:
            with step(steps.HALF):
                trained, frames = info.weights.trained, samples.frames
                half, kept = to_verified_half(
                    graph,
                    judge(reference, frames, trained, request.card.half_within),
                    partial(search_judge, graph, frames, trained),
                    _log.info,
                )
                info = replace(info, kept_fp32=kept)
                _save(onnx, half, paths["fp16"], info)
        del graph
        source = "fp16" if request.fp16 else "fp32"
        if request.builder != "none":
            with step(steps.BUILD):
                built = build_plan(
                    paths[source],
                    builder=request.builder,
                    batch=request.batch,
                    expect_fp16=request.fp16,
                    keep_fp32=kept,
                    timing_cache=cache_folder() / "tensorrt-timing.cache",
                    progress=progress,
                )
                (folder / f"{stem}.plan").write_bytes(built.plan)
            info = replace(
                info,
                builder=Builder(
                    built.flavour,
                    built.version,
                    list(built.targets),
                    request.batch.minimum,
                    request.batch.optimum,
                    request.batch.maximum,
                    built.layers,
                ),
            )
        info = replace(info, artefacts=_artefacts(folder, request, source))
        (folder / f"{stem}.json").write_text(info.to_json(), "utf-8")
        with step(steps.CERTIFY):
            certificate = certify(reference, folder, info, samples)
        info = replace(info, certificate=certificate.to_dict())
        if certificate.passed:
            publish_engines(folder, request.out, request.files, info)
    files = [request.out / name for name in request.files] if certificate.passed else []
    return ExportResult(files, info, certificate, rewrites, seconds)


def _samples(request: ExportRequest, original: Original) -> Samples:
    if request.images is not None:
        return read_samples(request.images, original.preprocessing, request.limit)
    return default_samples(original.preprocessing)


def _with_contract(plain: Any, original: Original) -> Any:
    import onnx_ir as ir

    model = apply_contract(plain, original.preprocessing, original.normalisation, original.head)
    return ir.to_proto(model)


def _describe(original: Original) -> EngineInfo:
    card = original.card
    return EngineInfo(
        network=card.name,
        title=card.title,
        weights=original.weights,
        **recipe_fields(original.recipe),
        made_with=_versions(card.framework),
    )


def _versions(framework: str) -> dict[str, str]:
    """Versions of what takes part, for whoever has to repeat it."""
    packages = [
        "deepfake-zoo",
        "numpy",
        "onnx",
        "onnx-ir",
        "onnxslim",
        "onnxruntime-gpu",
        "onnxruntime",
    ]
    packages += {"keras": ["tensorflow", "keras", "tf2onnx"], "torch": ["torch", "torchvision"]}[
        framework
    ]
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _save(onnx: Any, proto: Any, path: Path, info: EngineInfo) -> None:
    """Write a graph with the sidecar's common part in its metadata."""
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, info.to_json()
    proto.producer_name, proto.doc_string = "deepfake-zoo", ""
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def _artefacts(folder: Path, request: ExportRequest, plan: str) -> dict[str, Artefact]:
    found: dict[str, Artefact] = {}
    for name in request.files[:-1]:
        path = folder / name
        kind: Literal["onnx", "plan"] = "plan" if name.endswith(".plan") else "onnx"
        fp16 = name.endswith(".fp16.onnx") or (kind == "plan" and plan == "fp16")
        found[name] = Artefact(
            kind, "fp16" if fp16 else "fp32", path.stat().st_size, file_sha256(path)
        )
    return found
