"""A GPU in host memory: what is queued on a stream happens only when somebody waits for it, as late as can be.

So a runner that reads too early, frees too early or forgets to order two streams gives wrong numbers or an error here.
"""

import ctypes
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from espnet_edge.runtime.device_memory import CudaError, out_of_memory

ALIGNMENT = 256
GARBAGE = 0xAB  # in memory that was never written


@dataclass(eq=False)
class Op:
    """One queued operation; `reads` and `writes` are (address, bytes), checked when it happens."""

    name: str
    do: Callable[[], None]
    reads: tuple[tuple[int, int], ...] = ()
    writes: tuple[tuple[int, int], ...] = ()


@dataclass
class _Stream:
    queue: deque = field(default_factory=deque)
    capturing: list | None = None
    invalid: bool = False
    thread: int = 0


@dataclass
class FakeCuda:
    """See `DeviceMemory`. `log` has what was asked for, in order; `done` has what has happened.

    total_bytes: of the device. fail: the names of methods whose next call fails.
    gpu_ms: how long operations take on the GPU, by name; others take 1 ms. host_ns: how long the host takes to queue
    an operation or launch a graph, by name, in the time of `clock`; else nothing.
    """

    total_bytes: int = 1 << 20
    graph_problem: str | None = None
    name: str = "fake"
    version: str = "1.0"
    device_name: str = "Fake GPU"
    gpu_ms: dict = field(default_factory=dict)
    host_ns: dict = field(default_factory=dict)
    fail: set = field(default_factory=set)
    log: list = field(default_factory=list)
    done: list = field(default_factory=list)

    def __post_init__(self):
        self.lock = threading.RLock()
        self.device = {}
        self.pinned = {}
        self.streams = {1: _Stream(), 2: _Stream()}  # the default streams
        self.foreign = set()
        self.graphs = {}
        self.events = {}
        self.gpu_now_ms = 0.0
        self.host_now_ns = 0
        self._handle = 1000

    # -- what tests ask

    def assert_clean(self):
        """Everything was given back, and nothing is left to do."""
        left = {"device": self.device, "pinned": self.pinned, "graphs": self.graphs, "events": self.events}
        assert {kind: list(items) for kind, items in left.items() if items} == {}
        assert set(self.streams) == {1, 2} | self.foreign

    def count(self, name):
        return self.log.count(name)

    def clock(self):
        """The host's. Units: ns."""
        return self.host_now_ns

    def foreign_stream(self):
        """A stream of another library."""
        self.foreign.add(stream := self._new_stream())
        return stream

    # -- the interface

    def memory_info(self):
        return self.total_bytes - sum(size for _, size in self.device.values()), self.total_bytes

    def allocate(self, size_bytes):
        self._called("allocate")
        with self.lock:
            self._no_capture()
            if size_bytes > self.memory_info()[0]:
                raise out_of_memory("GPU memory", size_bytes, self)
            return self._allocated(self.device, size_bytes)

    def free(self, pointer):
        self._called("free")
        self._no_capture()
        self._assert_idle(pointer, self.device[pointer][1])
        del self.device[pointer]

    def allocate_pinned(self, size_bytes):
        self._called("allocate_pinned")
        return self._allocated(self.pinned, size_bytes)

    def free_pinned(self, address):
        self._called("free_pinned")
        self._assert_idle(address, self.pinned[address][1])
        del self.pinned[address]

    def copy_to_device(self, pointer, address, size_bytes, stream):
        assert address in self.pinned, "a copy from memory that is not pinned is not asynchronous"
        assert pointer in self.device
        self._copy("h2d", pointer, address, size_bytes, stream)

    def copy_to_host(self, address, pointer, size_bytes, stream):
        assert address in self.pinned
        assert pointer in self.device
        self._copy("d2h", address, pointer, size_bytes, stream)

    def create_stream(self):
        self._called("create_stream")
        return self._new_stream()

    def destroy_stream(self, stream):
        self._called("destroy_stream")
        assert not self.streams[stream].queue, "work was queued on a stream that is destroyed"
        del self.streams[stream]

    def synchronise_stream(self, stream):
        self._called("synchronise_stream")
        with self.lock:
            self._no_capture(stream)
            self._drain(stream)

    def wait_for(self, stream, other):
        self._called("wait_for")
        with self.lock:
            marker = Op("marker", lambda: None)
            self.streams[other].queue.append(marker)
            self.queue(stream, Op(f"wait for {other}", lambda: self._drain(other, marker)))

    def create_event(self):
        self._called("create_event")
        self.events[event := self._new_handle()] = None
        return event

    def destroy_event(self, event):
        self._called("destroy_event")
        del self.events[event]

    def record_event(self, event, stream):
        self.queue(stream, Op("event", lambda: self.events.__setitem__(event, self.gpu_now_ms)))

    def elapsed_ms(self, start, end):
        assert None not in (self.events[start], self.events[end]), "an event has not happened yet"
        return self.events[end] - self.events[start]

    def begin_capture(self, stream):
        self._called("begin_capture")
        assert stream not in (1, 2), "the default stream cannot be captured"
        self.streams[stream].capturing, self.streams[stream].thread = [], threading.get_ident()

    def end_capture(self, stream):
        self._called("end_capture")
        state = self.streams[stream]
        ops, invalid = state.capturing, state.invalid
        state.capturing, state.invalid = None, False
        if invalid:
            raise CudaError("cudaStreamEndCapture", "cudaErrorStreamCaptureInvalidated", "operation failed")
        self.graphs[graph := self._new_handle()] = ops
        return graph

    def launch_graph(self, graph, stream):
        self._called("launch_graph")
        self.host_now_ns += self.host_ns.get("launch_graph", 0)
        for op in self.graphs[graph]:
            self._queue(stream, op)

    def destroy_graph(self, graph):
        self._called("destroy_graph")
        del self.graphs[graph]

    # -- what the fake library uses

    def queue(self, stream, op):
        """Queue an operation, or write it down."""
        self.host_now_ns += self.host_ns.get(op.name, 0)
        self._queue(stream, op)

    def _queue(self, stream, op):
        with self.lock:
            state = self.streams[stream]
            self.log.append(op.name)
            if state.capturing is not None:
                assert state.thread == threading.get_ident()
                state.capturing.append(op)
            else:
                state.queue.append(op)

    def invalidate(self, stream):
        """What an operation that cannot be captured does to a capture."""
        if self.streams[stream].capturing is None:
            return False
        self.streams[stream].invalid = True
        return True

    # -- inside

    def _called(self, name):
        if name in self.fail:
            self.fail.discard(name)
            raise CudaError(name, "cudaErrorUnknown", "the test wants it")
        self.log.append(name)

    def _no_capture(self, stream=None):
        """CUDA makes a capture of the same thread invalid where a call may wait for the device."""
        for handle, state in self.streams.items():
            if state.capturing is not None and state.thread == threading.get_ident() and stream in (None, handle):
                state.invalid = True
                raise CudaError("cuda", "cudaErrorStreamCaptureUnsupported", "not while capturing")

    def _new_stream(self):
        self.streams[stream := self._new_handle()] = _Stream()
        return stream

    def _new_handle(self):
        with self.lock:
            self._handle += 8
            return self._handle

    def _allocated(self, kind, size_bytes):
        raw = (ctypes.c_uint8 * (size_bytes + ALIGNMENT))()
        address = -(-ctypes.addressof(raw) // ALIGNMENT) * ALIGNMENT
        ctypes.memset(address, GARBAGE, size_bytes)
        kind[address] = (raw, size_bytes)
        return address

    def _copy(self, name, target, source, size_bytes, stream):
        def do():
            ctypes.memmove(target, source, size_bytes)

        if name in self.fail:
            self.fail.discard(name)
            raise CudaError("cudaMemcpyAsync", "cudaErrorInvalidValue", "the test wants it")
        self.queue(stream, Op(name, do, ((source, size_bytes),), ((target, size_bytes),)))

    def _drain(self, stream, until=None):
        queue = self.streams[stream].queue
        if until is not None and until not in queue:
            return
        while queue:
            op = queue.popleft()
            if op is until:
                return
            for address, size in (*op.reads, *op.writes):
                self._assert_alive(op, address, size)
            op.do()
            self.gpu_now_ms += self.gpu_ms.get(op.name, 0.0 if op.name == "event" else 1.0)
            self.done.append(op.name)

    def _assert_alive(self, op, address, size):
        blocks = [*self.device.items(), *self.pinned.items()]
        assert any(start <= address and address + size <= start + length for start, (_, length) in blocks), (
            f"{op.name} uses memory that is not there (any more)"
        )

    def _assert_idle(self, address, size):
        for state in self.streams.values():
            for op in state.queue:
                for start, length in (*op.reads, *op.writes):
                    assert start + length <= address or address + size <= start, f"{op.name} still uses it"
