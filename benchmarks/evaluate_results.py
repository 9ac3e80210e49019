"""The validation set of Afchar et al. through ``zoo export`` and ``zoo evaluate``, as a user would.

    python -m benchmarks.evaluate_results --images afchar-validation.tar

Meso4 and MesoInception4 with the weights for Deepfakes are exported and evaluated by the
commands themselves, each in a process of its own. What they print is held against what
Afchar's own code gives on Keras (`benchmarks.validation_bars.KNOWN`) and written to
``benchmarks/results/evaluation.json``. `benchmarks.validation` compares image by image.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.environment import describe_file, describe_machine
from benchmarks.result import write_files
from benchmarks.tables import evaluation as evaluation_table
from benchmarks.validation_bars import KNOWN, Check
from runtime.errors import ZooError
from runtime.terminal import tell

RESULTS = Path(__file__).with_name("results")
COMMAND = "python -m benchmarks.evaluate_results --images TAR"
_IMAGES = Path(__file__).resolve().parents[2] / "shared" / "data" / "afchar-validation.tar"


def evaluate(images: Path, known: Mapping[str, Mapping[str, float]] = KNOWN) -> dict[str, Any]:
    """Export each of the known networks, evaluate all of them at once, and check.

    Args:
        images: folder or tar with the class folders.
        known: figures by ``network/weights``; which of them are evaluated, too.

    Returns:
        JSON data: environment, input, what ``zoo evaluate --json`` printed of each engine,
        and every figure that is known with its verdict.

    Raises:
        ZooError: a command failed, or did not print what it should.
    """
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="evaluate-") as folder:
        engines = []
        for name in known:
            network, _, weights = name.partition("/")
            out = Path(folder) / network / weights
            _zoo("export", network, "--weights", weights, "--builder", "none", "--out", str(out))
            engines.append(out / f"{network}.onnx")
        start = perf_counter()
        choices = [word for engine in engines for word in ("--engine", str(engine))]
        printed = json.loads(_zoo("evaluate", str(images), *choices, "--json"))
        seconds = perf_counter() - start
    found = {f"{one['network']}/{one['weights']['name']}": one for one in printed["evaluations"]}
    if set(found) != set(known):
        raise ZooError(f"zoo evaluate told of {', '.join(found)}", f"due are {', '.join(known)}")
    evaluations = [
        {"name": name, **found[name], "checks": [asdict(c) for c in check(found[name], due)]}
        for name, due in known.items()
    ]
    return {
        "what": "the validation set of Afchar et al. 2018 through zoo evaluate",
        "command": COMMAND,
        "environment": machine,
        "images": {
            **describe_file(images),
        },
        "evaluate_seconds": round(seconds, 1),
        "evaluations": evaluations,
        "passed": all(bar["passed"] for one in evaluations for bar in one["checks"]),
    }


def check(found: Mapping[str, Any], known: Mapping[str, float]) -> list[Check]:
    """Hold one engine's figures against the known ones, to their four digits.

    Args:
        found: of one engine, as ``zoo evaluate --json`` prints it.
        known: as in `benchmarks.validation_bars.KNOWN`.
    """
    videos = found["videos"] or {"accuracy": None}
    values = {
        "accuracy": found["accuracy"],
        "fake right": found["report"]["fake"]["recall"],
        "real right": found["report"]["real"]["recall"],
        "AUC": found["auc"],
        "videos right": videos["accuracy"],
    }
    checks = []
    for what, due in known.items():
        value = float("nan") if values[what] is None else float(values[what])
        checks.append(Check(what, value, f"{due:.4f}", round(value, 4) == due))
    return checks


def _zoo(*words: str) -> str:
    """What the command prints on standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "zoo.cli", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ZooError(f"zoo {words[0]} failed with {done.returncode}", done.stderr[-2000:])
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write ``results/evaluation.json``; 1 where a figure is off."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--images", type=Path, default=_IMAGES, help="tar or folder of the set [beside us]"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    asked = parser.parse_args(arguments)
    try:
        results = evaluate(asked.images)
        write_files(asked.out, "evaluation", {".json": json.dumps(results, indent=1) + "\n"})
    except ZooError as error:
        sys.exit(f"error: {error}")
    tell(evaluation_table(results))
    return 0 if results["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
