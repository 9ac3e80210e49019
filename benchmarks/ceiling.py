"""What this machine can do at most: a copy and a matrix product, measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np

from benchmarks.environment import seeing_gpu
from runtime.backends.shared_cores import count_cores
from runtime.terminal import tell

_COPY_BYTES = 256 << 20
_SIDE = {"cpu": 1536, "cuda": 8192}
_SECONDS = 1.5


@dataclass(frozen=True)
class Ceiling:
    """The best of many tries; ``None`` where it could not be measured.

    Attributes:
        bytes_per_s: of a large copy, read and written bytes together.
        operations_per_s: of a large matrix product; two for a multiplication with its
            addition.
        copy, product: what was measured, for people.
    """

    bytes_per_s: float | None
    operations_per_s: float | None
    copy: str
    product: str


def measure_ceiling(
    device: Literal["cpu", "cuda"], half: bool, threads: int | None, gpu: int = 0
) -> Ceiling:
    """Measure in a process of its own, whose threads are gone afterwards.

    Args:
        device: of what kind.
        half: take float16 for the product, on a GPU.
        threads: of the CPU; all of its cores by default.
        gpu: index of the GPU.
    """
    request = json.dumps([device, half, threads])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ceiling", request],
        capture_output=True,
        text=True,
        check=False,
        env=seeing_gpu(gpu),
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or ["no word of why"]
        return Ceiling(None, None, f"not measured: {words[0]}", f"not measured: {words[0]}")
    return Ceiling(**json.loads(done.stdout.splitlines()[-1]))


def _best(call: Callable[[], object]) -> float:
    """The shortest time of one call."""
    call()
    best, start = float("inf"), perf_counter()
    while perf_counter() - start < _SECONDS:
        call_start = perf_counter()
        call()
        best = min(best, perf_counter() - call_start)
    return best


def _cpu(threads: int | None) -> Ceiling:
    import onnxruntime as ort
    from onnx import TensorProto, helper

    workers = threads or count_cores()
    size = _COPY_BYTES // workers
    pairs = [(np.ones(size, np.uint8), np.empty(size, np.uint8)) for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        seconds = _best(lambda: list(pool.map(lambda p: np.copyto(p[1], p[0]), pairs)))
    copied = 2 * size * workers / seconds
    # The product by ONNX Runtime, whose kernels are what engines on a CPU run.
    side = _SIDE["cpu"]
    shape = [side, side]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "abc"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "product", values[:2], values[2:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    factors = np.random.default_rng(0).random((2, side, side), np.float32)
    seconds = _best(lambda: session.run(None, {"a": factors[0], "b": factors[1]}))
    return Ceiling(
        copied,
        2 * side**3 / seconds,
        f"copy of {_COPY_BYTES >> 20} MiB, {workers} threads",
        f"product of {side} x {side} float32 matrices, ONNX Runtime",
    )


def _cuda(half: bool) -> Ceiling:
    from runtime.cuda import Device, DeviceBuffer, Stream, copy_on_device

    device = Device(0)
    source, target = (DeviceBuffer(device, 4 * _COPY_BYTES, "a copy") for _ in range(2))
    stream = Stream(device)

    def copy() -> None:
        copy_on_device(target.handle, source.handle, source.size, stream.handle)
        stream.synchronize()

    with device.current():
        copied = 2 * source.size / _best(copy)
    name = f"copy of {source.size >> 20} MiB on the device"
    for buffer in (source, target):
        buffer.close()
    try:
        import torch
    except ImportError:
        return Ceiling(copied, None, name, "not measured: torch is not installed")
    if not torch.cuda.is_available():
        return Ceiling(copied, None, name, "not measured: this torch sees no GPU")
    side, kind = _SIDE["cuda"], torch.float16 if half else torch.float32
    a, b = (torch.randn(side, side, device="cuda", dtype=kind) for _ in range(2))

    def product() -> Any:
        torch.matmul(a, b)
        return torch.cuda.synchronize()

    rate = 2 * side**3 / _best(product)
    words = f"product of {side} x {side} {'float16' if half else 'float32'} matrices, torch"
    return Ceiling(copied, rate, name, words)


def main() -> None:
    """``python -m benchmarks.ceiling [DEVICE, HALF, THREADS]``."""
    device, half, threads = json.loads(sys.argv[1])
    found = _cuda(half) if device == "cuda" else _cpu(threads)
    tell(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
