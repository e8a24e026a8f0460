"""TensorRT modules that stand for the hardware: only what the recorded interface of a version has can be called.

`export/tensorrt_api.json` lists the public members of each version. The classes made here refuse every other name, as
the real ones do, and record what is called; what the build would give is set on the module's `world`.
"""

import json
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

DESCRIPTIONS = Path(__file__).parent / "export" / "tensorrt_api.json"
RTX = "rtx 1.7.1.116"
VERSIONS = ("8.5", "8.6.1", "10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106", RTX)
PLAN = b"plan"
_LAYER_TYPES = {"Conv": "CONVOLUTION", "QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE"}
_DTYPES = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF", onnx.TensorProto.INT8: "INT8"}


@dataclass
class World:
    """What the machine is like, and what was asked of it. `calls`: (class, member, value) in order."""

    fast_fp16: bool = True
    fast_int8: bool = True
    dla_cores: int = 0
    refused_typings: tuple[str, ...] = ()
    says: str = "no implementation was found"
    inspected: str = "{}"
    loads: bool = True
    cache_fits: bool = True
    takes_capability: bool = True
    steps: int = 4
    calls: list[tuple[str, str, Any]] = field(default_factory=list)

    def values(self, member: str) -> list[Any]:
        """What `member` of any class was called with or set to, in order."""
        return [value for _, name, value in self.calls if name == member]

    def flags(self) -> list[str]:
        """The builder flags of the last configuration."""
        last = max(i for i, (_, name, _) in enumerate(self.calls) if name == "create_builder_config")
        return [value.name for _, name, value in self.calls[last:] if name == "set_flag"]


@cache
def _descriptions() -> dict[str, Any]:
    versions: dict[str, Any] = json.loads(DESCRIPTIONS.read_text())["versions"]
    return versions


def fake_tensorrt(version: str) -> ModuleType:
    """A module with the interface of `version`, and a `world` of its own."""
    described = _descriptions()[version]
    module = ModuleType("tensorrt_rtx" if version == RTX else "tensorrt")
    module.__version__ = version.rsplit(maxsplit=1)[-1]
    module.world = world = World()
    for name, members in described["enums"].items():
        setattr(module, name, IntEnum(name, members))
    makers = _behaviours(module, world)
    for name, members in described["classes"].items():
        setattr(module, name, _class(name, frozenset(members), makers.get(name, {}), world))
    module.ILogger.Severity = IntEnum("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2})
    return module


def _class(name: str, members: frozenset[str], behaviour: dict[str, Any], world: World) -> Any:
    """A class that has the behaviour as far as the version has the names, and refuses to take other ones."""

    def set_attribute(self: Any, attribute: str, value: Any) -> None:
        # Subclasses of ours, such as the logger, have attributes of their own.
        if type(self).__name__ == name and not attribute.startswith("_"):
            if attribute not in members:
                raise AttributeError(f"{name!r} object has no attribute {attribute!r}")
            world.calls.append((name, attribute, value))
        object.__setattr__(self, attribute, value)

    there = {key: value for key, value in behaviour.items() if key.startswith("_") or key in members}
    return type(name, (), {**there, "__setattr__": set_attribute})


def _behaviours(trt: ModuleType, world: World) -> dict[str, dict[str, Any]]:
    """What the classes do; a test stands and falls with the names, not with these."""
    record = world.calls.append

    def note(name: str, member: str, result: Any = None) -> Any:
        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            value = arguments[0] if len(arguments) == 1 else arguments
            record((name, member, value))
            return result(self, *arguments, **named) if callable(result) else result

        return call

    def make(name: str, **hidden: Any) -> Any:
        made = getattr(trt, name).__new__(getattr(trt, name))
        for key, value in hidden.items():
            object.__setattr__(made, key, value)
        return made

    def new_builder(self: Any, log: Any) -> None:
        object.__setattr__(self, "_log", log)

    def new_parser(self: Any, network: Any, log: Any) -> None:
        object.__setattr__(self, "_network", network)

    def build(self: Any, network: Any, config: Any) -> Any:
        monitor = getattr(config, "progress_monitor", None)
        if monitor is not None and not _told(monitor, world.steps):
            self._log.log(trt.ILogger.Severity.ERROR, "Build canceled by user")
            return None
        if network._typing in world.refused_typings:
            self._log.log(trt.ILogger.Severity.ERROR, world.says)
            return None
        return PLAN

    def load(self: Any, data: bytes) -> Any:
        return make("ICudaEngine") if world.loads else None

    strong = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    always_strong = not hasattr(trt.BuilderFlag, "FP16")

    def create_network(self: Any, flags: int) -> Any:
        is_strong = always_strong or (strong is not None and flags & 1 << int(strong))
        return make("INetworkDefinition", _layers=[], _typing="strong" if is_strong else "weak")

    return {
        "ILogger": {"__init__": lambda self: None},
        "IProgressMonitor": {"__init__": lambda self: None},
        "Builder": {
            "__init__": new_builder,
            "platform_has_fast_fp16": property(lambda self: world.fast_fp16),
            "platform_has_fast_int8": property(lambda self: world.fast_int8),
            "num_DLA_cores": property(lambda self: world.dla_cores),
            "create_builder_config": note("Builder", "create_builder_config", lambda self: make("IBuilderConfig")),
            "create_network": note("Builder", "create_network", create_network),
            "create_optimization_profile": lambda self: make("IOptimizationProfile"),
            "build_serialized_network": note("Builder", "build_serialized_network", build),
        },
        "IBuilderConfig": {
            "set_flag": note("IBuilderConfig", "set_flag"),
            "set_memory_pool_limit": note("IBuilderConfig", "set_memory_pool_limit"),
            "set_compute_capability": note(
                "IBuilderConfig", "set_compute_capability", lambda *_: world.takes_capability
            ),
            "add_optimization_profile": note("IBuilderConfig", "add_optimization_profile"),
            "create_timing_cache": lambda self, data: make("ITimingCache", _data=data),
            "set_timing_cache": note(
                "IBuilderConfig",
                "set_timing_cache",
                lambda self, cache, ignore_mismatch: world.cache_fits or not cache._data,
            ),
            "get_timing_cache": lambda self: make("ITimingCache", _data=b"new timings"),
        },
        "ITimingCache": {"serialize": lambda self: self._data},
        "IOptimizationProfile": {"set_shape": note("IOptimizationProfile", "set_shape")},
        "INetworkDefinition": {
            "num_layers": property(lambda self: len(self._layers)),
            "get_layer": lambda self, index: self._layers[index],
            "num_inputs": property(lambda self: len(self._inputs)),
            "get_input": lambda self, index: self._inputs[index],
        },
        "ILayer": {
            "type": property(lambda self: self._type),
            "num_outputs": property(lambda self: 1),
            "get_output": lambda self, index: make("ITensor", _dtype=self._dtype),
        },
        "ITensor": {
            "dtype": property(lambda self: self._dtype),
            "name": property(lambda self: self._name),
            "shape": property(lambda self: self._shape),
        },
        "OnnxParser": {
            "__init__": new_parser,
            "parse": lambda self, data: _parse(trt, make, self._network, data),
            "num_errors": property(lambda self: 0),
        },
        "Runtime": {"__init__": lambda self, log: None, "deserialize_cuda_engine": load},
        "ICudaEngine": {"create_engine_inspector": lambda self: make("EngineInspector")},
        "EngineInspector": {
            "get_engine_information": note("EngineInspector", "get_engine_information", lambda self, f: world.inspected)
        },
    }


def _told(monitor: Any, steps: int) -> bool:
    """Tell the monitor of a phase inside of another; False where it wants the build to end."""
    monitor.phase_start("Building", None, 2)
    monitor.phase_start("Timing", "Building", steps)
    goes_on = all(monitor.step_complete("Timing", step) for step in range(steps))
    monitor.phase_finish("Timing")
    goes_on = goes_on and monitor.step_complete("Building", 0) and monitor.step_complete("Building", 1)
    monitor.phase_finish("Building")
    return goes_on


def _parse(trt: Any, make: Any, network: Any, data: bytes) -> bool:
    """One layer for each node, with the types that ONNX infers."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    object.__setattr__(network, "_layers", [])
    for node in model.graph.node:
        kind = trt.LayerType[_LAYER_TYPES.get(node.op_type, "IDENTITY")]
        dtype = trt.DataType[_DTYPES.get(types.get(node.output[0], 1), "INT32")]
        network._layers.append(make("ILayer", _type=kind, _dtype=dtype))
    inputs = [
        make(
            "ITensor",
            _name=value.name,
            _shape=[-1 if d.dim_param else d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in model.graph.input
    ]
    object.__setattr__(network, "_inputs", inputs)
    return True
