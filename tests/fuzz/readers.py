"""Every reader of bytes from outside: where they lie, what reads them, what they begin from.

Packages are imported where they are used: a worker takes in what its reader needs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import formats as f
from . import mutators as m
from .mutators import Mutator
from .seeds import PLACES, Seed, checkpoints, engines, hostile, keras, media, tables


@dataclass(frozen=True)
class Reader:
    """Something that reads bytes from outside.

    Attributes:
        name: for people.
        file: the name that an input gets.
        seeds: what inputs are made from.
        mutate: how.
        read: given the input's path, in a folder of its own that is the current one; raises
            a `ZooError`, or gives bytes that it read, or nothing.
        few: inputs of a short run.
        warm: read once before anything is measured, so that imports are not; by default the
            first seed.
        alone: in a process of its own: TensorFlow does not get along with others.
        places: whether the path is one that users give.
    """

    name: str
    file: str
    seeds: tuple[Seed, ...]
    mutate: Mutator
    read: Callable[[Path], bytes | None]
    few: int = 30
    warm: Callable[[], bytes] | None = None
    alone: bool = False
    places: bool = True

    @property
    def inputs(self) -> tuple[Seed, ...]:
        """The first inputs: the seeds, and what else may lie at their place."""
        return self.seeds + PLACES * self.places


def _keras(path: Path) -> bytes:
    from runtime.errors import WeightsError
    from runtime.files import snapshot
    from zoo.originals.keras_arrays import read_keras_file

    with snapshot(path, error=WeightsError) as taken:
        found = read_keras_file(taken)
    return b"".join(array.tobytes() for layer in found.layers for array in layer.arrays)


def _torch(path: Path) -> None:
    from runtime.errors import WeightsError
    from runtime.files import snapshot
    from zoo.originals.torch_checkpoint import read_checkpoint

    with snapshot(path, error=WeightsError) as taken:
        read_checkpoint(taken)


def _keras_model(path: Path) -> None:
    from zoo.catalog import find_card
    from zoo.noise import seeded_frames
    from zoo.originals.original import load_original

    original = load_original(find_card("meso4"), str(path))
    how = original.preprocessing
    original.scores(seeded_frames(2, how.height, how.width, 0))


def _recognise(path: Path) -> None:
    from weights.recognise import recognise

    recognise(path)


@cache
def _frames() -> Any:
    from tiny_engine import random_frames

    return random_frames(2)


def _score(path: Path) -> None:
    from runtime.detector import Detector

    with Detector(path, threads=1) as detector:
        found = detector.score(_frames())
    if found.shape != (2,) or not ((found >= 0) & (found <= 1)).all():
        raise ValueError(f"{found} are no two probabilities")


def _sidecar(path: Path) -> None:
    engine = path.with_name("tiny.onnx")
    engine.write_bytes(engines.engine())
    _score(engine)


def _plan(path: Path) -> None:
    plan = path.with_name("tiny.plan")
    plan.write_bytes(b"test")
    _score(plan)


@cache
def _judge() -> Any:
    from runtime.detector import Detector
    from runtime.judge import Judge
    from runtime.video import Sampling

    # Beside this package's temporary folders: it has to stay for the whole run.
    folder = Path.cwd().parent / "engine"
    folder.mkdir(exist_ok=True)
    for name, data in engines.engine_files().items():
        (folder / name).write_bytes(data)
    detector = Detector(folder / "tiny.onnx", threads=1)
    return Judge(detector, None, sampling=Sampling("every", 2), threads=1)


def _image(path: Path) -> None:
    from zoo.inputs import find_inputs

    find_inputs([path, path.with_name("other")])  # by its suffix, and by its bytes
    _judge().image(path)


def _video(path: Path) -> None:
    from runtime.video import Sampling, Video

    _judge().video(path)
    for sampling in (Sampling("spread", 3), Sampling("keyframes")):
        with Video(path, threads=1) as video:
            for _ in video.frames(sampling):
                pass


def _samples(path: Path) -> None:
    from tiny_engine import TINY_INFO

    from export.samples import read_samples

    read_samples(path, TINY_INFO.preprocessing)


def _dataset(path: Path) -> None:
    from benchmarks.evaluation.dataset import open_dataset
    from benchmarks.evaluation.scoring import score_dataset

    score_dataset(open_dataset(path), [_judge()._detector])


def _goldens(path: Path) -> None:
    from export.goldens import read_goldens

    read_goldens(path, "score")


def _labels(path: Path) -> None:
    from benchmarks.evaluation.dataset import open_table

    open_table(path)


def _baseline(path: Path) -> None:
    from benchmarks.baseline import check_comparable, compare_with_baseline, read_baseline
    from benchmarks.peers import ENGINE
    from benchmarks.result import BenchResult, EngineRecord, Figure
    from benchmarks.stats import summarise

    old = read_baseline(path, 0.5)
    engine = EngineRecord("x.onnx", "0" * 64, "onnx", "fp32", "tiny", "Tiny", "w", True, (8, 8))
    check_comparable(engine, (1, 8), old)
    figure = Figure(ENGINE, 1, 90.0, summarise([1.0]), 10, 1.0, True, 1)
    settings = {"backend": "onnxruntime", "threads": None, "from": "host"}
    environment = {"cpu": "x", "cores": 2, "gpus": []}
    now = BenchResult(engine, environment, settings, (), {}, (figure,), None, None)
    _ = compare_with_baseline(now, old, 0.5).passed


def _resume(path: Path) -> None:
    from zoo.results_file import ResultsFile

    earlier = json.loads(tables.RESULTS[0].make().splitlines()[0])
    with ResultsFile(path, earlier["run"]) as results:
        results.done(path)
        results.add({**earlier, "path": "another"})
    with ResultsFile(path, earlier["run"]) as results:  # what was kept can be taken up
        results.done(path)


def _manifest(path: Path) -> None:
    from weights import manifest

    manifest.MANIFEST = path
    manifest.entries.cache_clear()
    for entry in manifest.entries().values():
        _ = entry.hash, entry.hash_kind, entry.member, entry.transfer_bytes


def _download(path: Path) -> None:
    """All of an archive is here already: no server is asked unless it is refused."""
    from weights import manifest, store

    cache_folder = path.with_name("cache")
    cache_folder.mkdir()
    size = path.stat().st_size
    path.rename(cache_folder / "fuzz.zip.part")
    due = manifest.Entry(
        "fuzzed.h5",
        "http://127.0.0.1:9/fuzz.zip#models/fuzzed.h5",
        8,
        "MIT",
        "tests",
        sha256=hashlib.sha256(b"the file").hexdigest(),
        archive_bytes=size,
    )
    entries, manifest.entries = manifest.entries, lambda: {due.name: due}
    os.environ["ZOO_CACHE"] = str(cache_folder)
    try:
        store.fetch(due.name)
    finally:
        manifest.entries = entries


def _staging(path: Path) -> None:
    from export.staging import publish, staging

    out = path.with_name("out")
    out.mkdir()
    for line in os.fsdecode(path.read_bytes()).split("\n"):
        kind, _, name = line.partition(" ")
        place = out / Path(name).name
        try:
            if kind == "d":
                place.mkdir()
                (place / "x.onnx").write_bytes(b"half")
            elif kind == "l":
                place.symlink_to("..")
            else:
                place.write_bytes(b"old")
        except (OSError, ValueError):
            continue  # a name that no file can have
    with staging(out, "tiny") as folder:
        for name in ("tiny.onnx", "tiny.json"):
            (folder / name).write_bytes(b"new")
        publish(folder, out, ["tiny.onnx", "tiny.json"])
    if {(out / n).read_bytes() for n in ("tiny.onnx", "tiny.json")} != {b"new"}:
        raise ValueError("what was published is not what was written")
    if not path.is_file():
        raise ValueError("a link was followed out of the folder")


def _any(data: bytes, rng: Any) -> bytes:
    """By what a weights file begins with."""
    if data.startswith(b"\x89HDF"):
        return f.of_hdf5(data, rng)
    if data.startswith(b"PK"):
        return m.of_zip(data, rng, {".pkl": m.of_pickle, ".h5": f.of_hdf5, ".json": m.of_json})
    return m.of_pickle(data, rng) if data.startswith(b"\x80") else m.of_bytes(data, rng)


#: The hostile ones too, for it looks at whatever is given to it; those that are told by the
#: same code as others left out.
_WEIGHTS = (*keras.HDF5[:1], *keras.HDF5[-1:], *keras.ZIP, *checkpoints.ZIP, *checkpoints.OLD,
            *checkpoints.SAFETENSORS, engines.ONNX[0])  # fmt: skip

_ALL = (
    Reader("keras-h5", "input.h5", keras.HDF5, f.of_hdf5, _keras, few=24),
    Reader("keras-zip", "input.keras", keras.ZIP, f.of_keras_zip, _keras, few=14),
    # Keras itself takes ten seconds to import: not in a short run.
    Reader("keras-model", "input.keras", keras.MODELS, f.of_keras_zip, _keras_model, few=0,
           alone=True),
    Reader("torch-zip", "input.pth", checkpoints.ZIP, f.of_torch_zip, _torch, few=22),
    Reader("torch-old", "input.pt", checkpoints.OLD, m.of_pickle, _torch, few=14),
    Reader("safetensors", "input.safetensors", checkpoints.SAFETENSORS, m.of_bytes, _torch),
    Reader("recognise", "input.bin", _WEIGHTS, _any, _recognise, few=36),
    Reader("engine", "input.onnx", engines.ONNX, f.of_onnx, _score),
    Reader("sidecar", "tiny.json", engines.SIDECARS, m.of_json, _sidecar),
    Reader("plan", "tiny.json", hostile(engines.sidecar_of_plan), m.of_json, _plan),
    Reader("image", "input.jpg", media.IMAGES, f.of_image, _image, few=50),
    Reader("video", "input.mp4", media.VIDEOS, m.of_bytes, _video, few=20),
    Reader("playlist", "input.mp4", media.PLAYLISTS, m.of_bytes, _video, few=16,
           warm=media.VIDEOS[0].make),
    Reader("tar-verify", "input.tar", tables.TARS, f.of_tar, _samples, few=30),
    Reader("tar-evaluate", "input.tar", tables.LABELLED_TARS, f.of_tar, _dataset, few=20),
    Reader("csv-goldens", "input.csv", tables.GOLDENS, m.of_bytes, _goldens),
    Reader("csv-labels", "input.csv", tables.LABELS, m.of_bytes, _labels),
    Reader("baseline", "input.json", tables.BASELINES, m.of_json, _baseline),
    Reader("resume", "input.jsonl", tables.RESULTS, m.of_json_lines, _resume),
    Reader("manifest", "manifest.toml", tables.MANIFESTS, m.of_bytes, _manifest, places=False),
    Reader("download", "input.zip", tables.DOWNLOADS, m.of_archive, _download, places=False),
    Reader("staging", "input.txt", tables.LEFTOVERS, m.of_bytes, _staging, places=False),
)  # fmt: skip

READERS = {reader.name: reader for reader in _ALL}
