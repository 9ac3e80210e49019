"""Tests of measured times, on machines that others use too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

_P = ParamSpec("_P")
_TRIES = 3


def on_a_quiet_machine(test: Callable[_P, None]) -> Callable[_P, None]:
    """Let a test pass that holds in one of three tries.

    For a test that only a disturbance from outside can fail: what is wrong in the program
    fails each try, and no limit has to be loosened for a busy machine.
    """

    @functools.wraps(test)
    def tried(*args: _P.args, **kwargs: _P.kwargs) -> None:
        for left in reversed(range(_TRIES)):
            try:
                test(*args, **kwargs)
            except AssertionError:
                if not left:
                    raise
            else:
                return

    return tried
