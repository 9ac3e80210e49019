"""`--backend` and `--device`: chosen by name, never silently another."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes.machine import HEIGHT, WIDTH, Machine, make_machine
from fakes.tensorrt import logits, sigmoid
from PIL import Image
from tiny_engine import SIZE, TinyEngine

from runtime import cuda_driver
from runtime.backend_names import BACKENDS
from runtime.cuda_driver import query_driver
from runtime.tensorrt_api import Flavour
from zoo.cli import main

ON_A_GPU = ["onnxruntime-cuda", "onnxruntime-tensorrt"]


def zoo(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def told(done: Result) -> list[str]:
    """The lines of an error, each put together again where the terminal broke it."""
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    text = done.stderr[done.stderr.index("error: ") :]
    return [" ".join(part.split()) for part in re.split(r"error: |\n *why: |\n *do: ", text)[1:]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two classes, of the size that the tiny engine takes."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(3)
    for label in ("fake", "real"):
        (folder / label).mkdir()
        for number in range(3):
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


def commands(engine: Path, images: Path, out: Path) -> dict[str, list[object]]:
    """Each command that opens an engine, as typed."""
    picture = images / "fake" / "0.png"
    return {
        "detect": ["detect", picture, "--faces", "none", "-e", engine],
        "evaluate": ["evaluate", images, "-e", engine],
        "bench": ["bench", "-e", engine, "--batch", 1, "--duration", 0.05],
        "verify": ["verify", engine],
        "explain": [
            *("explain", picture, "-e", engine, "--faces", "none", "--out", out / "heat.png")
        ],
        "demo": ["demo", "-e", engine],
    }


COMMANDS = list(commands(Path(), Path(), Path()))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_names_are_those_of_the_api(command: str) -> None:
    said = zoo(command, "--help").output
    assert f"[{'|'.join(BACKENDS)}]" in "".join(said.split())
    assert "--device INDEX" in said


@pytest.mark.parametrize("backend", ON_A_GPU)
@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_gpu_it_is_refused(
    command: str,
    backend: str,
    tiny_engine: TinyEngine,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if command == "bench" and query_driver().devices:
        pytest.skip("its process sees the GPU of this machine")
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-of-no-machine.so.1")
    typed = commands(tiny_engine.path, images, tmp_path)[command]
    what, why, todo = told(zoo(*typed, "--backend", backend))
    assert what == f"running {tiny_engine.path} by {backend} needs an NVIDIA GPU"
    assert "no NVIDIA driver" in why
    assert todo == "backend 'onnxruntime' runs it on this machine's CPU"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_what_does_not_run_such_files(
    command: str, tiny_engine: TinyEngine, images: Path, tmp_path: Path
) -> None:
    onnx = commands(tiny_engine.path, images, tmp_path)[command]
    assert told(zoo(*onnx, "--backend", "tensorrt")) == [
        f"{tiny_engine.path} cannot be run by 'tensorrt'",
        "a .onnx is run by onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt",
        "name one of these, or 'auto'",
    ]
    plan = tmp_path / "a.plan"
    plan.write_bytes(b"plan")
    assert told(zoo(*commands(plan, images, tmp_path)[command], "--backend", "onnxruntime")) == [
        f"{plan} cannot be run by 'onnxruntime'",
        "a .plan is run by tensorrt",
        "name one of these, or 'auto'",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gpu_that_would_not_be_used(
    command: str, tiny_engine: TinyEngine, images: Path, tmp_path: Path
) -> None:
    typed = commands(tiny_engine.path, images, tmp_path)[command]
    what, why, todo = told(zoo(*typed, "--device", 1))
    assert what == f"--device 1 is a GPU, and {tiny_engine.path} would not run on it"
    assert why == "backend 'onnxruntime' uses the CPU"
    assert todo.endswith("a GPU: onnxruntime-cuda, onnxruntime-tensorrt")


def test_a_name_that_is_no_backends(tiny_engine: TinyEngine) -> None:
    done = zoo("verify", tiny_engine.path, "--backend", "openvino")
    assert done.exit_code == 2
    assert all(f"'{name}'" in done.stderr for name in BACKENDS)


def test_bench_names_a_gpu_that_is_not_there(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-of-no-machine.so.1")
    typed = ["bench", "-e", tiny_engine.path, "--backend", "onnxruntime-cuda", "--device", 3]
    what, why, todo = told(zoo(*typed))
    assert what == f"there is no GPU 3 for {tiny_engine.path}"
    assert "no NVIDIA driver" in why
    assert todo == "leave --device out"


# The CPU by name is the CPU by default


def test_the_cpu_by_name(tiny_engine: TinyEngine, images: Path, tmp_path: Path) -> None:
    typed = commands(tiny_engine.path, images, tmp_path)
    for command in ("detect", "evaluate"):
        plain = zoo(*typed[command], "--json")
        named = zoo(*typed[command], "--json", "--backend", "onnxruntime")
        assert named.exit_code == plain.exit_code == 0, named.output
        for line, other in zip(plain.stdout.splitlines(), named.stdout.splitlines(), strict=True):
            assert without_times(line) == without_times(other)
    assert zoo(*typed["explain"], "--backend", "onnxruntime").exit_code == 0
    benched = zoo(*typed["bench"], "--json", "--backend", "onnxruntime")
    assert benched.exit_code == 0, benched.output
    settings = json.loads(benched.stdout)["settings"]
    assert (settings["backend"], settings["device"]) == ("onnxruntime", 0)


def without_times(line: str) -> str:
    return re.sub(r'"seconds": (\{[^}]*\}|[\d.e-]+)', "", line)


# On GPUs that are not real: what is named is what runs


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Two GPUs, and a plan of TensorRT-RTX that fits both."""
    return make_machine(monkeypatch, tmp_path, seed=1, flavour=Flavour.TENSORRT_RTX)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "face.png"
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def opened(machine: Machine) -> set[int]:
    """Indices of the GPUs that were asked for."""
    return {int(a[0]) for name, a in machine.cuda.calls if name == "cuDeviceGet"}


@pytest.mark.parametrize(
    ("options", "index"),
    [([], 0), (["--device", 1], 1), (["--device", 0], 0), (["--backend", "tensorrt"], 0)],
)
def test_the_device_is_the_one_named(
    machine: Machine, picture: Path, options: list[object], index: int
) -> None:
    typed = ["detect", picture, "--faces", "none", "-e", machine.plan, "--json", *options]
    done = zoo(*typed)
    assert done.exit_code == 0, done.output
    assert opened(machine) == {index}
    found = json.loads(done.stdout)["faces"][0]["fake"]
    assert found == pytest.approx(float(sigmoid(logits(np.asarray(Image.open(picture))[None]))[0]))


def evaluated(machine: Machine, picture: Path, folder: Path) -> list[object]:
    for label in ("fake", "real"):
        (folder / label).mkdir(parents=True)
        (folder / label / "a.png").write_bytes(picture.read_bytes())
    return ["evaluate", folder, "-e", machine.plan]


@pytest.mark.parametrize("command", ["evaluate", "explain", "demo", "verify"])
def test_every_command_tells_its_detector(
    command: str,
    machine: Machine,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "set"
    typed: dict[str, Callable[[], list[object]]] = {
        "evaluate": lambda: evaluated(machine, picture, folder),
        "explain": lambda: [
            *("explain", picture, "-e", machine.plan, "--faces", "none"),
            *("--out", tmp_path / "h.png"),
        ],
        "demo": lambda: ["demo", "-e", machine.plan],
        "verify": lambda: ["verify", machine.plan],
    }
    if command in ("demo", "verify"):  # what comes after the engine is open is not asked here

        def stop(*_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr("zoo.commands.look.open_finder", stop)
        monkeypatch.setattr("export.verify.default_samples", stop)
    done = zoo(*typed[command](), "--device", 1)
    assert done.exit_code == (130 if command in ("demo", "verify") else 0), done.output
    assert opened(machine) == {1}


def test_a_gpu_that_is_not_there(machine: Machine, picture: Path) -> None:
    typed = ["detect", picture, "--faces", "none", "-e", machine.plan, "--device", 2]
    assert told(zoo(*typed)) == [
        f"there is no GPU 2 for {machine.plan}",
        "there is 0 (NVIDIA Fake 1), 1 (NVIDIA Fake 2)",
        "name one that is there",
    ]


def test_a_results_file_keeps_backends_apart(
    machine: Machine, tiny_engine: TinyEngine, picture: Path
) -> None:
    """Verdicts of another backend are other verdicts; the usual one by its name is not."""
    from zoo.detect_run import DetectRequest

    def settings(engine: Path, backend: Any) -> dict[str, Any]:
        return DetectRequest((picture,), engine, None, backend=backend).settings

    usual = settings(tiny_engine.path, "auto")
    assert settings(tiny_engine.path, "onnxruntime") == usual
    assert settings(tiny_engine.path, "onnxruntime-cuda") == usual | {"backend": "onnxruntime-cuda"}
    assert settings(machine.plan, "tensorrt") == settings(machine.plan, "auto")


def test_a_certificate_says_what_ran_the_engine(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import certify
    from export.samples import Samples
    from runtime.backends import open_backend
    from zoo.originals import Scores

    given = np.random.default_rng(1).integers(0, 256, (9, SIZE, SIZE, 3), np.uint8)
    seen = []

    def open_(path: Path, **options: Any) -> Any:
        seen.append(options)
        return open_backend(path)

    monkeypatch.setattr(certify, "open_backend", open_)
    backend = open_backend(tiny_engine.path)
    reference = Scores(*backend.infer_many(given))
    backend.close()
    info, samples = tiny_engine.info, Samples(given, tuple("abcdefghi"), "noise")
    cuda = "onnxruntime-cuda"
    for named, shown in (("auto", "tiny.onnx"), (cuda, f"tiny.onnx by {cuda}")):
        found = certify.certify(
            reference, tiny_engine.path.parent, info, samples, backend=named, device=3
        )
        assert found.comparisons[0].engine == shown
        assert seen.pop() == {"backend": named, "device": 3}
