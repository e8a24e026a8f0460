"""An ONNX file as an engine: by TensorRT where it and a GPU are there, by TensorRT-RTX ahead of time without a GPU.

Types are those of the ONNX file: strongly typed where the version has that; where it has not, or where such a build
fails although the version has the older flags, the builder may choose among the types that the precision allows.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..runtime.manifest import Precision, TensorInfo
from .batch import Batch
from .build_options import BuildOptions
from .build_request import BuildRequest, Engine, RefusedError, Typing
from .builders import BUILDERS, Builder, ModuleBuilder, TrtexecBuilder, find_builder
from .module_build import build_with_module, check_module, known_capabilities, module_typings
from .progress import Progress
from .trtexec_build import build_with_trtexec, check_trtexec, trtexec_typings

__all__ = ["BUILDERS", "Builder", "Engine", "check_build", "engine_from_onnx", "find_builder"]

_MAX_WORKSPACE_MIB = 1 << 20  # a TiB, more than any GPU has; the library takes no number beyond 64 bits of bytes
_DEFAULTS, _SILENT = BuildOptions(), Progress()


def check_build(builder: Builder, options: BuildOptions, *, batch: Batch, precision: Precision) -> None:
    """Whether `builder` can do what is asked, as far as that can be known before the work.

    Raises:
        InputError: an option that this builder does not have, or that excludes another.
        UnavailableError: the hardware does not have what was asked for.
    """
    if options.workspace_mib is not None and not 1 <= options.workspace_mib <= _MAX_WORKSPACE_MIB:
        raise InputError(f"--workspace {options.workspace_mib}: give MiB, 1 to {_MAX_WORKSPACE_MIB}")
    if options.dla_core is not None and (batch.is_dynamic or precision == "fp32"):
        found = "a free batch" if batch.is_dynamic else "fp32"
        raise InputError(f"--dla is for one fixed batch in fp16 or int8, and this is {found}: leave --dla out")
    if not _typings(builder, options, precision):
        # There the DLA knows int8 by calibration tables only: every quantised layer would end on the GPU.
        raise InputError(
            f"--dla {options.dla_core}: {builder.name} {builder.version} takes no quantised ONNX file on the DLA; "
            "export with --precision fp16"
        )
    if options.compute_capabilities and not known_capabilities(builder):
        raise InputError(f"--compute-capability is for tensorrt-rtx; {builder.name} builds for the GPU that it finds")
    if isinstance(builder, TrtexecBuilder):
        check_trtexec(builder, options)
    elif isinstance(builder, ModuleBuilder):
        check_module(builder, options)


def engine_from_onnx(
    builder: Builder,
    model: bytes,
    *,
    batch: Batch,
    precision: Precision = "fp32",
    options: BuildOptions = _DEFAULTS,
    inputs: Sequence[TensorInfo] = (),
    progress: Progress = _SILENT,
    log_file: Path | None = None,
) -> Engine:
    """Build an engine from the serialised ONNX file `model`.

    Args:
        builder: from `find_builder`.
        model: the ONNX file's bytes, typed as `precision` says.
        batch: sizes that the engine accepts, and the one that it is best for.
        precision: what the file was exported in. The engine must turn out to compute in it.
        options: how to build.
        inputs: of the file; trtexec needs them for a free batch.
        progress: told how far the build is, where the library says so, and warned of second choices.
        log_file: where trtexec's output is kept; the modules write none.

    Raises:
        InputError: the builder lacks an option, or takes no such value.
        UnavailableError: the hardware lacks what was asked for, memory included.
        CheckError: the library refused the file, with its own words, or the engine is not in that precision.
        KeyboardInterrupt: Ctrl-C, after the library has ended its work.
    """
    request = BuildRequest(model, batch, precision, options, tuple(inputs), progress, log_file)
    check_build(builder, options, batch=batch, precision=precision)
    _check_operators(builder, model)
    *first_choices, last = _typings(builder, options, precision)
    for typing in first_choices:
        try:
            return _built(builder, typing, request)
        except RefusedError as refusal:
            progress.warn(f"{refusal}; trying again with types that the builder may choose")
    return _built(builder, last, request)


def _check_operators(builder: Builder, model: bytes) -> None:
    """Name the nodes that this TensorRT lacks; without the library onnx, on a device, its own parser does that."""
    if builder.name != "tensorrt-rtx" and importlib.util.find_spec("onnx") is not None:
        from .operator_support import check_accepted

        check_accepted(model, builder.version)


def _typings(builder: Builder, options: BuildOptions, precision: Precision) -> list[Typing]:
    """The ways to build, the best first. Weakly typed versions take no quantised file on a DLA."""
    strong, weak = (
        trtexec_typings(builder) if isinstance(builder, TrtexecBuilder) else module_typings(_as_module(builder))
    )
    # A version with neither name keeps the file's types and no longer says so.
    ways: list[Typing] = ["strong"] if strong or not weak else []
    return [*ways, "weak"] if weak and not (options.dla_core is not None and precision == "int8") else ways


def _built(builder: Builder, typing: Typing, request: BuildRequest) -> Engine:
    if isinstance(builder, TrtexecBuilder):
        return build_with_trtexec(builder, typing, request)
    return build_with_module(_as_module(builder), typing, request)


def _as_module(builder: Builder) -> ModuleBuilder:
    assert isinstance(builder, ModuleBuilder), f"{builder.name} is neither a module nor a program"
    return builder
