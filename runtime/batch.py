"""How many images an engine takes at a time."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import EngineError


@dataclass(frozen=True)
class BatchProfile:
    """The batch sizes of a TensorRT optimisation profile, in images.

    Attributes:
        minimum: the smallest batch the engine accepts.
        optimum: the batch its kernels are chosen for.
        maximum: the largest batch it accepts; its memory is planned for this one.

    Raises:
        EngineError: not 1 <= minimum <= optimum <= maximum.
    """

    minimum: int = 1
    optimum: int = 32
    maximum: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise EngineError(
                f"the batch profile {self} cannot be used",
                "it must be MIN:OPT:MAX with 1 <= MIN <= OPT <= MAX",
                "for example --batch 1:32:256",
            )

    def __str__(self) -> str:
        return f"{self.minimum}:{self.optimum}:{self.maximum}"

    @classmethod
    def parse(cls, text: str) -> BatchProfile:
        """Read ``MIN:OPT:MAX``, as ``1:32:256``.

        Raises:
            EngineError: not three whole numbers between colons, or not in order.
        """
        parts = text.split(":")
        # `int` alone would take " 1", "1_0" and "+1" too, which are typing errors here.
        if len(parts) != 3 or not all(p.isascii() and p.isdigit() for p in parts):
            raise EngineError(
                f"'{text}' is no batch profile",
                "it must be MIN:OPT:MAX, three whole numbers of images",
                "for example --batch 1:32:256",
            )
        minimum, optimum, maximum = (int(p) for p in parts)
        return cls(minimum, optimum, maximum)

    def split(self, count: int) -> list[int]:
        """Batch sizes that together make ``count`` images.

        As many of the largest as can be; where the rest is smaller than the smallest, the
        batches before it give of theirs. Nothing is padded.

        Raises:
            EngineError: no sizes between minimum and maximum make ``count``.
        """
        whole, rest = divmod(count, self.maximum)
        sizes = [self.maximum] * whole + [rest] * (rest > 0)
        lacking = max(0, self.minimum - rest) if rest else 0
        for index in range(whole - 1, -1, -1):
            taken = min(lacking, self.maximum - self.minimum)
            sizes[index] -= taken
            sizes[-1] += taken
            lacking -= taken
        if lacking or not sizes:
            raise EngineError(
                f"{count} images cannot be judged by this engine",
                f"it takes batches of {self.minimum} to {self.maximum}, and {count} is no sum of "
                "such",
                "give more images, or export with a smaller minimum: --batch "
                f"1:{self.optimum}:{self.maximum}",
            )
        return sizes
