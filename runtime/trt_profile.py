"""TensorRT's own profile: the time of each layer of an engine, from the library's profiler and engine inspector."""

import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UnavailableError
from .device_memory import DeviceMemory
from .feeds import random_feeds
from .manifest import Manifest
from .operator_times import OperatorTimes, by_kind
from .result import Line
from .runner import loaded_engine
from .trt_runner import LoadedEngine, TrtRunner

_WARM_UPS = 3
_NS_PER_MS = 1_000_000


def trt_times(line: Line, artefact: Path, manifest: Manifest | None, inferences: int, seed: int) -> OperatorTimes:
    """Times of the layers of the engine `artefact`; see `engine_times`."""
    engine, memory = loaded_engine(artefact, manifest, line.runtime)
    return engine_times(line, engine, memory, inferences, seed)


def engine_times(line: Line, engine: LoadedEngine, memory: DeviceMemory, inferences: int, seed: int) -> OperatorTimes:
    """Times of the layers of `engine`, in a context of its own and without a CUDA graph, where layers are not told.

    A kind is the layer's type where the engine was built with details, else its name.

    Raises:
        UnavailableError: the library tells of no layer.
    """
    layers = _layers(engine.module, engine.engine)
    profiler = _profiler(engine.module)
    with _ProfiledRunner(engine, memory, profiler) as runner:
        feeds = random_feeds(runner.inputs, batch=line.batch, seed=seed, source=engine.source)
        for _ in range(_WARM_UPS):
            runner.infer(feeds)
        profiler.times.clear()
        start = time.perf_counter_ns()
        for _ in range(inferences):
            runner.infer(feeds)
        inference_ms = (time.perf_counter_ns() - start) / inferences / _NS_PER_MS
    if not profiler.times:
        raise UnavailableError(f"{line.name}: {engine.library} {engine.version} tells its profiler of no layer")
    kinds = [(layers.get(name) or name, time_ms) for name, time_ms in profiler.times]
    source = f"{engine.library} {engine.version} profiler, {inferences} inferences, no CUDA graph"
    kernels = len(layers) or round(len(kinds) / inferences)
    return OperatorTimes(by_kind(kinds, inferences), kernels, inference_ms, source)


class _ProfiledRunner(TrtRunner):
    """A runner whose context reports to a profiler from its first inference on."""

    def __init__(self, engine: LoadedEngine, memory: DeviceMemory, profiler: Any) -> None:
        self._profiler = profiler
        super().__init__(engine, memory, graphs=False)

    def _new_context(self) -> Any:
        context = super()._new_context()
        context.profiler = self._profiler
        return context


def _profiler(trt: Any) -> Any:
    class KeepingProfiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.append((layer_name, ms))

    return KeepingProfiler()


def _layers(trt: ModuleType, engine: Any) -> dict[str, str | None]:
    """The layers of the engine by name, with their types where the engine has them; {} if the text is not known."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        layers = json.loads(text).get("Layers", [])
    except (json.JSONDecodeError, AttributeError):
        return {}
    found: dict[str, str | None] = {}
    for layer in layers:
        if isinstance(layer, dict) and isinstance(layer.get("Name"), str):
            found[layer["Name"]] = str(layer["LayerType"]) if "LayerType" in layer else None
        elif isinstance(layer, str):  # built without detailed profiling
            found[layer] = None
    return found
