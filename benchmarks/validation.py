"""The whole validation set of Afchar et al., by every published MesoNet: ours against Keras.

    python -m benchmarks.validation --images afchar-validation.tar --goldens KERAS.csv

The goldens are P(real) as the original Keras models gave it for every image. Each set of
weights is exported as a user would, and its FP32 and FP16 engines judge all images through
the runtime. FP16 is computed as a GPU does it, every result rounded to half (see
`export.half_emulation`; ONNX Runtime's CPU would round weights alone), and once more with
every weight rounded to its nearest half, to show what `export.half_rounding` is worth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import describe_file, describe_machine
from benchmarks.evaluation.dataset import Dataset, open_dataset
from benchmarks.evaluation.metrics import Metrics, measure
from benchmarks.evaluation.scoring import read_frame
from benchmarks.evaluation.videos import group_videos
from benchmarks.validation_bars import Check, check_weights
from export.certificate import FP16_BAR, Comparison, compare
from export.certify import emulated_scores
from export.goldens import read_goldens
from export.keep_fp32 import REASON
from export.staging import publish, staging
from runtime.detector import Detector
from runtime.engine_info import EngineInfo, Preprocessing
from runtime.errors import ImageError, ZooError
from runtime.terminal import tell
from zoo.card import Head, ModelCard, WeightsCard
from zoo.catalog import CARDS
from zoo.originals import Scores
from zoo.scores import golden_scores

RESULTS = Path(__file__).with_name("results")
NAME = "validation.json"
#: Columns of the goldens whose name is not the stem of the weights' file.
_COLUMNS = {"malayagr-1": "MalayAgr_1", "malayagr-2": "MalayAgr_2"}
NETWORKS = ("meso4", "mesoinception4")
#: Significant digits of the goldens.
DIGITS = 7
#: What the goldens are P of.
_SAYS_REAL = Head(kind="sigmoid", says="real")
_BATCH = 64
#: Rounding to nearest is measured on every so many images.
_NEAREST_EVERY = 4


@dataclass(frozen=True)
class Labelled:
    """The set, decoded once: frames uint8 [N, H, W, 3] in a file, labels, videos, names."""

    frames: NDArray[np.uint8]
    fake: NDArray[np.bool_]
    videos: list[str]
    names: list[str]


def validate(images: Path, goldens: Path, networks: Sequence[str] = NETWORKS) -> dict[str, Any]:
    """Measure everything.

    Args:
        images: folder or tar with the class folders.
        goldens: CSV with a column ``file`` and P(real) for each set of weights.
        networks: names of cards, whose weights are not mere backbones.

    Returns:
        JSON data: environment, inputs, and for each set of weights the parity, the figures
        of merit and every bar with its verdict.

    Raises:
        ZooError: an input is missing or does not fit.
    """
    start, machine = perf_counter(), describe_machine()
    dataset = open_dataset(images)
    cards = [card for card in CARDS if card.name in networks]
    how = shared_preprocessing(cards)
    results = []
    with tempfile.TemporaryDirectory(prefix="validation-") as folder:
        labelled = decode(dataset, how, Path(folder) / "frames.npy")
        for card in cards:
            for weights in card.weights:
                _log(f"{card.name}/{weights.name} ...")
                began = perf_counter()
                results.append(_measure_weights(card, weights, labelled, goldens, Path(folder)))
                _log(f"  {perf_counter() - began:.0f} s")
    return {
        "what": "the validation set of Afchar et al. 2018, original Keras against our engines",
        "command": "python -m benchmarks.validation --images TAR --goldens CSV",
        "environment": machine,
        "images": {
            **describe_file(images),
            "images": len(labelled.names),
            "fake": int(labelled.fake.sum()),
            "real": int((~labelled.fake).sum()),
            "videos": len(set(labelled.videos)),
        },
        "goldens": {**describe_file(goldens), "digits": DIGITS},
        "threshold": 0.5,
        "weights": results,
        "passed": all(check["passed"] for one in results for check in one["checks"]),
        "seconds": round(perf_counter() - start, 1),
    }


def shared_preprocessing(cards: Sequence[ModelCard]) -> Preprocessing:
    """The one way in which all these networks take images.

    Raises:
        ZooError: they have several.
    """
    how = cards[0].preprocessing
    if any(card.preprocessing != how for card in cards):
        raise ZooError("these networks do not share one way of preprocessing")
    return how


def decode(dataset: Dataset, how: Preprocessing, path: Path) -> Labelled:
    """Decode every image into one file, which all engines read through a memory map.

    Raises:
        ImageError: an image is damaged, or the names do not tell the videos.
    """
    frames = np.lib.format.open_memmap(
        path, "w+", np.uint8, (len(dataset.images), how.height, how.width, 3)
    )
    read = []
    for index, (image, data) in enumerate(dataset.read()):
        frames[index] = read_frame(data, how)
        read.append(image)
    frames.flush()
    videos = group_videos(read)
    if videos is None:
        raise ImageError(f"the names in {dataset.name} do not tell the videos")
    labels = np.asarray([image.fake for image in read])
    _log(f"{len(read)} images")
    return Labelled(np.load(path, mmap_mode="r"), labels, videos, [i.name for i in read])


def _measure_weights(
    card: ModelCard, weights: WeightsCard, labelled: Labelled, goldens: Path, folder: Path
) -> dict[str, Any]:
    column = _COLUMNS.get(weights.name, Path(weights.file).stem)
    original = _original_scores(goldens, column, labelled.names)
    out = folder / f"{card.name}-{weights.name}"
    export_weights(card.name, weights.name, out)
    plain = out / "nearest" / "engine.onnx"
    _round_to_nearest(out / "engine.fp16.onnx", out / "engine.onnx", plain)
    scores = {
        "fp32": _score(out / "engine.onnx", labelled.frames),
        "fp16": emulated_scores(load_graph(out / "engine.fp16.onnx"), labelled.frames),
    }
    parity: dict[str, Comparison] = {
        kind: compare(original, found, FP16_BAR, names=("Keras", kind))
        for kind, found in scores.items()
    }
    parity["fp16_nearest"] = compare(
        Scores(original.logit[::_NEAREST_EVERY], original.fake[::_NEAREST_EVERY]),
        emulated_scores(load_graph(plain), labelled.frames[::_NEAREST_EVERY]),
        FP16_BAR,
        names=("Keras", "nearest"),
    )
    figures = {
        kind: measure(
            labelled.fake,
            found.fake.astype(np.float64),
            found.logit.astype(np.float64),
            videos=labelled.videos,
            rank=_rank(found),
        )
        for kind, found in {"original": original, **scores}.items()
    }
    checks: list[Check] = check_weights(
        f"{card.name}/{weights.name}", parity["fp32"], parity["fp16"], figures
    )
    for check in checks:
        if not check.passed:
            _log(f"  MISSED: {check.what}: {check.value}, due {check.due}")
    return {
        "network": card.name,
        "weights": weights.name,
        "file": weights.file,
        "kept_fp32": kept_in_fp32(out / "engine.json"),
        "parity": {kind: parity_figures(found) for kind, found in parity.items()},
        "figures": {kind: _figures(found) for kind, found in figures.items()},
        "checks": [asdict(check) for check in checks],
    }


def kept_in_fp32(sidecar: Path) -> list[str]:
    """Nodes that the export has kept in FP32, besides the contract's own."""
    info = EngineInfo.from_json(sidecar.read_text("utf-8"), str(sidecar))
    return [name for name, reason in info.kept_fp32.items() if reason == REASON]


def load_graph(path: Path) -> Any:
    """An ONNX graph, as onnx has it."""
    import onnx

    return onnx.load(path)


def _original_scores(goldens: Path, column: str, names: Sequence[str]) -> Scores:
    """The original's P(real) as log-odds and P of fake."""
    by_name = read_goldens(goldens, column)
    if missing := [name for name in names if name not in by_name]:
        raise ImageError(f"{goldens} has no score of {missing[0]}", f"{len(missing)} are missing")
    return golden_scores(_SAYS_REAL, np.asarray([by_name[n] for n in names], np.float64))


def _rank(scores: Scores) -> NDArray[np.float64]:
    """A value to rank by, with no more digits than the goldens have.

    The original's P(real) near 1 is one of a few values. An engine's log-odds tell more,
    and would be credited, or charged, with an order that the original cannot show.
    """
    real = 1 / (1 + np.exp(scores.logit.astype(np.float64)))
    return -np.asarray([float(f"{p:.{DIGITS}g}") for p in real])


def export_weights(network: str, weights: str, out: Path) -> None:
    """In a process of its own: TensorFlow's threads must not slow the engines down."""
    command = [sys.executable, "-m", "zoo.cli", "export", network, "--weights", weights, "--fp16"]
    command += ["--builder", "none", "--name", "engine", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ZooError(f"{network}/{weights} could not be exported", done.stderr[-2000:])


def _round_to_nearest(half: Path, full: Path, path: Path) -> None:
    """The same half-precision graph with each weight rounded to its nearest half."""
    import onnx
    from onnx import TensorProto, numpy_helper

    exact = {t.name: numpy_helper.to_array(t) for t in onnx.load(full).graph.initializer}
    model = onnx.load(half)
    changed = 0
    for tensor in model.graph.initializer:
        name = tensor.name.removesuffix("_half")  # as export.precision names them
        if tensor.data_type == TensorProto.FLOAT16 and name in exact:
            nearest = exact[name].astype(np.float16)
            changed += bool((nearest != numpy_helper.to_array(tensor)).any())
            tensor.CopyFrom(numpy_helper.from_array(nearest, tensor.name))
    if not changed:
        raise ZooError(f"{half.name} is rounded to nearest already: nothing is compared")
    path.parent.mkdir()
    onnx.save(model, path)


def _score(engine: Path, frames: NDArray[np.uint8]) -> Scores:
    with Detector(engine) as detector:
        parts = [
            detector.infer(np.ascontiguousarray(frames[start : start + _BATCH]))
            for start in range(0, len(frames), _BATCH)
        ]
    return Scores(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))


def parity_figures(found: Comparison) -> dict[str, float | int]:
    """What is kept of a comparison."""
    keys = ("max_p", "p99_p", "mean_p", "max_logit", "flips")
    return {key: getattr(found, key) for key in keys}


def _figures(found: Metrics) -> dict[str, float | None]:
    return {
        "accuracy": found.accuracy,
        "fake_right": found.report["fake"]["recall"],
        "real_right": found.report["real"]["recall"],
        "auc": found.auc,
        "average_precision": found.average_precision,
        "equal_error_rate": found.equal_error_rate,
        "brier": found.brier,
        "videos_right": None if found.videos is None else found.videos.accuracy,
        "video_auc": None if found.videos is None else found.videos.auc,
    }


def main() -> None:
    """Measure, print the table, write ``benchmarks/results/validation.json``."""
    from benchmarks.validation_table import validation_table

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="tar or folder of the set")
    parser.add_argument("--goldens", type=Path, required=True, help="CSV of the original's P(real)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    arguments = parser.parse_args()
    try:
        with staging(arguments.out, "validation") as folder:
            results = validate(arguments.images, arguments.goldens)
            (folder / NAME).write_text(json.dumps(results, indent=2) + "\n", "utf-8")
            publish(folder, arguments.out, [NAME])
    except ZooError as error:
        sys.exit(f"error: {error}")
    tell(validation_table(results))
    if not results["passed"]:
        raise SystemExit(1)


def _log(text: str) -> None:
    tell(text, error=True)


if __name__ == "__main__":
    main()
