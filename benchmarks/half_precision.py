"""What half precision costs every published MesoNet on faces that nothing was chosen on.

    python -m benchmarks.half_precision --images TRAINING.tar --images VALIDATION.tar [--limit 3000]

Each set of weights is exported as a user would, without any of these faces. Its FP16 graph
judges them as a GPU computes it, every result rounded to half (see `export.half_emulation`),
and is compared with its FP32 graph, which the export's certificate holds within 1e-5 of the
original. Each set of faces is told in two halves, which have no neighbours in common: what
holds in one by luck fails in the other. (No node was chosen on these faces. How strict a
search is, `export.half_judge`, was set with some hundreds of them in view.) Writes
``benchmarks/results/half_precision.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import describe_file, describe_machine
from benchmarks.result import write_files
from benchmarks.validation import (
    NETWORKS,
    RESULTS,
    export_weights,
    kept_in_fp32,
    load_graph,
    parity_figures,
    shared_preprocessing,
)
from export.certificate import FP16_BAR, compare
from export.certify import emulated_scores
from export.samples import Samples, read_samples
from runtime.errors import ZooError
from runtime.terminal import tell
from zoo.catalog import find_card
from zoo.originals import Scores

NAME = "half_precision"
COMMAND = "python -m benchmarks.half_precision --images TRAINING.tar --images VALIDATION.tar"
#: No published MesoNet's FP16 may be further off than this in P(fake), on any face.
MAX_P = 5e-3


def halves_of(names: Sequence[str]) -> NDArray[np.bool_]:
    """Which images are in the first half: of each folder's names in order, the first ones.

    Neighbours in number are often frames of one video, so that odd and even numbers would
    show the same faces.

    Args:
        names: as a folder or tar gives them, ``df/00012.jpg``.

    Returns:
        bool [N], in the order of ``names``.
    """
    folders: dict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(names)), key=lambda i: names[i]):
        folders[names[index].rpartition("/")[0]].append(index)
    first = np.zeros(len(names), bool)
    for members in folders.values():
        first[members[: (len(members) + 1) // 2]] = True
    return first


def compare_halves(due: Scores, found: Scores, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The comparison over ``all`` images, the ``first`` half and the ``second``."""
    first = halves_of(names)
    return {
        what: {
            "images": int(chosen.sum()),
            **parity_figures(
                compare(
                    Scores(due.logit[chosen], due.fake[chosen]),
                    Scores(found.logit[chosen], found.fake[chosen]),
                    FP16_BAR,
                    names=("FP32", "FP16"),
                )
            ),
        }
        for what, chosen in (("all", first | ~first), ("first", first), ("second", ~first))
    }


def measure_weights(
    network: str, weights: str, sets: Sequence[tuple[str, Samples]]
) -> dict[str, Any]:
    """Export one set of weights and measure it on every set of faces.

    Returns:
        ``network``, ``weights``, ``kept_fp32``, by the set's name the figures of
        `compare_halves` (``faces``), and ``passed``.

    Raises:
        ZooError: the export failed.
    """
    with tempfile.TemporaryDirectory(prefix="half-precision-") as folder:
        export_weights(network, weights, Path(folder))
        full = load_graph(Path(folder, "engine.onnx"))
        half = load_graph(Path(folder, "engine.fp16.onnx"))
        kept = kept_in_fp32(Path(folder, "engine.json"))
    faces = {
        name: compare_halves(
            emulated_scores(full, samples.frames),  # it has no halves: nothing is rounded
            emulated_scores(half, samples.frames),
            samples.names,
        )
        for name, samples in sets
    }
    return {
        "network": network,
        "weights": weights,
        "kept_fp32": kept,
        "faces": faces,
        "passed": all(found["all"]["max_p"] <= MAX_P for found in faces.values()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; 1 where FP16 is further off than it may be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--images", type=Path, action="append", required=True, help="tar or folder; repeatable"
    )
    parser.add_argument("--limit", type=int, help="at most so many of each, evenly spread")
    parser.add_argument("--network", action="append", default=[], help="only this; repeatable")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    asked = parser.parse_args(arguments)
    start = perf_counter()
    try:
        cards = [find_card(name) for name in asked.network or NETWORKS]
        how = shared_preprocessing(cards)
        sets = [(path.name, read_samples(path, how, asked.limit)) for path in asked.images]
        results = []
        for card in cards:
            for weights in card.weights:
                results.append(measure_weights(card.name, weights.name, sets))
                most = {k: f"{v['all']['max_p']:.1e}" for k, v in results[-1]["faces"].items()}
                tell(f"{card.name}/{weights.name}: {most}")
        data = {
            "what": "FP16, every result rounded to half, against the FP32 graph of the same "
            "export, on faces that nothing was chosen on",
            "command": COMMAND + (f" --limit {asked.limit}" if asked.limit else ""),
            "environment": describe_machine(),
            "images": [
                {**describe_file(path), "images": len(samples.names)}
                for path, (_, samples) in zip(asked.images, sets, strict=True)
            ],
            "most_allowed": MAX_P,
            "weights": results,
            "passed": all(one["passed"] for one in results),
            "seconds": round(perf_counter() - start, 1),
        }
        write_files(asked.out, NAME, {".json": json.dumps(data, indent=1) + "\n"})
    except ZooError as error:
        sys.exit(f"error: {error}")
    return 0 if data["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
