"""Whether another process is still there: what it left behind may be taken over if not."""

from __future__ import annotations

import os


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs under that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
