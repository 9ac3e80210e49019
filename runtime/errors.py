"""The one hierarchy of errors that a user can do something about.

Every room raises these, so they live in the lowest one. A bug is never a
``ZooError``: it keeps its traceback.
"""

from __future__ import annotations


class ZooError(Exception):
    """Something the user can put right.

    Args:
        what: what happened, naming the file or value that was wrong.
        why: the cause, with the wrong value and the one that was expected.
        todo: the way out: a command to type or a thing to change.

    The command line prints the three as three lines, without a traceback, and
    exits with 2.
    """

    def __init__(self, what: str, why: str = "", todo: str = "") -> None:
        super().__init__(what, why, todo)
        self.what = what
        self.why = why
        self.todo = todo

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.why, self.todo) if line)


class WeightsError(ZooError):
    """A weights file is missing, damaged, of another network or not trustworthy."""


class ImageError(ZooError):
    """A file or array is not an image that can be judged."""


class FramesError(ZooError):
    """Frames do not fit the engine contract (dtype, shape, count)."""


class EngineError(ZooError):
    """An engine file, its sidecar or the machine does not fit."""


class EngineRunError(EngineError):
    """An engine failed while it ran, or gave back what are no scores: no image's fault."""


class ExportError(ZooError):
    """A network could not be converted, rewritten or built."""


class MissingPackageError(ZooError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, purpose: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            "",
            f"pip install 'deepfake-zoo[{extra}]'",
        )
        self.package = package
        self.extra = extra
