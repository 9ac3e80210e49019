"""What exporting each network costs: ``python -m benchmarks.export_cost``.

Writes ``benchmarks/results/export_cost.json``: seconds by step and the most memory that the
command ever had resident.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.all_networks import RESULTS, choose_weights
from benchmarks.environment import describe_machine
from benchmarks.result import write_files
from runtime.errors import ExportError
from runtime.terminal import make_console
from zoo.card import ModelCard
from zoo.catalog import CARDS


def measure_export(card: ModelCard, folder: Path) -> dict[str, Any]:
    """Export a network once, as a user would: FP16, with a plan where one can be built.

    Args:
        card: of the network.
        folder: where the files go.

    Returns:
        ``network``, ``title``, ``weights``, ``seconds`` (wall clock), ``steps`` (seconds by
        step), ``peak_bytes`` (most ever resident), ``bytes`` of the files by ending.

    Raises:
        ExportError: the export failed; the message has its last words.
    """
    weights = choose_weights(card)
    command = [sys.executable, "-m", "zoo.cli", "export", card.name, "--fp16", "--json"]
    command += ["--weights", weights, "--name", card.name, "--out", str(folder)]
    with tempfile.TemporaryFile("w+") as answer, tempfile.TemporaryFile("w+") as log:
        start = perf_counter()
        process = subprocess.Popen(command, stdout=answer, stderr=log)
        # Of this process alone; subprocess's own wait would throw its resources away.
        _, status, used = os.wait4(process.pid, 0)
        seconds = perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        answer.seek(0)
        log.seek(0)
        if process.returncode:
            words = log.read().strip().splitlines()[-3:]
            raise ExportError(f"{card.name} could not be exported", "; ".join(words))
        steps = json.loads(answer.read())["seconds"]
    files = sorted(folder.glob(f"{card.name}.*"))
    return {
        "network": card.name,
        "title": card.title,
        "weights": weights,
        "seconds": seconds,
        "steps": steps,
        "peak_bytes": used.ru_maxrss * 1024,
        "bytes": {file.name.removeprefix(card.name): file.stat().st_size for file in files},
    }


def measure_all(progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every network, one after the other; files are removed as soon as they are measured."""
    costs = []
    for card in CARDS:
        progress(card.name)
        with tempfile.TemporaryDirectory() as folder:
            costs.append(measure_export(card, Path(folder)))
    return costs


def main() -> None:
    """Measure all and write ``results/export_cost.json``."""
    console = make_console(error=True)
    environment = describe_machine()
    costs = measure_all(lambda name: console.print(f"  {name}"))
    data = {"environment": environment, "networks": costs}
    write_files(RESULTS, "export_cost", {".json": json.dumps(data, indent=1) + "\n"})
    for cost in costs:
        console.print(
            f"{cost['title']:<20} {cost['seconds']:6.1f} s  {cost['peak_bytes'] / 1e6:7,.0f} MB"
        )


if __name__ == "__main__":
    main()
