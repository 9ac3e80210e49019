"""Every network's certificate on real faces, and the same verdicts through every engine.

    python -m benchmarks.certificates --images afchar-validation.tar [--limit 400]

Each network is exported by ``zoo export NAME --fp16`` in a process of its own, certified on
faces, and ``zoo detect`` judges some of them through every engine that opens on this machine.
Writes ``benchmarks/results/certificates.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image

from benchmarks.all_networks import RESULTS, choose_weights
from benchmarks.environment import describe_file, describe_machine
from benchmarks.result import write_files
from export.certificate import FP16_BAR
from export.samples import read_samples
from runtime.engine_info import Preprocessing
from runtime.errors import ZooError
from runtime.terminal import tell
from zoo.card import ModelCard
from zoo.catalog import CARDS, find_card

NAME = "certificates"
COMMAND = "python -m benchmarks.certificates --images TAR"
_IMAGES = Path(__file__).resolve().parents[2] / "shared" / "data" / "afchar-validation.tar"
#: Spread and reach of an untrained network's logits over faces, below and beyond which a
#: certificate would show little.
LEAST_SPREAD, MOST_LOGIT = 1.0, 15.0
_LIMIT = 400
_DETECTED = 16


def certify_network(card: ModelCard, images: Path, limit: int, faces: Path) -> dict[str, Any]:
    """Export one network, certify it on faces, and let every engine judge some of them.

    Args:
        card: of the network.
        images: folder or tar of face crops.
        limit: at most so many of them.
        faces: folder of face crops for ``zoo detect``.

    Returns:
        ``network``, ``weights``, ``trained``, the ``certificate``, ``kept_fp32``, the
        verdicts by engine (``detect``), what was wrong (``failures``) and ``seconds``.

    Raises:
        ZooError: a command could not be run to its end.
    """
    weights, start = choose_weights(card), perf_counter()
    with tempfile.TemporaryDirectory(prefix="certificates-") as folder:
        printed = _zoo(
            *("export", card.name, "--fp16", "--weights", weights, "--name", card.name),
            *("--images", str(images), "--limit", str(limit), "--out", folder, "--json"),
            allowed=(0, 1),
        )
        sidecar = json.loads(printed)["sidecar"]
        certificate = sidecar["certificate"]
        verdicts = {}
        if certificate["passed"]:
            for name in sidecar["artefacts"]:
                if name not in certificate["unchecked"]:
                    verdicts[name] = _detect(Path(folder, name), faces)
    found = {
        "network": card.name,
        "weights": weights,
        "trained": sidecar["weights"]["trained"],
        "kept_fp32": sidecar["kept_fp32"],
        "certificate": certificate,
        "detect": compare_verdicts(verdicts),
        "seconds": round(perf_counter() - start, 1),
    }
    return {**found, "failures": failures(found)}


def compare_verdicts(engines: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Hold the verdicts of several engines against the first one's.

    Args:
        engines: by the engine's file name, P(fake) by image.

    Returns:
        ``engines``, ``images``, ``fake`` (verdicts of the first), ``differ`` (the images on
        which any engine decided otherwise, with the first's P(fake)), ``max_p`` (largest
        difference).
    """
    names = list(engines)
    if not names:
        return {"engines": [], "images": 0, "fake": 0, "differ": [], "max_p": None}
    first = engines[names[0]]
    if any(set(engines[name]) != set(first) for name in names):
        raise ZooError("engines judged different images", ", ".join(names))
    differ = [
        {"image": image, "fake": p}
        for image, p in first.items()
        if any((engines[name][image] >= 0.5) != (p >= 0.5) for name in names)
    ]
    most = max(abs(engines[name][image] - p) for name in names for image, p in first.items())
    fake = sum(p >= 0.5 for p in first.values())
    return {
        "engines": names,
        "images": len(first),
        "fake": fake,
        "differ": differ,
        "max_p": most,
    }


def failures(found: Mapping[str, Any]) -> list[str]:
    """What a network misses, in words."""
    certificate, detect = found["certificate"], found["detect"]
    wrong = list(certificate["failures"])
    if not found["trained"]:
        reach = max(-certificate["lowest"], certificate["highest"])
        if certificate["spread"] < LEAST_SPREAD:
            wrong.append(f"its logits spread by {certificate['spread']:.2f} only")
        if reach > MOST_LOGIT:
            wrong.append(f"its logits reach {reach:.1f}")
    if certificate["passed"] and len(detect["engines"]) < 2:
        wrong.append("fewer than two engines could be run")
    # As in a certificate, a decision may flip only where it hangs in the balance.
    wrong += [
        f"the engines' verdicts on {one['image']} differ, P(fake) is {one['fake']:.3f}"
        for one in detect["differ"]
        if abs(one["fake"] - 0.5) > FP16_BAR.flip_zone
    ]
    return wrong


def _detect(engine: Path, faces: Path) -> dict[str, float]:
    """P(fake) by image, as ``zoo detect`` prints it."""
    printed = _zoo("detect", str(faces), "-e", str(engine), "--faces", "none", "--json")
    found = {}
    for line in printed.splitlines():
        one = json.loads(line)
        found[Path(one["path"]).name] = float(one["faces"][0]["fake"])
    return found


def _write_faces(images: Path, folder: Path) -> None:
    """Some faces of the set as files, for a command that takes files."""
    samples = read_samples(images, Preprocessing(256, 256, "nearest"), _DETECTED)
    for index, frame in enumerate(samples.frames):
        Image.fromarray(frame).save(folder / f"{index:03}.png")


def _with_others(
    networks: list[dict[str, Any]], data: Mapping[str, Any], path: Path
) -> list[dict[str, Any]]:
    """These networks and those of an earlier run on the same faces and machine, in order."""
    if not path.is_file():
        return networks
    before = json.loads(path.read_text("utf-8"))
    same = before["images"] == data["images"]
    if not same or before["environment"]["cpu"] != data["environment"]["cpu"]:
        return networks
    every = {one["network"]: one for one in (*before["networks"], *networks)}
    return [every[card.name] for card in CARDS if card.name in every]


def _zoo(*words: str, allowed: Sequence[int] = (0,)) -> str:
    """What the command prints on standard output."""
    command = [sys.executable, "-m", "zoo.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in allowed or not done.stdout.strip():
        raise ZooError(f"zoo {' '.join(words[:2])} failed with {done.returncode}", done.stderr)
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; 1 where a network misses anything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--images", type=Path, default=_IMAGES, help="tar or folder of face crops [beside us]"
    )
    parser.add_argument("--limit", type=int, default=_LIMIT, help="faces a network")
    parser.add_argument("--network", action="append", default=[], help="only this; repeatable")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result")
    asked = parser.parse_args(arguments)
    try:
        cards = [find_card(name) for name in asked.network] or list(CARDS)
        networks: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(prefix="faces-") as faces:
            _write_faces(asked.images, Path(faces))
            for card in cards:
                networks.append(certify_network(card, asked.images, asked.limit, Path(faces)))
                wrong = "; ".join(networks[-1]["failures"]) or "passed"
                tell(f"{card.name}: {wrong} ({networks[-1]['seconds']:.0f} s)")
        data: dict[str, Any] = {
            "what": "every network's certificate on real faces, and verdicts by engine",
            "command": COMMAND,
            "environment": describe_machine(),
            "images": {
                **describe_file(asked.images),
                "limit": asked.limit,
            },
        }
        if asked.network:
            networks = _with_others(networks, data, asked.out / f"{NAME}.json")
        data["networks"] = networks
        data["passed"] = not any(one["failures"] for one in networks)
        write_files(asked.out, NAME, {".json": json.dumps(data, indent=1) + "\n"})
    except ZooError as error:
        sys.exit(f"error: {error}")
    return 0 if data["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
