"""Which builders of engines this machine has: TensorRT's module, its program trtexec, TensorRT-RTX.

TensorRT itself is only touched after the driver has answered: without one its objects bring the process down.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType

from ..errors import InputError, UnavailableError
from ..runtime.cuda_probe import CudaProbe, probe_cuda
from ..runtime.trtexec_program import Program, find_program

BUILDERS = ("tensorrt", "trtexec", "tensorrt-rtx")


@dataclass(frozen=True)
class Builder:
    """Something that builds engines on this machine.

    `device` and `compute_capability`: the GPU that it builds for, where it needs one and the driver says them.
    """

    name: str
    version: str
    device: str | None
    compute_capability: str | None


@dataclass(frozen=True)
class ModuleBuilder(Builder):
    """A Python module with TensorRT's interface. What its version has is asked of it, never of the number."""

    module: ModuleType


@dataclass(frozen=True)
class TrtexecBuilder(Builder):
    """TensorRT's own program, for boards whose Python has no module."""

    program: Program


def find_builder(choice: str) -> Builder | str:
    """The builder for `choice`, or for "auto" the reason why there is none.

    "auto" prefers TensorRT, its module before its program; both need a GPU. TensorRT-RTX, which needs none, is last.

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
    return "; ".join(dict.fromkeys(reasons))


def _probe(name: str) -> Builder | str:
    """The builder, or why it cannot be used. A library is imported only where that is safe."""
    if name == "tensorrt-rtx":
        way_out = (
            "`pip install tensorrt-rtx`, where the platform has a wheel (Linux x86_64, aarch64 with glibc >= 2.35)"
        )
        return _imported("tensorrt_rtx", "TensorRT-RTX", way_out, CudaProbe(None, "not asked"))
    cuda = probe_cuda()
    if cuda.device is None:
        return f"TensorRT needs a GPU ({cuda.reason})"
    if name == "tensorrt":
        return _imported("tensorrt", "TensorRT", "it comes with JetPack, elsewhere `pip install tensorrt`", cuda)
    program = find_program()
    if isinstance(program, str):
        return program
    return TrtexecBuilder("trtexec", program.version, cuda.device, cuda.compute_capability, program)


def _imported(module_name: str, title: str, way_out: str, gpu: CudaProbe) -> Builder | str:
    try:
        module = importlib.import_module(module_name)
    except (ImportError, OSError) as error:
        return f"{title} cannot be imported ({error}): {way_out}"
    name, version = module_name.replace("_", "-"), str(module.__version__)
    return ModuleBuilder(name, version, gpu.device, gpu.compute_capability, module)
