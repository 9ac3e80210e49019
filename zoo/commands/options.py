"""Options that several commands have, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runtime.backend_names import BACKENDS, ON_CPU, RUNS, BackendName, choose_backend
from runtime.errors import EngineError

if TYPE_CHECKING:
    from runtime.faces import FaceFinder

_Command = TypeVar("_Command", bound=Callable[..., Any])

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
ENGINE = click.option(
    "--engine", "-e", required=True, type=click.Path(path_type=Path), help="A .onnx or .plan."
)


def several_engines(help_: str) -> Callable[[_Command], _Command]:
    """``--engine``, which may be repeated, as ``engines``."""
    return click.option(
        "--engine",
        "-e",
        "engines",
        required=True,
        multiple=True,
        type=click.Path(path_type=Path),
        help=help_,
    )


def runs_on(command: _Command) -> _Command:
    """``--backend`` and ``--device``: what runs the engine, and on which GPU.

    The device is ``None`` where none was named; see `find_device`.
    """
    backend = click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        default="auto",
        show_default=True,
        help="What runs the engine: a .onnx on the CPU, a .plan by TensorRT, or as named.",
    )
    device = click.option(
        "--device", type=click.IntRange(min=0), metavar="INDEX", help="GPU, as CUDA counts [0]."
    )
    return backend(device(command))


def find_device(engines: Sequence[Path], backend: BackendName, device: int | None) -> int:
    """The index of the GPU for ``--device``.

    Args:
        engines: that are going to be opened; files are not looked at.
        backend: of ``--backend``.
        device: as given; ``None`` is GPU 0.

    Raises:
        EngineError: a GPU is named, and none of the engines runs on one; or a backend is
            named that does not run one of them.
    """
    chosen = [choose_backend(path, backend) for path in engines if path.suffix in RUNS]
    if device is None:
        return 0
    if chosen and all(name == ON_CPU for name in chosen):
        named = ", ".join(map(str, engines))
        others = ", ".join(name for name in RUNS[".onnx"] if name != ON_CPU)
        raise EngineError(
            f"--device {device} is a GPU, and {named} would not run on it",
            f"backend '{ON_CPU}' uses the CPU",
            f"leave --device out, or name a --backend that uses a GPU: {others}",
        )
    return device


def open_finder(name: str) -> FaceFinder:
    """A face finder, its files found, fetched or made."""
    if name == "mtcnn":
        from export.mtcnn import mtcnn_folder
        from runtime.faces import Mtcnn

        return Mtcnn(mtcnn_folder())
    from runtime.faces import YuNet
    from weights.store import locate

    return YuNet(locate("face_detection_yunet_2023mar.onnx").path)
