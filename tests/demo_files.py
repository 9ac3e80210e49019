"""A picture and clips that the tiny engine judges, for the tests of the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tiny_engine import random_frames


def write_picture(path: Path) -> Path:
    Image.fromarray(np.kron(random_frames(1)[0], np.ones((20, 20, 1), np.uint8))).save(path)
    return path


def write_clip(path: Path, seconds: int) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for frame in random_frames(5 * seconds):
            large = np.kron(frame, np.ones((8, 8, 1), np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, "rgb24")))
        container.mux(stream.encode(None))
    return path
