"""Score a dataset with one or more engines: decoded in threads, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluation.dataset import Dataset, LabelledImage
from runtime.detector import Detector
from runtime.engine_info import Preprocessing
from runtime.errors import ImageError
from runtime.frames import EncodedImage, to_frame

#: Images that go through an engine at once.
BATCH = 32
#: Batches that may be decoded ahead of the engines, and bytes of a tar's images among them.
_AHEAD = 2
_BYTES_AHEAD = 256 << 20

#: Called as ``advance(n)`` when n images more are done.
Advance = Callable[[int], None]
Frames = dict[Preprocessing, NDArray[np.uint8]]


@dataclass(frozen=True)
class Failure:
    """An image that could not be judged: its name in the dataset, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Scored:
    """What engines said of a dataset's readable images.

    Attributes:
        images: N of them, in the dataset's order.
        fake: by engine, P(fake), float64 [N].
        logit: by engine, log-odds of fake, float64 [N].
        failures: images left out.
    """

    images: tuple[LabelledImage, ...]
    fake: tuple[NDArray[np.float64], ...]
    logit: tuple[NDArray[np.float64], ...]
    failures: tuple[Failure, ...]


def score_dataset(
    dataset: Dataset, detectors: Sequence[Detector], advance: Advance = lambda done: None
) -> Scored:
    """Judge every image by every engine.

    Args:
        dataset: what to judge. Each image is decoded once for each way of preprocessing
            that the engines have: a decoded one would take memory that nobody counts.
        detectors: opened engines.
        advance: told of progress.

    Raises:
        EngineRunError: an engine fails, or gives no score for an image.
        ImageError: a tar is damaged, or not a single image can be read.
    """
    images: list[LabelledImage] = []
    failures: list[Failure] = []
    logits: list[list[NDArray[np.float32]]] = [[] for _ in detectors]
    fakes: list[list[NDArray[np.float32]]] = [[] for _ in detectors]
    waiting: list[tuple[LabelledImage, Frames]] = []

    def infer() -> None:
        for index, detector in enumerate(detectors):
            how = detector.info.preprocessing
            logit, fake = detector.infer(np.stack([frames[how] for _, frames in waiting]))
            logits[index].append(logit)
            fakes[index].append(fake)
        images.extend(image for image, _ in waiting)
        advance(len(waiting))
        waiting.clear()

    hows = {detector.info.preprocessing for detector in detectors}
    for image, result in _decoded(dataset, hows):
        if isinstance(result, Failure):
            failures.append(result)
            advance(1)
            continue
        waiting.append((image, result))
        if len(waiting) == BATCH:
            infer()
    if waiting:
        infer()
    if not images:
        raise ImageError(
            f"none of the {len(failures)} images of {dataset.name} can be read",
            f"{failures[0].name}: {failures[0].why}" if failures else "",
        )
    return Scored(
        tuple(images),
        tuple(np.concatenate(parts).astype(np.float64) for parts in fakes),
        tuple(np.concatenate(parts).astype(np.float64) for parts in logits),
        tuple(failures),
    )


def _decoded(
    dataset: Dataset, hows: set[Preprocessing]
) -> Iterator[tuple[LabelledImage, Frames | Failure]]:
    """Frames of each image, in order; a window of them is decoded ahead in threads."""
    pending: deque[tuple[LabelledImage, int, Future[Frames | Failure]]] = deque()
    ahead = 0
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), "decode")
    try:
        for image, data in dataset.read():
            size = len(data.data) if isinstance(data, EncodedImage) else 0
            pending.append((image, size, pool.submit(_frames, image.name, data, hows)))
            ahead += size
            while len(pending) > BATCH * _AHEAD or ahead > _BYTES_AHEAD:
                first, done, future = pending.popleft()
                ahead -= done
                yield first, future.result()
        while pending:
            first, _, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _frames(
    name: str, data: EncodedImage | Path | ImageError, hows: set[Preprocessing]
) -> Frames | Failure:
    try:
        return {how: read_frame(data, how) for how in hows}
    except ImageError as error:
        return Failure(name, error.why or error.what)


def read_frame(data: EncodedImage | Path | ImageError, how: Preprocessing) -> NDArray[np.uint8]:
    """One image as a frame.

    Args:
        data: its bytes, its path, or why there are none.
        how: the network's preprocessing.

    Returns:
        uint8 [height, width, 3] RGB.

    Raises:
        ImageError: not an image that can be read.
    """
    if isinstance(data, ImageError):
        raise data
    return to_frame(data, how)
