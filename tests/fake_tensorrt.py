"""A TensorRT whose engines are ONNX files, computed by ONNX Runtime, and which has only the names of a real version.

The names are those of the Python bindings: of 8.5 to 11.1 in the sources at github.com/NVIDIA/TensorRT
(python/src/infer), of TensorRT-RTX in the installed module.
"""

import ctypes
import enum
import json
import types

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

from fake_cuda import Op

HEADER_BYTES = 64  # of a plan in front of the ONNX file that the imitation runs

# What the runner may use of each class. A version's own table adds to it.
_RUNTIME = {"deserialize_cuda_engine"}
_ENGINE = {
    "num_io_tensors",
    "get_tensor_name",
    "get_tensor_mode",
    "get_tensor_shape",
    "get_tensor_dtype",
    "get_tensor_location",
    "get_tensor_format",
    "get_tensor_format_desc",
    "get_tensor_profile_shape",
    "num_optimization_profiles",
    "create_execution_context",
    "create_engine_inspector",
}
_CONTEXT = {"set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3", "profiler"}
_INSPECTOR = {"get_engine_information"}
_SINCE_8_6 = {"engine_host_code_allowed"}
_IN_RTX = {"is_stream_capturable"}
DTYPES_OF_8 = ("FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8")
DTYPES_OF_10 = (*DTYPES_OF_8, "INT64", "BF16", "FP8", "INT4")

VERSIONS = {
    "8.5.3": (_RUNTIME, _ENGINE, _CONTEXT, DTYPES_OF_8),
    "8.6.1": (_RUNTIME | _SINCE_8_6, _ENGINE, _CONTEXT, DTYPES_OF_8),
    "10.3.0": (_RUNTIME | _SINCE_8_6, _ENGINE, _CONTEXT, DTYPES_OF_10),
    "10.16.1": (_RUNTIME | _SINCE_8_6, _ENGINE, _CONTEXT, DTYPES_OF_10),
    "11.4.0": (_RUNTIME | _SINCE_8_6, _ENGINE, _CONTEXT, DTYPES_OF_10),
    "rtx 1.7.1": (_RUNTIME | _SINCE_8_6, _ENGINE, _CONTEXT | _IN_RTX, DTYPES_OF_10),
}

_ONNX_DTYPES = {1: "FLOAT", 10: "HALF", 2: "UINT8", 6: "INT32", 7: "INT64", 9: "BOOL"}
_NUMPY = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT32": "int32", "INT64": "int64"}


class Behaviour:
    """What a test changes. `profile`: batch sizes; `capturable`: None lets a capture fail without having said so."""

    profile = (1, 2, 4)
    capturable = True
    start_error = None
    fail_enqueue = 0  # so many of the next ones
    no_context = False
    host_tensors = ()
    vectorised = ()
    unknown_shape = ()
    refuse_shape_of = ()
    refuse_address_of = ()
    contexts = 0
    detailed = True  # what the inspector says of a layer; the other way it says its name alone
    layer_ms = 0.25
    silent = False  # tells a profiler nothing

    def __init__(self):
        self.fed = []  # the inputs of each inference


def fake_tensorrt(version, cuda, behaviour=None):
    """A module with the names of `version`, a key of VERSIONS, that queues its work on the fake GPU `cuda`."""
    runtime_names, engine_names, context_names, dtypes = VERSIONS[version]
    behaviour = behaviour or Behaviour()
    module = types.ModuleType("tensorrt_rtx" if version.startswith("rtx") else "tensorrt")
    module.__version__ = version.removeprefix("rtx ")
    module.DataType = enum.Enum("DataType", dtypes)
    module.TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
    module.TensorLocation = enum.Enum("TensorLocation", ["DEVICE", "HOST"])
    module.TensorFormat = enum.Enum("TensorFormat", ["LINEAR", "CHW16"])

    class ILogger:
        Severity = enum.Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])

    class Runtime:
        def __init__(self, logger):
            if behaviour.start_error:
                logger.log(ILogger.Severity.ERROR, behaviour.start_error)
            self.logger = logger
            self.engine_host_code_allowed = None

        def deserialize_cuda_engine(self, data):
            assert self.engine_host_code_allowed is False or "engine_host_code_allowed" not in runtime_names
            try:
                model = onnx.load_from_string(data[HEADER_BYTES if data[:4] == b"ftrt" else 0 :])
                return restricted(Engine(model, self.logger), engine_names)
            except DecodeError:
                self.logger.log(ILogger.Severity.WARNING, "a warning, which is nobody's concern")
                self.logger.log(ILogger.Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1:\n magic tag")
                return None

    class Engine:
        def __init__(self, model, logger):
            self.logger = logger
            self.session = onnxruntime.InferenceSession(
                model.SerializeToString(), options(), providers=["CPUExecutionProvider"]
            )
            graph = model.graph
            self.nodes = list(graph.node)
            self.tensors = {tensor.name: tensor.type.tensor_type for tensor in (*graph.input, *graph.output)}
            self.inputs = [tensor.name for tensor in graph.input]
            self.names = list(self.tensors)
            self.num_io_tensors = len(self.names)
            self.num_optimization_profiles = 1

        def layers(self):
            """One for each node."""
            return [(f"/{node.output[0]}/{node.op_type}", node.op_type) for node in self.nodes]

        def create_engine_inspector(self):
            return restricted(EngineInspector(self), _INSPECTOR)

        def get_tensor_name(self, index):
            return self.names[index]

        def get_tensor_mode(self, name):
            return module.TensorIOMode.INPUT if name in self.inputs else module.TensorIOMode.OUTPUT

        def get_tensor_shape(self, name):
            return tuple(size.dim_value or -1 for size in self.tensors[name].shape.dim)

        def get_tensor_dtype(self, name):
            dtype = _ONNX_DTYPES[self.tensors[name].elem_type]
            # Up to version 8 there is no int64: the parser makes it int32.
            return module.DataType["INT32" if dtype == "INT64" and dtype not in dtypes else dtype]

        def get_tensor_location(self, name):
            return module.TensorLocation.HOST if name in behaviour.host_tensors else module.TensorLocation.DEVICE

        def get_tensor_format(self, name):
            return module.TensorFormat.CHW16 if name in behaviour.vectorised else module.TensorFormat.LINEAR

        def get_tensor_format_desc(self, name):
            return "Sixteen-wide channel vectorized"

        def get_tensor_profile_shape(self, name, profile_index):
            assert profile_index == 0
            fixed = self.get_tensor_shape(name)
            return [tuple(batch if size == -1 else size for size in fixed) for batch in behaviour.profile]

        def create_execution_context(self):
            if behaviour.no_context:
                self.logger.log(ILogger.Severity.ERROR, "Requested amount of GPU memory could not be allocated")
                return None
            behaviour.contexts += 1
            return restricted(Context(self), context_names)

    class EngineInspector:
        def __init__(self, engine):
            self.engine = engine

        def get_engine_information(self, layer_format):
            assert layer_format is module.LayerInformationFormat.JSON
            detailed = [{"Name": name, "LayerType": kind} for name, kind in self.engine.layers()]
            return json.dumps({"Layers": detailed if behaviour.detailed else [layer["Name"] for layer in detailed]})

    class IProfiler:
        def __init__(self):
            self.constructed = True

    class Context:
        def __init__(self, engine):
            self.engine = engine
            self.profiler = None
            self.shapes = {}
            self.addresses = {}
            self.enqueued = False
            self.stream = 1

        def set_input_shape(self, name, shape):
            assert "compute" not in [op.name for op in cuda.streams[self.stream].queue], "an inference is under way"
            if name in behaviour.refuse_shape_of:
                self.engine.logger.log(ILogger.Severity.ERROR, "IExecutionContext::setInputShape: Error Code 3")
                return False
            fixed = self.engine.get_tensor_shape(name)
            if -1 in fixed:
                least, _, most = self.engine.get_tensor_profile_shape(name, 0)
                assert all(a <= size <= b for a, size, b in zip(least, shape, most, strict=True))
            else:
                assert tuple(shape) == fixed
            self.shapes[name] = tuple(shape)
            self.enqueued = False
            return True

        def get_tensor_shape(self, name):
            if name in behaviour.unknown_shape:
                return (-1, *self.engine.get_tensor_shape(name)[1:])
            if name in self.engine.inputs:
                return self.shapes.get(name, self.engine.get_tensor_shape(name))
            batch = next(iter(self.shapes.values()))[0]
            return tuple(batch if size == -1 else size for size in self.engine.get_tensor_shape(name))

        def set_tensor_address(self, name, memory):
            assert memory % 256 == 0
            if name in behaviour.refuse_address_of:
                return False
            self.addresses[name] = memory
            return True

        def is_stream_capturable(self, stream):
            return behaviour.capturable is True

        def execute_async_v3(self, stream_handle):
            assert stream_handle not in (0, 1, 2), "the default stream"
            assert self.addresses.keys() == self.engine.tensors.keys()
            if behaviour.fail_enqueue:
                behaviour.fail_enqueue -= 1
                self.engine.logger.log(ILogger.Severity.ERROR, "Error Code 1: Cuda Runtime (an illegal memory access)")
                return False
            if behaviour.capturable is None and cuda.invalidate(stream_handle):
                self.engine.logger.log(ILogger.Severity.ERROR, "operation not permitted when stream is capturing")
                return False
            if cuda.streams[stream_handle].capturing is not None:
                assert self.enqueued, "TensorRT wants one inference of a shape before a capture"
            self.enqueued, self.stream = True, stream_handle
            views = {name: self.view(name) for name in self.engine.names}
            cuda.queue(stream_handle, self.operation(views))
            return True

        def view(self, name):
            """The tensor's memory, as it is when this is called: address and shape are fixed in a graph."""
            dtype = np.dtype(_NUMPY[self.engine.get_tensor_dtype(name).name])
            return self.addresses[name], dtype, self.get_tensor_shape(name)

        def operation(self, views):
            session, inputs = self.engine.session, self.engine.inputs

            def compute():
                feeds = {name: at(*views[name]).copy() for name in inputs}
                behaviour.fed.append(feeds)
                outputs = [name for name in views if name not in inputs]
                made_of = {name: _NUMPY[_ONNX_DTYPES[self.engine.tensors[name].elem_type]] for name in inputs}
                wide = {name: feed.astype(made_of[name]) for name, feed in feeds.items()}
                for name, result in zip(outputs, session.run(outputs, wide), strict=True):
                    at(*views[name])[...] = result
                if self.profiler is not None and not behaviour.silent:
                    assert self.profiler.constructed, "a subclass calls the constructor of its base, or pybind11 fails"
                    for name, _ in self.engine.layers():
                        self.profiler.report_layer_time(name, behaviour.layer_ms)

            ranges = {n: (a, int(np.prod(shape)) * dtype.itemsize) for n, (a, dtype, shape) in views.items()}
            reads = tuple(ranges[name] for name in inputs)
            writes = tuple(ranges[name] for name in ranges if name not in inputs)
            return Op("compute", compute, reads, writes)

    module.ILogger = ILogger
    module.IProfiler = IProfiler
    module.LayerInformationFormat = enum.Enum("LayerInformationFormat", ["ONELINE", "JSON"])
    module.Runtime = lambda logger: restricted(Runtime(logger), runtime_names)
    module.behaviour = behaviour
    return module


class Restricted:
    """An object of a version that lacks some names: asking for one is the AttributeError that the version gives."""

    def __init__(self, real, names):
        object.__setattr__(self, "_real", real)
        object.__setattr__(self, "_names", names)

    def __getattr__(self, name):
        if name not in self._names:
            raise AttributeError(f"this version of TensorRT has no {name}")
        return getattr(self._real, name)

    def __setattr__(self, name, value):
        if name not in self._names:
            raise AttributeError(f"this version of TensorRT has no {name}")
        setattr(self._real, name, value)


def restricted(real, names):
    return Restricted(real, names)


def at(address, dtype, shape):
    """Memory as an array."""
    count = int(np.prod(shape)) * dtype.itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address)).view(dtype).reshape(shape)


def options():
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = chosen.inter_op_num_threads = 1
    return chosen
