"""Building with a Python module: `tensorrt` from 8.5 to 11, or `tensorrt_rtx`.

They have one interface; what one of them lacks is asked of the module, never of its version. Bits of flags are always
1 << int(member): the same name has other numbers in other versions.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from threading import Event, Lock
from typing import Any

from ..commands import interrupts_deferred
from ..errors import CheckError, InputError, UnavailableError
from ..files import write_bytes
from ..runtime.compatibility import WITH_AMPERE_PLUS, WITH_SAME_CAPABILITY, WITH_VERSIONS
from ..runtime.cuda_probe import probe_cuda
from ..runtime.keeping_logger import keeping_logger
from ..runtime.manifest import LayerPrecisions, NetworkTypes, Precision
from .batch import Batch
from .build_options import BuildOptions
from .build_request import BuildRequest, Engine, Typing, build_failure, engine_info
from .builders import Builder, ModuleBuilder
from .layer_precisions import check_layer_precisions, layer_precisions
from .progress import Progress

_FREE = -1  # a size that is free
_BYTES_PER_MIB = 1 << 20
# The flag that lets a weakly typed builder use a type, and the answer whether the GPU has it in hardware.
_TYPE_FLAGS = {"fp16": "FP16", "int8": "INT8"}
_IN_HARDWARE = {"fp16": "platform_has_fast_fp16", "int8": "platform_has_fast_int8"}
_HARDWARE_LEVELS = {WITH_AMPERE_PLUS: "AMPERE_PLUS", WITH_SAME_CAPABILITY: "SAME_COMPUTE_CAPABILITY"}


def module_typings(builder: ModuleBuilder) -> tuple[bool, bool]:
    """Whether the module builds strongly typed, and whether it builds weakly typed."""
    trt: Any = builder.module
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"), hasattr(trt.BuilderFlag, "FP16")


def known_capabilities(builder: Builder) -> Mapping[str, Any]:
    """The library's own values by name: "8.6" for SM86; empty where it builds for the GPU that it finds."""
    enum = getattr(builder.module, "ComputeCapability", None) if isinstance(builder, ModuleBuilder) else None
    names = enum.__members__ if enum is not None else {}
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in names.items() if re.fullmatch(r"SM\d{2,3}", name)}


def check_module(builder: ModuleBuilder, options: BuildOptions) -> None:
    """Whether this module has what the options ask for.

    Raises:
        InputError: it does not.
        UnavailableError: the hardware has no such DLA core.
    """
    trt, title = builder.module, f"{builder.name} {builder.version}"
    known = known_capabilities(builder)
    if unknown := [capability for capability in options.compute_capabilities if capability not in known]:
        raise InputError(
            f"--compute-capability {unknown[0]}: {title} has {', '.join(known)}; for another GPU build with TensorRT "
            "on the device itself"
        )
    if options.compatible and known:
        raise InputError(
            f"--compatible {','.join(options.compatible)}: {title} builds for its own version and the GPUs of "
            "--compute-capability; leave it out, or build with TensorRT"
        )
    for word in options.compatible:
        if not _has_compatibility(trt, word):
            raise InputError(f"--compatible {word}: {title} has no such engines; leave it out, or use a newer TensorRT")
    if options.dla_core is not None or options.timing_cache is not None:
        log = keeping_logger(trt)
        trt_builder = _new_builder(builder, log)
        _check_dla(builder, trt_builder, options)
        _check_timing_cache(builder, trt_builder.create_builder_config(), options)


def build_with_module(builder: ModuleBuilder, typing: Typing, request: BuildRequest) -> Engine:
    """Build an engine in one way.

    Raises:
        RefusedError: the library does not parse or build the file in this way.
        CheckError: what it built is not in the precision that was asked for.
        UnavailableError: the hardware lacks the precision, or memory.
        InputError: the builder does not take the compute capabilities together.
    """
    trt: Any = builder.module
    log = keeping_logger(trt)
    trt_builder = _new_builder(builder, log)
    _check_hardware(builder, trt_builder, request.precision)
    network = trt_builder.create_network(_network_flags(trt, typing))
    _parse(builder, trt.OnnxParser(network, log), request.model)
    types = _network_types(trt, network)
    if typing == "strong":
        _check_network_types(types, request.precision)
    config = _config(builder, trt_builder, network, typing, types, request)
    data = _built(builder, trt_builder, network, config, log, request.progress)
    verified = _verified(builder, data, request, typing)
    _keep_timings(config, request.options)
    return Engine(data, engine_info(builder, request, typing, network_types=types, verified=verified))


def _new_builder(builder: ModuleBuilder, log: Any) -> Any:
    trt: Any = builder.module
    try:
        return trt.Builder(log)
    except (TypeError, RuntimeError) as error:
        # Versions up to 10 answer so where the driver is there but no builder can be made.
        said = "; ".join(log.errors) or str(error)
        raise UnavailableError(f"{builder.name} {builder.version} does not start on this machine: {said}") from error


def _network_flags(trt: Any, typing: Typing) -> int:
    """Explicit batch where the version still asks for it; strong typing where it exists and is wanted."""
    names = ("EXPLICIT_BATCH", "STRONGLY_TYPED") if typing == "strong" else ("EXPLICIT_BATCH",)
    found = (getattr(trt.NetworkDefinitionCreationFlag, name, None) for name in names)
    return sum(1 << int(flag) for flag in found if flag is not None)


def _check_hardware(builder: ModuleBuilder, trt_builder: Any, precision: Precision) -> None:
    """Whether the GPU has the type; versions that no longer answer have it on every GPU that they support."""
    if precision != "fp32" and not getattr(trt_builder, _IN_HARDWARE[precision], True):
        raise UnavailableError(
            f"--precision {precision}: {builder.device} computes it no faster than fp32, says {builder.name} "
            f"{builder.version}; export with --precision fp32"
        )


def _parse(builder: ModuleBuilder, parser: Any, model: bytes) -> None:
    # The library calls our logger: an exception raised there would come out as its own error messages.
    with interrupts_deferred():
        parsed = parser.parse(model)
    if not parsed:
        errors = (parser.get_error(i) for i in range(parser.num_errors))
        said = "; ".join(dict.fromkeys(map(_described, errors)))
        raise build_failure(builder, "does not accept the ONNX file", said)


def _described(error: Any) -> str:
    """The parser's words, with the layer where the version tells which."""
    name = getattr(error, "node_name", str)()
    return f"{error.node_operator()} {name}: {error.desc()}" if name else str(error.desc())


def _network_types(trt: Any, network: Any) -> NetworkTypes:
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    kinds = [layer.type for layer in layers]
    return NetworkTypes(
        layers=len(layers),
        half=sum(layer.num_outputs > 0 and layer.get_output(0).dtype == trt.DataType.HALF for layer in layers),
        quantize=kinds.count(trt.LayerType.QUANTIZE),
        dequantize=kinds.count(trt.LayerType.DEQUANTIZE),
    )


def _check_network_types(types: NetworkTypes, precision: Precision) -> None:
    """Whether the file that binds the builder has the types at all."""
    if precision == "fp16" and not types.half:
        raise CheckError(f"fp16 was asked for, but none of the {types.layers} layers of the ONNX file gives float16")
    if precision == "int8" and not (types.quantize and types.dequantize):
        raise CheckError(
            f"int8 was asked for, but of the {types.layers} layers of the ONNX file {types.quantize} quantise and "
            f"{types.dequantize} dequantise"
        )


def _config(
    builder: ModuleBuilder, trt_builder: Any, network: Any, typing: Typing, types: NetworkTypes, request: BuildRequest
) -> Any:
    trt: Any = builder.module
    options = request.options
    config = trt_builder.create_builder_config()
    # Without it the inspector knows names only, and what the engine computes in cannot be told.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _BYTES_PER_MIB)
    if typing == "weak":
        for flag in _allowed_types(request.precision, types):
            config.set_flag(getattr(trt.BuilderFlag, flag))
    _set_compute_capabilities(builder, config, options)
    _set_compatible(trt, config, options)
    _set_dla(builder, trt_builder, config, options)
    _load_timings(builder, config, request)
    if request.needs_profile:
        config.add_optimization_profile(_profile(trt_builder, network, request.batch))
    return config


def _allowed_types(precision: Precision, types: NetworkTypes) -> list[str]:
    """The flags of a weakly typed build; float16 is allowed beside int8 where the file has it."""
    wanted = {precision, "fp16"} if precision == "int8" and types.half else {precision}
    return [flag for name, flag in _TYPE_FLAGS.items() if name in wanted]


def _set_compute_capabilities(builder: ModuleBuilder, config: Any, options: BuildOptions) -> None:
    wanted = options.compute_capabilities
    if not wanted:
        return
    known = known_capabilities(builder)
    config.num_compute_capabilities = len(wanted)
    for index, capability in enumerate(wanted):
        if not config.set_compute_capability(known[capability], index):
            raise InputError(
                f"--compute-capability {','.join(wanted)}: {builder.name} {builder.version} does not take {capability} "
                "in this list; build for it alone"
            )


def _has_compatibility(trt: Any, word: str) -> bool:
    if word == WITH_VERSIONS:
        return hasattr(trt.BuilderFlag, "VERSION_COMPATIBLE")
    return hasattr(getattr(trt, "HardwareCompatibilityLevel", None), _HARDWARE_LEVELS[word])


def _set_compatible(trt: Any, config: Any, options: BuildOptions) -> None:
    for word in options.compatible:
        if word != WITH_VERSIONS:
            config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, _HARDWARE_LEVELS[word])
            continue
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        # Else the engine carries a runtime: host code, which a program that loads it would have to allow.
        config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)


def _check_dla(builder: ModuleBuilder, trt_builder: Any, options: BuildOptions) -> None:
    if options.dla_core is not None and not 0 <= options.dla_core < trt_builder.num_DLA_cores:
        raise UnavailableError(
            f"--dla {options.dla_core}: {builder.name} {builder.version} reports {trt_builder.num_DLA_cores} DLA cores "
            f"on {builder.device or 'this machine'}, counted from 0; leave --dla out"
        )


def _set_dla(builder: ModuleBuilder, trt_builder: Any, config: Any, options: BuildOptions) -> None:
    if options.dla_core is None:
        return
    trt: Any = builder.module
    _check_dla(builder, trt_builder, options)
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = options.dla_core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _check_timing_cache(builder: ModuleBuilder, config: Any, options: BuildOptions) -> None:
    """A library that keeps no timings says so by a deprecation."""
    if options.timing_cache is None:
        return
    # Recorded, not raised: native code does not expect its warnings to become exceptions.
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    if any(issubclass(warning.category, DeprecationWarning) for warning in told):
        raise InputError(
            f"--timing-cache {options.timing_cache}: {builder.name} {builder.version} keeps no timings; leave it out"
        )


def _load_timings(builder: ModuleBuilder, config: Any, request: BuildRequest) -> None:
    path = request.options.timing_cache
    if path is None:
        return
    if path.exists():
        cache = config.create_timing_cache(path.read_bytes())
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return
        request.progress.warn(
            f"--timing-cache {path} is from another GPU or version than {builder.name} {builder.version} here; it is "
            "not used, and replaced after the build"
        )
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _keep_timings(config: Any, options: BuildOptions) -> None:
    if options.timing_cache is not None:
        write_bytes(options.timing_cache, bytes(config.get_timing_cache().serialize()))


def _profile(trt_builder: Any, network: Any, batch: Batch) -> Any:
    profile = trt_builder.create_optimization_profile()
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        shapes = (
            tuple(count if size == _FREE else size for size in tensor.shape)
            for count in (batch.minimum, batch.optimum, batch.maximum)
        )
        profile.set_shape(tensor.name, *shapes)
    return profile


def _built(builder: ModuleBuilder, trt_builder: Any, network: Any, config: Any, log: Any, progress: Progress) -> bytes:
    with interrupts_deferred() as pressed:
        monitor = _monitor(builder.module, progress, pressed)
        if monitor is not None:
            config.progress_monitor = monitor
        try:
            serialized = trt_builder.build_serialized_network(network, config)
        except MemoryError as error:
            raise build_failure(builder, "did not build the engine", f"out of memory ({error})") from error
        finally:
            if monitor is not None:
                # The library must not hold on to a monitor that is gone.
                config.progress_monitor = None
    if monitor is not None and monitor.error is not None:
        raise monitor.error
    if serialized is None:
        raise build_failure(builder, "did not build the engine", "; ".join(log.errors) or "it gave no reason")
    return bytes(serialized)


def _monitor(trt: Any, progress: Progress, pressed: Event) -> Any | None:
    """What the library tells its progress to, and asks whether to go on; None where the version has no such thing."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: BaseException | None = None
            self._phases = Phases()
            self._lock = Lock()  # the library may call from several threads

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell(phase_name, lambda: self._phases.start(phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, lambda: self._phases.complete(phase_name, step))
            return not pressed.is_set() and self.error is None

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._phases.finish(phase_name)

        def _tell(self, phase_name: str, change: Callable[[], None]) -> None:
            try:
                with self._lock:
                    change()
                    share = self._phases.share(phase_name)
                progress.part(phase_name, share)
            except BaseException as error:  # noqa: BLE001  The library would end the process; it is raised afterwards.
                self.error = self.error or error

    return Monitor()


class Phases:
    """Where a build is. Phases nest: while one is at its third of four steps, those inside are parts of the third."""

    def __init__(self) -> None:
        self._most = 0.0
        self._parents: dict[str, str | None] = {}
        self._done: dict[str, int] = {}
        self._steps: dict[str, int] = {}

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins, inside of `parent` where there is one."""
        self._parents[phase], self._done[phase], self._steps[phase] = parent, 0, max(steps, 1)
        if parent is None:
            self._most = 0.0

    def complete(self, phase: str, step: int) -> None:
        """A step, counted from 0, is done."""
        if phase in self._steps:
            self._done[phase] = step + 1

    def finish(self, phase: str) -> None:
        """A phase ends, perhaps before all of its steps."""
        for known in (self._parents, self._done, self._steps):
            known.pop(phase, None)

    def share(self, phase: str) -> float:
        """How much of the outermost phase is done, 0 to 1, seen from `phase` inside of it; it never goes back."""
        share, at = 0.0, phase if phase in self._steps else None
        while at is not None:
            share = min((self._done[at] + share) / self._steps[at], 1.0)
            parent = self._parents[at]
            at = parent if parent in self._steps else None
        # A step may hold several phases, each of which begins at nothing.
        self._most = max(self._most, share)
        return self._most


def _may_be_for_elsewhere(builder: ModuleBuilder, options: BuildOptions) -> bool:
    """Whether the engine may be one for other GPUs, or for programs that load the runtime of another version."""
    return bool(known_capabilities(builder)) or WITH_VERSIONS in options.compatible


def _verified(builder: ModuleBuilder, data: bytes, request: BuildRequest, typing: Typing) -> LayerPrecisions | str:
    """In what the layers of the engine compute, or why that cannot be told here.

    Raises:
        CheckError: not in the precision that was asked for.
    """
    cuda = probe_cuda()
    if cuda.device is None:
        return f"the engine cannot be loaded here: {cuda.reason}"
    trt: Any = builder.module
    log = keeping_logger(trt)
    runtime = trt.Runtime(log)
    if request.options.dla_core is not None:
        runtime.DLA_core = request.options.dla_core
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        problem = f"the engine cannot be loaded here: {'; '.join(log.errors) or 'the library gave no reason'}"
        if not _may_be_for_elsewhere(builder, request.options):
            raise CheckError(f"{builder.name} {builder.version} built an engine, but {problem}; nothing was written")
        request.progress.warn(f"{problem}; its precision could not be checked")
        return problem
    inspector = engine.create_engine_inspector()
    found = layer_precisions(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    if found is None:
        return "the library does not say in what its layers compute"
    check_layer_precisions(found, request.precision, types_bind=typing == "strong")
    return found
