"""Locks between processes, which the system gives back however a process ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: What a file system without locks answers; work goes on without them there.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def alone(lock: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock; whoever else wants it waits, also in another thread or container.

    Args:
        lock: a file that is made for it, in a folder that is there, and removed in the end.
        waiting: called once where somebody else holds it.

    Raises:
        OSError: the file cannot be made.
    """
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _lock(descriptor, wait=False) is False:
                waiting()
                _lock(descriptor, wait=True)
            if _is_still(descriptor, lock):
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def hold(lock: Path) -> int:
    """Make a lock file and hold it: a descriptor, whose closing or whose process's end frees it.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    _lock(descriptor, wait=False)
    return descriptor


def is_held(lock: Path) -> bool:
    """Whether somebody holds a lock file, or may hold it; not so where there is none."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # somebody else's: it cannot be told
        return True
    try:
        return _lock(descriptor, wait=False) is not True
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool | None:
    """Whether the lock was taken, ``None`` where there are no locks.

    The system frees it when the descriptor is closed.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _is_still(descriptor: int, lock: Path) -> bool:
    """Whether an open lock is the file of that name: who held it before has removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False
