"""What a benchmark found, and its files: JSON with everything, CSV with a row a figure."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.ceiling import Ceiling
from benchmarks.peers.peer import Source
from benchmarks.phases import Phases
from benchmarks.stats import Latency, Ratio
from benchmarks.work import Work
from export.staging import publish, staging
from runtime.csv_cells import csv_cell
from runtime.errors import ZooError
from runtime.files import read_json
from runtime.text import printable

FORMAT = 1


@dataclass(frozen=True)
class Figure:
    """One peer at one batch size, all rounds together.

    Attributes:
        peer: name.
        batch: images a call.
        images_per_s: images over the time of all calls.
        latency: of single calls.
        calls: how many were timed.
        seconds: that they took together.
        warm: whether times had settled before every round.
        resident_bytes, peak_bytes: of the peer's process, afterwards and at most so far.
        device_bytes: taken on the GPU, where the peer knows.
        phases: of the engine on a GPU.
        operations_per_s, bytes_per_s: of the engine, from the counts of its graph.
        bound: what the engine is bound by.
        times_as_fast: of a peer: how many times as fast the engine is.
    """

    peer: str
    batch: int
    images_per_s: float
    latency: Latency
    calls: int
    seconds: float
    warm: bool
    resident_bytes: int
    peak_bytes: int | None = None
    device_bytes: int | None = None
    phases: Phases | None = None
    operations_per_s: float | None = None
    bytes_per_s: float | None = None
    bound: str = ""
    times_as_fast: Ratio | None = None


@dataclass(frozen=True)
class PeerRecord:
    """A program that was measured.

    Attributes:
        name, title: for the command line and for people.
        scope: what is inside its timed region.
        start_seconds: from the start of the process to ready, imports and weights included.
        apart: how far its P(fake) is from the engine's; ``None`` where it shows none.
    """

    name: str
    title: str
    scope: str
    start_seconds: float
    apart: float | None = None


@dataclass(frozen=True)
class EngineRecord:
    """The engine that was measured: file, content, network, weights."""

    file: str
    sha256: str
    kind: Literal["onnx", "plan"]
    precision: Literal["fp32", "fp16"]
    network: str
    title: str
    weights: str
    trained: bool
    frame: tuple[int, int]


@dataclass(frozen=True)
class BenchResult:
    """Everything of one run.

    Attributes:
        engine: what was measured.
        environment: where; see `benchmarks.environment`.
        settings: how long, how often, how many threads.
        peers: the engine first, then those it was compared with.
        missing: peers that were asked for and are not there, with the reason.
        figures: by batch size, the engine first.
        ceiling: of this machine; ``None`` where the run was ended before.
        work: of the engine's graph; ``None`` where that is not beside the plan.
        warnings: for people.
        stopped: why the sweep ended.
        interrupted: whether it was broken off; the figures are then what there was.
        gpus_after: clocks and temperature at the end; at the start they are in
            `environment`.
    """

    engine: EngineRecord
    environment: dict[str, Any]
    settings: dict[str, Any]
    peers: tuple[PeerRecord, ...]
    missing: dict[str, str]
    figures: tuple[Figure, ...]
    ceiling: Ceiling | None
    work: Work | None
    warnings: tuple[str, ...] = ()
    stopped: str = ""
    interrupted: bool = False
    gpus_after: list[dict[str, Any]] = field(default_factory=list)

    @property
    def source(self) -> Source:
        """Where the frames were."""
        source: Source = self.settings["from"]
        return source

    def of(self, peer: str) -> list[Figure]:
        """The figures of one peer, by batch size."""
        return [figure for figure in self.figures if figure.peer == peer]

    def to_json(self) -> str:
        """The whole, for programs."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    def to_csv(self) -> str:
        """A row for each figure; times in milliseconds, sizes in bytes."""
        text = io.StringIO()
        rows = [
            {name: _cell(value) for name, value in self._row(figure).items()}
            for figure in self.figures
        ]
        writer = csv.DictWriter(text, list(rows[0]) if rows else ["engine"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def _row(self, figure: Figure) -> dict[str, Any]:
        latency = asdict(figure.latency)
        variation = latency.pop("variation")
        phases = asdict(figure.phases) if figure.phases is not None else {}
        ratio, gpus = figure.times_as_fast, self.environment["gpus"]
        scope = next((p.scope for p in self.peers if p.name == figure.peer), "")
        return {
            "network": self.engine.network,
            "engine": self.engine.file,
            "sha256": self.engine.sha256,
            "precision": self.engine.precision,
            "weights": self.engine.weights,
            "peer": figure.peer,
            "batch": figure.batch,
            "images_per_s": figure.images_per_s,
            **{f"{name}_ms": 1000 * value for name, value in latency.items()},
            "variation": variation,
            "calls": figure.calls,
            "resident_bytes": figure.resident_bytes,
            "peak_bytes": figure.peak_bytes,
            "device_bytes": figure.device_bytes,
            **{
                f"{name}_ms": 1000 * phases[name] if phases else None
                for name in Phases.__dataclass_fields__
            },
            "operations_per_s": figure.operations_per_s,
            "bytes_per_s": figure.bytes_per_s,
            "engine_times_as_fast": ratio and ratio.median,
            "engine_times_as_fast_low": ratio and ratio.low,
            "engine_times_as_fast_high": ratio and ratio.high,
            "scope": scope,
            "from": self.source,
            "threads": self.settings["threads"],
            "gpu": "; ".join(gpu["name"] for gpu in gpus),
            "driver": "; ".join(sorted({gpu["driver"] for gpu in gpus})),
            **{name: _words(value) for name, value in self.environment.items() if name != "gpus"},
        }


def _cell(value: Any) -> Any:
    return csv_cell(value) if isinstance(value, str) else value


def _words(value: Any) -> Any:
    """A cell of a part of the environment: versions behind each other."""
    if isinstance(value, dict):
        return "; ".join(f"{name} {part}" for name, part in value.items())
    return value


def check_folder(folder: Path) -> None:
    """See that results can be written there, before anything is measured.

    Raises:
        ZooError: it is a file, cannot be made, or cannot be written to.
    """
    with staging(folder, "bench"):
        pass


def write_files(folder: Path, stem: str, contents: dict[str, str | bytes]) -> list[Path]:
    """Write files that appear under their names only when all of them are whole.

    Args:
        folder: is made where it is not there.
        stem: of the names.
        contents: by ending, as ``.json``.

    Raises:
        ZooError: the folder cannot be written to.
    """
    with staging(folder, stem) as temporary:
        for ending, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            (temporary / f"{stem}{ending}").write_bytes(data)
        publish(temporary, folder, [f"{stem}{ending}" for ending in contents])
    return [folder / f"{stem}{ending}" for ending in contents]


def read_result(path: Path) -> dict[str, Any]:
    """The JSON of an earlier run.

    Raises:
        ZooError: it is not there, or no result of this command.
    """
    again = "give a .json that zoo bench --out has written"
    shown = printable(path)
    try:
        data = read_json(path)
    except ZooError as error:
        raise ZooError(error.what, error.why, again) from None
    if not isinstance(data, dict) or not {"format", "figures", "engine"} <= set(data):
        raise ZooError(f"{shown} is no result of zoo bench", "it has no figures", again)
    if data["format"] != FORMAT:
        raise ZooError(
            f"{shown} is of another version of deepfake-zoo",
            f"its format is {printable(str(data['format']))[:80]}, this version reads {FORMAT}",
            again,
        )
    return data
