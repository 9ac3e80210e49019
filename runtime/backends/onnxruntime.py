"""Engines in ONNX, run by ONNX Runtime on a CPU or, asked for by name, on a GPU."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backend_names import ON_CPU, BackendName
from runtime.backends.onnx_look import check_graph
from runtime.backends.shared_cores import Run, SharedCores, count_cores
from runtime.engine_file import EngineFile, take_engine
from runtime.engine_info import (
    FAKE_NAME,
    INPUT_NAME,
    LOGIT_NAME,
    METADATA_KEY,
    EngineInfo,
    sidecar_path,
)
from runtime.errors import EngineError, EngineRunError, MissingPackageError
from runtime.files import Snapshot
from runtime.inherited import never_free_in_children
from runtime.score_checks import Scores, check_shapes
from runtime.tensorrt_api import require_device
from runtime.text import printable

#: Images per call on a CPU. Activations of a larger batch leave the caches: on two cores
#: with little else to do, Meso4 takes 1.4 times as long in one call of 32 images as in
#: eight of 4, and four times the memory.
_SMALL_BATCH = 4

#: Weights beyond the caches are read anew in every call: such networks are given more images
#: at once (InceptionResnetV1 takes 5 % less time by image).
_LARGE_BYTES, _LARGE_BATCH = 16_000_000, 8

#: Images per call on a GPU, whose memory is taken by ONNX Runtime's arena and kept.
GPU_BATCH = 64

#: Bytes that a constant computed at opening may have, whatever the size of the file.
_LEAST_FOLDED = 1 << 20

#: ONNX Runtime's names of what runs the graph, and what it may hand nodes over to.
_PROVIDERS: dict[BackendName, tuple[str, ...]] = {
    "onnxruntime": ("CPUExecutionProvider",),
    "onnxruntime-cuda": ("CUDAExecutionProvider",),
    "onnxruntime-tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
_TITLES = {
    "CPUExecutionProvider": "CPU",
    "CUDAExecutionProvider": "CUDA",
    "TensorrtExecutionProvider": "TensorRT",
}


class OnnxRuntimeBackend:
    """See `runtime.backends.Backend`.

    Args:
        path: of the ``.onnx``.
        threads: CPU threads of one call.
        provider: ``onnxruntime`` for the CPU, ``onnxruntime-cuda`` or
            ``onnxruntime-tensorrt``.
        device: index of the GPU.

    Raises:
        EngineError: see `runtime.backends.open_backend`; or the provider did not load.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        provider: BackendName = ON_CPU,
        device: int = 0,
    ) -> None:
        wanted = _PROVIDERS[provider]
        on_gpu = provider != ON_CPU
        if on_gpu:
            _check_device(path, provider, device)
        try:
            import onnxruntime as ort
        except ImportError:
            raise MissingPackageError("onnxruntime", f"running {path.name}", "dev") from None
        built_in = ort.get_available_providers()
        if wanted[0] not in built_in:
            raise EngineError(
                f"{path} cannot be run by '{provider}'",
                f"ONNX Runtime {ort.__version__} as installed has {', '.join(built_in)}",
                f"pip install onnxruntime-gpu in its place, or name '{ON_CPU}': the CPU",
            )
        file = take_engine(path)
        # All is opened from the bytes that were hashed; once it is, they are of no more use.
        with file.content as content:
            check_graph(content)
            session = _open_session(content, provider, device, threads)
            metadata = _face_of(path, session)
            self.info = file.info or _info(file, metadata)
            _check_frame_size(path, session, self.info)
            self.title = f"ONNX Runtime {ort.__version__} ({_TITLES[wanted[0]]})"
            small = content.size <= _LARGE_BYTES
            self.max_batch = GPU_BATCH if on_gpu else _SMALL_BATCH if small else _LARGE_BATCH
            self._run = partial(_run, path, session)
            self._cores: SharedCores | None = None
            if not on_gpu:
                self._cores = _share_cores(content, self._run, threads, small=small)

    def infer(self, frames: NDArray[np.uint8]) -> Scores:
        """See `runtime.backends.Backend.infer`."""
        return self._run(frames) if self._cores is None else self._cores.run(frames)

    def infer_many(self, frames: NDArray[np.uint8]) -> Scores:
        """See `runtime.backends.Backend.infer_many`."""
        count = len(frames)
        logit, fake = np.empty((2, count), np.float32)
        for start in range(0, count, self.max_batch):
            part = slice(start, start + self.max_batch)
            # Here and not before: a copy of all frames may be beyond any memory.
            logit[part], fake[part] = self.infer(np.ascontiguousarray(frames[part]))
        return logit, fake

    def close(self) -> None:
        """Free the sessions."""
        if self._cores is not None:
            self._cores.close()
        del self._cores, self._run


def _run(path: Path, session: Any, frames: NDArray[np.uint8]) -> Scores:
    try:
        logit, fake = session.run([LOGIT_NAME, FAKE_NAME], {INPUT_NAME: frames})
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise EngineRunError(
            f"{printable(path)} failed while it ran on {len(frames)} images",
            _first_line(error),
            f"zoo verify {printable(path)}",
        ) from None
    check_shapes(path, len(frames), logit, fake)
    return logit, fake


def _run_each(path: Path, session: Any, frames: NDArray[np.uint8]) -> Scores:
    """Image by image: what one core works on then stays in its own cache."""
    scores = [_run(path, session, frames[index : index + 1]) for index in range(len(frames))]
    logit, fake = zip(*scores, strict=True)
    return np.concatenate(logit), np.concatenate(fake)


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])


def _share_cores(content: Snapshot, run: Run, threads: int | None, *, small: bool) -> SharedCores:
    """How calls that come at once get along; `SharedCores` says why.

    For a small network two threads with a core each judge 1.1 times the images that one
    thread with both cores does. A large one reads its weights for every call: there it is
    best that as few calls as fill the cores do so at once.
    """
    cores = count_cores()
    if threads is None and small and cores > 1:
        one_core = _open_session(content, ON_CPU, 0, 1)
        few = max(1, cores // 2)
        run_each = partial(_run_each, content.path, one_core)
        return SharedCores(run, run_each, few=few, workers=cores)
    # A small batch leaves some of many cores idle, even with threads on all of them.
    at_once = max(1, cores // (threads or 4))
    return SharedCores(run, run, few=at_once, workers=at_once)


def _open_session(
    content: Snapshot, provider: BackendName, device: int, threads: int | None
) -> Any:
    import onnxruntime as ort

    path = printable(content.path)
    options = ort.SessionOptions()
    # Its errors are raised as well; its log would show the names of nodes as they are.
    options.log_severity_level = 4
    # Of what belongs to no session: there a GPU's provider says which library it lacks.
    ort.set_default_logger_severity(4 if provider == ON_CPU else 3)
    # Constants are computed as the file is opened, and may be of any size: those of ours grow
    # from FP16 to FP32.
    options.add_session_config_entry(
        "optimization.constant_folding_max_output_size_in_bytes",
        str(_LEAST_FOLDED + 2 * content.size),
    )
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(
            content.name,
            options,
            providers=providers(provider, device),
            enable_fallback=0,  # of what was asked for, to another provider
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise EngineError(
            f"{path} cannot be loaded by ONNX Runtime",
            _first_line(error).replace(content.name, path),
            "export it again: zoo export NAME",
        ) from None
    # Also of a file that is refused next, whose session the garbage collector may find there.
    never_free_in_children(session)
    # A provider that cannot load is left out with a line in the log.
    wanted = _PROVIDERS[provider][0]
    if wanted not in session.get_providers():
        raise EngineError(
            f"ONNX Runtime cannot run {path} by {wanted}",
            f"it would use {', '.join(session.get_providers())} instead; its log above "
            "says which library it lacks",
            "install the CUDA libraries that this version of onnxruntime-gpu wants",
        )
    return session


def providers(backend: BackendName, device: int = 0) -> list[tuple[str, dict[str, Any]]]:
    """What ``InferenceSession`` is to be given for a backend, options included.

    TF32, which ONNX Runtime takes for FP32 where a GPU has it, is switched off on CUDA: an
    FP32 engine stays one. Its TensorRT provider has no such option; there the environment
    variable ``NVIDIA_TF32_OVERRIDE=0`` does it, set before the process first uses CUDA.

    Args:
        backend: one that runs a ``.onnx``.
        device: index of the GPU.
    """
    options: dict[str, dict[str, Any]] = {
        "CPUExecutionProvider": {},
        "CUDAExecutionProvider": {"device_id": device, "use_tf32": 0},
        "TensorrtExecutionProvider": {"device_id": device},
    }
    return [(name, options[name]) for name in _PROVIDERS[backend]]


def _check_device(path: Path, provider: BackendName, device: int) -> None:
    """Refuse a GPU that is not there, before ONNX Runtime would turn to the CPU."""
    instead = f"backend '{ON_CPU}' runs it on this machine's CPU"
    driver = require_device(f"running {path} by {provider}", instead)
    if device not in [found.index for found in driver.devices]:
        there = ", ".join(f"{found.index} ({found.name})" for found in driver.devices)
        raise EngineError(f"there is no GPU {device} for {path}", f"there is {there}", instead)


def _info(file: EngineFile, metadata: str | None) -> EngineInfo:
    """What a file says of itself.

    A sidecar that does not name the file is of another export, and its word about how
    images become frames may be wrong for this one.
    """
    path = printable(file.path)
    if metadata is not None:
        return EngineInfo.from_json(metadata, f"the metadata of {path}")
    beside = printable(sidecar_path(file.path).name)
    if file.sidecar is None:
        beside += " is not there"
    else:
        named = ", ".join(printable(name) for name in file.sidecar.artefacts)
        beside += f" speaks of {named or 'no engine'} alone"
    raise EngineError(
        f"{path} does not say how images become frames",
        f"it has no metadata '{METADATA_KEY}', and {beside}",
        "export it again: zoo export NAME",
    )


def _check_frame_size(path: Path, session: Any, info: EngineInfo) -> None:
    """Refuse preprocessing that makes other frames than the graph takes."""
    (frames,) = session.get_inputs()
    due = [info.preprocessing.height, info.preprocessing.width, 3]
    if frames.shape[1:] != due:
        raise EngineError(
            f"{path} and what is known of it do not fit together",
            f"the graph takes frames {frames.shape[1:]}, its preprocessing makes {due}",
            f"export it again: zoo export {info.network}",
        )


def _face_of(path: Path, session: Any) -> str | None:
    """The sidecar in the metadata of a graph that keeps the contract."""
    try:
        _check_contract(path, session)
        metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise EngineError(
            f"{printable(path)} has names or metadata that are not UTF-8",
            str(error),
            "export it again: zoo export NAME",
        ) from None
    return metadata.get(METADATA_KEY)


def _check_contract(path: Path, session: Any) -> None:
    """Refuse a graph whose face is not the engine contract."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    face = {v.name: (v.type, v.shape) for v in [*inputs, *outputs]}
    due = {
        INPUT_NAME: ("tensor(uint8)", 4),
        LOGIT_NAME: ("tensor(float)", 1),
        FAKE_NAME: ("tensor(float)", 1),
    }
    wrong = [
        f"'{name}' is due as {kind} with {rank} axes"
        for name, (kind, rank) in due.items()
        if name not in face or face[name][0] != kind or len(face[name][1]) != rank
    ]
    extra = len(inputs) != 1 or len(outputs) != 2
    if not wrong and not extra and isinstance(face[INPUT_NAME][1][0], int):
        wrong = [f"the batch axis is fixed at {face[INPUT_NAME][1][0]}, not dynamic"]
    if wrong or extra:
        has = ", ".join(f"'{n}' {k}{s}" for n, (k, s) in face.items())
        raise EngineError(
            f"{path} does not keep the engine contract",
            f"{'; '.join(wrong) or 'it has more inputs or outputs'}. It has {has}",
            "give a file that zoo export made",
        )
