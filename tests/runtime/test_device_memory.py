"""The libraries behind `DeviceMemory`: the real ones as far as they go without a GPU, and their logic on a fake one."""

import re
import sys
from contextlib import contextmanager
from inspect import getsource
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from espnet_edge.errors import InputError, UnavailableError
from espnet_edge.runtime import device_memory_cuda_python, device_memory_torch
from espnet_edge.runtime.cuda_probe import probe_cuda
from espnet_edge.runtime.device_memory import CudaError, DeviceMemory, OutOfMemoryError, captured, open_memory
from espnet_edge.runtime.device_memory_cuda_python import CudaPythonMemory
from espnet_edge.runtime.device_memory_pycuda import PycudaMemory
from espnet_edge.runtime.device_memory_torch import TorchMemory
from espnet_edge.runtime.manifest import load_manifest
from espnet_edge.runtime.trt_runner import TrtRunner, load_engine
from fake_tensorrt import at, fake_tensorrt

METHODS = [name for name, value in vars(DeviceMemory).items() if callable(value) and not name.startswith("_")]
without_driver = pytest.mark.skipif(probe_cuda().device is not None, reason="this machine has a GPU")


def test_a_provider_that_there_is_not():
    with pytest.raises(InputError, match="'cupy' is unknown; there are auto, cuda-python, pycuda, torch"):
        open_memory("cupy")


@without_driver
def test_auto_says_what_each_provider_answered():
    with pytest.raises(UnavailableError) as caught:
        open_memory()
    message = str(caught.value)
    assert caught.value.exit_code == 3
    for name in ("cuda", "pycuda", "torch"):
        assert name in message
    assert "\n" not in message


@pytest.mark.parametrize(("provider", "extra"), [("cuda-python", "cuda"), ("pycuda", "pycuda"), ("torch", "export")])
def test_a_missing_library_names_the_extra(monkeypatch, provider, extra):
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "pycuda", "pycuda.driver", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError, match=rf"^{provider} cannot be imported .*'espnet-edge\[{extra}\]'"):
        open_memory(provider)


def test_auto_takes_the_first_that_answers(monkeypatch, cuda):
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, name, None)
    install_fake_pycuda(monkeypatch, cuda)
    assert open_memory().name == "pycuda"


# -- cuda-python, the real one


@pytest.fixture
def runtime():
    return pytest.importorskip("cuda.bindings.runtime")


def test_every_function_of_cuda_python_is_there(runtime):
    """Also in CUDA 11, whose Python module was called cudart: no name here is newer than 11.4."""
    source = getsource(device_memory_cuda_python)
    names = set(re.findall(r'"(cuda[A-Z]\w+)"', source)) | set(re.findall(r"_cuda\.(cuda\w+)", source))
    names -= {name for name in names if name.startswith("cudaError")}
    assert len(names) >= 25
    assert [name for name in names if not hasattr(runtime, name)] == []
    assert runtime.cudaError_t.cudaErrorMemoryAllocation.name == "cudaErrorMemoryAllocation"
    assert "name" in dir(runtime.cudaDeviceProp)


def test_the_old_name_of_the_module_is_known(runtime, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, "cuda.cudart", runtime)
    assert device_memory_cuda_python._bindings() is runtime


@without_driver
def test_without_a_driver_cuda_python_says_what_the_driver_says(runtime):
    with pytest.raises(CudaError) as caught:
        CudaPythonMemory()
    assert caught.value.name in {"cudaErrorInsufficientDriver", "cudaErrorNoDevice"}
    assert str(caught.value).startswith(f"cudaGetDeviceCount failed: {caught.value.name} (")
    assert caught.value.exit_code == 3


@without_driver
@pytest.mark.parametrize("method", METHODS)
def test_every_call_has_arguments_that_cuda_python_takes(runtime, method):
    """Each call gets as far as the driver, which is not there; a wrong number or type of arguments is a TypeError."""
    memory = object.__new__(CudaPythonMemory)
    memory._cuda = runtime
    arguments = {"memory_info": 0, "create_stream": 0, "create_event": 0, "wait_for": 2, "record_event": 2}
    arguments |= {"copy_to_device": 4, "copy_to_host": 4, "launch_graph": 2, "elapsed_ms": 2}
    with pytest.raises(CudaError, match=r"^cuda\w+ failed: cudaError\w+ \(.+\)$"):
        getattr(memory, method)(*[256] * arguments.get(method, 1))


def status(name="cudaSuccess", number=0):
    class Status(int):
        pass

    value = Status(number)
    value.name = name
    return value


@pytest.fixture
def cuda_python(monkeypatch, cuda, runtime):
    """The provider of cuda-python, whose calls go to the fake GPU."""
    calls = {
        "cudaGetDeviceCount": lambda: 1,
        "cudaGetDeviceProperties": lambda device: SimpleNamespace(name=b"Fake GPU\0\0"),
        "cudaMemGetInfo": cuda.memory_info,
        "cudaMalloc": cuda.allocate,
        "cudaFree": cuda.free,
        "cudaHostAlloc": lambda size, flags: cuda.allocate_pinned(size),
        "cudaFreeHost": cuda.free_pinned,
        "cudaMemcpyAsync": lambda to, of, size, kind, stream: (
            cuda.copy_to_device if kind == runtime.cudaMemcpyKind.cudaMemcpyHostToDevice else cuda.copy_to_host
        )(to, of, size, stream),
        "cudaStreamCreateWithFlags": lambda flags: cuda.create_stream(),
        "cudaStreamDestroy": cuda.destroy_stream,
        "cudaStreamSynchronize": cuda.synchronise_stream,
        "cudaEventCreate": cuda.create_event,
        "cudaEventCreateWithFlags": lambda flags: cuda.create_event(),
        "cudaEventDestroy": cuda.destroy_event,
        "cudaEventRecord": cuda.events.__setitem__,
        "cudaStreamWaitEvent": lambda stream, event, flags: cuda.wait_for(stream, cuda.events[event]),
        "cudaEventElapsedTime": lambda start, end: 1.5,
        "cudaStreamBeginCapture": lambda stream, mode: cuda.begin_capture(stream),
        "cudaStreamEndCapture": cuda.end_capture,
        "cudaGraphInstantiateWithFlags": lambda graph, flags: graph,
        "cudaGraphDestroy": lambda graph: None,
        "cudaGraphLaunch": cuda.launch_graph,
        "cudaGraphExecDestroy": cuda.destroy_graph,
        "cudaGetLastError": lambda: None,
        "cudaGetErrorString": lambda error: b"the text",
    }

    class Bindings:
        def __getattr__(self, name):
            return self.wrapped(calls[name]) if name in calls else getattr(runtime, name)

        def wrapped(self, call):
            def made(*arguments):
                try:
                    value = call(*arguments)
                except OutOfMemoryError:
                    return status("cudaErrorMemoryAllocation", 2), None
                except CudaError as error:
                    return status(error.name, 999), None
                values = value if isinstance(value, tuple) else () if value is None else (value,)
                return (status(), *values)

            return made

    monkeypatch.setattr(device_memory_cuda_python, "_bindings", Bindings)
    return CudaPythonMemory()


# -- PyCUDA and PyTorch, imitated by the names that they have


def install_fake_pycuda(monkeypatch, cuda):
    """PyCUDA's names (github.com/inducer/pycuda, src/wrapper/wrap_cudadrv.cpp), on the fake GPU."""

    class Error(Exception):
        pass

    out_of_memory = type("MemoryError", (Error,), {})
    pushed = []

    def needs_context(call):
        def made(*arguments):
            assert pushed, "a call without a context"
            try:
                return call(*arguments)
            except OutOfMemoryError as error:
                raise out_of_memory("cuMemAlloc failed: out of memory") from error
            except CudaError as error:
                raise Error(str(error)) from error

        return made

    class Allocation:
        @needs_context
        def __init__(self, size):
            self.pointer = cuda.allocate(size)

        def __int__(self):
            return self.pointer

        def free(self):
            cuda.free(self.pointer)

    class Stream:
        @needs_context
        def __init__(self, flags=0):
            assert flags == 1  # CU_STREAM_NON_BLOCKING
            self.handle = cuda.create_stream()

        @needs_context
        def synchronize(self):
            cuda.synchronise_stream(self.handle)

        @needs_context
        def wait_for_event(self, event):
            cuda.wait_for(self.handle, event.stream)

        def __del__(self):
            cuda.destroy_stream(self.handle)

    class Event:
        def record(self, stream=None):
            self.stream = stream.handle
            return self

        def time_till(self, other):
            return 1.5

    class Context:
        def push(self):
            pushed.append(self)

        @staticmethod
        def pop():
            pushed.pop()

        @staticmethod
        @needs_context
        def synchronize():
            for stream in list(cuda.streams):
                cuda.synchronise_stream(stream)

    @needs_context
    def pagelocked_empty(shape, dtype):
        address = cuda.allocate_pinned(shape)
        base = SimpleNamespace(free=lambda: cuda.free_pinned(address))

        class Pagelocked(np.ndarray):
            pass

        array = at(address, np.dtype(dtype), (shape,)).view(Pagelocked)
        return SimpleArray(array, base)

    class SimpleArray:
        """An array whose base can be freed."""

        def __init__(self, array, base):
            self.array, self.base, self.ctypes = array, base, array.ctypes

        def __getitem__(self, index):
            return self.array[index]

    driver = ModuleType("pycuda.driver")
    driver.Error, driver.MemoryError = Error, out_of_memory
    driver.init = lambda: None
    driver.Device = lambda ordinal: SimpleNamespace(name=lambda: "Fake GPU", retain_primary_context=Context)
    driver.mem_get_info = needs_context(cuda.memory_info)
    driver.mem_alloc = Allocation
    driver.pagelocked_empty = pagelocked_empty
    driver.Stream, driver.Event = Stream, Event
    driver.memcpy_htod_async = needs_context(
        lambda to, of, stream: cuda.copy_to_device(to, of.ctypes.data, of.nbytes, stream.handle)
    )
    driver.memcpy_dtoh_async = needs_context(
        lambda to, of, stream: cuda.copy_to_host(to.ctypes.data, of, to.nbytes, stream.handle)
    )
    package = ModuleType("pycuda")
    package.driver, package.VERSION_TEXT = driver, "2026.1"
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return pushed


@pytest.fixture
def pycuda(monkeypatch, cuda):
    pushed = install_fake_pycuda(monkeypatch, cuda)
    yield PycudaMemory()
    assert pushed == []


@pytest.fixture
def torch_memory(monkeypatch, cuda):
    """The provider of PyTorch, whose calls go to the fake GPU."""
    current = [2]

    def refused(call, *arguments):
        try:
            return call(*arguments)
        except OutOfMemoryError as error:
            raise RuntimeError("CUDA out of memory. Tried to allocate") from error
        except CudaError as error:
            raise RuntimeError(f"CUDA error: {error}\nCUDA kernel errors might be") from error

    class Tensor:
        def __init__(self, size, pinned):
            self.pinned, self.size = pinned, size
            self.pointer = refused(cuda.allocate_pinned if pinned else cuda.allocate, size)
            self.owner = True

        def data_ptr(self):
            return self.pointer

        def __getitem__(self, part):
            view = object.__new__(Tensor)
            view.pinned, view.pointer, view.size, view.owner = self.pinned, self.pointer, part.stop, False
            return view

        def copy_(self, source, *, non_blocking):
            assert non_blocking
            copy = cuda.copy_to_host if self.pinned else cuda.copy_to_device
            refused(copy, self.pointer, source.pointer, self.size, current[-1])

        def __del__(self):
            if self.__dict__.get("owner"):
                (cuda.free_pinned if self.pinned else cuda.free)(self.pointer)

    class Stream:
        def __init__(self, device):
            self.cuda_stream = cuda.create_stream()

        def synchronize(self):
            refused(cuda.synchronise_stream, self.cuda_stream)

        def wait_stream(self, other):
            cuda.wait_for(self.cuda_stream, other.cuda_stream)

        def __del__(self):
            if type(self) is Stream:
                cuda.destroy_stream(self.cuda_stream)

    class ExternalStream(Stream):
        def __init__(self, handle, device):
            self.cuda_stream = handle

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self, stream):
            assert isinstance(stream, Stream)

        def elapsed_time(self, end):
            return 1.5

    class Graph:
        def capture_begin(self, *, capture_error_mode):
            assert capture_error_mode == "thread_local"
            refused(cuda.begin_capture, current[-1])

        def capture_end(self):
            self.graph = refused(cuda.end_capture, current[-1])

        def replay(self):
            cuda.launch_graph(self.graph, current[-1])

        def reset(self):
            cuda.destroy_graph(self.graph)

    @contextmanager
    def on(stream):
        current.append(stream.cuda_stream)
        yield
        current.pop()

    module = ModuleType("torch")
    module.__version__, module.uint8, module.device = "2.13.0", "uint8", lambda kind, index: (kind, index)
    module.empty = lambda size, *, dtype, device=None, pin_memory=False: Tensor(size, pin_memory)
    module.cuda = SimpleNamespace(
        init=lambda: None,
        get_device_name=lambda device: "Fake GPU",
        mem_get_info=lambda device: cuda.memory_info(),
        Stream=Stream,
        ExternalStream=ExternalStream,
        Event=Event,
        CUDAGraph=Graph,
        stream=on,
    )
    monkeypatch.setitem(sys.modules, "torch", module)
    return TorchMemory()


def test_every_name_of_torch_is_there():
    names = set(re.findall(r"_cuda\.(\w+)", getsource(device_memory_torch)))
    assert {"CUDAGraph", "Stream", "ExternalStream"} <= names
    assert [name for name in names if not hasattr(torch.cuda, name)] == []
    assert all(hasattr(torch.cuda.CUDAGraph, name) for name in ("capture_begin", "capture_end", "replay", "reset"))
    assert all(hasattr(torch.cuda.Stream, name) for name in ("synchronize", "wait_stream"))


@without_driver
def test_without_a_driver_torch_says_so():
    with pytest.raises(UnavailableError, match=r"^torch.cuda.init failed: \w+ \(.*\)$"):
        TorchMemory()


# -- what all of them do


@pytest.fixture(params=["cuda_python", "pycuda", "torch_memory"])
def memory(request, cuda):
    return request.getfixturevalue(request.param)


def test_the_device_and_its_memory(memory, cuda):
    assert memory.device_name == "Fake GPU"
    assert memory.version[0] in "12"
    before = memory.memory_info()
    pointer = memory.allocate(512)
    assert memory.memory_info() == (before[0] - 512, before[1])
    memory.free(pointer)
    assert memory.memory_info() == before


def test_out_of_memory(memory, cuda):
    cuda.total_bytes = 1 << 22
    with pytest.raises(OutOfMemoryError, match=r"^GPU memory: 8388608 bytes \(8\.0 MiB\) asked on Fake GPU, 41943"):
        memory.allocate(1 << 23)


def test_copies_go_there_and_back_in_the_order_of_the_stream(memory, cuda):
    stream, pointer = memory.create_stream(), memory.allocate(300)
    there, back = memory.allocate_pinned(300), memory.allocate_pinned(300)
    at(there, np.dtype(np.uint8), (300,))[...] = np.arange(300) % 256
    memory.copy_to_device(pointer, there, 300, stream)
    memory.copy_to_host(back, pointer, 200, stream)
    assert cuda.done == []
    memory.synchronise_stream(stream)
    found = at(back, np.dtype(np.uint8), (300,))
    np.testing.assert_array_equal(found[:200], np.arange(200))
    assert (found[200:] == 0xAB).all()
    for address in (there, back):
        memory.free_pinned(address)
    memory.free(pointer)
    memory.destroy_stream(stream)


@pytest.mark.parametrize("others", [(False, False), (False, True), (True, False)])
def test_one_stream_waits_for_another(memory, cuda, others):
    """Also where one of them belongs to another library."""
    first, second = (cuda.foreign_stream() if other else memory.create_stream() for other in others)
    pointer, address = memory.allocate(4), memory.allocate_pinned(4)
    cuda.copy_to_device(pointer, address, 4, first)
    memory.wait_for(second, first)
    cuda.copy_to_host(address, pointer, 4, second)
    cuda.synchronise_stream(second)
    assert [name for name in cuda.done if name in {"h2d", "d2h"}] == ["h2d", "d2h"]
    memory.free(pointer)
    memory.free_pinned(address)
    for stream, other in zip((first, second), others, strict=True):
        if not other:
            memory.destroy_stream(stream)


def test_events(memory):
    stream, start, end = memory.create_stream(), memory.create_event(), memory.create_event()
    memory.record_event(start, stream)
    memory.record_event(end, stream)
    memory.synchronise_stream(stream)
    assert memory.elapsed_ms(start, end) == 1.5
    for event in (start, end):
        memory.destroy_event(event)
    memory.destroy_stream(stream)


@pytest.mark.parametrize("provider", ["cuda_python", "torch_memory"])
def test_graphs(request, cuda, provider):
    memory = request.getfixturevalue(provider)
    stream, pointer, address = memory.create_stream(), memory.allocate(4), memory.allocate_pinned(4)
    graph = captured(memory, stream, lambda: memory.copy_to_device(pointer, address, 4, stream))
    memory.synchronise_stream(stream)
    assert cuda.done == []
    for _ in range(2):
        memory.launch_graph(graph, stream)
    memory.synchronise_stream(stream)
    assert cuda.done == ["h2d", "h2d"]

    def allocates():
        memory.allocate(4)

    with pytest.raises(CudaError, match=r"(?i)captur"):
        captured(memory, stream, allocates)
    memory.copy_to_device(pointer, address, 4, stream)
    memory.synchronise_stream(stream)
    assert cuda.done == ["h2d"] * 3
    memory.destroy_graph(graph)
    memory.free(pointer)
    memory.free_pinned(address)
    memory.destroy_stream(stream)


def test_a_failing_call_names_itself(memory, cuda):
    stream = memory.create_stream()
    cuda.fail.add("synchronise_stream")
    with pytest.raises(CudaError, match=r"^cu(da)?StreamSynchronize failed: \w+ \(.+\)$"):
        memory.synchronise_stream(stream)
    memory.destroy_stream(stream)


def test_an_engine_runs_on_each_provider(memory, cuda, conv_artefact, pixels):
    path = conv_artefact("batch")
    engine = load_engine(path, load_manifest(path), fake_tensorrt("10.3.0", cuda), "Fake GPU")
    with TrtRunner(engine, memory) as runner:
        assert runner.info.graph is (memory.graph_problem is None)
        found = {batch: runner.infer({"image": pixels(batch)})["labels"].copy() for batch in (1, 1, 1, 3)}
        again = runner.new_context()
        with again:
            np.testing.assert_array_equal(again.infer({"image": pixels(3)})["labels"], found[3])
    np.testing.assert_array_equal(found[1][0], found[3][0])
