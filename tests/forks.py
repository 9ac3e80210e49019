"""Work in a forked child, which must end of itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def in_child(work: Callable[[], bool]) -> bool:
    """Run in a forked child: whether it returned True within 20 seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # Python's would wait for C to return
            signal.alarm(20)
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0
