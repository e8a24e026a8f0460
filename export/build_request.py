"""What every way of building takes and gives, and how it fails."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import CheckError, EspnetEdgeError, UnavailableError
from ..runtime.manifest import EngineInfo, LayerPrecisions, NetworkTypes, Precision, Profile, TensorInfo
from .batch import Batch
from .build_options import BuildOptions
from .builders import Builder
from .progress import Progress

# Whether the types of the ONNX file bind the builder, or it may choose among those that were allowed.
Typing = Literal["strong", "weak"]

_OUT_OF_MEMORY = re.compile(
    r"out ?of ?memory|insufficient memory|could not be allocated|MemoryAllocation|bad_alloc", re.IGNORECASE
)


@dataclass(frozen=True)
class BuildRequest:
    """One engine that is to be built; the fields are explained at `engine_from_onnx`."""

    model: bytes
    batch: Batch
    precision: Precision = "fp32"
    options: BuildOptions = field(default_factory=BuildOptions)
    inputs: tuple[TensorInfo, ...] = ()
    progress: Progress = field(default_factory=Progress)
    log_file: Path | None = None

    @property
    def needs_profile(self) -> bool:
        """Whether the file takes any batch, so that the sizes must be said, one or several."""
        return self.batch.is_dynamic or any(isinstance(size, str) for tensor in self.inputs for size in tensor.shape)


@dataclass(frozen=True)
class Engine:
    """The engine's bytes, exactly as the builder gave them, and how they were made."""

    data: bytes
    info: EngineInfo


class RefusedError(CheckError):
    """The library does not parse or build the file in this way; another typing may do."""


def build_failure(builder: Builder, what: str, said: str) -> EspnetEdgeError:
    """The error for a library that failed with the words `said`: lack of memory is the hardware's, not the file's."""
    title, said = f"{builder.name} {builder.version}", " ".join(said.split())
    if _OUT_OF_MEMORY.search(said):
        return UnavailableError(
            f"{title} ran out of memory: {said}; give it less with --workspace MIB, or export with a smaller --batch "
            "or --size"
        )
    return RefusedError(f"{title} {what}: {said}")


def engine_info(
    builder: Builder,
    request: BuildRequest,
    typing: Typing,
    *,
    network_types: NetworkTypes | None,
    verified: LayerPrecisions | str,
) -> EngineInfo:
    """How the engine was built; `verified`: what its layers compute in, or why that is not known."""
    batch, options = request.batch, request.options
    return EngineInfo(
        builder=builder.name,
        builder_version=builder.version,
        precision=request.precision,
        compute_capabilities=options.compute_capabilities or tuple(filter(None, [builder.compute_capability])),
        device=builder.device,
        profile=Profile(minimum=batch.minimum, optimum=batch.optimum, maximum=batch.maximum)
        if request.needs_profile
        else None,
        typing=typing,
        workspace_mib=options.workspace_mib,
        dla_core=options.dla_core,
        compatible=options.compatible,
        network_types=network_types,
        verified_precision=None if isinstance(verified, str) else verified,
        not_verified=verified if isinstance(verified, str) else None,
    )
