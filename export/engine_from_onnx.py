"""An ONNX file as an engine: TensorRT where it and a GPU are there, TensorRT-RTX ahead of time without a GPU.

Both libraries have the same Python interface; what one of them lacks is asked of the module, not of its version.
"""

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..commands import interrupts_deferred
from ..errors import CheckError, InputError, UnavailableError
from ..runtime.cuda_probe import probe_cuda
from ..runtime.manifest import EngineInfo, Precision, Profile
from .onnx_from_torch import Batch

BUILDERS = ("tensorrt", "tensorrt-rtx")
_FREE = -1  # a size that is free


@dataclass(frozen=True)
class Builder:
    """A library that builds engines on this machine."""

    name: str
    module: ModuleType
    version: str
    device: str | None


@dataclass(frozen=True)
class Engine:
    """The engine's bytes, exactly as the library gave them, and how they were made."""

    data: bytes
    info: EngineInfo


def find_builder(choice: str) -> Builder | str:
    """The builder for `choice`, or for "auto" the reason why there is none.

    "auto" prefers TensorRT, which needs a GPU, and goes on to TensorRT-RTX, which does not.

    Raises:
        InputError: `choice` is no builder.
        UnavailableError: the builder that was asked for by name is not there.
    """
    if choice not in {"auto", *BUILDERS}:
        raise InputError(f"--engine {choice!r} is unknown; there are auto, none, {', '.join(BUILDERS)}")
    reasons = []
    for name in BUILDERS if choice == "auto" else (choice,):
        found = _probe(name)
        if isinstance(found, Builder):
            return found
        reasons.append(found)
    if choice != "auto":
        raise UnavailableError(f"--engine {choice}: {reasons[0]}")
    return "; ".join(reasons)


def parse_compute_capabilities(text: str) -> tuple[str, ...]:
    """ "8.6,8.9" -> ("8.6", "8.9").

    Raises:
        InputError: the text has another form.
    """
    parts = tuple(part.strip() for part in text.split(","))
    if not all(re.fullmatch(r"\d{1,2}\.\d", part) for part in parts):
        raise InputError(f"--compute-capability {text!r}: give numbers such as 8.6, several with commas")
    return parts


def check_compute_capabilities(builder: Builder, wanted: Sequence[str]) -> None:
    """Whether `builder` can build for the GPUs that were asked for.

    Raises:
        InputError: it does not know one of them, or builds only for the GPU that it finds.
    """
    known = _known_capabilities(builder)
    if wanted and not known:
        raise InputError(f"--compute-capability is for tensorrt-rtx; {builder.name} builds for the GPU that it finds")
    if unknown := [capability for capability in wanted if capability not in known]:
        raise InputError(
            f"--compute-capability {unknown[0]}: {builder.name} {builder.version} has {', '.join(known)}; for another "
            "GPU build with TensorRT on the device itself"
        )


def engine_from_onnx(
    builder: Builder,
    model: bytes,
    *,
    batch: Batch,
    compute_capabilities: Sequence[str],
    precision: Precision = "fp32",
) -> Engine:
    """Build an engine from the serialised ONNX file `model`.

    Args:
        builder: from `find_builder`.
        model: the ONNX file's bytes.
        batch: sizes that the engine accepts, and the one that it is best for.
        compute_capabilities: such as "8.6"; empty takes the builder's portable default. TensorRT-RTX only.
        precision: of the file.

    Raises:
        InputError: the builder does not know a compute capability, or takes none.
        CheckError: the library refused the file; the message holds what it said.
    """
    trt: Any = builder.module
    log = _logger(trt)
    trt_builder = trt.Builder(log)
    config = trt_builder.create_builder_config()
    _set_compute_capabilities(builder, config, compute_capabilities)
    network = trt_builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    # The library calls our logger: an exception raised there would come out as its own error messages.
    with interrupts_deferred():
        parsed = parser.parse(model)
    if not parsed:
        problems = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise CheckError(f"{builder.name} {builder.version} does not accept the ONNX file: {problems}")
    if batch.is_dynamic:
        config.add_optimization_profile(_profile(trt_builder, network, batch))
    with interrupts_deferred():
        serialized = trt_builder.build_serialized_network(network, config)
    if serialized is None:
        said = "; ".join(log.errors) or "it gave no reason"
        raise CheckError(f"{builder.name} {builder.version} did not build the engine: {said}")
    info = EngineInfo(
        builder=builder.name,
        builder_version=builder.version,
        precision=precision,
        compute_capabilities=tuple(compute_capabilities),
        device=builder.device,
        profile=Profile(minimum=batch.minimum, optimum=batch.optimum, maximum=batch.maximum)
        if batch.is_dynamic
        else None,
    )
    return Engine(bytes(serialized), info)


def _probe(name: str) -> Builder | str:
    """The builder, or why it cannot be used. A library is imported only where that is safe."""
    if name == "tensorrt":
        # Without a driver TensorRT's Builder brings the whole process down, so the driver is asked first.
        cuda = probe_cuda()
        if cuda.device is None:
            return f"TensorRT needs a GPU ({cuda.reason})"
        return _import("tensorrt", "TensorRT", "it comes with JetPack, elsewhere `pip install tensorrt`", cuda.device)
    return _import(
        "tensorrt_rtx",
        "TensorRT-RTX",
        "`pip install tensorrt-rtx`, where the platform has a wheel (Linux x86_64, Linux aarch64 with glibc >= 2.35)",
        None,
    )


def _import(module_name: str, title: str, way_out: str, device: str | None) -> Builder | str:
    try:
        module = importlib.import_module(module_name)
    except (ImportError, OSError) as error:
        return f"{title} cannot be imported ({error}): {way_out}"
    return Builder(module_name.replace("_", "-"), module, str(module.__version__), device)


def _logger(trt: Any) -> Any:
    """A logger that keeps the library's errors for our own message instead of printing them."""

    class KeepingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR}:
                self.errors.append(message)

    return KeepingLogger()


def _network_flags(trt: Any) -> int:
    """Types as the ONNX file has them; explicit batch where the version still asks for it."""
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
        flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
        # TensorRT 11 is always strongly typed and keeps the name as deprecated; asking for it changes nothing.
        if flag is not None:
            flags |= 1 << int(flag)
    return flags


def _set_compute_capabilities(builder: Builder, config: Any, wanted: Sequence[str]) -> None:
    if not wanted:
        return
    known = _known_capabilities(builder)
    config.num_compute_capabilities = len(wanted)
    for index, capability in enumerate(wanted):
        if not config.set_compute_capability(known[capability], index):
            raise InputError(
                f"--compute-capability {','.join(wanted)}: {builder.name} {builder.version} does not take {capability} "
                "in this list; build for it alone"
            )


def _known_capabilities(builder: Builder) -> dict[str, Any]:
    """The library's own values by name: "8.6" for SM86; empty where it builds for the GPU that it finds."""
    enum = getattr(builder.module, "ComputeCapability", None)
    names = enum.__members__ if enum is not None else {}
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in names.items() if re.fullmatch(r"SM\d{2,3}", name)}


def _profile(trt_builder: Any, network: Any, batch: Batch) -> Any:
    profile = trt_builder.create_optimization_profile()
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        shapes = (
            tuple(count if size == _FREE else size for size in tensor.shape)
            for count in (batch.minimum, batch.optimum, batch.maximum)
        )
        profile.set_shape(tensor.name, *shapes)
    return profile
