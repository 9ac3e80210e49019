"""TensorRT's running half without a GPU, as strict as its documentation.

An engine here computes `logits` in NumPy, in two steps through the scratch memory it was
given, from and to the addresses it was given. `tests/test_tensorrt_fake.py` checks names and
arguments of all its classes against NVIDIA's bindings.
"""

from __future__ import annotations

import json
import weakref
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np

from fakes.cuda import FakeCuda

#: Bytes of scratch memory that an image takes.
SCRATCH = 512
WEIGHTS = 4096


def logits(frames: np.ndarray) -> np.ndarray:
    """The network: float32 [N] of uint8 [N, H, W, 3]. No two frames score the same."""
    pixels = frames.reshape(len(frames), -1).astype(np.float64)
    ramp = np.sin(np.arange(pixels.shape[1]) + 1.0)
    return (pixels @ ramp / 400).astype(np.float32)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)


def make_plan(height: int, width: int, profile: tuple[int, int, int]) -> bytes:
    """What `Runtime.deserialize_cuda_engine` here takes for a plan."""
    return json.dumps({"height": height, "width": width, "profile": profile}).encode()


def make_module(cuda: FakeCuda, version: str, *, rtx: bool) -> Any:
    """A module ``tensorrt`` or ``tensorrt_rtx`` that runs on a fake device."""
    return SimpleNamespace(__version__=version, **classes(cuda, rtx=rtx))


def classes(cuda: FakeCuda, *, rtx: bool) -> dict[str, type]:
    """The classes of the module by name."""
    DataType = Enum("DataType", ["FLOAT", "HALF", "UINT8"])  # noqa: N806
    TensorIOMode = Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])  # noqa: N806
    strategies = ["STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED"]
    Strategy = Enum("ExecutionContextAllocationStrategy", strategies)  # noqa: N806
    EngineStat = Enum("EngineStat", ["TOTAL_WEIGHTS_SIZE"])  # noqa: N806
    GraphStrategy = Enum("CudaGraphStrategy", ["DISABLED", "WHOLE_GRAPH_CAPTURE"])  # noqa: N806

    class Logger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class ILogger:
        def __init__(self) -> None:
            pass

        def log(self, severity: object, msg: str) -> None:
            raise NotImplementedError

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            assert cuda.current(), "the device is not current"
            try:
                told = json.loads(serialized_engine)
            except ValueError:
                self.logger.log(Logger.ERROR, "Serialization assertion magicTag failed")
                return None
            if cuda.free < WEIGHTS:
                self.logger.log(Logger.ERROR, "OutOfMemory: no space for weights")
                return None
            return ICudaEngine(self.logger, told)

    class IRuntimeConfig:
        def __init__(self) -> None:
            self._strategy = Strategy.STATIC
            self._cache: Any = None
            if rtx:
                self.cuda_graph_strategy = GraphStrategy.DISABLED

        def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
            self._strategy = strategy

        if rtx:

            def create_runtime_cache(self) -> IRuntimeCache:
                return IRuntimeCache()

            def set_runtime_cache(self, cache: IRuntimeCache) -> None:
                self._cache = cache

    class IRuntimeCache:
        def __init__(self) -> None:
            self._kernels: set[int] = set()
            self._compiled = 0

        def serialize(self) -> bytes:
            return b"kernels " + json.dumps(sorted(self._kernels)).encode()

        def deserialize(self, blob: bytes) -> bool:
            if not blob.startswith(b"kernels "):
                return False
            self._kernels = set(json.loads(blob[8:]))
            return True

    class ICudaEngine:
        device_memory_size_v2 = 0

        def __init__(self, logger: ILogger, told: dict[str, Any]) -> None:
            self._logger = logger
            self._frame = (told["height"], told["width"], 3)
            self._profile = told["profile"]
            self.device_memory_size_v2 = SCRATCH * self._profile[2]
            _take(cuda, self, WEIGHTS)

        @property
        def num_io_tensors(self) -> int:
            return 3

        def get_tensor_name(self, index: int) -> str:
            return ("frames", "logit", "fake")[index]

        def get_tensor_dtype(self, name: str) -> Any:
            return DataType.UINT8 if name == "frames" else DataType.FLOAT

        def get_tensor_mode(self, name: str) -> Any:
            return TensorIOMode.INPUT if name == "frames" else TensorIOMode.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return (-1, *self._frame) if name == "frames" else (-1,)

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
            return [(size, *self._frame) for size in self._profile]

        def get_engine_stat(self, stat: Any) -> int:
            assert stat is EngineStat.TOTAL_WEIGHTS_SIZE
            return WEIGHTS

        def create_runtime_config(self) -> IRuntimeConfig:
            return IRuntimeConfig()

        def create_execution_context(
            self, runtime_config: IRuntimeConfig
        ) -> IExecutionContext | None:
            assert cuda.current(), "the device is not current"
            return IExecutionContext(self, runtime_config)

    class IExecutionContext:
        def __init__(self, engine: ICudaEngine, config: IRuntimeConfig) -> None:
            self._engine, self._config = engine, config
            self._count = 0
            self._settled = False  # whether an execution came after the last change of shape
            self._partitioned = False
            self._scratch = (0, 0)
            self._addresses: dict[str, int] = {}
            self._version = 0
            if config._strategy is not Strategy.USER_MANAGED:
                _take(cuda, self, engine.device_memory_size_v2)

        def _refuse(self, text: str) -> bool:
            self._engine._logger.log(Logger.ERROR, text)
            return False

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            low, _, high = self._engine._profile
            if name != "frames" or shape[1:] != self._engine._frame:
                return self._refuse(f"no input '{name}' of shape {shape}")
            if not low <= shape[0] <= high:
                return self._refuse(f"{shape[0]} does not satisfy the profile {low}..{high}")
            self._count, self._settled, self._partitioned = shape[0], False, False
            self._version += 1
            return True

        def update_device_memory_size_for_shapes(self) -> int:
            self._partitioned = True
            self._version += 1
            return SCRATCH * self._count

        def set_device_memory(self, memory: int, size: int) -> None:
            assert memory % 256 == 0
            assert cuda.is_on_device(memory, size)
            self._scratch = (memory, size)
            self._version += 1

        def set_tensor_address(self, name: str, memory: int) -> bool:
            if name not in ("frames", "logit", "fake"):
                return self._refuse(f"no tensor '{name}'")
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert cuda.current(), "the device is not current"
            count, frame = self._count, self._engine._frame
            if stream_handle in (0, 1, 2):
                cuda.fault("TensorRT waits for the device when run on a default stream")
            if count == 0 or set(self._addresses) != {"frames", "logit", "fake"}:
                return self._refuse("shape or address is missing")
            memory, size = self._scratch
            due = SCRATCH * count if self._partitioned else self._engine.device_memory_size_v2
            if size < due:
                return self._refuse(f"{size} bytes of scratch memory, {due} are due")
            sizes = {"frames": count * int(np.prod(frame)), "logit": 4 * count, "fake": 4 * count}
            for name, address in self._addresses.items():
                if address % 256 or not cuda.is_on_device(address, sizes[name]):
                    return self._refuse(f"'{name}' at {address:#x} is no device memory")
            captured = cuda.capturing(stream_handle)
            if captured and not self._settled:
                return self._refuse("cannot be captured before the first execution")
            self._settled = True
            where, version = dict(self._addresses), self._version
            if rtx and self._config._cache is not None:
                self._config._cache._kernels.add(count)

            def check() -> bool:
                lost = [n for n in where if not cuda.is_on_device(where[n], sizes[n])]
                if lost or not cuda.is_on_device(memory, size):
                    cuda.fault(f"the engine ran on memory that was freed: {lost}")
                    return False
                if captured and self._version != version:
                    cuda.fault("a graph ran whose context had been changed")
                return True

            def first() -> None:
                if check():
                    frames = cuda.bytes_at(where["frames"], sizes["frames"])
                    values = logits(frames.reshape(count, *frame))
                    cuda.bytes_at(memory, 4 * count)[:] = values.view(np.uint8)

            def second() -> None:
                if check():
                    values = cuda.bytes_at(memory, 4 * count).copy()
                    cuda.bytes_at(where["logit"], 4 * count)[:] = values
                    probabilities = sigmoid(values.view(np.float32)).view(np.uint8)
                    cuda.bytes_at(where["fake"], 4 * count)[:] = probabilities

            cuda.enqueue(stream_handle, first)
            cuda.enqueue(stream_handle, second)
            return True

    found: dict[str, Any] = {
        "DataType": DataType,
        "TensorIOMode": TensorIOMode,
        "ExecutionContextAllocationStrategy": Strategy,
        "EngineStat": EngineStat,
        "Logger": Logger,
        "ILogger": ILogger,
        "Runtime": Runtime,
        "IRuntimeConfig": IRuntimeConfig,
        "ICudaEngine": ICudaEngine,
        "IExecutionContext": IExecutionContext,
    }
    if rtx:
        found |= {"CudaGraphStrategy": GraphStrategy, "IRuntimeCache": IRuntimeCache}
    return found


def _take(cuda: FakeCuda, owner: object, size: int) -> None:
    """Device memory that goes with an object."""
    cuda.used += size
    weakref.finalize(owner, _give_back, cuda, size)


def _give_back(cuda: FakeCuda, size: int) -> None:
    cuda.used -= size
