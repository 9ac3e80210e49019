"""``make gpu``: everything that needs an NVIDIA GPU, in one go.

Builds and certifies the exact plan of every network, runs the tests marked ``gpu``, and
measures every network against its peers. Writes ``benchmarks/results/gpu.json`` and the
benchmark's own files. Exits 2 on a machine without a GPU, 1 where anything failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.all_networks import RESULTS, choose_weights
from benchmarks.environment import describe_machine
from benchmarks.result import write_files
from runtime.cuda_driver import query_driver
from zoo.card import ModelCard
from zoo.catalog import CARDS

_ROOT = Path(__file__).resolve().parents[1]
_ENGINES = _ROOT / "engines" / "gpu"


def main() -> int:
    """See the module."""
    driver = query_driver()
    if not driver.devices:
        print(f"nothing to do here: {driver.reason}", file=sys.stderr)
        print("run `make gpu` on a machine with an NVIDIA GPU", file=sys.stderr)
        return 2
    plans = [certify_plan(card) for card in CARDS]
    tests = run_tests()
    bench = subprocess.run(
        [sys.executable, "-m", "zoo.cli", "bench", "--all"], cwd=_ROOT, check=False
    )
    data: dict[str, Any] = {
        "what": "every plan certified on this GPU, the tests marked gpu, the benchmark",
        "command": "make gpu",
        "environment": describe_machine(),
        "devices": [asdict(device) for device in driver.devices],
        "plans": plans,
        "tests": tests,
        "benchmark": {"exit": bench.returncode},
    }
    data["passed"] = (
        all(plan["passed"] for plan in plans) and tests["exit"] == 0 and bench.returncode == 0
    )
    for path in write_files(RESULTS, "gpu", {".json": json.dumps(data, indent=1) + "\n"}):
        print(f"wrote {path}")
    return 0 if data["passed"] else 1


def certify_plan(card: ModelCard) -> dict[str, Any]:
    """Export one network in a process of its own; what its certificate says of the plan."""
    weights = choose_weights(card)
    start = perf_counter()
    print(f"{card.name} ({weights}) ...", flush=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "zoo.cli", "export", card.name, "--fp16", "--json"),
            *("--weights", weights, "--name", card.name, "--out", str(_ENGINES)),
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = {
        "network": card.name,
        "weights": weights,
        "exit": done.returncode,
        "seconds": round(perf_counter() - start, 1),
        "passed": False,
    }
    if done.returncode in (0, 1) and done.stdout.lstrip().startswith("{"):
        sidecar = json.loads(done.stdout)["sidecar"]
        certificate = sidecar["certificate"]
        found["builder"] = sidecar["builder"]
        found["kept_fp32"] = sidecar["kept_fp32"]
        found["certificate"] = certificate
        # A plan that could not be run has not passed, whatever the rest did.
        found["passed"] = certificate["passed"] and not certificate["unchecked"]
    else:
        found["error"] = done.stderr.strip().splitlines()[-3:]
    print(f"  {'passed' if found['passed'] else 'FAILED'} in {found['seconds']} s", flush=True)
    return found


def run_tests() -> dict[str, Any]:
    """The tests marked ``gpu``; a run that executed none has failed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-4000:])
    lines = done.stdout.strip().splitlines()
    return {"exit": done.returncode, "summary": lines[-1] if lines else done.stderr[-500:]}


if __name__ == "__main__":
    sys.exit(main())
