"""GPU memory through PyTorch, where it is there anyway: its allocator, streams and graphs."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .device_memory import CudaError, not_installed, out_of_memory

_DEVICE = 0


class TorchMemory:
    """See `DeviceMemory`. PyTorch's objects are kept here under the integers that they stand for.

    Memory that is freed goes back to PyTorch's pool, not to the driver.

    Raises:
        UnavailableError: PyTorch is not installed, has no CUDA, or the driver does not answer.
    """

    name = "torch"
    graph_problem: str | None = None

    def __init__(self) -> None:
        try:
            self._torch: Any = importlib.import_module("torch")
        except ImportError as error:
            raise not_installed("torch", error) from error
        self.version = str(self._torch.__version__)
        self._cuda: Any = self._torch.cuda
        self._device: Any = self._torch.device("cuda", _DEVICE)
        self._kept: dict[int, Any] = {}
        with self._errors("torch.cuda.init"):
            self._cuda.init()
            self.device_name = str(self._cuda.get_device_name(self._device))

    def memory_info(self) -> tuple[int, int]:
        """See `DeviceMemory`; what PyTorch keeps in its pool counts as used."""
        with self._errors("cudaMemGetInfo"):
            free, total = self._cuda.mem_get_info(self._device)
        return int(free), int(total)

    def allocate(self, size_bytes: int) -> int:
        """See `DeviceMemory`."""
        with self._errors("torch.empty", "GPU memory", size_bytes):
            tensor = self._torch.empty(size_bytes, dtype=self._torch.uint8, device=self._device)
        return self._keep(int(tensor.data_ptr()), tensor)

    def free(self, pointer: int) -> None:
        """See `DeviceMemory`."""
        del self._kept[pointer]

    def allocate_pinned(self, size_bytes: int) -> int:
        """See `DeviceMemory`."""
        with self._errors("torch.empty", "pinned host memory", size_bytes):
            tensor = self._torch.empty(size_bytes, dtype=self._torch.uint8, pin_memory=True)
        return self._keep(int(tensor.data_ptr()), tensor)

    def free_pinned(self, address: int) -> None:
        """See `DeviceMemory`."""
        del self._kept[address]

    def copy_to_device(self, pointer: int, address: int, size_bytes: int, stream: int) -> None:
        """See `DeviceMemory`."""
        self._copy(pointer, address, size_bytes, stream)

    def copy_to_host(self, address: int, pointer: int, size_bytes: int, stream: int) -> None:
        """See `DeviceMemory`."""
        self._copy(address, pointer, size_bytes, stream)

    def create_stream(self) -> int:
        """See `DeviceMemory`. PyTorch hands out 32 of them in turn, so that a 33rd is the first again."""
        with self._errors("cudaStreamCreate"):
            stream = self._cuda.Stream(self._device)
        return self._keep(int(stream.cuda_stream), stream)

    def destroy_stream(self, stream: int) -> None:
        """See `DeviceMemory`; the stream itself is PyTorch's and stays."""
        self._kept.pop(stream, None)

    def synchronise_stream(self, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._errors("cudaStreamSynchronize"):
            self._stream(stream).synchronize()

    def wait_for(self, stream: int, other: int) -> None:
        """See `DeviceMemory`."""
        with self._errors("cudaStreamWaitEvent"):
            self._stream(stream).wait_stream(self._stream(other))

    def create_event(self) -> int:
        """See `DeviceMemory`."""
        event = self._cuda.Event(enable_timing=True)
        return self._keep(id(event), event)

    def destroy_event(self, event: int) -> None:
        """See `DeviceMemory`."""
        del self._kept[event]

    def record_event(self, event: int, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._errors("cudaEventRecord"):
            self._kept[event].record(self._stream(stream))

    def elapsed_ms(self, start: int, end: int) -> float:
        """See `DeviceMemory`."""
        with self._errors("cudaEventElapsedTime"):
            return float(self._kept[start].elapsed_time(self._kept[end]))

    def begin_capture(self, stream: int) -> None:
        """See `DeviceMemory`."""
        graph = self._cuda.CUDAGraph()
        with self._errors("cudaStreamBeginCapture"), self._cuda.stream(self._stream(stream)):
            graph.capture_begin(capture_error_mode="thread_local")
        self._kept[-stream] = graph  # a stream captures one graph at a time

    def end_capture(self, stream: int) -> int:
        """See `DeviceMemory`."""
        graph = self._kept.pop(-stream)
        with self._errors("cudaStreamEndCapture"), self._cuda.stream(self._stream(stream)):
            graph.capture_end()
        return self._keep(id(graph), graph)

    def launch_graph(self, graph: int, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._errors("cudaGraphLaunch"), self._cuda.stream(self._stream(stream)):
            self._kept[graph].replay()

    def destroy_graph(self, graph: int) -> None:
        """See `DeviceMemory`."""
        with self._errors("cudaGraphExecDestroy"):
            self._kept.pop(graph).reset()

    def _keep(self, key: int, value: Any) -> int:
        self._kept[key] = value
        return key

    def _stream(self, handle: int) -> Any:
        """Our own stream, or that of another library."""
        return self._kept.get(handle) or self._cuda.ExternalStream(handle, self._device)

    def _copy(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        with self._errors("cudaMemcpyAsync"), self._cuda.stream(self._stream(stream)):
            self._kept[target][:size_bytes].copy_(self._kept[source][:size_bytes], non_blocking=True)

    @contextmanager
    def _errors(self, call: str, what: str | None = None, size_bytes: int = 0) -> Iterator[None]:
        """PyTorch's errors as ours; `what` is allocated in the block, and may not fit."""
        try:
            yield
        except (RuntimeError, AssertionError) as error:  # an assertion: PyTorch was built without CUDA
            if what is not None and "out of memory" in str(error):
                raise out_of_memory(what, size_bytes, self) from error
            raise CudaError(call, type(error).__name__, str(error).strip().splitlines()[0]) from error
