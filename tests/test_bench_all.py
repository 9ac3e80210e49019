"""`zoo bench --all`: which networks, which peers, which files; and where it was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import all_networks
from benchmarks.all_networks import bench_all, fitting_peers
from benchmarks.environment import GpuState, describe_machine, processor_use, read_gpus
from benchmarks.peers import ENGINE
from benchmarks.request import BenchRequest
from benchmarks.result import BenchResult, EngineRecord, Figure, PeerRecord
from benchmarks.rounds import Progress
from benchmarks.stats import ratio_of_rounds, summarise
from runtime.cuda_driver import Device, Driver
from zoo.card import ModelCard
from zoo.catalog import CARDS

ENVIRONMENT = {"time": "", "cpu": "a CPU", "cores": 2, "gpus": [], "packages": {}, "commit": ""}


class _Bench:
    """Stands for exporting and measuring: remembers what is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpu: bool = False) -> None:
        self.asked: list[BenchRequest] = []
        self.shown: list[str] = []
        self.wrote: list[str] = []
        self.break_off_at = ""
        devices = (Device(0, "a GPU", "9.0", 2**34),) if gpu else ()
        monkeypatch.setattr(all_networks, "query_driver", lambda: Driver(devices, "13.0", ""))
        monkeypatch.setattr(all_networks, "export_engine", self._export)
        monkeypatch.setattr(all_networks, "run_bench", self._run)

    def _export(self, card: ModelCard, folder: Path, *, plan: bool) -> Path:
        return folder / f"{card.name}.{'plan' if plan else 'onnx'}"

    def _run(self, request: BenchRequest, progress: Progress) -> BenchResult:
        self.asked.append(request)
        name, peers = request.engine.stem, (ENGINE, *request.compare)
        ratio = ratio_of_rounds([[1.0]] * 3, [[2.0]] * 3)
        times = summarise([1.0])
        return BenchResult(
            EngineRecord(request.engine.name, "f", "onnx", "fp32", name, name, "", True, (8, 8)),
            ENVIRONMENT,
            {"from": "host", "threads": None},
            tuple(PeerRecord(peer, peer, "a scope", 1.0) for peer in peers),
            {},
            tuple(
                replace(
                    Figure(peer, batch, 1.0, times, 1, 1.0, True, 1),
                    times_as_fast=None if peer == ENGINE else ratio,
                )
                for batch in request.batches or ()
                for peer in peers
            ),
            None,
            None,
            interrupted=name == self.break_off_at,
        )

    def run(self, out: Path | None, networks: tuple[str, ...] = ()) -> bool:
        return bench_all(
            BenchRequest(Path(), out=out),
            lambda step: None,
            lambda result: self.shown.append(result.engine.network),
            lambda files: self.wrote.extend(file.name for file in files),
            networks,
        )


def test_every_network_is_measured_against_all_that_fits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(all_networks, "RESULTS", tmp_path)
    bench = _Bench(monkeypatch)
    assert bench.run(None)
    names = [card.name for card in CARDS]
    assert bench.shown == names
    assert bench.wrote == [f"{name}.cpu.{kind}" for name in names for kind in ("json", "png")]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*bench.wrote, "bars.json"])
    for card, asked in zip(CARDS, bench.asked, strict=True):
        assert {1, 8} <= set(asked.batches or ())
        own = {"keras": {"keras", "keras-eager", "keras-compiled"}}
        own["torch"] = {"torch", "torch-channels-last", "torch-compiled"}
        assert set(asked.compare) == {*own[card.framework], "onnxruntime", "session", "openvino"}
    bars = json.loads((tmp_path / "bars.json").read_text())["bars"]
    assert len(bars) == 2 * len(CARDS) + 2
    assert all(bar["measured"] == 2.0 and bar["met"] for bar in bars)


def test_a_gpu_gets_plans_and_half_precision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = _Bench(monkeypatch, gpu=True)
    assert bench.run(tmp_path, ("inception_v3",))
    (asked,) = bench.asked
    assert asked.engine.suffix == ".plan"
    assert {"torch-fp16", "torch-compiled-fp16", "onnxruntime-cuda", "trtexec"} <= set(
        asked.compare
    )
    # Elsewhere than the README's results a run has all its files.
    assert bench.wrote == [f"inception_v3.gpu.{k}" for k in ("json", "csv", "png", "html")]


def test_a_run_that_is_broken_off_keeps_its_files_and_judges_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = _Bench(monkeypatch)
    bench.break_off_at = "mesoinception4"
    assert not bench.run(tmp_path)
    assert bench.shown == ["meso4", "mesoinception4"]
    assert (tmp_path / "mesoinception4.cpu.json").is_file()
    assert not (tmp_path / "bars.json").exists()


def test_peers_of_the_other_framework_are_not_asked_for() -> None:
    for card in CARDS:
        other = "torch" if card.framework == "keras" else "keras"
        assert not any(name.startswith(other) for name in fitting_peers(card, "cpu"))


def test_clocks_and_temperature_are_read_of_each_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=None)
    assert read_gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/asked\n'
        "echo 'NVIDIA H200, 580.65, 143771, 12, 31, 76.5, 345, 3201'\n"
        "echo 'GPU B, 580.65, 8192, [N/A], 40, [N/A], 1410, 5001'\n"
    )
    tool.chmod(0o755)
    first, second = read_gpus()
    assert first == GpuState("NVIDIA H200", "580.65", 143771, 12, 31, 76.5, 345, 3201)
    assert (second.used_mib, second.power_w, second.sm_mhz) == (None, None, 1410)
    # Read, never set: nothing is asked but a query.
    asked = (tmp_path / "asked").read_text().split()
    assert [word.partition("=")[0] for word in asked] == ["--query-gpu", "--format"]
    assert {"temperature.gpu", "clocks.sm", "driver_version"} <= set(
        asked[0].partition("=")[2].split(",")
    )
    assert describe_machine()["gpus"][0]["driver"] == "580.65"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed, for it found no driver'\nexit 9\n")
    assert read_gpus() == []


def test_what_others_use_is_a_share() -> None:
    assert 0.0 <= processor_use(0.05) <= 1.0
