"""TensorRT and TensorRT-RTX behind one face: the only module that imports either.

What differs between the flavours is settled here, inside an
``if ... flavour is Flavour.X`` wherever a name exists in one of them alone; the tests
read this file's source, resolve every attribute on a TensorRT object through the
annotations below, and look it up in NVIDIA's own bindings of each supported version.
So a variable that holds a TensorRT object is always annotated.

What TensorRT-RTX does differently (1.7, tried without a GPU): it builds without a driver;
its networks are always strongly typed; it reports progress and can be stopped like
TensorRT; its timing cache does nothing and warns of being deprecated, for it compiles its
kernels when the plan is run and keeps those in a runtime cache.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from runtime.build_progress import PhaseTracker, Progress
from runtime.cuda_driver import Driver, query_driver
from runtime.errors import EngineError, EngineRunError, ExportError, MissingPackageError, ZooError
from runtime.message_log import MessageLog
from runtime.tensorrt_types import (
    Availability,
    Built,
    Flavour,
    LayerInfo,
    RtxOptions,
    Shape,
    TensorInfo,
)

if TYPE_CHECKING:
    from tensorrt import (
        Builder,
        DataType,
        IBuilderConfig,
        ICudaEngine,
        IExecutionContext,
        IHostMemory,
        ILayer,
        ILogger,
        INetworkDefinition,
        IOptimizationProfile,
        IProgressMonitor,
        IRuntimeConfig,
        ITensor,
        ITimingCache,
        LayerType,
        OnnxParser,
        ParserError,
        Runtime,
        TensorIOMode,
    )
    from tensorrt_rtx import ComputeCapability, IRuntimeCache

__all__ = [
    "Api",
    "Availability",
    "Built",
    "Context",
    "Engine",
    "Flavour",
    "LayerInfo",
    "ParsedNetwork",
    "RtxOptions",
    "Shape",
    "TensorInfo",
    "available",
    "load",
    "require_device",
]

_TITLE = {Flavour.TENSORRT: "TensorRT", Flavour.TENSORRT_RTX: "TensorRT-RTX"}
_PACKAGE = {Flavour.TENSORRT: "tensorrt-cu13", Flavour.TENSORRT_RTX: "tensorrt-rtx-cu13"}
_EXTRA = {Flavour.TENSORRT: "tensorrt", Flavour.TENSORRT_RTX: "rtx"}
_OLDEST = {Flavour.TENSORRT: (10, 16), Flavour.TENSORRT_RTX: (1, 4)}


def available() -> tuple[Availability, ...]:
    """Try to import each flavour, and say which can be used and why the others can't."""
    found = []
    for flavour in Flavour:
        try:
            found.append(Availability(flavour, load(flavour).version, ""))
        except ZooError as error:
            found.append(Availability(flavour, None, error.why or error.what))
    return tuple(found)


@functools.cache
def load(flavour: Flavour) -> Api:
    """Import a flavour. It is imported once in a process; needs no GPU.

    Raises:
        MissingPackageError: it is not installed.
        EngineError: it is installed, but its libraries do not load or it is too old.
    """
    title = _TITLE[flavour]
    again = f"pip install --upgrade '{_PACKAGE[flavour]}'"
    try:
        trt = importlib.import_module(flavour.value)
    except ModuleNotFoundError as error:
        if error.name == flavour.value:
            raise MissingPackageError(_PACKAGE[flavour], title, _EXTRA[flavour]) from None
        raise EngineError(f"{title} is installed but does not load", str(error), again) from error
    except (ImportError, OSError) as error:
        raise EngineError(f"{title} is installed but does not load", str(error), again) from error
    api = Api(flavour, trt)
    oldest = _OLDEST[flavour]
    if tuple(int(part) for part in api.version.split(".")[:2]) < oldest:
        raise EngineError(
            f"{title} {api.version} is too old", f"{oldest[0]}.{oldest[1]} is the oldest", again
        )
    return api


def require_device(purpose: str, todo: str) -> Driver:
    """The driver, if it has a GPU.

    TensorRT must not be asked without one: it fails with a null pointer and no reason.

    Raises:
        EngineError: saying that ``purpose`` needs a GPU, and the driver's reason.
    """
    driver = query_driver()
    if not driver.devices:
        raise EngineError(f"{purpose} needs an NVIDIA GPU", driver.reason, todo)
    return driver


class Api:
    """One flavour, loaded.

    Attributes:
        flavour: which.
        version: of the library, as ``11.4.0.106``. A plan is tied to it.
        title: with the version, for people.
    """

    def __init__(self, flavour: Flavour, trt: ModuleType) -> None:
        self.flavour = flavour
        self.version: str = trt.__version__
        self.title = f"{_TITLE[flavour]} {self.version}"
        self.trt: ModuleType = trt
        self.log: MessageLog = MessageLog()
        # TensorRT keeps one logger for the process: one is made, and outlives all else.
        self.logger: ILogger = _make_logger(trt, self.log)

    def parse(self, onnx_path: Path) -> ParsedNetwork:
        """Read an ONNX file into a strongly typed network: every type is the graph's own.

        Raises:
            EngineError: the flavour is TensorRT and this machine has no GPU.
            ExportError: the parser refused the graph; its words are in the error.
        """
        if self.flavour is Flavour.TENSORRT:
            require_device(f"building with {self.title}", "use --builder tensorrt_rtx")
        trt: ModuleType = self.trt
        self.log.clear()
        builder: Builder = trt.Builder(self.logger)
        # Always so in TensorRT 11 and TensorRT-RTX, and to be asked for in 10.
        strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network: INetworkDefinition = builder.create_network(strongly_typed)
        parser: OnnxParser = trt.OnnxParser(network, self.logger)
        # A file that is no ONNX may be taken for one with nothing inside.
        if not parser.parse_from_file(str(onnx_path)) or network.num_layers == 0:
            errors = []
            for index in range(parser.num_errors):
                error: ParserError = parser.get_error(index)
                where = f"node '{error.node_name()}' ({error.node_operator()}): "
                errors.append((where if error.node_name() else "") + error.desc())
            words = MessageLog.without_noise("\n".join(errors)) or self.log.errors()
            words = words or "it has no layers"
            raise ExportError(
                f"{self.title} cannot read {onnx_path}", words, "zoo export NAME makes a new one"
            )
        return ParsedNetwork(self, builder, network, parser)

    def deserialize(self, plan: bytes, rtx: RtxOptions | None = None) -> Engine:
        """Load a plan onto the calling thread's current CUDA device.

        Raises:
            EngineError: no GPU, or the plan is damaged, of another version, for another
                GPU, or too large for its memory; with TensorRT's words.
        """
        require_device("running a plan", "use the .onnx beside it, which runs on any machine")
        trt: ModuleType = self.trt
        self.log.clear()
        runtime: Runtime = trt.Runtime(self.logger)
        engine: ICudaEngine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(
                f"{self.title} cannot load the plan",
                self.log.errors() or "it gave no reason",
                "build it again on this machine: zoo export NAME --fp16",
            )
        return Engine(self, runtime, engine, rtx or RtxOptions())


class ParsedNetwork:
    """A network that can be looked at and built (once)."""

    def __init__(
        self, api: Api, builder: Builder, network: INetworkDefinition, parser: OnnxParser
    ) -> None:
        self._api: Api = api
        self._builder: Builder = builder
        self._network: INetworkDefinition = network
        self._parser = parser  # owns the weights until the plan is built

    def tensors(self) -> tuple[TensorInfo, ...]:
        """The network's inputs, then its outputs."""
        found = []
        for index in range(self._network.num_inputs):
            found.append(_tensor_info(self._network.get_input(index), True))
        for index in range(self._network.num_outputs):
            found.append(_tensor_info(self._network.get_output(index), False))
        return tuple(found)

    def layers(self) -> tuple[LayerInfo, ...]:
        """Every layer, in the order of the graph."""
        return tuple(
            _layer_info(self._network.get_layer(index)) for index in range(self._network.num_layers)
        )

    def build(
        self,
        profile_shapes: Mapping[str, tuple[Shape, Shape, Shape]],
        *,
        workspace: int | None = None,
        targets: Sequence[str] = (),
        timing_cache: bytes | None = None,
        progress: Progress | None = None,
    ) -> Built:
        """Build and serialise.

        Args:
            profile_shapes: input name to its (minimum, optimum, maximum) shape.
            workspace: most bytes of scratch memory a layer may use; ``None`` leaves it to
                TensorRT (all of the GPU).
            targets: compute capabilities to build for, as ``8.9`` (TensorRT-RTX only;
                empty means its default, 8.0 and later). TensorRT builds for the current
                device.
            timing_cache: measurements of an earlier build, ``b""`` to start some, ``None``
                for none. One of another version or GPU is replaced. TensorRT-RTX measures
                nothing and does not look at it.
            progress: see `Progress`.

        Raises:
            ExportError: the profile, a target or the network was refused.
        """
        api: Api = self._api
        trt: ModuleType = api.trt
        api.log.clear()
        config: IBuilderConfig = self._builder.create_builder_config()
        # What stays FP32 in a graph stays so for its accuracy, which TF32 would undo.
        config.clear_flag(trt.BuilderFlag.TF32)
        if workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        self._add_profile(config, profile_shapes)
        _set_targets(api, config, targets)
        if api.flavour is Flavour.TENSORRT and timing_cache is not None:
            cache: ITimingCache = config.create_timing_cache(timing_cache)
            if cache is None or not config.set_timing_cache(cache, False):
                cache = config.create_timing_cache(b"")
                config.set_timing_cache(cache, False)
        # There is always a monitor, for Ctrl-C can only be heard while Python is called.
        tracker: PhaseTracker = PhaseTracker(progress or (lambda fraction, phase: None))
        monitor: IProgressMonitor = _make_monitor(trt, tracker, api.log)
        config.progress_monitor = monitor
        plan: IHostMemory = self._builder.build_serialized_network(self._network, config)
        if interruption := tracker.error or api.log.interruption:
            raise interruption
        if plan is None:
            words = api.log.errors() or "it gave no reason"
            raise ExportError(f"{api.title} cannot build the network", words)
        kept: bytes | None = None
        if api.flavour is Flavour.TENSORRT and timing_cache is not None:
            used: ITimingCache = config.get_timing_cache()
            kept = bytes(used.serialize())
        return Built(bytes(plan), kept)

    def _add_profile(
        self, config: IBuilderConfig, shapes: Mapping[str, tuple[Shape, Shape, Shape]]
    ) -> None:
        profile: IOptimizationProfile = self._builder.create_optimization_profile()
        try:
            for name, (minimum, optimum, maximum) in shapes.items():
                profile.set_shape(name, minimum, optimum, maximum)
            accepted = config.add_optimization_profile(profile) >= 0
        except ValueError as error:
            accepted, reason = False, str(error)
        else:
            reason = self._api.log.errors()
        if not accepted:
            raise ExportError(f"{self._api.title} refused the profile {dict(shapes)}", reason)


class Engine:
    """A plan on the device. Safe from several threads, unlike its contexts."""

    def __init__(
        self, api: Api, runtime: Runtime, engine: ICudaEngine, options: RtxOptions
    ) -> None:
        self._api: Api = api
        self._runtime = runtime  # must outlive the engine
        self._engine: ICudaEngine = engine
        trt: ModuleType = api.trt
        config: IRuntimeConfig = engine.create_runtime_config()
        # Scratch memory is given by whoever runs a context: as much as a batch needs, and
        # the same to contexts that never run at once.
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        self._config: IRuntimeConfig = config
        self._cache: IRuntimeCache | None = None
        #: Whether TensorRT-RTX took the runtime cache it was given (it refuses one of
        #: another version, driver or GPU, and goes on without).
        self.runtime_cache_used = False
        if api.flavour is Flavour.TENSORRT_RTX:
            cache: IRuntimeCache = config.create_runtime_cache()
            if options.runtime_cache:
                self.runtime_cache_used = bool(cache.deserialize(options.runtime_cache))
            config.set_runtime_cache(cache)
            if options.cuda_graphs:
                config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._cache = cache

    @property
    def weights_memory(self) -> int:
        """Bytes of device memory that the weights take."""
        trt: ModuleType = self._api.trt
        return int(self._engine.get_engine_stat(trt.EngineStat.TOTAL_WEIGHTS_SIZE))

    def tensors(self) -> tuple[TensorInfo, ...]:
        """Inputs and outputs of the engine."""
        trt: ModuleType = self._api.trt
        found = []
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            dtype: DataType = self._engine.get_tensor_dtype(name)
            mode: TensorIOMode = self._engine.get_tensor_mode(name)
            shape = tuple(self._engine.get_tensor_shape(name))
            found.append(TensorInfo(name, dtype.name, shape, mode == trt.TensorIOMode.INPUT))
        return tuple(found)

    def profile_shapes(self, name: str) -> tuple[Shape, Shape, Shape]:
        """(minimum, optimum, maximum) shape of an input in the one profile there is."""
        minimum, optimum, maximum = self._engine.get_tensor_profile_shape(name, 0)
        return tuple(minimum), tuple(optimum), tuple(maximum)

    def create_context(self) -> Context:
        """A context of its own for one thread at a time, without scratch memory.

        Raises:
            EngineError: TensorRT made none, most often for want of device memory.
        """
        self._api.log.clear()
        context: IExecutionContext = self._engine.create_execution_context(self._config)
        if context is None:
            raise EngineError(
                f"{self._api.title} made no execution context",
                self._api.log.errors() or "it gave no reason",
            )
        return Context(self._api, self._engine, context)

    def runtime_cache(self) -> bytes | None:
        """Kernels that TensorRT-RTX compiled so far; ``None`` for TensorRT."""
        if self._api.flavour is Flavour.TENSORRT_RTX and self._cache is not None:
            return bytes(self._cache.serialize())
        return None


class Context:
    """One execution at a time. Shapes, scratch and addresses are kept between executions."""

    def __init__(self, api: Api, engine: ICudaEngine, context: IExecutionContext) -> None:
        self._api: Api = api
        self._engine: ICudaEngine = engine
        self._context: IExecutionContext = context

    def set_input_shape(self, name: str, shape: Shape) -> None:
        """Shape of an input for the executions that follow.

        Raises:
            EngineError: outside the engine's profile.
        """
        if not self._context.set_input_shape(name, shape):
            raise self._refusal(f"the shape {shape} for '{name}'")

    def scratch_size(self) -> int:
        """Bytes of scratch memory that an execution with the present shapes needs.

        To be asked after each change of shape, which it completes.
        """
        enough_for_any = int(self._engine.device_memory_size_v2)
        if self._api.flavour is Flavour.TENSORRT_RTX:
            # It may change a shape's kernels while running.
            return enough_for_any
        # 0 may also mean that the question failed; and a context that was given no memory
        # is refused where the engine needs some for any of its shapes, if not for this one.
        return int(self._context.update_device_memory_size_for_shapes()) or enough_for_any

    def set_scratch(self, address: int, size: int) -> None:
        """Scratch memory for the executions that follow; it stays the caller's.

        Args:
            address: on the device, a multiple of 256.
            size: at least `scratch_size`.
        """
        self._context.set_device_memory(address, size)

    def set_tensor_address(self, name: str, address: int) -> None:
        """Device address of an input or output; its memory stays the caller's.

        Raises:
            EngineError: there is no such tensor.
        """
        if not self._context.set_tensor_address(name, address):
            raise self._refusal(f"the address {address:#x} for '{name}'")

    def execute(self, stream: int) -> None:
        """Enqueue on a CUDA stream (its handle) and return without waiting.

        Raises:
            EngineError: a shape or address is missing, or the launch failed.
        """
        if not self._context.execute_async_v3(stream):
            raise self._refusal("to execute")

    def _refusal(self, what: str) -> EngineRunError:
        return EngineRunError(
            f"{self._api.title} refused {what}", self._api.log.errors() or "it gave no reason"
        )


def _make_logger(trt: ModuleType, log: MessageLog) -> ILogger:
    """A logger of this flavour that writes into ``log``."""
    levels = {
        trt.Logger.INTERNAL_ERROR: "ERROR",
        trt.Logger.ERROR: "ERROR",
        trt.Logger.WARNING: "WARNING",
        trt.Logger.INFO: "INFO",
        trt.Logger.VERBOSE: "DEBUG",
    }

    class PythonLogger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 has no cooperative super()

        def log(self, severity: object, message: str) -> None:
            log.add(levels.get(severity, "DEBUG"), message)

    return PythonLogger()


def _make_monitor(trt: ModuleType, tracker: PhaseTracker, log: MessageLog) -> IProgressMonitor:
    """A progress monitor of this flavour that tells ``tracker``, and stops on an interrupt."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            tracker.start(phase, parent, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            return tracker.step(phase, step) and log.interruption is None

        def phase_finish(self, phase: str) -> None:
            tracker.finish(phase)

    return Monitor()


def _set_targets(api: Api, config: IBuilderConfig, targets: Sequence[str]) -> None:
    if not targets:
        return
    if api.flavour is Flavour.TENSORRT_RTX:
        known: dict[str, ComputeCapability] = api.trt.ComputeCapability.__members__
        names: list[str] = list(known)
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            member: ComputeCapability | None = known.get("SM" + target.replace(".", ""))
            if member is None or not config.set_compute_capability(member, index):
                listed = ", ".join(f"{n[2:-1]}.{n[-1]}" for n in names if n.startswith("SM"))
                raise ExportError(
                    f"{api.title} cannot build for compute capability '{target}'",
                    f"it can for {listed}",
                    "name one of these, or none for 8.0 and later",
                )
    else:
        raise ExportError(
            f"{api.title} builds for the GPU at hand only",
            f"the target {', '.join(targets)} was asked for",
            "use --builder tensorrt_rtx, or name no target",
        )


def _tensor_info(tensor: ITensor, is_input: bool) -> TensorInfo:
    dtype: DataType = tensor.dtype
    return TensorInfo(tensor.name, dtype.name, tuple(tensor.shape), is_input)


def _layer_info(layer: ILayer) -> LayerInfo:
    kind: LayerType = layer.type
    inputs = []
    for index in range(layer.num_inputs):
        tensor: ITensor = layer.get_input(index)
        if tensor is not None:  # an optional input that is not there
            inputs.append(tensor.name)
    types = []
    for index in range(layer.num_outputs):
        output: ITensor = layer.get_output(index)
        dtype: DataType = output.dtype
        types.append(dtype.name)
    return LayerInfo(layer.name, _onnx_node(layer.metadata), kind.name, tuple(inputs), tuple(types))


def _onnx_node(metadata: str) -> str:
    """The node's name out of the parser's ``[ONNX Layer: NAME]``."""
    head, found, rest = metadata.partition("[ONNX Layer: ")
    return rest.removesuffix("]") if found and not head else ""
