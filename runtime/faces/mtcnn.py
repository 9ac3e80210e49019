"""MTCNN: three networks in a row, each more careful with fewer candidates.

Zhang et al., arXiv:1604.02878, with the thresholds and the arithmetic of boxes that
facenet-pytorch took over from the authors' MATLAB program: pixels are counted from one
there, and a box of W pixels ends at W - 1.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import EngineError, MissingPackageError
from runtime.faces.boxes import suppress
from runtime.faces.face import Face, largest_first

if TYPE_CHECKING:
    from PIL import Image

NETWORKS = ("pnet", "rnet", "onet")
#: P(face) that a candidate needs in each of the three.
THRESHOLDS = (0.6, 0.7, 0.7)
#: From one step of the picture pyramid to the next: the square root of one half.
FACTOR = 0.709
#: Side in pixels of what the first network looks at, and its stride.
CELL, STRIDE = 12, 2
#: Candidates that go on from the first network: a picture of noise has no end of them.
_MOST = 4000
#: Candidates in one call.
_BATCH = 256

#: Larger pictures are averaged down first: the sums of this many pixels take 300 MB.
_MOST_PIXELS = 24_000_000

_Boxes = NDArray[np.float32]
#: uint32 [H + 1, W + 1, 3]: the sum of all pixels above and to the left. It wraps around,
#: and the difference of two sums is right all the same.
_Sums = NDArray[np.uint32]


class Mtcnn:
    """See `runtime.faces.FaceFinder`.

    Args:
        folder: with ``pnet.onnx``, ``rnet.onnx`` and ``onet.onnx``, as
            ``export.mtcnn.mtcnn_folder`` makes them.
        threads: of one call.

    Raises:
        EngineError: a file is missing or damaged.
    """

    name = "mtcnn"

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        try:
            import onnxruntime as ort
        except ImportError:
            raise MissingPackageError("onnxruntime", "finding faces", "dev") from None
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False
        self._networks: list[Any] = []
        for name in NETWORKS:
            path = folder / f"{name}.onnx"
            try:
                session = ort.InferenceSession(
                    str(path), options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime's exceptions share no base class
                raise EngineError(
                    f"{path} cannot be loaded",
                    (str(error).splitlines() or [""])[0],
                    f"remove {folder}; it is made again when it is needed",
                ) from None
            self._networks.append(session)

    def find(self, picture: Image.Image, min_size: int) -> list[Face]:
        """See `runtime.faces.FaceFinder.find`."""
        width, height = picture.size
        whole = math.ceil(math.sqrt(width * height / _MOST_PIXELS))
        if whole > 1:
            picture = picture.reduce(whole)
        sums = _sums(picture)
        boxes = self._propose(sums, max(min_size / whole, CELL))
        boxes = self._refine(sums, boxes)
        return largest_first(self._finish(sums, boxes, whole))

    def _propose(self, sums: _Sums, min_size: float) -> _Boxes:
        """Squares that may be faces: float32 [N, 4], left, top, right, bottom."""
        height, width = sums.shape[0] - 1, sums.shape[1] - 1
        scale = CELL / min_size
        found = [np.zeros((0, 9), np.float32)]
        while min(width, height) * scale >= CELL:
            step = int(width * scale + 1), int(height * scale + 1)
            sure, shift = self._networks[0].run(
                None, {"picture": _pixels(sums, [(0, 0, width, height)], step)}
            )
            found.append(_candidates(sure[0], shift[0], scale))
            scale *= FACTOR
        rows = np.concatenate(found)
        rows = rows[suppress(rows[:, :4], rows[:, 4], 0.7)][:_MOST]
        size = np.tile(rows[:, 2:4] - rows[:, :2], 2)
        return _squared(rows[:, :4] + rows[:, 5:] * size)

    def _refine(self, sums: _Sums, boxes: _Boxes) -> _Boxes:
        boxes, sure, (shift,) = self._ask(1, sums, boxes)
        kept = suppress(boxes, sure, 0.7)
        return _squared(_shifted(boxes[kept], shift[kept]))

    def _finish(self, sums: _Sums, boxes: _Boxes, whole: int) -> list[Face]:
        boxes, sure, (shift, points) = self._ask(2, sums, boxes)
        size = boxes[:, 2:] - boxes[:, :2] + 1
        marks = points.reshape(-1, 2, 5).transpose(0, 2, 1) * size[:, None] + boxes[:, None, :2] - 1
        boxes = _shifted(boxes, shift)
        kept = suppress(boxes, sure, 0.7, "smaller")
        found = []
        for i in kept:
            left, top, right, bottom = (float(value) * whole for value in boxes[i])
            mark = (marks[i] * whole).astype(np.float32)
            found.append(Face(left, top, right - left, bottom - top, float(sure[i]), mark))
        return found

    def _ask(
        self, stage: int, sums: _Sums, boxes: _Boxes
    ) -> tuple[_Boxes, NDArray[np.float32], list[NDArray[np.float32]]]:
        """The second or third network's word on candidates; those that it refuses are gone."""
        side = (24, 48)[stage - 1]
        height, width = sums.shape[0] - 1, sums.shape[1] - 1
        edges = [_inside(box, width, height) for box in boxes]
        some = [i for i, edge in enumerate(edges) if edge is not None]
        boxes = boxes[some]
        outputs: list[list[NDArray[np.float32]]] = []
        for start in range(0, len(some), _BATCH):
            cuts = [edge for i in some[start : start + _BATCH] if (edge := edges[i])]
            outputs.append(
                self._networks[stage].run(None, {"picture": _pixels(sums, cuts, (side, side))})
            )
        if not outputs:
            nothing = np.zeros((0, 4), np.float32)
            more = [nothing] if stage == 1 else [nothing, np.zeros((0, 10), np.float32)]
            return nothing, np.zeros(0, np.float32), more
        sure, *others = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        kept = sure > THRESHOLDS[stage]
        return boxes[kept], sure[kept], [other[kept] for other in others]


def _sums(picture: Image.Image) -> _Sums:
    pixels = np.asarray(picture)
    sums = np.zeros((picture.height + 1, picture.width + 1, 3), np.uint32)
    np.cumsum(pixels, axis=0, out=sums[1:, 1:], dtype=np.uint32)
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


def _pixels(
    sums: _Sums, cuts: list[tuple[int, int, int, int]], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Parts of a picture averaged to a size, as the networks want them.

    Each pixel is the mean of all that it touches, whole ones: torch's ``area``, which
    facenet-pytorch uses. A filter that weighs the edges moves the boxes by some percent.

    Args:
        sums: of the picture.
        cuts: left, top, right, bottom.
        size: width and height of the result.

    Returns:
        float32 [N, 3, H, W] in -1..1.
    """
    width, height = size
    found = np.empty((len(cuts), height, width, 3), np.float64)
    for out, (left, top, right, bottom) in zip(found, cuts, strict=True):
        x, u = _bins(left, right, width)
        y, v = _bins(top, bottom, height)
        total = sums[np.ix_(v, u)] - sums[np.ix_(y, u)] - sums[np.ix_(v, x)] + sums[np.ix_(y, x)]
        out[:] = total / ((v - y)[:, None, None] * (u - x)[:, None])
    return np.ascontiguousarray((found.transpose(0, 3, 1, 2) - 127.5) / 128, dtype=np.float32)


def _bins(start: int, end: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last edge of ``count`` parts of a range; neighbours may share a pixel."""
    steps = np.arange(count) * (end - start)
    return start + steps // count, start - -(steps + (end - start)) // count


def _candidates(
    sure: NDArray[np.float32], shift: NDArray[np.float32], scale: float
) -> NDArray[np.float32]:
    """Cells of one step of the pyramid: float32 [N, 9]: box, P(face), correction."""
    down, across = np.nonzero(sure >= THRESHOLDS[0])
    corner = np.stack([across, down], axis=1) * STRIDE
    box = np.concatenate(
        [np.floor((corner + 1) / scale), np.floor((corner + CELL) / scale)], axis=1
    )
    rows = np.concatenate(
        [box, sure[down, across, None], shift[:, down, across].T], axis=1, dtype=np.float32
    )
    return rows[suppress(rows[:, :4], rows[:, 4], 0.5)]


def _shifted(boxes: _Boxes, shift: NDArray[np.float32]) -> _Boxes:
    """Boxes corrected by what a network says, in parts of their size."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)
    result: _Boxes = (boxes + shift * size).astype(np.float32)
    return result


def _squared(boxes: _Boxes) -> _Boxes:
    """Squares around the same middle with the longer side."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + size / 2 - side / 2
    return np.concatenate([corner, corner + side], axis=1, dtype=np.float32)


def _inside(box: _Boxes, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The part of a box that is in the picture, counted from one; ``None`` where none is."""
    left, top = (max(int(value), 1) - 1 for value in box[:2])
    right, bottom = min(int(box[2]), width), min(int(box[3]), height)
    return (left, top, right, bottom) if left < right and top < bottom else None
