"""A plan that does not fit is refused before TensorRT sees it, in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.machine import DEVICES, Machine, change_sidecar, make_machine, not_installed, write_plan

from runtime import Detector, EngineError, cuda_driver, plan_checks
from runtime.cuda_driver import Driver
from runtime.engine_info import Artefact, WeightsInfo, file_sha256, sidecar_path
from runtime.errors import MissingPackageError, ZooError
from runtime.tensorrt_api import Flavour


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return make_machine(monkeypatch, tmp_path)


@pytest.fixture
def without_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-of-no-machine.so.1")


def refusal(machine: Machine) -> ZooError:
    """The error, which comes before any call of CUDA's."""
    with pytest.raises(ZooError) as caught:
        machine.detector()
    assert machine.cuda.calls == []
    return caught.value


def test_a_plan_that_fits_opens(machine: Machine) -> None:
    with machine.detector() as detector:
        assert detector.title == "TensorRT 11.4.0.106 (NVIDIA Fake 1)"


def test_without_its_sidecar(machine: Machine) -> None:
    sidecar_path(machine.plan).unlink()
    assert "fake.json is not there" in refusal(machine).why


def test_a_sidecar_without_a_builder(machine: Machine) -> None:
    change_sidecar(machine.plan, builder=None)
    assert "does not say what built fake.plan" in refusal(machine).what


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-7], "bytes, its sidecar says"),
        (lambda data: data[:-1] + b"!", "sha256 is"),
    ],
)
def test_damaged(machine: Machine, damage: object, words: str) -> None:
    machine.plan.write_bytes(damage(machine.plan.read_bytes()))  # type: ignore[operator]
    error = refusal(machine)
    assert str(machine.plan) in error.what
    assert words in error.why


def test_of_another_version(machine: Machine) -> None:
    change_sidecar(machine.plan, builder={"version": "11.3.0.1"})
    error = refusal(machine)
    assert "11.3.0.1 built it, 11.4.0.106 is installed" in error.why
    command = "zoo export meso4 --weights df --fp16 --builder tensorrt --batch 1:4:16"
    assert error.todo == f"build it again: {command}"


def test_not_installed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_checks, "load", not_installed)
    error = refusal(machine)
    assert isinstance(error, MissingPackageError)
    assert "deepfake-zoo[tensorrt]" in error.todo


def test_for_another_gpu(machine: Machine) -> None:
    change_sidecar(machine.plan, builder={"target": ["7.5", "8.6"]})
    error = refusal(machine)
    assert "capability 7.5, 8.6; device 0 (NVIDIA Fake 1) has 8.9" in error.why
    assert "on this machine: zoo export meso4" in error.todo


def test_of_two_gpus_the_one_asked_for_counts(machine: Machine) -> None:
    with pytest.raises(EngineError, match=r"device 1 \(NVIDIA Fake 2\) has 12.0"):
        machine.detector(device=1)


def test_a_gpu_that_is_not_there(machine: Machine) -> None:
    with pytest.raises(EngineError, match=r"no GPU 2 .*\n.*0 \(NVIDIA Fake 1\), 1"):
        machine.detector(device=2)


@pytest.mark.parametrize(
    ("capability", "fits"), [("7.5", False), ("8.0", True), ("8.9", True), ("12.0", True)]
)
def test_rtx_without_a_target_runs_from_8_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: str, fits: bool
) -> None:
    machine = make_machine(monkeypatch, tmp_path, flavour=Flavour.TENSORRT_RTX)
    device = type(DEVICES[0])(0, "other", capability, 1 << 30)
    monkeypatch.setattr(plan_checks, "query_driver", lambda: Driver((device,), "13.0", ""))
    if fits:
        machine.detector().close()
    else:
        assert "8.0 and later; device 0 (other) has 7.5" in refusal(machine).why


@pytest.mark.usefixtures("without_driver")
class TestWithoutADriver:
    """Nothing here is faked but the plan: TensorRT, or that there is none, is this machine's."""

    def open(self, plan: Path) -> ZooError:
        with pytest.raises(ZooError) as caught:
            Detector(plan)
        return caught.value

    def installed(self, plan: Path) -> None:
        """Let the plan be of the version of TensorRT-RTX that is here, if it is."""
        try:
            version = plan_checks.load(Flavour.TENSORRT_RTX).version
        except ZooError:
            return
        change_sidecar(plan, builder={"version": version})

    @pytest.fixture
    def plan(self, tmp_path: Path) -> Path:
        plan = write_plan(tmp_path, flavour=Flavour.TENSORRT_RTX)
        self.installed(plan)
        return plan

    def test_it_is_said(self, plan: Path) -> None:
        error = self.open(plan)
        assert error.what == f"{plan} needs an NVIDIA GPU"
        assert "there is no NVIDIA driver" in error.why
        assert "zoo export meso4 makes a .onnx" in error.todo

    def test_the_onnx_beside_it_is_named(self, plan: Path) -> None:
        info = plan_checks.take_engine(plan).info
        assert info is not None
        artefacts = dict(info.artefacts)
        for name, precision in (("fake.fp16.onnx", "fp16"), ("fake.onnx", "fp32")):
            path = plan.with_name(name)
            path.write_bytes(b"graph")
            artefacts[name] = Artefact("onnx", precision, 5, file_sha256(path))  # type: ignore[arg-type]
        change_sidecar(plan, artefacts=artefacts)
        onnx = plan.with_name("fake.onnx")
        assert self.open(plan).todo == f'Detector("{onnx}") runs on this CPU'
        onnx.unlink()
        half = plan.with_name("fake.fp16.onnx")
        assert self.open(plan).todo == f'Detector("{half}") runs on this CPU'

    def test_a_truncated_plan_is_still_that(self, plan: Path) -> None:
        plan.write_bytes(plan.read_bytes()[:-1])
        assert "is damaged or of another export" in self.open(plan).what

    def test_another_version_is_still_that(self, plan: Path) -> None:
        pytest.importorskip("tensorrt_rtx")
        change_sidecar(plan, builder={"version": "1.3.0.1"})
        assert "built by another version of tensorrt_rtx" in self.open(plan).what

    def test_a_package_would_not_help(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plan_checks, "load", not_installed)
        assert "needs an NVIDIA GPU" in self.open(plan).what


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (WeightsInfo("df", trained=True), "--weights df --fp16"),
        (WeightsInfo("custom", trained=True, file="mine.h5"), "--weights mine.h5 --fp16"),
        (WeightsInfo("random", trained=False, seed=7), "--weights random --seed 7 --fp16"),
        (WeightsInfo("random", trained=False, seed=0), "--weights random --fp16"),
    ],
)
def test_the_command_makes_the_same_again(
    machine: Machine, weights: WeightsInfo, words: str
) -> None:
    change_sidecar(machine.plan, weights=weights, builder={"version": "9"})
    assert f"zoo export meso4 {words} --builder" in refusal(machine).todo


def test_a_sidecar_s_texts_cannot_reach_the_terminal_as_they_are(machine: Machine) -> None:
    hostile = "\x1b[2J"
    weights = WeightsInfo("custom", trained=True, file=hostile)
    for builder in ({"version": hostile}, {"target": [hostile]}):
        change_sidecar(machine.plan, network=hostile, weights=weights, builder=builder)
        error = refusal(machine)
        assert "\\x1b[2J" in error.why
        assert "\\x1b[2J" in error.todo
        assert str(error).replace("\n", "").isprintable()
        change_sidecar(machine.plan, builder={"version": "11.4.0.106"})


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_sidecar_that_names_what_no_file_can_be(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(plan_checks, "query_driver", lambda: Driver((), "", "no GPU here"))
    info = plan_checks.take_engine(machine.plan).info
    assert info is not None
    beside = {name: Artefact("onnx", "fp32", 1, "0" * 64)}
    change_sidecar(machine.plan, artefacts={**info.artefacts, **beside})
    assert "no GPU here" in refusal(machine).why
