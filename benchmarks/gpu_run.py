"""``make gpu``: everything that needs an NVIDIA GPU, in one go.

Builds and certifies the exact plan of every network, runs the tests marked ``gpu``, holds
Meso4's plan against bare TensorRT and CUDA (`benchmarks.gpu_bars`), and measures every
network against its peers. Writes ``benchmarks/results/gpu.json`` and the benchmark's own
files. Exits 2 on a machine without a GPU, 1 where anything failed or a bar was missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import gpu_here
from benchmarks.all_networks import RESULTS, choose_weights
from benchmarks.environment import describe_machine
from benchmarks.result import write_files
from runtime.cuda_driver import query_driver
from runtime.terminal import tell
from zoo.card import ModelCard
from zoo.catalog import CARDS

_ROOT = Path(__file__).resolve().parents[1]
_ENGINES = _ROOT / "engines" / "gpu"
#: The network whose plan the bars are about.
_MEASURED = "meso4"


def main() -> int:
    """See the module."""
    driver = query_driver()
    if not driver.devices:
        return gpu_here.main()
    plans = [certify_plan(card) for card in CARDS]
    tests = run_tests()
    bars = measure_bars(_ENGINES / f"{_MEASURED}.plan")
    bench = subprocess.run(
        [sys.executable, "-m", "zoo.cli", "bench", "--all"], cwd=_ROOT, check=False
    )
    data: dict[str, Any] = {
        "what": "every plan certified on this GPU, the tests marked gpu, the bars, the benchmark",
        "command": "make gpu",
        "environment": describe_machine(),
        "devices": [asdict(device) for device in driver.devices],
        "plans": plans,
        "tests": tests,
        **bars,
        "benchmark": {"exit": bench.returncode},
    }
    data["passed"] = (
        all(plan["passed"] for plan in plans)
        and tests["exit"] == 0
        and bool(bars["bars"])
        and all(bar["met"] for bar in bars["bars"])
        and bench.returncode == 0
    )
    for path in write_files(RESULTS, "gpu", {".json": json.dumps(data, indent=1) + "\n"}):
        tell(f"wrote {path}")
    return 0 if data["passed"] else 1


def certify_plan(card: ModelCard) -> dict[str, Any]:
    """Export one network in a process of its own; what its certificate says of the plan."""
    weights = choose_weights(card)
    start = perf_counter()
    tell(f"{card.name} ({weights}) ...")
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
    tell(f"  {'passed' if found['passed'] else 'FAILED'} in {found['seconds']} s")
    return found


def run_tests() -> dict[str, Any]:
    """The tests marked ``gpu``; a run that executed none has failed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-m", "gpu", "tests/gpu"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    tell(done.stdout[-4000:])
    lines = done.stdout.strip().splitlines()
    return {
        "exit": done.returncode,
        "summary": lines[-1] if lines else done.stderr[-500:],
        "skipped": [line for line in lines if line.startswith("SKIPPED")],
    }


def measure_bars(plan: Path) -> dict[str, Any]:
    """The bars of a plan, measured in a process of its own; none, and why, where it failed."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_bars", str(plan)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()[-3:]
        tell("\n".join(["the bars could not be measured", *words]), error=True)
        return {"bars": [], "bars_error": words}
    bars: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    for bar in bars:
        limit = "at most" if bar["better"] == "less" else "at least"
        verdict = "met" if bar["met"] else "MISSED"
        tell(f"  {verdict}: {bar['name']}: {bar['measured']:.3f}, {limit} {bar['limit']}")
    return {"bars": bars}


if __name__ == "__main__":
    sys.exit(main())
