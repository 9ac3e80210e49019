"""Read untrusted bytes in a child process, with limits of time and memory.

Some libraries cannot be trusted to end: a damaged HDF5 file hangs inside libhdf5, and a few
kilobytes can ask for gigabytes. What they read is read in a child; what comes back is JSON
and plain arrays, and a child that hangs, crashes or swells is one error here.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

import runtime.errors
from runtime.files import Snapshot

#: What a reader may take, unless told otherwise.
SECONDS = 60.0
BYTES = 4 << 30


class ConfinedError(Exception):
    """The child could not read it: why, on one line."""


class Reader(Protocol):
    """What runs in the child: a function at the top of a module.

    It takes the bytes as a file, and options that JSON can carry; it gives what JSON can
    carry, and arrays by name.
    """

    def __call__(
        self, file: IO[bytes], /, **options: Any
    ) -> tuple[Any, Mapping[str, NDArray[Any]]]:
        """Read."""


def read_confined(
    reader: str,
    source: Snapshot,
    *,
    seconds: float = SECONDS,
    memory: int = BYTES,
    **options: Any,
) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Run a `Reader` on bytes in a child.

    Args:
        reader: ``module:function``.
        source: the bytes.
        seconds: after which the child is killed.
        memory: bytes that it may take beyond what its imports take.
        options: of the reader.

    Returns:
        What the reader gave.

    Raises:
        ConfinedError: it took too long or too much memory, crashed, or raised.
        ZooError: the reader raised one.
    """
    with tempfile.TemporaryFile() as result:
        fds = (source.fd, result.fileno())
        order = {
            "path": sys.path,
            "reader": reader,
            "fds": fds,
            "memory": memory,
            "seconds": seconds,
            "options": options,
        }
        # One thread: each of a library's pool would take address space, which is counted.
        quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys, json; order = json.load(sys.stdin);"
             " sys.path[:] = order['path']; from runtime import confined; confined.serve(order)"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=fds,
            env={**os.environ, **quiet},
        )  # fmt: skip
        try:
            child.communicate(json.dumps(order).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ConfinedError(f"reading it did not end within {seconds:.0f} s") from None
        finally:
            child.kill()
            child.wait()
        if child.returncode < 0:
            name = signal.Signals(-child.returncode).name
            raise ConfinedError(f"the library that reads it crashed ({name})")
        if child.returncode > 0:
            raise ConfinedError("the process that reads it failed")
        result.seek(0)
        return _answer(result)


def _answer(result: IO[bytes]) -> tuple[Any, dict[str, NDArray[Any]]]:
    head = result.readline()
    if not head:
        raise ConfinedError("the process that reads it ended without an answer")
    told = json.loads(head)
    if "zoo_error" in told:
        kind, texts = told["zoo_error"]
        error = runtime.errors.ZooError(*texts)
        error.__class__ = getattr(runtime.errors, kind, runtime.errors.ZooError)
        raise error
    if "error" in told:
        raise ConfinedError(told["error"])
    names = told["arrays"]
    arrays = {name: np.lib.format.read_array(result, allow_pickle=False) for name in names}
    return told["value"], arrays


def serve(order: dict[str, Any]) -> None:
    """What the child does."""
    source, result = order["fds"]
    with os.fdopen(result, "wb") as out:
        try:
            module, _, name = order["reader"].partition(":")
            reader: Reader = getattr(importlib.import_module(module), name)
            _limit(order["memory"], order["seconds"])
            with os.fdopen(source, "rb") as file:
                file.seek(0)  # its position is shared with the parent's
                value, arrays = reader(file, **order["options"])
            head = json.dumps({"value": value, "arrays": list(arrays)})
        except runtime.errors.ZooError as error:
            texts = [error.what, error.why, error.todo]
            head = json.dumps({"zoo_error": [type(error).__name__, texts]})
            arrays = {}
        except MemoryError:
            head = json.dumps({"error": f"reading it takes more than {order['memory']:,} bytes"})
            arrays = {}
        except Exception as error:  # a damaged file makes libraries raise anything
            head = json.dumps({"error": f"{_first_line(error)}"})
            arrays = {}
        out.write(head.encode() + b"\n")
        for array in arrays.values():
            np.lib.format.write_array(out, array, allow_pickle=False)
    # Not the interpreter's own end, which libraries may hang in.
    os._exit(0)


def _limit(memory: int, seconds: float) -> None:
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    # Should the parent be gone, the child still ends.
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
