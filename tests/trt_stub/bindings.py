"""Get NVIDIA's bindings and the stub, and run Python with them in a process of its own."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
CACHE = CHECKOUT / ".cache" / "trt-bindings"

#: Version of the pinned wheels to the major version in their libraries' names.
VERSIONS = {"10.16": 10, "11.4": 11}


class UnavailableError(Exception):
    """The bindings can't be had here; the message says why."""


def prepare(version: str) -> str:
    """Python source that makes ``import tensorrt`` give the bindings of a version.

    Wheels come from the cache or, once, from the package index (hashes are checked by pip);
    the stub is compiled once.

    Raises:
        UnavailableError: not Linux x86-64, no compiler, or no wheel for this Python.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise UnavailableError("the pinned wheels are for Linux x86-64")
    wheel = _wheel(version)
    libraries = [str(path) for path in _libraries(VERSIONS[version])]
    return (
        "import ctypes, sys\n"
        f"sys.path[:0] = {[str(CHECKOUT), str(wheel)]!r}\n"
        f"for library in {libraries!r}: ctypes.CDLL(library)\n"
        "import tensorrt_bindings\n"
        "sys.modules['tensorrt'] = tensorrt_bindings\n"
    )


def run(source: str) -> str:
    """Standard output of a Python process; raises `AssertionError` with its errors."""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=CHECKOUT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _wheel(version: str) -> Path:
    """Folder of the unpacked wheel."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    folder = CACHE / f"{version}-{python}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        work = Path(name)
        download = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--retries=1"),
                *("--no-deps", "--require-hashes", "--only-binary=:all:"),
                *("--requirement", str(HERE / f"requirements-{version}.txt")),
                *("--dest", str(work)),
            ],
            capture_output=True,
            text=True,
        )
        wheels = list(work.glob("*.whl"))
        if download.returncode or not wheels:
            # Not to be had is a reason to skip; another file than the pinned one is not.
            assert "DO NOT MATCH THE HASHES" not in download.stderr, download.stderr
            errors = [line for line in download.stderr.splitlines() if "ERROR" in line]
            raise UnavailableError(
                f"tensorrt-cu13-bindings {version} for {python} is neither in {CACHE} nor to be "
                f"downloaded: {' '.join(errors) or download.stderr.strip()}"
            )
        unpacked = work / "unpacked"
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(unpacked)
        _rename(unpacked, folder)
    return folder


def _libraries(major: int) -> list[Path]:
    """The stub under the three names that the bindings were linked against."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise UnavailableError("there is no C compiler to make the stub libraries")
    source = HERE / "stub.c"
    folder = CACHE / f"stub-{major}"
    names = [f"lib{n}.so.{major}" for n in ("nvinfer", "nvinfer_plugin", "nvonnxparser")]
    libraries = [folder / name for name in names]
    made = min((p.stat().st_mtime for p in libraries if p.is_file()), default=0)
    if not all(p.is_file() for p in libraries) or made < source.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            for name in names:
                subprocess.run(
                    [
                        *(compiler, "-shared", "-fPIC", "-Wl,-soname," + name),
                        *(str(source), "-o", str(Path(work) / name)),
                    ],
                    check=True,
                )
            folder.mkdir(exist_ok=True)
            for library in libraries:
                (Path(work) / library.name).replace(library)
    return libraries


def _rename(made: Path, final: Path) -> None:
    """Put a finished folder in place, unless another process was first."""
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():
            raise
