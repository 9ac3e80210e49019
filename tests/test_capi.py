"""The C library, from C and C++ programs that know nothing of Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_engine import SIZE, TINY_INFO, TinyEngine, TinyWeights, random_frames

from runtime import Detector, EngineError
from runtime.capi import build as capi_build
from runtime.errors import ZooError

CHECKOUT = Path(__file__).resolve().parents[1]
PROGRAMS = CHECKOUT / "tests" / "capi"
EXAMPLES = CHECKOUT / "examples" / "cpp"
THRESHOLD = 0.3  # no float32: it must come through as the double that Python compares with

pytest.importorskip("cffi", reason="cffi, which builds the C library, is not installed")


def find(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"no {' or '.join(names)} on this machine")


def run(
    *command: str | Path, code: int = 0, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment that says nothing useful of Python."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL", "ZOO"))}
    clean |= {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(
        [str(part) for part in command],
        env=clean | (env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the library and what belongs beside it."""
    find("cc", "gcc")
    folder = tmp_path_factory.mktemp("capi")
    try:
        capi_build.build(folder)
    except EngineError as error:
        pytest.skip(str(error))  # an interpreter without a shared libpython
    return folder


@pytest.fixture(scope="module")
def compiled(library: Path) -> Callable[..., Path]:
    """Compile a program of tests/capi against the library."""

    def compile_(source: str, *flags: str, name: str = "") -> Path:
        cxx = source.endswith(".cpp")
        program = library / (name or Path(source).stem)
        run(
            find("g++", "c++") if cxx else find("gcc", "cc"),
            *(["-std=c++17"] if cxx else ["-std=c11", "-pedantic"]),
            *("-Wall", "-Wextra", "-Werror", "-g", f"-I{library}", f"-I{EXAMPLES}"),
            *(PROGRAMS / source, f"-L{library}", "-lzoo_detector", f"-Wl,-rpath,{library}"),
            *("-lpthread", "-ldl", *flags, "-o", program),
        )
        return program

    return compile_


@dataclass(frozen=True)
class Files:
    """Engines of 8 x 8 frames, and raw frames for them."""

    engine: Path
    other: Path
    slow: Path
    raw: Path
    frames: np.ndarray


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("engines")
    info = replace(TINY_INFO, threshold=THRESHOLD)
    rng = np.random.default_rng(7)
    wide = 30_000  # channels: some milliseconds a frame
    kernel = rng.standard_normal((wide, 3, 3, 3)).astype(np.float32)
    dense = rng.standard_normal((wide, 1)).astype(np.float32) / wide
    slow = TinyWeights(kernel, np.zeros(wide, np.float32), dense, np.zeros(1, np.float32))
    many = random_frames(20)
    many.tofile(folder / "frames.rgb")
    return Files(
        TinyEngine.write(folder, name="one.onnx", info=info).path,
        TinyEngine.write(folder, name="two.onnx", weights=TinyWeights.seeded(5), info=info).path,
        TinyEngine.write(folder, name="slow.onnx", weights=slow, info=info).path,
        folder / "frames.rgb",
        many,
    )


# Errors, threads, memory


def error_arguments(files: Files, folder: Path) -> list[str | Path]:
    damaged = folder / "damaged.onnx"
    damaged.write_bytes(files.engine.read_bytes()[:200])
    return [files.engine, str(SIZE), str(SIZE), damaged, folder / "missing.onnx"]


def test_every_way_to_fail(compiled: Callable[..., Path], files: Files, tmp_path: Path) -> None:
    done = run(compiled("errors.c"), *error_arguments(files, tmp_path))
    assert done.stdout == "0 checks failed\n"
    assert done.stderr == ""


def test_threads_and_the_wrapper(compiled: Callable[..., Path], files: Files) -> None:
    program = compiled("threads.cpp")
    done = run(program, files.engine, files.other, files.slow, files.raw)
    assert done.stdout.endswith("0 checks failed\n")


def test_memory_is_given_back(compiled: Callable[..., Path], files: Files) -> None:
    done = run(compiled("leak.c"), files.engine, str(SIZE), str(SIZE), "400")
    (grown,) = re.findall(r"(-?\d+) KiB", done.stdout)
    # 200 detectors: one that stayed behind would be some 100 KiB.
    assert int(grown) < 4096


@dataclass(frozen=True)
class Sanitizer:
    """What a program is to be compiled with, and run with."""

    flags: list[str]
    env: dict[str, str]


@pytest.fixture(scope="module")
def sanitizer(tmp_path_factory: pytest.TempPathFactory) -> Sanitizer:
    """AddressSanitizer with its leak check, where that is possible."""
    # ONNX Runtime throws C++ exceptions, for which the sanitizer wants libstdc++ from the start.
    flags = ["-fsanitize=address", "-fno-omit-frame-pointer", "-Wl,--no-as-needed", "-lstdc++"]
    folder = tmp_path_factory.mktemp("sanitizer")
    probe = folder / "probe.c"
    probe.write_text("#include <stdlib.h>\nint main(void) { char *volatile p = malloc(9); p = 0; }")
    built = subprocess.run(
        [find("gcc", "cc"), probe, *flags, "-o", folder / "probe"], capture_output=True, check=False
    )
    if built.returncode:
        pytest.skip("this compiler has no AddressSanitizer")
    seen = subprocess.run([folder / "probe"], capture_output=True, text=True, check=False)
    if "detected memory leaks" not in seen.stderr:
        pytest.skip(f"the leak check does not work here: {seen.stderr.strip()[-200:]}")
    options = {
        "ASAN_OPTIONS": "detect_leaks=1:exitcode=23",
        "LSAN_OPTIONS": f"suppressions={PROGRAMS / 'python.supp'}:print_suppressions=0",
    }

    return Sanitizer(flags, options)


@pytest.fixture(scope="module")
def sanitized(compiled: Callable[..., Path], sanitizer: Sanitizer) -> Any:
    """Compile and run a program under the sanitizer."""

    def sanitized_(source: str, *arguments: str | Path, code: int = 0) -> str:
        program = compiled(source, *sanitizer.flags, name=f"{Path(source).stem}-asan")
        done = run(program, *arguments, code=code, env=sanitizer.env)
        return done.stdout + done.stderr

    return sanitized_


def test_no_memory_is_lost_or_misused(sanitized: Any, files: Files, tmp_path: Path) -> None:
    assert sanitized("errors.c", *error_arguments(files, tmp_path)) == "0 checks failed\n"


def test_the_leak_check_sees_a_leak(sanitized: Any, files: Files) -> None:
    arguments = ["leak.c", files.engine, str(SIZE), str(SIZE), "2"]
    assert "ERROR" not in sanitized(*arguments)
    said = sanitized(*arguments, "leak", code=23)
    assert "Direct leak of 12345 byte(s)" in said
    assert said.count("Direct leak") == 1


# Where the library finds Python


def test_a_host_may_load_it_as_a_plugin(
    library: Path, compiled: Callable[..., Path], files: Files
) -> None:
    """With RTLD_LOCAL, where extension modules would not find Python's symbols."""
    program = library / "plugin"
    source = PROGRAMS / "plugin.c"
    run(find("gcc", "cc"), "-std=c11", f"-I{library}", source, "-ldl", "-o", program)
    done = run(program, library / capi_build.LIBRARY, files.engine)
    assert done.stdout == "ZOO_OK\n"


def test_the_users_python_does_not_disturb(
    compiled: Callable[..., Path], files: Files, tmp_path: Path
) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('the wrong numpy')")
    env = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONSAFEPATH": ""}
    run(compiled("leak.c"), files.engine, str(SIZE), str(SIZE), "1", env=env)


def test_zoo_pythonpath_comes_first(
    compiled: Callable[..., Path], files: Files, tmp_path: Path
) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "__init__.py").write_text("raise ImportError('this one was found')")
    arguments = [files.engine, str(SIZE), str(SIZE), "1"]
    env = {"ZOO_PYTHONPATH": f"/nowhere:{tmp_path}"}
    said = run(compiled("leak.c"), *arguments, env=env, code=2).stdout
    assert "ImportError: this one was found" in said
    assert "ZOO_PYTHONPATH" in said


def test_a_missing_cffi_is_said(
    compiled: Callable[..., Path], files: Files, tmp_path: Path
) -> None:
    (tmp_path / "_cffi_backend.py").write_text("raise ImportError('not here')")
    arguments = [files.engine, str(SIZE), str(SIZE), "1"]
    done = run(compiled("leak.c"), *arguments, env={"ZOO_PYTHONPATH": str(tmp_path)}, code=2)
    assert "could not load the package cffi\nnot here\n" in done.stdout
    assert done.stderr == ""


# The examples


@pytest.fixture(scope="module")
def detect(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/cpp's `detect`, built as its README says."""
    folder = tmp_path_factory.mktemp("examples")
    cmake = find("cmake")
    find("g++", "c++")
    flags = f"-DCMAKE_CXX_FLAGS=-Werror -DZooDetector_DIR={library}".split()
    said = run(cmake, "-S", EXAMPLES, "-B", folder, *flags).stdout
    assert "pure_tensorrt is not built: not found: " in said or "is built with" in said
    run(cmake, "--build", folder)
    return folder / "detect"


@pytest.fixture(scope="module")
def detect_sanitized(
    library: Path, sanitizer: Sanitizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same program built with the sanitizer."""
    folder, cmake = tmp_path_factory.mktemp("examples-asan"), find("cmake")
    # At the end of the line: what the linker is told not to leave out has to be there.
    flags = f"-DCMAKE_CXX_FLAGS={' '.join(sanitizer.flags[:2])} -g"
    ends = f"-DCMAKE_EXE_LINKER_FLAGS={' '.join(sanitizer.flags)}"
    run(cmake, "-S", EXAMPLES, "-B", folder, flags, ends, f"-DZooDetector_DIR={library}")
    run(cmake, "--build", folder)
    return folder / "detect"


def scores_of(text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Verdicts, logit and fake of what `detect` printed; nine digits are a whole float32."""
    rows = [line.rsplit(" ", 3) for line in text.splitlines()]
    fake, logit = (np.array([row[i] for row in rows], np.float32) for i in (2, 3))
    return [row[1] for row in rows], logit, fake


def write_ppm(path: Path, frame: np.ndarray) -> Path:
    height, width, _ = frame.shape
    path.write_bytes(b"P6\n# a comment\n%d %d\n255\n" % (width, height) + frame.tobytes())
    return path


def test_scores_are_pythons_to_the_last_bit(detect: Path, files: Files, tmp_path: Path) -> None:
    picture = write_ppm(tmp_path / "a picture.ppm", files.frames[3])
    for engine in (files.engine, files.other):
        verdicts, logit, fake = scores_of(run(detect, engine, files.raw, picture).stdout)
        with Detector(engine) as detector:
            due = detector.infer(files.frames)
            one = detector.infer(files.frames[3:4])
        np.testing.assert_array_equal(logit, np.append(due[0], one[0]))
        np.testing.assert_array_equal(fake, np.append(due[1], one[1]))
        assert verdicts == ["fake" if p >= THRESHOLD else "real" for p in fake.tolist()]
        assert set(verdicts) == {"fake", "real"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"P6 8 9 255\n" + bytes(216), "8 x 9"),
        (b"P6 8 8 65535\n" + bytes(384), "65535"),
        (b"P6 8 8 255\n" + bytes(191), "ends before"),
        (b"P6 8 x", "damaged PPM header"),
        (bytes(193), "193 bytes"),
        (b"", "0 bytes"),
    ],
)
def test_files_that_are_no_frames(
    detect: Path, files: Files, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    said = run(detect, files.engine, tmp_path / "file", code=2).stderr
    assert words in said
    assert str(tmp_path / "file") in said


@pytest.fixture(scope="module")
def meso4(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Meso4 with its published weights, exported."""
    tmp_path = tmp_path_factory.mktemp("meso4")
    engine = tmp_path / "meso4.onnx"
    # A process of its own: this one stays free of TensorFlow.
    command = [sys.executable, "-m", "zoo.cli", "export", "meso4", "--name", engine.stem]
    command += ["--out", str(tmp_path), "--weights", str(weights_dir / "Meso4_DF.h5")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return engine


@pytest.fixture
def real_pictures(afchar_images: list[Path], tmp_path: Path) -> tuple[list[Path], list[np.ndarray]]:
    """Published images as PPM files of the engine's size, and as arrays."""
    from PIL import Image

    pictures, arrays = [], []
    for number, path in enumerate(afchar_images):
        image = Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.NEAREST)
        arrays.append(np.asarray(image))
        pictures.append(write_ppm(tmp_path / f"{number}.ppm", arrays[-1]))
    return pictures, arrays


@pytest.mark.slow
def test_real_images(
    detect: Path, meso4: Path, real_pictures: tuple[list[Path], list[np.ndarray]]
) -> None:
    """The exported Meso4 on published images, through PPM files."""
    pictures, arrays = real_pictures
    verdicts, logit, fake = scores_of(run(detect, meso4, *pictures).stdout)
    assert verdicts == ["fake", "fake", "real", "real"]
    with Detector(meso4) as detector:
        for number, array in enumerate(arrays):
            due = detector.infer(array[None])
            assert (logit[number], fake[number]) == (due[0][0], due[1][0])


@pytest.mark.slow
def test_real_images_lose_no_memory(
    detect: Path,
    detect_sanitized: Path,
    sanitizer: Sanitizer,
    meso4: Path,
    real_pictures: tuple[list[Path], list[np.ndarray]],
) -> None:
    """Under the sanitizer the example says the same, and nothing of memory."""
    pictures, _ = real_pictures
    done = run(detect_sanitized, meso4, *pictures, env=sanitizer.env)
    assert done.stderr == ""
    assert done.stdout == run(detect, meso4, *pictures).stdout


def test_the_pure_tensorrt_example_on_a_fake(tmp_path: Path) -> None:
    """It keeps the engine contract, splits by the profile, waits, and frees everything."""
    fake = PROGRAMS / "fake_tensorrt"
    program = tmp_path / "pure_tensorrt"
    sources = [EXAMPLES / "pure_tensorrt.cpp", fake / "fake_tensorrt.cpp"]
    flags = f"-std=c++17 -Wall -Wextra -Werror -I{fake}".split()
    run(find("g++", "c++"), *flags, *sources, "-o", program)
    plan, raw = tmp_path / "meso4.plan", tmp_path / "frames.rgb"
    plan.write_text("fake plan 4 5 2 3")
    given = np.random.default_rng(0).integers(0, 256, (8, 4, 5, 3), np.uint8)
    given.tofile(raw)
    done = run(program, plan, raw)
    assert re.findall(r"batch (\d+)", done.stderr) == ["3", "3", "2"]
    rows = [line.split() for line in done.stdout.splitlines()]
    due = given.reshape(8, -1).sum(1).astype(np.float32) / np.float32(60)
    np.testing.assert_array_equal(np.array([row[3] for row in rows], np.float32), due)
    np.testing.assert_array_equal(
        np.array([row[2] for row in rows], np.float32), due / np.float32(255)
    )
    given[:4].tofile(raw)
    said = run(program, plan, raw, code=2).stderr
    assert "a batch of 1 is outside the plan's profile, 2 to 3" in said
    plan.write_text("another plan")
    assert "meso4.plan was refused" in run(program, plan, raw, code=2).stderr


# Building


def test_build_lays_out_what_a_program_needs(library: Path) -> None:
    there = {path.name for path in library.iterdir()}
    assert {capi_build.LIBRARY, *capi_build.COMPANIONS} <= there
    assert not [name for name in there if name.startswith(".build-")]
    exported = run(find("nm"), "-D", "--defined-only", library / capi_build.LIBRARY).stdout
    names = {line.split()[-1] for line in exported.splitlines()}
    header = (library / "zoo_detector.h").read_text()
    declared = set(re.findall(r"^ZOO_API .*?(\w+)\(", header, re.MULTILINE))
    assert len(declared) == 10
    assert names == {*declared, "PyInit__zoo_detector"}


def test_a_compiler_that_fails_is_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    find("cc", "gcc")
    monkeypatch.setattr(capi_build, "_baked", lambda: "#error this is in the way\n")
    with pytest.raises(ZooError, match="this is in the way") as caught:
        capi_build.build(tmp_path)
    assert "could not be compiled" in caught.value.what
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_no_shared_libpython(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {"LIBDIR": str(tmp_path), "LDLIBRARY": "libpython3.a"}
    monkeypatch.setattr(capi_build.sysconfig, "get_config_var", values.get)
    with pytest.raises(EngineError, match="no shared libpython"):
        capi_build.build(tmp_path)
