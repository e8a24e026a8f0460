"""GPU memory through NVIDIA's cuda-python."""

import importlib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from .device_memory import CudaError, not_installed, out_of_memory

# `cuda.cudart` is what the module was called before version 12.8; the newest have only the first.
_MODULES = ("cuda.bindings.runtime", "cuda.cudart")
_DISTRIBUTIONS = ("cuda-bindings", "cuda-python")
_DEVICE = 0


class CudaPythonMemory:
    """See `DeviceMemory`; CUDA's runtime interface, call by call.

    Raises:
        UnavailableError: cuda-python is not installed, or the driver does not answer.
    """

    name = "cuda-python"
    graph_problem: str | None = None

    def __init__(self) -> None:
        self._cuda = _bindings()
        self.version = _version()
        # The first call that loads the driver: without one it gives an error where others would crash.
        if self._call("cudaGetDeviceCount") == 0:
            raise CudaError("cudaGetDeviceCount", "cudaErrorNoDevice", "the driver shows no device")
        self.device_name = _text(self._call("cudaGetDeviceProperties", _DEVICE).name)

    def memory_info(self) -> tuple[int, int]:
        """See `DeviceMemory`."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def allocate(self, size_bytes: int) -> int:
        """See `DeviceMemory`."""
        return self._allocated("GPU memory", size_bytes, "cudaMalloc", size_bytes)

    def free(self, pointer: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaFree", pointer)

    def allocate_pinned(self, size_bytes: int) -> int:
        """See `DeviceMemory`."""
        return self._allocated(
            "pinned host memory", size_bytes, "cudaHostAlloc", size_bytes, self._cuda.cudaHostAllocDefault
        )

    def free_pinned(self, address: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaFreeHost", address)

    def copy_to_device(self, pointer: int, address: int, size_bytes: int, stream: int) -> None:
        """See `DeviceMemory`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", pointer, address, size_bytes, kind, stream)

    def copy_to_host(self, address: int, pointer: int, size_bytes: int, stream: int) -> None:
        """See `DeviceMemory`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", address, pointer, size_bytes, kind, stream)

    def create_stream(self) -> int:
        """See `DeviceMemory`."""
        return int(self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaStreamDestroy", stream)

    def synchronise_stream(self, stream: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaStreamSynchronize", stream)

    def wait_for(self, stream: int, other: int) -> None:
        """See `DeviceMemory`."""
        event = self._call("cudaEventCreateWithFlags", self._cuda.cudaEventDisableTiming)
        try:
            self._call("cudaEventRecord", event, other)
            self._call("cudaStreamWaitEvent", stream, event, 0)
        finally:
            # CUDA keeps it until the wait is over.
            self._call("cudaEventDestroy", event)

    def create_event(self) -> int:
        """See `DeviceMemory`."""
        return int(self._call("cudaEventCreate"))

    def destroy_event(self, event: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaEventDestroy", event)

    def record_event(self, event: int, stream: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaEventRecord", event, stream)

    def elapsed_ms(self, start: int, end: int) -> float:
        """See `DeviceMemory`."""
        return float(self._call("cudaEventElapsedTime", start, end))

    def begin_capture(self, stream: int) -> None:
        """See `DeviceMemory`."""
        # Thread-local: what other threads allocate meanwhile does not make the capture invalid.
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """See `DeviceMemory`."""
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            # Not cudaGraphInstantiate, whose arguments differ between CUDA 11 and 12.
            return int(self._call("cudaGraphInstantiateWithFlags", graph, 0))
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch_graph(self, graph: int, stream: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaGraphExecDestroy", graph)

    def _allocated(self, what: str, size_bytes: int, function: str, *arguments: Any) -> int:
        try:
            return int(self._call(function, *arguments))
        except CudaError as error:
            if error.name != "cudaErrorMemoryAllocation":
                raise
            raise out_of_memory(what, size_bytes, self) from error

    def _call(self, function: str, *arguments: Any) -> Any:
        """What the function gives after its status: nothing, one value, or a tuple."""
        status, *values = getattr(self._cuda, function)(*arguments)
        if int(status) != 0:
            # The runtime remembers the error, and a library that asks later would take it for its own.
            self._cuda.cudaGetLastError()
            raise CudaError(function, str(status.name), self._explained(status))
        if len(values) > 1:
            return tuple(values)
        return values[0] if values else None

    def _explained(self, status: Any) -> str:
        return _text(self._cuda.cudaGetErrorString(status)[1])


def _bindings() -> ModuleType:
    problem: ImportError | None = None
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            problem = problem or error
    assert problem is not None
    raise not_installed("cuda-python", problem) from problem


def _version() -> str:
    for distribution in _DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            return version(distribution)
    return "unknown"


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace").rstrip("\0") if isinstance(value, bytes) else value
