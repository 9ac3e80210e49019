"""Compile ``libzoo_detector.so`` for the Python that runs this.

    python -m runtime.capi.build --out DIR

leaves in DIR all that a C or C++ program needs: the library, its two headers and a file
for CMake's ``find_package(ZooDetector)``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import runtime
from runtime.errors import EngineError, MissingPackageError, ZooError
from runtime.terminal import tell

LIBRARY = "libzoo_detector.so"
HERE = Path(__file__).parent
#: What goes beside the library, as it is.
COMPANIONS = ("zoo_detector.h", "zoo_detector.hpp", "ZooDetectorConfig.cmake")

#: What C asks of Python and Python of C. The codes' values come from the header.
DECLARATIONS = """
enum { ZOO_E_START, ZOO_E_DETECTOR, ZOO_E_ENGINE, ZOO_E_FRAMES, ZOO_E_BUFFER,
       ZOO_E_UNSUPPORTED, ZOO_E_INTERNAL, ... };
void zoo_set_error(const char *text);
void zoo_start_failed(const char *text);
extern "Python" {
    int zoo_python_open(const char *, const char *, uint32_t, uint32_t, uint64_t *);
    int zoo_python_format(uint64_t, uint32_t *, uint32_t *, double *);
    int zoo_python_info(uint64_t, char *, size_t, size_t *);
    int zoo_python_score(uint64_t, const uint8_t *, size_t, size_t, float *, float *);
    int zoo_python_score_device(uint64_t, const void *, size_t, size_t, void *, float *,
                                float *);
    int zoo_python_close(uint64_t);
}
"""

#: The first Python that runs in the library. An error here would otherwise only be printed.
FIRST_LINES = """
from _zoo_detector import ffi, lib
try:
    from runtime.capi.embedded import attach
    attach(ffi, lib)
except BaseException as error:
    lib.zoo_start_failed(
        (
            "the Python inside libzoo_detector.so could not load the runtime\\n"
            f"{type(error).__name__}: {error}\\n"
            "set ZOO_PYTHONPATH to where the project and its packages are"
        ).encode("utf-8", "replace")
    )
"""


def build(out: str | os.PathLike[str]) -> Path:
    """Compile the library and lay it, its headers and its CMake file in a folder.

    Args:
        out: the folder, made where it is missing. Files of an earlier build are replaced.

    Returns:
        path of the library. It is tied to this interpreter, whose environment and whose
        copy of the project it uses; see ``zoo_detector.h`` for how to point it elsewhere.

    Raises:
        MissingPackageError: cffi or setuptools is not installed.
        EngineError: there is no shared libpython to link.
        ZooError: the compiler failed or is missing; the message holds what it said.
    """
    try:
        import cffi
        import setuptools  # noqa: F401  (cffi compiles with it)
    except ImportError as error:
        raise MissingPackageError(error.name or "cffi", "building the C library", "capi") from None
    folder = _libpython_folder()
    ffi = cffi.FFI()
    ffi.cdef(DECLARATIONS)
    ffi.embedding_init_code(FIRST_LINES)
    ffi.set_source(
        "_zoo_detector",
        _baked() + (HERE / "zoo_detector.c").read_text(encoding="utf-8"),
        include_dirs=[str(HERE)],
        library_dirs=[folder],
        runtime_library_dirs=[folder],
        libraries=["dl", "pthread"],
        extra_compile_args=["-std=gnu11", "-O2", "-fvisibility=hidden", "-Wall"],
        # Without a SONAME a program would remember the path it was linked with.
        extra_link_args=[f"-Wl,-soname,{LIBRARY}", "-Wl,-z,defs"],
    )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    # In the folder itself, so that the files can be renamed into place.
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as work:
        made = _compile(ffi, work)
        for name in COMPANIONS:
            shutil.copyfile(HERE / name, Path(work, name))
            Path(work, name).replace(out / name)
        Path(made).replace(out / LIBRARY)
    return out / LIBRARY


def _baked() -> str:
    """Where the library will find its interpreter and the project, as lines of C."""
    project = str(Path(runtime.__file__).parents[1])
    # In front of sys.path, site-packages would hide modules of the standard library.
    installed = project in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    facts = {"ZOO_PYTHON": sys.executable, "ZOO_PROJECT": "" if installed else project}
    # JSON's escapes of a path are C's, as long as all else stays UTF-8.
    lines = [f"#define {name} {json.dumps(v, ensure_ascii=False)}\n" for name, v in facts.items()]
    return "".join(lines)


def _libpython_folder() -> str:
    """Folder of the shared libpython of this interpreter."""
    folder = sysconfig.get_config_var("LIBDIR") or ""
    name = sysconfig.get_config_var("LDLIBRARY") or ""
    # Debian keeps it in a folder of the machine's own.
    machine = sysconfig.get_config_var("MULTIARCH") or ""
    for place in (Path(folder), Path(folder, machine)):
        if ".so" in name and (place / name).is_file():
            return str(place)
    raise EngineError(
        f"{sys.executable} has no shared libpython",
        f"a C library can only embed one; '{name}' in '{folder}' is none",
        "install it (Debian: libpython3-dev), or use a Python built with --enable-shared",
    )


def _compile(ffi: Any, work: str) -> str:
    """Compile quietly; what the compiler says is part of the error if it fails.

    The compiler is another process: its words come through the file descriptors, not
    through ``sys.stderr``.
    """
    with tempfile.TemporaryFile() as said:
        streams = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in streams:
                os.dup2(said.fileno(), number)
            with contextlib.redirect_stdout(io.StringIO()):
                return str(ffi.compile(tmpdir=work, target=LIBRARY))
        except Exception as error:  # setuptools' and cffi's errors share no base class
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            raise ZooError(
                f"{LIBRARY} could not be compiled",
                f"{error}\n{text}".strip(),
                "a C compiler and Python's headers are needed (Debian: gcc, python3-dev)",
            ) from None
        finally:
            for number, copy in streams.items():
                os.dup2(copy, number)
                os.close(copy)


def main() -> int:
    """``python -m runtime.capi.build``: print the library's path; 2 where it failed."""
    parser = argparse.ArgumentParser(prog="python -m runtime.capi.build", description=__doc__)
    parser.add_argument("--out", required=True, help="folder for the library and its headers")
    try:
        tell(build(parser.parse_args().out))
    except ZooError as error:
        tell(error, error=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
