"""What a user asks `zoo bench` for."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.peer import Source
from runtime.backend_names import ON_CPU, BackendName, choose_backend
from runtime.errors import ZooError

#: More threads than so many for each processor are a slip of the finger, and could take the
#: machine down: every peer starts them.
_THREADS_A_PROCESSOR = 16


@dataclass(frozen=True)
class BenchRequest:
    """What a user asked for.

    Attributes:
        engine: ``.onnx`` or ``.plan``.
        batches: sizes; ``None`` sweeps powers of two until throughput stops growing.
        source: where frames are: in host memory, or already on the GPU.
        duration: seconds that each peer is measured for at each batch size, at least.
        threads: CPU threads of each peer; their own choice by default.
        compare: names of peers.
        out: folder for files; checked before anything is measured.
        backend: what runs the engine.
        device: index of the GPU that engine and peers run on, where they use one.
    """

    engine: Path
    batches: tuple[int, ...] | None = None
    source: Source = "host"
    duration: float = 5.0
    threads: int | None = None
    compare: tuple[str, ...] = ()
    out: Path | None = None
    backend: BackendName = "auto"
    device: int = 0

    @property
    def on_gpu(self) -> bool:
        """Whether the engine runs on a GPU, and with it the peers that can.

        Raises:
            EngineError: see `runtime.backend_names.choose_backend`.
        """
        return choose_backend(self.engine, self.backend) != ON_CPU

    def __post_init__(self) -> None:
        if not (self.duration > 0 and math.isfinite(self.duration)):
            raise ZooError(
                f"nothing can be measured in {self.duration:g} s",
                "--duration is the time of each measurement, in seconds",
                "for example --duration 5",
            )
        if self.threads is not None and self.threads < 1:
            raise ZooError(f"{self.threads} threads cannot run anything", "", "--threads 1 or more")
        processors = os.cpu_count() or 1
        if self.threads is not None and self.threads > _THREADS_A_PROCESSOR * processors:
            raise ZooError(
                f"{self.threads} threads are too many for {processors} processors",
                "every peer starts as many",
                f"--threads {processors}",
            )


def parse_batches(text: str) -> tuple[int, ...]:
    """Read ``1,2,4``.

    Raises:
        ZooError: something is no whole number above 0.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ZooError(
            f"'{text}' are no batch sizes", "whole numbers above 0 are due", "--batch 1,2,4"
        )
    return tuple(sorted({int(part) for part in parts}))
