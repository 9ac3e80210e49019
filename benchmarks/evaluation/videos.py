"""From frames to videos: which images are frames of one video, as their names tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluation.dataset import LabelledImage

_NUMBERED = re.compile(r"(.+)_\d+", re.DOTALL)


def video_of(image: LabelledImage) -> str | None:
    """The video that an image is a frame of, or ``None`` where its name does not tell.

    ``Real/101_82.jpg`` is frame 82 of video ``Real/101`` (Afchar's validation set);
    ``fake/id3_id7/0042.png`` is a frame of ``fake/id3_id7`` (a folder a video).
    """
    path = PurePosixPath(image.name)
    if numbered := _NUMBERED.fullmatch(path.stem):
        return str(path.parent / numbered[1])
    parent = str(path.parent)
    inside_class = parent not in (image.class_folder, ".")
    return parent if inside_class and path.stem.isdigit() else None


def group_videos(images: Sequence[LabelledImage]) -> list[str] | None:
    """The video of each image; ``None`` where the names do not tell all of them.

    A class whose images all bear one name (``img_1``, ``img_2``) tells no videos either.
    """
    videos = [video_of(image) for image in images]
    told = [video for video in videos if video is not None]
    if len(told) < len(images):
        return None
    for fake in {image.fake for image in images}:
        groups = {v for v, image in zip(told, images, strict=True) if image.fake is fake}
        if len(groups) < 2:
            return None
    labels: dict[str, bool] = {}
    for video, image in zip(told, images, strict=True):
        if labels.setdefault(video, image.fake) is not image.fake:
            return None  # one prefix in both classes: not a video
    return told if len(labels) < len(images) else None


def mean_by_video(
    videos: Sequence[str], fake: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(label, mean P(fake)) of each video: how Afchar's paper judges a video.

    Args:
        videos: of each of N images.
        fake: bool [N].
        scores: P(fake), [N].
    """
    _, first, index = np.unique(np.asarray(videos), return_index=True, return_inverse=True)
    totals = np.bincount(index, weights=scores)
    return fake[first], totals / np.bincount(index)
