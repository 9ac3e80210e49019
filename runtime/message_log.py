"""What a native library says through its logger, kept for errors and passed to `logging`."""

from __future__ import annotations

import logging
import threading
from collections import deque

logger = logging.getLogger("runtime.tensorrt")
# A library is silent until its user configures logging: without this, Python would print
# what also comes out as an error.
logger.addHandler(logging.NullHandler())

#: TensorRT-RTX looks for a GPU wherever it words an error. On a machine without one, each
#: real reason is followed by this, which is none.
_NOISE = "catchCudaError"


class MessageLog:
    """Collects errors of a native library; safe from its threads, never raises into it."""

    def __init__(self, keep: int = 20) -> None:
        self._errors: deque[str] = deque(maxlen=keep)
        self._lock = threading.Lock()
        #: A Ctrl-C that came while a message was taken: to be raised once the call is over.
        self.interruption: BaseException | None = None

    def add(self, level: str, message: str) -> None:
        """Take a message of level ``ERROR``, ``WARNING``, ``INFO`` or ``DEBUG``."""
        try:
            if _NOISE in message:
                level = "DEBUG"
            if level == "ERROR":
                with self._lock:
                    self._errors.append(message)
            # Its INFO is a page for every build: of interest to who debugs one.
            number = {"ERROR": logging.ERROR, "WARNING": logging.WARNING}.get(level, logging.DEBUG)
            logger.log(number, "%s", message)
        except Exception:
            # The caller is C++, which prints an exception (of somebody's logging handler)
            # and forgets it.
            return
        except BaseException as error:
            self.interruption = error

    def clear(self) -> None:
        """Forget, before an operation whose own errors are wanted."""
        with self._lock:
            self._errors.clear()
            self.interruption = None

    def errors(self) -> str:
        """The errors since `clear`, one a line, each once."""
        with self._lock:
            return "\n".join(dict.fromkeys(self._errors))

    @staticmethod
    def without_noise(text: str) -> str:
        """The lines of a message that say something."""
        return "\n".join(line for line in text.splitlines() if _NOISE not in line)
