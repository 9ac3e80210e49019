"""Keras on TensorFlow, imported when it is needed."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from runtime.errors import MissingPackageError


def import_keras() -> Any:
    """Keras on TensorFlow, quiet and on the CPU.

    The original is the reference: on a CPU its arithmetic is plain float32, and the
    GPU's memory stays free for the engine it is compared with.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with _quiet_import():
            import keras
            import tensorflow as tf
    except ImportError:
        raise MissingPackageError("tensorflow", "a Keras original", "keras") from None
    tf.config.set_visible_devices([], "GPU")
    tf.get_logger().setLevel("ERROR")  # advice on retracing, which is no use to a user
    return keras


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Hide what TensorFlow's C++ part writes while it is imported.

    It speaks before its log level is read, straight to the file descriptor. What it
    wrote is shown after all when the import fails.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
