"""GPU memory, streams, events and graphs behind one small interface, with three libraries behind it.

Pointers, streams, events and graphs are plain integers, as CUDA's own handles are. What a library lacks it says.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from ..errors import InputError, UnavailableError

PROVIDERS = ("cuda-python", "pycuda", "torch")
_EXTRAS = {"cuda-python": "cuda", "pycuda": "pycuda", "torch": "export"}
_MIB = 1 << 20


class CudaError(UnavailableError):
    """A CUDA call failed; `name` is CUDA's name of the error, such as "cudaErrorIllegalAddress"."""

    def __init__(self, call: str, name: str, text: str) -> None:
        super().__init__(f"{call} failed: {name} ({text})")
        self.name = name


class OutOfMemoryError(UnavailableError):
    """There is not enough memory; the message has the bytes that were asked for and those that are free."""


class DeviceMemory(Protocol):
    """Memory and work queues of one GPU, device 0 of those that CUDA shows to this process.

    All methods may be called from any thread; one stream is to be used by one thread at a time. Every failing call
    raises CudaError, and an allocation that does not fit OutOfMemoryError.
    """

    name: str
    version: str
    device_name: str
    graph_problem: str | None  # why there are no CUDA graphs; None where there are

    def memory_info(self) -> tuple[int, int]:
        """Memory of the device that is free, and all of it. Units: bytes."""

    def allocate(self, size_bytes: int) -> int:
        """Device memory, aligned to 256 bytes or more, not initialised."""

    def free(self, pointer: int) -> None:
        """Give back what `allocate` gave."""

    def allocate_pinned(self, size_bytes: int) -> int:
        """Address of page-locked host memory, which copies reach without a detour; not initialised."""

    def free_pinned(self, address: int) -> None:
        """Give back what `allocate_pinned` gave."""

    def copy_to_device(self, pointer: int, address: int, size_bytes: int, stream: int) -> None:
        """Queue a copy from pinned host memory to device memory; both are as this object allocated them."""

    def copy_to_host(self, address: int, pointer: int, size_bytes: int, stream: int) -> None:
        """Queue a copy from device memory to pinned host memory; both are as this object allocated them."""

    def create_stream(self) -> int:
        """A stream that does not wait for the default stream, nor the default stream for it."""

    def destroy_stream(self, stream: int) -> None:
        """Give back what `create_stream` gave."""

    def synchronise_stream(self, stream: int) -> None:
        """Return when everything queued on `stream` is done."""

    def wait_for(self, stream: int, other: int) -> None:
        """What is queued on `stream` from now on begins after what is on `other` now; one of them is our own."""

    def create_event(self) -> int:
        """An event that keeps the time."""

    def destroy_event(self, event: int) -> None:
        """Give back what `create_event` gave."""

    def record_event(self, event: int, stream: int) -> None:
        """Queue the event on one of our own streams."""

    def elapsed_ms(self, start: int, end: int) -> float:
        """Time between two events that have both happened. Units: ms."""

    def begin_capture(self, stream: int) -> None:
        """From now on, what this thread queues on `stream` is written down instead of done."""

    def end_capture(self, stream: int) -> int:
        """The graph of what was written down, ready to be launched; `stream` works as before, also on an error."""

    def launch_graph(self, graph: int, stream: int) -> None:
        """Queue everything in the graph on `stream`."""

    def destroy_graph(self, graph: int) -> None:
        """Give back what `end_capture` gave."""


def open_memory(choice: str = "auto") -> DeviceMemory:
    """The provider `choice`; with "auto" the first of `PROVIDERS` that is installed and whose driver answers.

    Raises:
        InputError: there is no such provider.
        UnavailableError: it does not work here; with "auto" the message has what each of them said.
    """
    if choice not in ("auto", *PROVIDERS):
        raise InputError(f"memory provider {choice!r} is unknown; there are auto, {', '.join(PROVIDERS)}")
    if choice != "auto":
        return _opened(choice)
    answers = []
    for name in PROVIDERS:
        try:
            return _opened(name)
        except UnavailableError as error:
            answers.append(str(error))
    raise UnavailableError(f"no library gives access to GPU memory (probed: {'; '.join(answers)})")


def captured(memory: DeviceMemory, stream: int, work: Callable[[], None]) -> int:
    """The graph of what `work` queues on `stream`. Whatever goes wrong, the stream is not left in capture.

    Raises:
        CudaError: the work cannot be captured.
    """
    memory.begin_capture(stream)
    try:
        work()
    except BaseException:
        # Ends with an error of its own where the capture became invalid; the first error is the one that tells why.
        with suppress(CudaError):
            memory.destroy_graph(memory.end_capture(stream))
        raise
    return memory.end_capture(stream)


def out_of_memory(what: str, size_bytes: int, memory: DeviceMemory) -> OutOfMemoryError:
    """The error for an allocation of `size_bytes` of `what`, such as "GPU memory", that did not fit."""
    free, total = memory.memory_info()
    return OutOfMemoryError(
        f"{what}: {size_bytes} bytes ({size_bytes / _MIB:.1f} MiB) asked on {memory.device_name}, "
        f"{free} bytes of the GPU ({free / _MIB:.1f} of {total / _MIB:.1f} MiB) are free; "
        "lower the batch, or end other programs that use the GPU"
    )


def not_installed(name: str, error: ImportError) -> UnavailableError:
    """The error for a provider whose library cannot be imported."""
    return UnavailableError(f"{name} cannot be imported ({error}): pip install 'espnet-edge[{_EXTRAS[name]}]'")


def _opened(name: str) -> DeviceMemory:
    if name == "cuda-python":
        from .device_memory_cuda_python import CudaPythonMemory

        return CudaPythonMemory()
    if name == "pycuda":
        from .device_memory_pycuda import PycudaMemory

        return PycudaMemory()
    from .device_memory_torch import TorchMemory

    return TorchMemory()
