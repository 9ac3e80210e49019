"""What the frameworks' exporters share: the opset they write, and their silence."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

#: The newest that every consumer here reads: TensorRT 10.16 and later, ONNX Runtime 1.22,
#: and tf2onnx 1.17 writes.
OPSET = 18


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep the exporters' progress chatter from the user; errors are raised anyway."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
