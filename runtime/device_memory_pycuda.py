"""GPU memory through PyCUDA, for boards that have it and not cuda-python. It knows no CUDA graphs."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .device_memory import CudaError, not_installed, out_of_memory

_DEVICE = 0
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which PyCUDA has no name for


class PycudaMemory:
    """See `DeviceMemory`. PyCUDA's objects are kept here under the integers that they stand for.

    The primary context is used, which TensorRT and PyTorch use as well; it is pushed for each call, so that every
    thread can call.

    Raises:
        UnavailableError: PyCUDA is not installed, or the driver does not answer.
    """

    name = "pycuda"
    graph_problem: str | None = "pycuda has no CUDA graphs; install cuda-python"

    def __init__(self) -> None:
        try:
            self._driver: Any = importlib.import_module("pycuda.driver")
        except ImportError as error:
            raise not_installed("pycuda", error) from error
        self.version = str(importlib.import_module("pycuda").VERSION_TEXT)
        self._context: Any = None
        self._kept: dict[int, Any] = {}
        with self._errors("cuInit"):
            self._driver.init()
            device = self._driver.Device(_DEVICE)
            self.device_name = str(device.name())
            self._context = device.retain_primary_context()

    def memory_info(self) -> tuple[int, int]:
        """See `DeviceMemory`."""
        with self._current("cuMemGetInfo"):
            free, total = self._driver.mem_get_info()
        return int(free), int(total)

    def allocate(self, size_bytes: int) -> int:
        """See `DeviceMemory`."""
        with self._current("cuMemAlloc", "GPU memory", size_bytes):
            memory = self._driver.mem_alloc(size_bytes)
        return self._keep(int(memory), memory)

    def free(self, pointer: int) -> None:
        """See `DeviceMemory`."""
        with self._current("cuMemFree"):
            self._kept.pop(pointer).free()

    def allocate_pinned(self, size_bytes: int) -> int:
        """See `DeviceMemory`."""
        with self._current("cuMemHostAlloc", "pinned host memory", size_bytes):
            array = self._driver.pagelocked_empty(size_bytes, np.uint8)
        return self._keep(int(array.ctypes.data), array)

    def free_pinned(self, address: int) -> None:
        """See `DeviceMemory`."""
        with self._current("cuMemFreeHost"):
            self._kept.pop(address).base.free()

    def copy_to_device(self, pointer: int, address: int, size_bytes: int, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._current("cuMemcpyHtoDAsync"):
            self._driver.memcpy_htod_async(pointer, self._kept[address][:size_bytes], self._kept[stream])

    def copy_to_host(self, address: int, pointer: int, size_bytes: int, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._current("cuMemcpyDtoHAsync"):
            self._driver.memcpy_dtoh_async(self._kept[address][:size_bytes], pointer, self._kept[stream])

    def create_stream(self) -> int:
        """See `DeviceMemory`."""
        with self._current("cuStreamCreate"):
            stream = self._driver.Stream(_NON_BLOCKING)
        return self._keep(int(stream.handle), stream)

    def destroy_stream(self, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._current("cuStreamDestroy"):
            del self._kept[stream]

    def synchronise_stream(self, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._current("cuStreamSynchronize"):
            self._kept[stream].synchronize()

    def wait_for(self, stream: int, other: int) -> None:
        """See `DeviceMemory`. PyCUDA cannot take the stream of another library, so the host waits for those."""
        with self._current("cuStreamWaitEvent"):
            if stream in self._kept and other in self._kept:
                self._kept[stream].wait_for_event(self._driver.Event().record(self._kept[other]))
            elif other in self._kept:
                self._kept[other].synchronize()
            else:
                self._context.synchronize()

    def create_event(self) -> int:
        """See `DeviceMemory`."""
        with self._current("cuEventCreate"):
            event = self._driver.Event()
        return self._keep(id(event), event)

    def destroy_event(self, event: int) -> None:
        """See `DeviceMemory`."""
        with self._current("cuEventDestroy"):
            del self._kept[event]

    def record_event(self, event: int, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._current("cuEventRecord"):
            self._kept[event].record(self._kept[stream])

    def elapsed_ms(self, start: int, end: int) -> float:
        """See `DeviceMemory`."""
        with self._current("cuEventElapsedTime"):
            return float(self._kept[start].time_till(self._kept[end]))

    def begin_capture(self, stream: int) -> None:  # noqa: ARG002
        """Raises CudaError, as the methods below: see `graph_problem`."""
        raise self._no_graphs("cuStreamBeginCapture")

    def end_capture(self, stream: int) -> int:  # noqa: ARG002
        """See `begin_capture`."""
        raise self._no_graphs("cuStreamEndCapture")

    def launch_graph(self, graph: int, stream: int) -> None:  # noqa: ARG002
        """See `begin_capture`."""
        raise self._no_graphs("cuGraphLaunch")

    def destroy_graph(self, graph: int) -> None:  # noqa: ARG002
        """See `begin_capture`."""
        raise self._no_graphs("cuGraphExecDestroy")

    def _keep(self, key: int, value: Any) -> int:
        self._kept[key] = value
        return key

    @contextmanager
    def _current(self, call: str, what: str | None = None, size_bytes: int = 0) -> Iterator[None]:
        """Makes the context the thread's own; `what` is allocated in the block, and may not fit."""
        with self._errors(call):
            self._context.push()
        try:
            with self._errors(call):
                yield
        except CudaError as error:
            if what is None or error.name != "MemoryError":
                raise
            raise out_of_memory(what, size_bytes, self) from error
        finally:
            self._context.pop()

    @contextmanager
    def _errors(self, call: str) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            raise CudaError(call, type(error).__name__, str(error)) from error

    def _no_graphs(self, call: str) -> CudaError:
        return CudaError(call, "unsupported", str(self.graph_problem))
