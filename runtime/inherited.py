"""What a forked child inherits and must not free.

An engine that is freed waits for threads that a fork does not copy, or calls a CUDA that
does not survive it: a child that lets go of its last reference would hang or crash. So
would one that ends as programs do, where ONNX Runtime, even with all sessions gone, waits
for its threads in the C library's `exit`.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any
from weakref import WeakSet

_NOT_FREED: WeakSet[Any] = WeakSet()
_was_used = False


def never_free_in_children(owner: object) -> None:
    """Let children forked from now on keep an object, and all that it holds, for ever.

    Not even the end of the interpreter frees it there, and a child that ends leaves out
    what libraries of this process wanted done in the C library's `exit`. Python's own
    `atexit`, its files and those of C are looked after, and the exit code is kept. In this
    process nothing changes.

    Args:
        owner: takes weak references.
    """
    global _was_used
    _was_used = True
    _NOT_FREED.add(owner)


def _after_fork() -> None:
    for owner in _NOT_FREED:
        # A reference in a module or on a stack would be dropped as the interpreter ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))
    if _was_used and _LIBC is not None:
        # `exit` calls what was registered last first: what the child itself registers from
        # now on, then these two, and nothing that the parent has left there. The first
        # argument that `on_exit` passes is the exit code.
        _LIBC["on_exit"](_address("_exit"), None)
        _LIBC["__cxa_atexit"](_address("fflush"), None, None)


def _find_libc() -> Any:
    """The C library, where it has what is needed (glibc)."""
    try:
        libc: Any = ctypes.CDLL(None)
        for name in ("on_exit", "__cxa_atexit", "_exit", "fflush"):
            getattr(libc, name)
    except (OSError, AttributeError):
        return None
    return libc


def _address(function: str) -> ctypes.c_void_p:
    return ctypes.cast(_LIBC[function], ctypes.c_void_p)


_LIBC = _find_libc()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
