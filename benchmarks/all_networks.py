"""`zoo bench --all`: every network exported and measured, for the README's tables."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from benchmarks.bars import network_bars
from benchmarks.bench import run_bench
from benchmarks.command import write_result
from benchmarks.environment import describe_machine
from benchmarks.peers import PEERS, unfit
from benchmarks.plot import draw_plot
from benchmarks.request import BenchRequest
from benchmarks.result import BenchResult, write_files
from benchmarks.rounds import Progress
from runtime.cuda_driver import query_driver
from runtime.errors import ExportError, WeightsError, ZooError
from weights.store import locate
from zoo.card import ModelCard
from zoo.catalog import CARDS, find_card

RESULTS = Path(__file__).resolve().parent / "results"

#: On a CPU; a large network's batch of 32 would take minutes and say nothing new.
_CPU_BATCHES = {"meso4": (1, 8, 32), "mesoinception4": (1, 8, 32)}
_OTHER_CPU_BATCHES = (1, 8)
_GPU_BATCHES = (1, 8, 32, 128)


def bench_all(
    request: BenchRequest,
    progress: Progress,
    show: Callable[[BenchResult], None],
    wrote: Callable[[list[Path]], None],
    networks: Sequence[str] = (),
) -> bool:
    """Measure each network of the zoo against all peers that fit.

    On a machine with a GPU these are FP16 plans, else FP32 ONNX on the CPU.

    Args:
        request: duration and threads; its engine is not looked at. Batches, where given,
            hold for every network. ``out`` is `RESULTS` where not given.
        progress: see `run_bench`.
        show, wrote: called with each network's result, and with its files.
        networks: names of those that are wanted; all by default.

    Returns:
        Whether all went to the end; a keyboard interrupt ends it after the files of the
        network that was being measured are written.
    """
    where: Literal["cpu", "gpu"] = "gpu" if query_driver().devices else "cpu"
    folder = request.out or RESULTS
    whole = True
    chosen = [find_card(name) for name in networks] if networks else list(CARDS)
    for card in chosen:
        with tempfile.TemporaryDirectory() as temporary:
            engine = export_engine(card, Path(temporary), plan=where == "gpu")
            result = run_bench(
                replace(
                    request,
                    engine=engine,
                    batches=request.batches or _batches(card, where),
                    compare=fitting_peers(card, where),
                    out=folder,
                ),
                progress,
            )
        show(result)
        stem = f"{card.name}.{where}"
        if request.out is not None:
            files = write_result(result, folder, stem)
        else:  # what the README is made of; the repository keeps no page
            picture = draw_plot(result) if result.figures else b""
            files = write_files(folder, stem, {".json": result.to_json(), ".png": picture})
        wrote(files)
        if result.interrupted:
            whole = False
            break
    if where == "cpu" and whole:
        write_bars(folder)
    return whole


def write_bars(folder: Path) -> list[Path]:
    """Judge every network that was measured into a folder; one may be measured anew alone.

    Returns:
        ``bars.json``, or nothing where there is nothing to judge.
    """
    files = sorted(folder.glob("*.cpu.json"))
    bars = [bar for file in files for bar in network_bars(json.loads(file.read_text("utf-8")))]
    if not bars:
        return []
    data = {"environment": describe_machine(), "bars": [bar.to_dict() for bar in bars]}
    return write_files(folder, "bars", {".json": json.dumps(data, indent=1) + "\n"})


def fitting_peers(card: ModelCard, where: Literal["cpu", "gpu"]) -> tuple[str, ...]:
    """All peers that have to do with this network and machine, whether installed or not."""
    device: Literal["cpu", "cuda"] = "cuda" if where == "gpu" else "cpu"
    return tuple(name for name in PEERS if unfit(name, card.framework, device) is None)


def export_engine(
    card: ModelCard, folder: Path, *, plan: bool = False, weights: str | None = None
) -> Path:
    """Export a network in a process of its own, as a user would.

    Args:
        card: of the network.
        folder: where the files go.
        plan: an FP16 plan, else FP32 ONNX.
        weights: see ``zoo export``; by default the card's where they are on this machine,
            else seeded ones.

    Raises:
        ExportError: the export failed; the message has its last words.
    """
    options = ["--fp16"] if plan else ["--builder", "none"]
    options += ["--weights", weights or choose_weights(card), "--name", card.name]
    done = subprocess.run(
        [sys.executable, "-m", "zoo.cli", "export", card.name, "--out", str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ExportError(f"{card.name} could not be exported", "; ".join(words[-3:]))
    return folder / f"{card.name}{'.plan' if plan else '.onnx'}"


def choose_weights(card: ModelCard) -> str:
    """The card's default where it is on this machine, else ``random``."""
    default = card.default_weights
    if default is None:
        return "random"
    try:
        locate(default.file, download=False)
    except WeightsError:
        return "random"
    return default.name


def _batches(card: ModelCard, where: Literal["cpu", "gpu"]) -> tuple[int, ...]:
    if where == "gpu":
        return _GPU_BATCHES
    return _CPU_BATCHES.get(card.name, _OTHER_CPU_BATCHES)


def check_nothing_else(**given: object) -> None:
    """Refuse options that have no meaning for all networks together.

    Raises:
        ZooError: one of them was given.
    """
    for name, value in given.items():
        if value:
            option = "--" + name.replace("_", "-")
            raise ZooError(
                f"{option} and --all do not go together",
                "--all measures every network against every peer that fits",
                f"leave {option} out",
            )
