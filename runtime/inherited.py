"""What a forked child inherits and must not free.

An engine that is freed waits for threads that a fork does not copy, or calls a CUDA that
does not survive it: a child that lets go of its last reference would hang or crash.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any
from weakref import WeakSet

_NOT_FREED: WeakSet[Any] = WeakSet()


def never_free_in_children(owner: object) -> None:
    """Let children forked from now on keep an object, and all that it holds, for ever.

    Not even the end of the interpreter frees it there. In this process nothing changes.

    Args:
        owner: takes weak references.
    """
    _NOT_FREED.add(owner)


def _after_fork() -> None:
    for owner in _NOT_FREED:
        # A reference in a module or on a stack would be dropped as the interpreter ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
