"""Engines of TensorRT 8.5 and later and of TensorRT-RTX: named tensors, own stream, pinned buffers, CUDA graphs.

The two libraries have the same Python interface; what a version lacks is asked of its objects, not of its number.
"""

import ctypes
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UnavailableError
from .device_arrays import DeviceArray, device_views, stream_handle
from .device_memory import DeviceMemory, captured
from .keeping_logger import keeping_logger
from .manifest import Manifest, TensorInfo
from .runner import Array, BaseRunner, RunnerInfo, Tensors, agreed_tensors, bare_tensor, gpu_stages_ns

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT32": "int32", "INT64": "int64"}
_FREE = -1
_PROFILE = 0


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialised engine, which several runners may share, each with a context of its own.

    `dtypes` are those of the engine's own tensors, by name: up to TensorRT 8 an int64 input is int32 there.
    `profile` has the smallest, best and largest shape of each input; they are equal where the shape is fixed.
    """

    library: str
    module: ModuleType
    runtime: Any
    engine: Any
    log: Any
    inputs: Tensors
    outputs: Tensors
    dtypes: dict[str, str]
    profile: dict[str, tuple[Shape, Shape, Shape]]
    source: str

    @property
    def version(self) -> str:
        """The library's."""
        return str(self.module.__version__)

    def words(self) -> str:
        """What the library has complained of since the last call."""
        said = "; ".join(self.log.errors) or "it gave no reason"
        self.log.errors.clear()
        return said


@dataclass(frozen=True)
class _Buffer:
    """A tensor's memory for the largest shape: on the device, and its pinned twin on the host, as bytes."""

    pointer: int
    host: NDArray[np.uint8]

    @property
    def address(self) -> int:
        """Of the host's side."""
        return int(self.host.ctypes.data)

    def view(self, dtype: str, shape: Shape) -> Array:
        """The host's side as an array."""
        return self.host[: int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)


@dataclass(frozen=True)
class _Work:
    """One inference as a graph would fix it: where the tensors are, their shapes, and whether the host copies."""

    addresses: dict[str, int]
    shapes: Shapes
    copies: bool


@dataclass
class _Prepared:
    """What has run last of its kind, and the graph of it if there is one."""

    work: _Work | None = None
    graph: int | None = None


class TrtRunner(BaseRunner):
    """An execution context of an engine, with a stream and buffers of its own.

    One thread at a time may use a runner. Runners of one engine, see `new_context`, may be used by several threads at
    once. Outputs of `infer` are views of pinned memory. Only the first optimization profile of an engine is used.

    The first inference is made here, with zeros at the shape that the engine is best for: what does not work shows
    before the runner is used, and `info.graph` says whether a CUDA graph runs. For another shape, or with a caller's
    own arrays, the first inference runs without the graph, as TensorRT needs it, and the second makes a new one; calls
    that differ each time run without.

    Args:
        engine: from `load_engine`.
        memory: the GPU.
        graphs: try CUDA graphs.
        clock: monotonic, in ns, for the stage that the host takes.

    Raises:
        InputError: the engine has tensors that this runner does not feed.
        UnavailableError: there is not enough memory, or the GPU or the library gave an error.
    """

    has_stages = True

    def __init__(
        self,
        engine: LoadedEngine,
        memory: DeviceMemory,
        *,
        graphs: bool = True,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        info = RunnerInfo(engine.library, engine.version, "cuda", 1, device_name=memory.device_name, graph=False)
        super().__init__(engine.inputs, engine.outputs, info, engine.source)
        self._engine: LoadedEngine | None = engine
        self._memory = memory
        self._clock = clock
        self._usual = _Prepared()
        self._bare = _Prepared()  # of `staged` and `compute`, so that the graph of `infer` stays
        self._addresses: dict[str, int] = {}  # those that the context has
        self._shapes: Shapes = {}
        self._allow_graphs(graphs)
        with ExitStack() as resources:
            self._stream = memory.create_stream()
            resources.callback(memory.destroy_stream, self._stream)
            self._context: Any = self._new_context()
            resources.callback(self._drop_context)
            self._buffers = self._allocated(resources)
            resources.callback(self._forget)
            resources.callback(memory.synchronise_stream, self._stream)
            self._try_out()
            self._resources = resources.pop_all()

    def new_context(self) -> "TrtRunner":
        """Another runner of the same engine, for another thread; it is closed on its own.

        Raises:
            UnavailableError: there is not enough memory for its buffers.
            RuntimeError: this runner is closed.
        """
        return TrtRunner(self._open_engine(), self._memory, graphs=self._graphs, clock=self._clock)

    def use_graphs(self, wanted: bool) -> None:
        """Run from CUDA graphs from now on, or without; the inputs of the last `infer` are run twice for it."""
        self._open_engine()
        if wanted == self._graphs:
            return
        self._memory.synchronise_stream(self._stream)
        self._forget()
        self._allow_graphs(wanted)
        self._run_twice()

    def infer_device(
        self, feeds: Mapping[str, Any], outputs: Mapping[str, Any] | None = None, stream: object = None
    ) -> dict[str, Any]:
        """An inference on arrays that are on the GPU; nothing is copied.

        An array is an object with `__dlpack__` (PyTorch, CuPy), a DLPack capsule, or an object with
        `__cuda_array_interface__` (Numba); contiguous, and aligned to 256 bytes. What its protocol says of streams is
        kept; a capsule alone must be ready.

        Args:
            feeds: the inputs by name.
            outputs: where outputs are to go, by name; the others go to the runner's own memory.
            stream: None waits for the result. A stream's handle, or an object with `__cuda_stream__`: the inference
                comes after what is queued there, what is queued there later comes after it, and the call returns at
                once; the arrays must then live until it is done.

        Returns:
            The arrays of `outputs`, and for the others `DeviceArray`, valid until the next call or `close`.

        Raises:
            InputError: an array does not fit.
            UnavailableError: the GPU or the library gave an error.
        """
        engine = self._open_engine()
        taken = device_views(feeds, self._on_device(self.inputs), self._stream, engine.source, to_write=False)
        if missing := [tensor.name for tensor in self.inputs if tensor.name not in taken]:
            raise InputError(f"{', '.join(missing)}: not given, {engine.source} takes it; add it")
        given = device_views(outputs or {}, self._on_device(self.outputs), self._stream, engine.source, to_write=True)
        caller = None if stream is None else stream_handle(stream)
        self._use_shapes({name: view.shape for name, view in taken.items()})
        for name, view in given.items():
            if view.shape != self._shapes[name]:
                raise InputError(
                    f"{name}: shape {_text(view.shape)} given, {engine.source} writes {_text(self._shapes[name])}"
                )
        views = {**taken, **given}
        for other in {caller, *(view.stream for view in views.values())} - {None}:
            assert other is not None
            self._memory.wait_for(self._stream, other)
        own = {name: buffer.pointer for name, buffer in self._buffers.items()}
        addresses = {**own, **{name: view.pointer for name, view in views.items()}}
        self._run(_Work(addresses, self._shapes, copies=False), self._usual)
        if caller is None:
            self._memory.synchronise_stream(self._stream)
        else:
            self._memory.wait_for(caller, self._stream)
        return {
            tensor.name: (outputs or {}).get(tensor.name, self._own_output(tensor, caller)) for tensor in self.outputs
        }

    def compute(self) -> None:
        """One inference without copies, complete when this returns; inputs are those of the last `infer` or `staged`.

        Raises:
            UnavailableError: the GPU or the library gave an error.
        """
        self._open_engine()
        self._run(replace(self._own_work(), copies=False), self._bare)
        self._memory.synchronise_stream(self._stream)

    def staged_compute(self) -> dict[str, int]:
        """The stages "enqueue" and "compute" of `compute`: see `Runner.staged`. Units: ns."""
        self._open_engine()
        work = replace(self._own_work(), copies=False)
        self._prepare(work)
        with ExitStack() as resources:
            start, end = self._event(resources), self._event(resources)
            self._memory.record_event(start, self._stream)
            enqueue_ns = self._queued_ns(work)
            self._memory.record_event(end, self._stream)
            self._memory.synchronise_stream(self._stream)
            stages = gpu_stages_ns(enqueue_ns, [0, self._memory.elapsed_ms(start, end), 0])
        return {name: stages[name] for name in ("enqueue", "compute")}

    def gpu_compute_ms(self, iterations: int) -> float:
        """Time of one inference on the GPU, without copies: the mean over `iterations` in a row. Units: ms.

        The inputs are those of the last `infer`, in the runner's own memory.

        Raises:
            InputError: `iterations` is below 1.
            UnavailableError: the GPU or the library gave an error.
        """
        self._open_engine()
        if iterations < 1:
            raise InputError(f"iterations {iterations}: give at least 1")
        work = replace(self._own_work(), copies=False)
        with ExitStack() as resources:
            start, end = self._event(resources), self._event(resources)
            for _ in range(2):  # the second makes the graph
                self._run(work, self._usual)
            self._memory.record_event(start, self._stream)
            for _ in range(iterations):
                self._run(work, self._usual)
            self._memory.record_event(end, self._stream)
            self._memory.synchronise_stream(self._stream)
            return self._memory.elapsed_ms(start, end) / iterations

    def _infer(self, feeds: dict[str, Array]) -> dict[str, Array]:
        self._take(feeds)
        self._run(self._own_work(), self._usual)
        self._memory.synchronise_stream(self._stream)
        return {tensor.name: self._host(tensor) for tensor in self.outputs}

    def _staged(self, feeds: dict[str, Array]) -> dict[str, int]:
        self._take(feeds)
        work = replace(self._own_work(), copies=False)
        self._prepare(work)
        with ExitStack() as resources:
            events = [self._event(resources) for _ in range(4)]
            self._memory.record_event(events[0], self._stream)
            self._copy_in()
            self._memory.record_event(events[1], self._stream)
            enqueue_ns = self._queued_ns(work)
            self._memory.record_event(events[2], self._stream)
            self._copy_out()
            self._memory.record_event(events[3], self._stream)
            self._memory.synchronise_stream(self._stream)
            return gpu_stages_ns(enqueue_ns, [self._memory.elapsed_ms(*pair) for pair in pairwise(events)])

    def _queued_ns(self, work: _Work) -> int:
        """Queue `work`, which has been prepared: how long that takes the host. Units: ns."""
        start_ns = self._clock()
        self._run(work, self._bare)
        return self._clock() - start_ns

    def _prepare(self, work: _Work) -> None:
        """Make the graph of `work` beforehand, where there can be one: else its capture would be timed."""
        while self._bare.work != work or (self._bare.graph is None and self._may_capture):
            self._copy_in()  # what the GPU's memory holds may be no valid input
            self._run(work, self._bare)
            self._memory.synchronise_stream(self._stream)

    def _take(self, feeds: dict[str, Array]) -> None:
        """Put the inputs into pinned memory."""
        self._use_shapes({name: array.shape for name, array in feeds.items()})
        for tensor in self.inputs:
            _copy(feeds[tensor.name], self._host(tensor), tensor.name)

    def _close(self) -> None:
        try:
            self._resources.close()
        finally:
            self._engine = None

    def _open_engine(self) -> LoadedEngine:
        if not self._is_open or self._engine is None:
            raise RuntimeError(f"the runner of {self._source} is closed")
        return self._engine

    def _on_device(self, tensors: Tensors) -> Tensors:
        """`tensors` as the engine has them."""
        dtypes = self._open_engine().dtypes
        return tuple(tensor.model_copy(update={"dtype": dtypes[tensor.name]}) for tensor in tensors)

    def _host(self, tensor: TensorInfo) -> Array:
        return self._buffers[tensor.name].view(self._open_engine().dtypes[tensor.name], self._shapes[tensor.name])

    def _own_work(self) -> _Work:
        return _Work({name: buffer.pointer for name, buffer in self._buffers.items()}, self._shapes, copies=True)

    def _event(self, resources: ExitStack) -> int:
        event = self._memory.create_event()
        resources.callback(self._memory.destroy_event, event)
        return event

    def _own_output(self, tensor: TensorInfo, stream: int | None) -> DeviceArray:
        return DeviceArray(
            self._buffers[tensor.name].pointer,
            self._open_engine().dtypes[tensor.name],
            self._shapes[tensor.name],
            None if stream is None else self._stream,
        )

    # -- what is set up once

    def _new_context(self) -> Any:
        engine = self._open_engine()
        context = engine.engine.create_execution_context()
        if context is None:
            free, total = self._memory.memory_info()
            raise UnavailableError(
                f"{engine.source}: {engine.library} {engine.version} made no execution context ({engine.words()}); "
                f"{free} of {total} bytes of GPU memory are free; lower the batch, or end other "
                "programs that use the GPU"
            )
        return context

    def _drop_context(self) -> None:
        self._context = None

    def _allocated(self, resources: ExitStack) -> dict[str, _Buffer]:
        """Buffers for the largest shapes."""
        self._use_shapes({name: largest for name, (_, _, largest) in self._open_engine().profile.items()})
        buffers: dict[str, _Buffer] = {}
        resources.callback(buffers.clear)
        for tensor in (*self.inputs, *self.outputs):
            size_bytes = self._size_bytes(tensor)
            pointer = self._memory.allocate(size_bytes)
            resources.callback(self._memory.free, pointer)
            buffers[tensor.name] = _Buffer(pointer, _pinned(self._memory, size_bytes))
        return buffers

    def _try_out(self) -> None:
        self._use_shapes({name: best for name, (_, best, _) in self._open_engine().profile.items()})
        for tensor in self.inputs:
            self._host(tensor).fill(0)  # a valid index, where the input is one
        self._run_twice()

    def _run_twice(self) -> None:
        """The second makes the graph, and `info` says whether there is one."""
        for _ in range(2):
            self._run(self._own_work(), self._usual)
            self._memory.synchronise_stream(self._stream)

    # -- what may change from call to call

    def _use_shapes(self, inputs: Shapes) -> None:
        """Tell the context the inputs' shapes and ask it for the outputs'."""
        if inputs.items() <= self._shapes.items():
            return
        engine = self._open_engine()
        for name, shape in inputs.items():
            smallest, _, largest = engine.profile[name]
            if len(shape) != len(largest) or not all(
                least <= size <= most for least, size, most in zip(smallest, shape, largest, strict=True)
            ):
                raise InputError(
                    f"{name}: shape {_text(shape)} given, {engine.source} was built for {_text(smallest)} to "
                    f"{_text(largest)}; export with --batch for other batch sizes"
                )
        # A graph or an inference of the old shapes may still be at work.
        self._memory.synchronise_stream(self._stream)
        self._forget()
        self._shapes = {}
        for name, shape in inputs.items():
            if not self._context.set_input_shape(name, shape):
                raise self._refused(f"the shape {_text(shape)} of {name}")
        shapes = {tensor.name: tuple(self._context.get_tensor_shape(tensor.name)) for tensor in self.outputs}
        if unknown := [name for name, shape in shapes.items() if _FREE in shape]:
            raise InputError(
                f"{engine.source}: the shape of {', '.join(unknown)} depends on the data, which no fixed buffer fits; "
                "export it without such an output"
            )
        self._shapes = {**inputs, **shapes}

    def _run(self, work: _Work, prepared: _Prepared) -> None:
        """Queue an inference: work that comes for the second time in a row makes a graph, and then runs from it."""
        if work != prepared.work:
            self._drop(prepared)
            self._enqueue(work)
            prepared.work = work
            return
        if prepared.graph is None and self._may_capture:
            prepared.graph = self._captured(work)
        if prepared.graph is not None:
            self._memory.launch_graph(prepared.graph, self._stream)
        else:
            self._enqueue(work)

    def _enqueue(self, work: _Work) -> None:
        self._use_addresses(work.addresses)
        if work.copies:
            self._copy_in()
        if not self._context.execute_async_v3(self._stream):
            raise self._refused("the inference")
        if work.copies:
            self._copy_out()

    def _copy_in(self) -> None:
        for tensor in self.inputs:
            buffer = self._buffers[tensor.name]
            self._memory.copy_to_device(buffer.pointer, buffer.address, self._size_bytes(tensor), self._stream)

    def _copy_out(self) -> None:
        for tensor in self.outputs:
            buffer = self._buffers[tensor.name]
            self._memory.copy_to_host(buffer.address, buffer.pointer, self._size_bytes(tensor), self._stream)

    def _use_addresses(self, addresses: dict[str, int]) -> None:
        if addresses == self._addresses:
            return
        self._addresses = {}  # until all are told
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self._refused(f"the address {address:#x} of {name}")
        self._addresses = addresses

    def _captured(self, work: _Work) -> int | None:
        """A graph of `work`; None where there can be none, and `info` then says why, for good."""
        # TensorRT-RTX knows beforehand; the others find out while they try.
        if not getattr(self._context, "is_stream_capturable", lambda _: True)(self._stream):
            self._without_graph(f"{self.info.runtime} says that this network cannot be captured")
            return None
        try:
            graph = captured(self._memory, self._stream, lambda: self._enqueue(work))
        except UnavailableError as error:
            self._without_graph(f"the capture failed: {error}")
            return None
        self.info = replace(self.info, graph=True, graph_fallback_reason=None)
        return graph

    def _allow_graphs(self, wanted: bool) -> None:
        self._graphs = wanted
        self._may_capture = wanted
        if self._memory.graph_problem is not None:
            self._without_graph(self._memory.graph_problem)
        elif not wanted:
            self._without_graph("not wanted")

    def _without_graph(self, reason: str) -> None:
        self._may_capture = False
        self.info = replace(self.info, graph=False, graph_fallback_reason=reason)

    def _forget(self) -> None:
        self._drop(self._usual)
        self._drop(self._bare)
        self._addresses = {}

    def _drop(self, prepared: _Prepared) -> None:
        graph, prepared.graph, prepared.work = prepared.graph, None, None
        if graph is not None:
            self._memory.destroy_graph(graph)  # a launch that is under way goes on; CUDA frees the graph after it

    def _size_bytes(self, tensor: TensorInfo) -> int:
        dtype = np.dtype(self._open_engine().dtypes[tensor.name])
        return int(np.prod(self._shapes[tensor.name])) * dtype.itemsize

    def _refused(self, what: str) -> UnavailableError:
        engine = self._open_engine()
        return UnavailableError(
            f"{engine.source}: {engine.library} {engine.version} refuses {what}: {engine.words()}; build it again on "
            "this machine with espnet-export"
        )


def load_engine(path: Path, manifest: Manifest | None, library: ModuleType, device_name: str) -> LoadedEngine:
    """Deserialise the engine `path`, whose checksum has been verified and behind which a driver has answered.

    Args:
        path: the engine.
        manifest: of the file; None for a trusted file without one.
        library: the module tensorrt or tensorrt_rtx.
        device_name: the GPU's, for messages.

    Raises:
        InputError: the library refuses the file, or it has tensors that this program does not feed.
        UnavailableError: the library does not start.
        CheckError: the engine's inputs or outputs are not those of the manifest.
    """
    from ..commands import interrupts_deferred  # with it comes what only commands need

    trt: Any = library
    log = keeping_logger(trt)
    runtime = _runtime(trt, log)
    # The library calls our logger: an exception raised there would come out as its own error messages.
    with interrupts_deferred():
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        said = "; ".join(log.errors) or "it gave no reason"
        raise InputError(
            f"{path}: {trt.__name__} {trt.__version__} on {device_name} cannot load it ({said}){_built_by(manifest)}; "
            "engines fit only the version and the kind of GPU that they were built for: build it again here with "
            "espnet-export"
        )
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    _check_tensors(trt, engine, names, path.name)
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    own = {name: _tensor(engine, name, path.name) for name in names}
    return LoadedEngine(
        trt.__name__,
        trt,
        runtime,
        engine,
        log,
        _described([own[name] for name in inputs], manifest.inputs if manifest else None, path.name),
        _described([own[name] for name in outputs], manifest.outputs if manifest else None, path.name),
        {name: tensor.dtype for name, tensor in own.items()},
        {name: _profile(engine, name) for name in inputs},
        path.name,
    )


def _pinned(memory: DeviceMemory, size_bytes: int) -> NDArray[np.uint8]:
    """Pinned host memory that is given back when no array looks at it any more.

    Not when the runner is closed: an output that somebody has kept would then point to nothing.
    """
    address = memory.allocate_pinned(size_bytes)
    raw = (ctypes.c_uint8 * size_bytes).from_address(address)
    # At exit the driver may be gone already, and the memory goes with the process.
    weakref.finalize(raw, memory.free_pinned, address).atexit = False
    return np.ctypeslib.as_array(raw)


def _runtime(trt: Any, log: Any) -> Any:
    try:
        runtime = trt.Runtime(log)
    except (TypeError, RuntimeError) as error:  # what versions 7 to 10 raise where CUDA does not start
        said = "; ".join(log.errors) or str(error)
        raise UnavailableError(f"{trt.__name__} {trt.__version__} does not start: {said}") from error
    if log.errors:  # version 11 gives an object around nothing; the next call on it would end the process
        raise UnavailableError(f"{trt.__name__} {trt.__version__} does not start: {'; '.join(log.errors)}")
    # An engine is native code for the GPU; code for the host is never let in. Version 8.5 knows none.
    if hasattr(runtime, "engine_host_code_allowed"):
        runtime.engine_host_code_allowed = False
    return runtime


def _built_by(manifest: Manifest | None) -> str:
    if manifest is None or manifest.engine is None:
        return ""
    made = manifest.engine
    where = made.device or ", ".join(f"compute capability {capability}" for capability in made.compute_capabilities)
    return f"; it was built by {made.builder} {made.builder_version} for {where or 'the default of the builder'}"


def _check_tensors(trt: Any, engine: Any, names: list[str], source: str) -> None:
    for name in names:
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise InputError(
                f"{source}: {name} holds a shape and is read on the host, which this runner does not feed; build the "
                "engine without it"
            )
        if engine.get_tensor_format(name) != trt.TensorFormat.LINEAR:
            raise InputError(
                f"{source}: {name} has a vectorised layout ({engine.get_tensor_format_desc(name)}); build the engine "
                "with linear inputs and outputs"
            )


def _described(own: Sequence[TensorInfo], manifest: Tensors | None, source: str) -> Tensors:
    """The engine's `own` tensors as the manifest describes them, which may say int64 where the engine has int32.

    Raises:
        CheckError: they differ in anything else.
    """
    wide = {tensor.name for tensor in manifest or () if tensor.dtype == "int64"}
    widened = (
        tensor.model_copy(update={"dtype": "int64"}) if tensor.name in wide and tensor.dtype == "int32" else tensor
        for tensor in own
    )
    return agreed_tensors(manifest, tuple(widened), source)


def _copy(array: Array, to: Array, name: str) -> None:
    """Copy the input `name` to pinned memory, int64 to int32 where the engine has that.

    Raises:
        InputError: a number is beyond int32.
    """
    if array.dtype != to.dtype and array.size and not np.array_equal(array, array.astype(to.dtype)):
        raise InputError(
            f"{name}: {np.abs(array).max()} is beyond {to.dtype}, which this engine takes; give numbers up to "
            f"{np.iinfo(to.dtype).max}"
        )
    np.copyto(to, array, casting="same_kind")


def _tensor(engine: Any, name: str, source: str) -> TensorInfo:
    dtype = str(engine.get_tensor_dtype(name).name)
    shape = [size if size != _FREE else f"dim{i}" for i, size in enumerate(engine.get_tensor_shape(name))]
    return bare_tensor(name, _DTYPES.get(dtype), dtype, shape, source)


def _profile(engine: Any, name: str) -> tuple[Shape, Shape, Shape]:
    """The smallest, best and largest shape of an input."""
    fixed = tuple(engine.get_tensor_shape(name))
    if _FREE not in fixed:
        return fixed, fixed, fixed
    smallest, best, largest = (tuple(shape) for shape in engine.get_tensor_profile_shape(name, _PROFILE))
    return smallest, best, largest


def _text(shape: Shape) -> str:
    return f"({','.join(map(str, shape))})"
