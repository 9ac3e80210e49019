"""What ``zoo detect`` does: judge many files, some at a time, and lose none to another's fault."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from runtime import Detector
from runtime.backend_names import RUNS, BackendName
from runtime.engine_info import EngineInfo
from runtime.errors import EngineRunError, ZooError
from runtime.faces import FaceFinder, Selection
from runtime.judge import Judge
from runtime.text import printable
from runtime.verdicts import MediaVerdict
from runtime.video import Sampling
from zoo.annotate import annotate, output_paths
from zoo.inputs import Input, find_inputs
from zoo.results_file import ResultsFile, mark

#: Counts up where the same scores give other verdicts, so that no resumed file mixes them.
_RULES = 2
#: The verdict's part of the work where a copy is drawn as well: every frame of a video is
#: decoded, drawn and encoded again for it.
_JUDGED = 0.3


@dataclass(frozen=True)
class DetectRequest:
    """What a user asked for.

    Attributes:
        paths: files, folders, globs.
        engine: ``.onnx`` or ``.plan``.
        faces: which ones.
        finder: name of the face finder; ``None`` takes every picture for a face crop as
            it is.
        min_face: shorter side in pixels.
        sharpness: variance of the Laplacian at least; 0 for any.
        sampling: frames of a video.
        jobs: files at a time; ``None`` for half the cores.
        annotate: folder for copies with the verdicts drawn.
        resume: file of results.
        backend: what runs the engine.
        device: index of the GPU, where the backend uses one.
    """

    paths: tuple[Path, ...]
    engine: Path
    finder: str | None
    faces: Literal["all", "largest"] = "all"
    min_face: int = Selection().min_size
    sharpness: float = 0.0
    sampling: Sampling = field(default_factory=Sampling)
    jobs: int | None = None
    annotate: Path | None = None
    resume: Path | None = None
    backend: BackendName = "auto"
    device: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """What the verdicts depend on, besides engine and files."""
        usual = ("auto", *RUNS.get(self.engine.suffix, ())[:1])
        ran = {} if self.backend in usual else {"backend": self.backend}
        if self.finder is None:
            return {"faces": "none", "frames": str(self.sampling), **ran}
        return {
            "faces": self.faces,
            "finder": self.finder,
            "min_face": self.min_face,
            "sharpness": self.sharpness,
            "frames": str(self.sampling),
            **ran,
        }


class _InterruptedError(Exception):
    """The run is being given up; the file is to be left as it is."""


class DetectRun:
    """A run over all files of a request. Use it in a ``with``.

    Args:
        request: what was asked for.
        open_finder: gives a face finder by its name; called once, after the engine is open.

    Attributes:
        inputs: the files, in the order of their results.
        info: of the engine.

    Raises:
        ZooError: the engine, the face finder, the folders or the results file are not as
            they have to be; nothing was judged then.
    """

    def __init__(self, request: DetectRequest, open_finder: Callable[[str], FaceFinder]) -> None:
        self._request = request
        self._stop = threading.Event()
        with ExitStack() as stack:
            self.inputs = find_inputs(request.paths, request.annotate)
            cores = os.cpu_count() or 1
            self._jobs = min(request.jobs or max(1, cores // 2), max(1, len(self.inputs)))
            # A file has three threads at work already.
            threads = max(1, cores // (2 * self._jobs))
            detector = stack.enter_context(
                Detector(
                    request.engine,
                    backend=request.backend,
                    threads=threads,
                    device=request.device,
                )
            )
            self.info = detector.info
            self._judge = Judge(
                detector,
                None if request.finder is None else open_finder(request.finder),
                Selection(request.faces, request.min_face, request.sharpness),
                request.sampling,
                threads=0 if self._jobs == 1 else threads,
            )
            self.run = _run_name(self.info, request)
            self._results: ResultsFile | None = None
            if request.resume is not None:
                self._results = stack.enter_context(ResultsFile(request.resume, self.run))
            self._copies = _copies(self.inputs, request.annotate)
            self._close = stack.pop_all()

    def lines(
        self, progress: Callable[[Path, float], None] = lambda path, part: None
    ) -> Iterator[dict[str, Any]]:
        """One result a file, in the order of `inputs`, each as soon as it and those before are.

        Args:
            progress: called with a file and the part of it that is done, 0..1, from
                several threads.

        Raises:
            EngineRunError: the engine failed, or gave no scores: that ends the run.

        A line has ``path``, ``bytes``, ``modified``, ``run``, what the engine is,
        ``settings``, ``error`` (``None``, or ``what``, ``why`` and ``todo``) and, without
        an error, the fields of `runtime.verdicts.MediaVerdict`.
        """
        waiting: deque[tuple[Input, Future[dict[str, Any]] | dict[str, Any]]] = deque()
        pool = ThreadPoolExecutor(self._jobs)
        try:
            source = iter(self.inputs)
            while True:
                while len(waiting) < 2 * self._jobs and (item := next(source, None)):
                    earlier = self._earlier(item)
                    waiting.append((item, earlier or pool.submit(self._line, item, progress)))
                if not waiting:
                    break
                item, result = waiting.popleft()
                if isinstance(result, Future):
                    result = result.result()
                    if self._results is not None:
                        self._results.add(result)
                progress(item.path, 1.0)
                yield result
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def __enter__(self) -> DetectRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def _earlier(self, item: Input) -> dict[str, Any] | None:
        """The kept result of a file, unless a copy is asked for that is not there."""
        line = self._results.done(item.path) if self._results else None
        if line is None or line["error"] is not None or self._request.annotate is None:
            return line
        copy = self._copies[item.path]
        return line if line.get("annotated") == str(copy) and copy.exists() else None

    def _line(self, item: Input, progress: Callable[[Path, float], None]) -> dict[str, Any]:
        def still(part: float) -> None:
            if self._stop.is_set():
                raise _InterruptedError
            progress(item.path, part)

        weights = self.info.weights
        line = {
            **mark(item.path),
            "run": self.run,
            "engine": str(self._request.engine),
            "network": self.info.network,
            "weights": weights.name,
            "trained": weights.trained,
            "settings": self._request.settings,
        }
        still(0.0)
        judged = 1.0 if self._request.annotate is None else _JUDGED
        try:
            verdict = self._verdict(item, lambda part: still(judged * part))
            if self._request.annotate is not None:
                out = self._copies[item.path]
                unheard = annotate(
                    item.path,
                    verdict,
                    out,
                    self._request.annotate,
                    weights.trained,
                    lambda part: still(judged + (1 - judged) * part),
                )
                line["annotated"] = str(out)
                if unheard:
                    verdict = replace(verdict, damage=(*verdict.damage, unheard))
        except EngineRunError:
            raise  # it would be the same of every file that is left
        except ZooError as error:
            told = {"what": error.what, "why": error.why, "todo": error.todo}
            return {**line, "error": told, "kind": item.kind}
        except (OSError, MemoryError) as error:
            # The disk, the permissions or this one file: none of them ends a run of thousands.
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            told = {"what": f"{item.path} cannot be judged", "why": why, "todo": ""}
            return {**line, "error": told, "kind": item.kind}
        return {**line, "error": None, **verdict.to_dict()}

    def _verdict(self, item: Input, still: Callable[[float], None]) -> MediaVerdict:
        if item.problem:
            raise ZooError(f"{item.path} cannot be judged", item.problem, item.todo)
        if item.kind == "image":
            return self._judge.image(item.path)
        return self._judge.video(item.path, still)


def _run_name(info: EngineInfo, request: DetectRequest) -> str:
    """Twelve digits that differ where the verdicts may differ."""
    artefact = info.artefacts.get(request.engine.name)
    what = {
        "rules": _RULES,
        "network": info.network,
        "weights": asdict(info.weights),
        "engine": artefact.sha256 if artefact else request.engine.name,
        "face_crop": asdict(info.face_crop),
        "threshold": info.threshold,
        "settings": request.settings,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def _copies(inputs: list[Input], folder: Path | None) -> dict[Path, Path]:
    if folder is None:
        return {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(
            f"{printable(folder)} cannot be written",
            error.strerror or str(error),
            "choose another folder for --annotate",
        ) from None
    return output_paths(inputs, folder)
