"""The evaluation: every engine on every dataset, and what is left on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.evaluation.dataset import Dataset, open_class_folders, open_dataset, open_table
from benchmarks.evaluation.labels import HOW_TO_NAME, DatasetError
from benchmarks.evaluation.metrics import Metrics, import_metrics, measure
from benchmarks.evaluation.scoring import Advance, Scored, score_dataset
from benchmarks.evaluation.videos import group_videos
from export.staging import publish, staging
from runtime.backend_names import BackendName
from runtime.detector import Detector
from runtime.engine_info import EngineInfo

#: Called as ``begin(dataset, images)``; gives what is told of the progress.
Begin = Callable[[str, int], Advance]


@dataclass(frozen=True)
class EvaluationRequest:
    """What a user asked for.

    Attributes:
        paths: folders or tars, each a dataset.
        engines: files.
        fake_dir, real_dir: class folders of one dataset, instead of paths.
        table: CSV with labels, for one path or for none.
        out: folder for the report; ``None`` to write nothing.
        contact_sheet: also the worst mistakes as pictures.
        backend: what runs the engines.
        device: index of the GPU, where the backend uses one.
    """

    paths: tuple[Path, ...]
    engines: tuple[Path, ...]
    fake_dir: Path | None = None
    real_dir: Path | None = None
    table: Path | None = None
    out: Path | None = None
    contact_sheet: bool = False
    backend: BackendName = "auto"
    device: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One engine on one dataset.

    Attributes:
        engine, dataset: names, unique within a run.
        info: the engine's sidecar.
        metrics: figures.
        scored: of all engines of the run on this dataset.
        index: which of them.
        source: the dataset.
    """

    engine: str
    dataset: str
    info: EngineInfo
    metrics: Metrics
    scored: Scored
    index: int
    source: Dataset

    @property
    def slug(self) -> str:
        """For file names."""
        text = f"{self.dataset}-{self.engine}"
        return "".join(c if c.isascii() and (c.isalnum() or c in "._+") else "-" for c in text)


def run_evaluation(
    request: EvaluationRequest, begin: Begin = lambda name, count: lambda done: None
) -> tuple[list[Evaluation], list[Path]]:
    """Run an evaluation.

    Returns:
        One `Evaluation` for each engine and dataset, and the files that were written.

    Raises:
        ZooError: no labels, an engine that does not fit, a package missing, or a folder
            that cannot be written.
    """
    import_metrics()  # before the work, not after it
    if request.contact_sheet and request.out is None:
        raise DatasetError("--contact-sheet needs a folder to write to", "", "add --out DIR")
    if request.out is not None:
        from benchmarks.evaluation.plots import import_pyplot

        import_pyplot()
    datasets = _datasets(request)
    with ExitStack() as stack:
        folder = None
        if request.out is not None:  # opened first: an hour's work must not end unwritable
            folder = stack.enter_context(staging(request.out, "evaluation"))
        detectors = [
            stack.enter_context(Detector(engine, backend=request.backend, device=request.device))
            for engine in request.engines
        ]
        found: list[Evaluation] = []
        for dataset in datasets:
            scored = score_dataset(dataset, detectors, begin(dataset.name, len(dataset.images)))
            found += _judge(dataset, scored, detectors, _distinct(request.engines))
        if folder is None or request.out is None:
            return found, []
        from benchmarks.evaluation.report import write_report

        names = write_report(found, folder, contact_sheet=request.contact_sheet)
        publish(folder, request.out, names)
        return found, [request.out / name for name in names]


def _judge(
    dataset: Dataset, scored: Scored, detectors: Sequence[Detector], engines: Sequence[str]
) -> list[Evaluation]:
    import numpy as np

    labels = np.asarray([image.fake for image in scored.images])
    videos = group_videos(scored.images)
    return [
        Evaluation(
            name,
            dataset.name,
            detector.info,
            measure(
                labels,
                scored.fake[index],
                scored.logit[index],
                threshold=detector.info.threshold,
                videos=videos,
            ),
            scored,
            index,
            dataset,
        )
        for index, (name, detector) in enumerate(zip(engines, detectors, strict=True))
    ]


def _datasets(request: EvaluationRequest) -> list[Dataset]:
    by_folders = request.fake_dir is not None or request.real_dir is not None
    if by_folders and (request.paths or request.table):
        raise DatasetError(
            "--fake-dir and --real-dir are a dataset of their own",
            "a path or a CSV was given too",
            "leave one of them out",
        )
    if by_folders:
        return [open_class_folders(request.fake_dir, request.real_dir)]
    if request.table is not None:
        if len(request.paths) > 1:
            raise DatasetError(
                f"--csv is for one dataset, not {len(request.paths)}", "", "evaluate one at a time"
            )
        if not request.paths:
            return [open_table(request.table)]
        return [open_dataset(request.paths[0], request.table)]
    if not request.paths:
        raise DatasetError("there is nothing to evaluate on", "", f"give a folder; {HOW_TO_NAME}")
    found = [open_dataset(path) for path in request.paths]
    names = _distinct([Path(dataset.name) for dataset in found])
    return [replace(dataset, name=name) for dataset, name in zip(found, names, strict=True)]


def _distinct(paths: Sequence[Path]) -> list[str]:
    """File names; numbered where two are the same."""
    names = [path.name for path in paths]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})"
        for i, name in enumerate(names)
    ]
