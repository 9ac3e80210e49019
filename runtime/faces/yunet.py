"""YuNet, run by ONNX Runtime.

The published graph (opencv_zoo, ``face_detection_yunet_2023mar.onnx``) is fixed at 640 x
640 on its face only; nothing inside depends on it. In a session of our own it gives
OpenCV's boxes to 1e-4 pixels in a third to two thirds of the time, and may be called by
several threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import EngineError, MissingPackageError
from runtime.faces.boxes import suppress
from runtime.faces.face import Face, largest_first

if TYPE_CHECKING:
    from PIL import Image

STRIDES = (8, 16, 32)
#: Below this a find is more often a pattern than a face; OpenCV's demo takes 0.9, which
#: loses faces in profile.
SCORE = 0.75
#: Intersection over union above which two finds are one face.
SAME_FACE = 0.3
#: The longer side that the network was trained at: large faces are sure to be found here.
COARSE = 640
#: A face of this many pixels is still found.
SMALLEST = 16
#: The longer side at most. Memory grows with it: about 250 MB.
FINE = 1920


class YuNet:
    """See `runtime.faces.FaceFinder`.

    Args:
        path: ``face_detection_yunet_2023mar.onnx``.
        threads: of one call.

    Raises:
        EngineError: the file is missing or another one.
    """

    name = "yunet"

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        try:
            import onnxruntime as ort
        except ImportError:
            raise MissingPackageError("onnxruntime", "finding faces", "dev") from None
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        # Every size of picture would leave a memory plan behind.
        options.enable_mem_pattern = False
        try:
            self._session: Any = ort.InferenceSession(
                _any_size(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's and protobuf's share no base class
            raise _not_yunet(path, str(error)) from None
        due = {f"{kind}_{s}" for kind in ("cls", "obj", "bbox", "kps") for s in STRIDES}
        names = {value.name for value in self._session.get_outputs()}
        if names != due:
            raise _not_yunet(path, f"its outputs are {', '.join(sorted(names))}")
        self._names = sorted(names)

    def find(self, picture: Image.Image, min_size: int) -> list[Face]:
        """See `runtime.faces.FaceFinder.find`."""
        longest = max(picture.size)
        sides = [min(longest, COARSE)]
        # Small faces of a large picture vanish at the coarse size, large ones are beyond
        # the network's reach at a fine one: both are looked at.
        fine = min(longest, FINE, round(longest * SMALLEST / max(min_size, 1)))
        if fine > 1.3 * COARSE:
            sides.append(fine)
        rows = np.concatenate([self._look(picture, side / longest) for side in sides])
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        kept = rows[suppress(corners, rows[:, 4], SAME_FACE)]
        return largest_first([_face(row) for row in kept])

    def _look(self, picture: Image.Image, scale: float) -> NDArray[np.float32]:
        """Faces at one scale: float32 [N, 15]: x, y, width, height, score, 5 x (x, y)."""
        from PIL import Image

        width, height = (max(1, round(side * scale)) for side in picture.size)
        # Whole-number averaging does most of it, at a tenth of what a filter takes.
        if (whole := int(1 / scale)) > 1:
            picture = picture.reduce(whole)
        if (width, height) != picture.size:
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        # The strides have to divide it; what is added is black, as OpenCV does.
        down, across = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in (height, width))
        pixels = np.zeros((1, 3, down, across), np.float32)
        # The network wants BGR in 0..255.
        pixels[0, :, :height, :width] = np.asarray(picture)[:, :, ::-1].transpose(2, 0, 1)
        found = dict(
            zip(self._names, self._session.run(self._names, {"input": pixels}), strict=True)
        )
        rows = np.concatenate([_decode(found, stride, across // stride) for stride in STRIDES])
        rows[:, [*range(4), *range(5, 15)]] /= scale
        return rows


def _decode(
    found: dict[str, NDArray[np.float32]], stride: int, columns: int
) -> NDArray[np.float32]:
    """Cells of one stride to boxes in pixels: float32 [N, 15]."""
    sure = np.clip(found[f"cls_{stride}"], 0, 1) * np.clip(found[f"obj_{stride}"], 0, 1)
    score = np.sqrt(sure[0, :, 0])
    cells = np.flatnonzero(score >= SCORE)
    origin = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
    box = found[f"bbox_{stride}"][0, cells]
    size = np.exp(box[:, 2:]) * stride
    corner = (origin + box[:, :2]) * stride - size / 2
    points = found[f"kps_{stride}"][0, cells].reshape(-1, 5, 2)
    points = (points + origin[:, None]) * stride
    return np.concatenate(
        [corner, size, score[cells, None], points.reshape(-1, 10)], axis=1, dtype=np.float32
    )


def _face(row: NDArray[np.float32]) -> Face:
    x, y, width, height, score = (float(value) for value in row[:5])
    return Face(x, y, width, height, score, row[5:].reshape(5, 2).astype(np.float32))


def _any_size(path: Path) -> bytes:
    """The graph with its face freed from 640 x 640."""
    import onnx

    if not path.is_file():
        raise EngineError(
            f"{path} does not exist", "", "zoo weights fetch face_detection_yunet_2023mar.onnx"
        )
    graph = onnx.load(path)
    for axis, name in ((2, "height"), (3, "width")):
        graph.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    for output in graph.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = f"cells_{output.name}"
    del graph.graph.value_info[:]
    data: bytes = graph.SerializeToString()
    return data


def _not_yunet(path: Path, why: str) -> EngineError:
    return EngineError(
        f"{path} is not the YuNet that is known here",
        (why.splitlines() or [""])[0],
        "zoo weights fetch face_detection_yunet_2023mar.onnx",
    )
