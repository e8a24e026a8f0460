"""What runs an artefact: one small protocol, and `open_runner`, which picks the library behind it."""

import importlib
import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckError, InputError, UnavailableError
from .cuda_probe import probe_cuda
from .manifest import Manifest, TensorInfo, load_manifest
from .work import GPU_STAGES

if TYPE_CHECKING:
    from .device_memory import DeviceMemory
    from .trt_runner import LoadedEngine

Array = NDArray[Any]
Tensors = tuple[TensorInfo, ...]
_Self = TypeVar("_Self", bound="BaseRunner")

# Each library that runs ONNX files, with the extra that installs it; the order is the preference of "auto".
ONNX_RUNTIMES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "torch": "export"}
ENGINE_RUNTIMES = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}
_EXTRAS = {**ONNX_RUNTIMES, **ENGINE_RUNTIMES}
RUNTIMES = (*ONNX_RUNTIMES, *ENGINE_RUNTIMES)
DEVICES = ("cpu", "cuda")
_NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class RunnerInfo:
    """What computes: the library and its version, "cpu" or "cuda", and the CPU threads it may use.

    On "cuda" `device_name` is the GPU's, and `graph` says whether a CUDA graph runs; None where the library knows
    none. `graph_fallback_reason` says why a runner that can have a graph runs without.
    """

    runtime: str
    version: str
    device: str
    threads: int
    device_name: str | None = None
    graph: bool | None = None
    graph_fallback_reason: str | None = None

    @property
    def label(self) -> str:
        """One short text: "onnxruntime 1.32.0, cpu, 2 threads" or "tensorrt 10.3.0, cuda (Orin), CUDA graph"."""
        if self.device == "cpu":
            return f"{self.runtime} {self.version}, cpu, {self.threads} thread{'s' * (self.threads != 1)}"
        graph = {None: "", True: ", CUDA graph", False: ", no CUDA graph"}[self.graph]
        return f"{self.runtime} {self.version}, {self.device} ({self.device_name}){graph}"


class Runner(Protocol):
    """A loaded network and the buffers that it needs; a context manager that frees both."""

    @property
    def inputs(self) -> Tensors:
        """Name, dtype, shape and layout of each input."""

    @property
    def outputs(self) -> Tensors:
        """Name, dtype, shape and layout of each output."""

    @property
    def info(self) -> RunnerInfo:
        """The library, the device and the threads."""

    @property
    def has_stages(self) -> bool:
        """Whether the parts of an inference can be told apart: see `staged`."""

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, for the inputs by name.

        The arrays belong to the runner and are valid until its next `infer`, or until it is closed: copy what is
        to be kept. The given arrays are read, never changed.

        Raises:
            InputError: a name, dtype or shape is not one that the network takes.
        """

    def staged(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """How long each part of one inference takes, by the names of `work.GPU_STAGES`. Units: ns.

        The outputs go where those of `infer` go. "enqueue" is the host's call that queues the computation; the other
        three are told by events on the GPU: what the host does between them, the GPU waits for, and it counts. The
        host's own copy of the arrays to memory that the GPU reads is in none of them.

        Raises:
            InputError: as `infer`.
            RuntimeError: the runner is closed, or has no stages.
        """

    def __enter__(self) -> "Runner":
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the network and its buffers."""


class BaseRunner(ABC):
    """What the runners share: the check of the inputs, and being a context manager.

    Args:
        inputs: what `infer` takes.
        outputs: what `infer` gives.
        info: what computes.
        source: name of the file, for messages.
    """

    has_stages = False

    def __init__(self, inputs: Tensors, outputs: Tensors, info: RunnerInfo, source: str) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.info = info
        self._source = source
        self._is_open = True

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `Runner.infer`."""
        return self._infer(self._checked(feeds))

    def staged(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """See `Runner.staged`."""
        return self._staged(self._checked(feeds))

    def __enter__(self: _Self) -> _Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the network and its buffers."""
        self._is_open = False
        self._close()

    @abstractmethod
    def _infer(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Outputs for inputs that have been checked: contiguous arrays in the order of `inputs`."""

    def _staged(self, feeds: dict[str, Array]) -> dict[str, int]:  # noqa: ARG002
        """Durations for inputs that have been checked."""
        raise RuntimeError(f"{self.info.label} does not tell the parts of an inference apart: ask has_stages first")

    def _checked(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if not self._is_open:
            raise RuntimeError(f"the runner of {self._source} is closed")
        return checked_feeds(feeds, self.inputs, self._source)

    @abstractmethod
    def _close(self) -> None:
        """Drop the library's objects."""


def open_runner(
    path: str | os.PathLike[str],
    runtime: str = "auto",
    device: str = "cpu",
    *,
    threads: int | None = None,
    memory: str = "auto",
    trust: bool = False,
) -> Runner:
    """A runner of the artefact `path`; its manifest is verified before anything of the file is parsed.

    An engine (.trt) runs on the GPU, whatever `device` says, in a `TrtRunner`.

    Args:
        path: the artefact; its manifest lies beside it.
        runtime: "auto" (the first installed of onnxruntime, openvino, torch; for an engine the library that built it),
            or one of RUNTIMES by name. torch runs the reference network that the manifest names, not the file itself.
        device: of ONNX files: "cpu", or "cuda" with an onnxruntime or torch that has CUDA.
        threads: CPU threads of the library; by default one for each core that this process may use.
        memory: what gives an engine its GPU memory: "auto", or one of device_memory.PROVIDERS.
        trust: run a file that has no manifest, or one with another SHA-256; inputs and outputs are then what the
            library says.

    Raises:
        InputError: no such file, not an artefact, broken, or an option is unknown.
        UnavailableError: the library, its device, or the weights for torch are not there.
        CheckError: the manifest is missing or invalid, or the file is not the one that it describes.
    """
    artefact = Path(path)
    _check_options(runtime, device, threads)
    manifest = load_manifest(artefact, trust=trust)
    _check_kind(artefact, runtime)
    if artefact.suffix == ".trt":
        engine, gpu = loaded_engine(artefact, manifest, runtime, memory)
        from .trt_runner import TrtRunner

        return TrtRunner(engine, gpu)
    if runtime == "auto":
        runtime = _preferred_runtime(artefact)
    if runtime not in (present := available_runtimes()):
        raise UnavailableError(
            f"{runtime} is not installed (here: {', '.join(present) or 'none that runs ONNX files'}): "
            f"pip install 'espnet-edge[{ONNX_RUNTIMES[runtime]}]'"
        )
    return _opened(runtime, artefact, manifest, device, usable_cores() if threads is None else threads)


def available_runtimes() -> tuple[str, ...]:
    """The installed libraries that run ONNX files, the preferred one first; none is imported."""
    return tuple(name for name in ONNX_RUNTIMES if _is_installed(name))


def usable_cores() -> int:
    """How many cores the operating system lets this process use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checked_feeds(feeds: Mapping[str, Array], inputs: Tensors, source: str) -> dict[str, Array]:
    """`feeds` as contiguous arrays in the order of `inputs`, if names, dtypes and shapes fit.

    Raises:
        InputError: one does not; the message has the name, what was given and what `source` takes.
    """
    if feeds.keys() != {tensor.name for tensor in inputs}:
        raise InputError(_wrong_names(feeds, inputs, source))
    checked = {}
    for tensor in inputs:
        array = feeds[tensor.name]
        if not isinstance(array, np.ndarray):
            raise InputError(f"{tensor.name}: {type(array).__name__} given, {source} takes a NumPy array")
        if array.dtype != tensor.dtype or not _fits(array.shape, tensor.shape):
            raise InputError(_mismatch(array, tensor, source))
        checked[tensor.name] = np.ascontiguousarray(array)
    return checked


def gpu_stages_ns(enqueue_ns: int, parts_ms: Sequence[float]) -> dict[str, int]:
    """The answer of `Runner.staged` of what the host took, and what the events tell of the other three stages."""
    return dict(zip(GPU_STAGES, (enqueue_ns, *(round(part * _NS_PER_MS) for part in parts_ms)), strict=True))


def agreed_tensors(described: Tensors | None, actual: Tensors, source: str) -> Tensors:
    """The manifest's description where there is one, after comparing it with what the library says of the file.

    Raises:
        CheckError: they differ in a name, dtype or shape.
    """
    if described is None:
        return actual
    by_name = {tensor.name: tensor for tensor in actual}
    for tensor in described:
        found = by_name.pop(tensor.name, None)
        if found is None or found.dtype != tensor.dtype or not _same_shape(found.shape, tensor.shape):
            raise CheckError(
                f"{source}: its manifest says {tensor.name} {_text(tensor.dtype, tensor.shape)}, the file has "
                f"{', '.join(f'{t.name} {_text(t.dtype, t.shape)}' for t in actual)}; export it again"
            )
    if by_name:
        raise CheckError(f"{source}: it has {', '.join(by_name)}, which its manifest does not name; export it again")
    return described


def bare_tensor(
    name: str, dtype: str | None, library_dtype: str, shape: Sequence[int | str], source: str
) -> TensorInfo:
    """What a library alone says of a tensor: `dtype` is NumPy's name of `library_dtype`, None where there is none.

    Raises:
        InputError: the dtype is not one that artefacts have.
    """
    if dtype is None:
        raise InputError(
            f"{source}: {name} has type {library_dtype}, which this program does not feed or read; export it with "
            "espnet-export"
        )
    return TensorInfo.model_validate(
        {"name": name, "dtype": dtype, "shape": tuple(shape), "layout": "unknown", "meaning": "unknown"}
    )


def _check_options(runtime: str, device: str, threads: int | None) -> None:
    if runtime not in ("auto", *RUNTIMES):
        raise InputError(f"runtime {runtime!r} is unknown; there are auto, {', '.join(RUNTIMES)}")
    if device not in DEVICES:
        raise InputError(f"device {device!r} is unknown; there are {', '.join(DEVICES)}")
    if threads is not None and threads < 1:
        raise InputError(f"threads {threads}: give at least 1, or leave it out for one per usable core")


def _check_kind(artefact: Path, runtime: str) -> None:
    """Is it a file that `runtime` reads, and one that this version runs?"""
    if artefact.suffix == ".trt":
        if runtime in ONNX_RUNTIMES:
            raise InputError(f"{artefact}: a TensorRT engine, {runtime} runs .onnx files; {_onnx_beside(artefact)}")
        return
    if artefact.suffix != ".onnx":
        raise InputError(f"{artefact}: a file that ends in .onnx or .trt is needed; make one with espnet-export")
    if runtime in ENGINE_RUNTIMES:
        raise InputError(
            f"{artefact}: {runtime} runs engines (.trt); choose one of {', '.join(ONNX_RUNTIMES)}, "
            "or name the engine that was built from it"
        )


def loaded_engine(
    artefact: Path, manifest: Manifest | None, runtime: str, memory: str = "auto"
) -> "tuple[LoadedEngine, DeviceMemory]":
    """The engine `artefact`, whose manifest has been verified, in the library `runtime`, and the GPU that it runs on.

    Raises:
        InputError: which library built it is not known, or another one was asked for.
        UnavailableError: there is no GPU or library for it, or it does not fit this machine.
    """
    # The driver is asked before the library is imported: the constructor of TensorRT's own Runtime ends the process
    # without one.
    probe = probe_cuda()
    if probe.device is None:
        libraries = (f"{name} {'is' if _is_installed(name) else 'is not'} installed" for name in ENGINE_RUNTIMES)
        raise UnavailableError(
            f"{artefact}: an engine runs on a GPU (probed: {probe.reason}; {'; '.join(libraries)}); "
            f"{_onnx_beside(artefact)}"
        )
    library = _engine_library(artefact, manifest, runtime)
    if not _is_installed(library):
        raise UnavailableError(
            f"{artefact}: {library} is not installed (probed: CUDA device {probe.device}): "
            f"pip install 'espnet-edge[{_EXTRAS[library]}]', on a Jetson it comes with JetPack"
        )
    module = _load(library)
    # TensorRT's own refusal, after it has begun to read the file, says neither what would fit nor what to do.
    from .compatibility import EngineMachine
    from .doctor import engine_problem
    from .plan import parse_version

    machine = EngineMachine(library.replace("_", "-"), probe, parse_version(str(module.__version__)))
    if (problem := engine_problem(artefact, manifest, machine)) is not None:
        raise UnavailableError(problem)
    from .device_memory import open_memory
    from .trt_runner import load_engine

    gpu = open_memory(memory)
    return load_engine(artefact, manifest, module, gpu.device_name), gpu


def _engine_library(artefact: Path, manifest: Manifest | None, runtime: str) -> str:
    """The module that runs the engine: the one that built it."""
    builder = manifest.engine.builder.replace("-", "_") if manifest and manifest.engine else None
    if builder == "trtexec":
        builder = "tensorrt"  # whose program it is
    if runtime != "auto":
        if builder not in (None, runtime):
            raise InputError(f"{artefact}: it was built by {builder}, {runtime} was asked to run it; leave that out")
        return runtime
    if builder is not None:
        if builder not in ENGINE_RUNTIMES:
            raise InputError(f"{artefact}: its builder {builder!r} is unknown; there are {', '.join(ENGINE_RUNTIMES)}")
        return builder
    if len(present := [name for name in ENGINE_RUNTIMES if _is_installed(name)]) == 1:
        return present[0]
    raise InputError(
        f"{artefact}: which library built it is unknown without a manifest (installed: "
        f"{', '.join(present) or 'none'}); name the runtime: {' or '.join(ENGINE_RUNTIMES)}"
    )


def _onnx_beside(artefact: Path) -> str:
    onnx = artefact.with_suffix(".onnx")
    if onnx.is_file():
        return f"run the ONNX file beside it: --engine {onnx}"
    return "run the ONNX file that it was built from, espnet-export writes both"


def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _preferred_runtime(artefact: Path) -> str:
    if present := available_runtimes():
        return present[0]
    raise UnavailableError(
        f"{artefact}: nothing here runs ONNX files (probed: {', '.join(ONNX_RUNTIMES)}): "
        "pip install 'espnet-edge[onnxruntime]' or 'espnet-edge[openvino]'"
    )


def _opened(runtime: str, artefact: Path, manifest: Manifest | None, device: str, threads: int) -> Runner:
    """The runner's module is imported here, and the library with it: only the one that is used is loaded."""
    if runtime == "onnxruntime":
        _load(runtime)
        from .ort_runner import OrtRunner

        return OrtRunner(artefact, manifest, device, threads)
    if runtime == "openvino":
        if device != "cpu":
            raise UnavailableError(f"openvino runs on cpu only in this version, {device} was asked; try onnxruntime")
        _load(runtime)
        from .openvino_runner import OpenVinoRunner

        return OpenVinoRunner(artefact, manifest, threads)
    _load(runtime)
    from .torch_runner import torch_runner_from_manifest

    return torch_runner_from_manifest(artefact, manifest, device, threads)


def _load(library: str) -> ModuleType:
    try:
        return importlib.import_module(library)
    except (ImportError, OSError) as error:  # OSError: a shared library of theirs is missing
        raise UnavailableError(
            f"{library} is installed but does not load: {error}; "
            f"reinstall it: pip install --force-reinstall 'espnet-edge[{_EXTRAS[library]}]'"
        ) from error


def _fits(given: tuple[int, ...], taken: tuple[int | str, ...]) -> bool:
    """Whether an array's shape is one that the network takes; a named dimension is free, but not empty."""
    if given == taken:  # as a rule, and this is asked before every inference
        return True
    if len(given) != len(taken):
        return False
    return all(have == want or (isinstance(want, str) and have > 0) for have, want in zip(given, taken, strict=True))


def _same_shape(found: tuple[int | str, ...], described: tuple[int | str, ...]) -> bool:
    """Whether two descriptions agree; the names of free dimensions may differ between libraries."""
    return [d if isinstance(d, int) else None for d in found] == [d if isinstance(d, int) else None for d in described]


def _wrong_names(feeds: Mapping[str, Array], inputs: Tensors, source: str) -> str:
    names = [tensor.name for tensor in inputs]
    takes = f"{source} takes {', '.join(names)}"
    if unknown := [str(name) for name in feeds if name not in names]:
        return f"{', '.join(unknown)}: no such input, {takes}; rename it"
    return f"{', '.join(name for name in names if name not in feeds)}: not given, {takes}; add it"


def _mismatch(array: Array, tensor: TensorInfo, source: str) -> str:
    any_batch = tuple("batch" if i == tensor.batch_axis else size for i, size in enumerate(tensor.shape))
    only_batch = array.dtype == tensor.dtype and any_batch != tensor.shape and _fits(array.shape, any_batch)
    way_out = (
        "export with --batch for other batch sizes" if only_batch else "prepare it as the manifest says of this input"
    )
    return (
        f"{tensor.name}: {_text(array.dtype, array.shape)} given, "
        f"{source} takes {_text(tensor.dtype, tensor.shape)}; {way_out}"
    )


def _text(dtype: object, shape: Sequence[int | str]) -> str:
    return f"{dtype} ({','.join(map(str, shape))})"
