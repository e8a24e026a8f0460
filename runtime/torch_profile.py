"""PyTorch's own profile: the time of each operator on the CPU, of each kernel on the GPU."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UnavailableError
from .feeds import random_feeds
from .manifest import Manifest
from .operator_times import OperatorTimes, by_kind
from .result import Line

if TYPE_CHECKING:
    from torch.autograd.profiler_util import FunctionEvent

_WARM_UPS = 3
_US_PER_MS = 1000
_NS_PER_MS = 1_000_000
# Between the host and the GPU, which is no part of the network.
_HOST_COPIES = ("Memcpy HtoD", "Memcpy DtoH")


def torch_times(line: Line, artefact: Path, manifest: Manifest | None, inferences: int, seed: int) -> OperatorTimes:
    """Times of the operators of the network that the manifest names.

    On the CPU each operator's own time without those that it calls; `kernels` are the outermost ones, which the
    network's Python calls. On the GPU the kernels themselves, replayed from the CUDA graph where there is one.

    Raises:
        UnavailableError: the profile is empty.
    """
    from torch.profiler import ProfilerActivity, profile

    from .torch_runner import torch_runner_from_manifest

    with torch_runner_from_manifest(artefact, manifest, line.device, line.threads) as runner:
        feeds = random_feeds(runner.inputs, batch=line.batch, seed=seed, source=artefact.name)
        for _ in range(_WARM_UPS):
            runner.infer(feeds)
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (line.device == "cuda")
        with _without_its_own_words(), profile(activities=activities) as profiler:
            start = time.perf_counter_ns()
            for _ in range(inferences):
                runner.infer(feeds)
            inference_ms = (time.perf_counter_ns() - start) / inferences / _NS_PER_MS
        version = runner.info.version
    events = list(profiler.events() or ())
    operators, kernels = _on_gpu(events) if line.device == "cuda" else _on_cpu(events)
    if not operators:
        raise UnavailableError(f"{line.name}: torch's profiler has no operators on {line.device}")
    source = f"torch {version} profiler, {inferences} inferences"
    return OperatorTimes(by_kind(operators, inferences), round(kernels / inferences), inference_ms, source)


def _on_cpu(events: "list[FunctionEvent]") -> tuple[list[tuple[str, float]], int]:
    own = [(event.name, event.self_cpu_time_total / _US_PER_MS) for event in events]
    return own, sum(event.cpu_parent is None for event in events)


def _on_gpu(events: "list[FunctionEvent]") -> tuple[list[tuple[str, float]], int]:
    kernels = [
        (kernel_name(event.name), event.self_device_time_total / _US_PER_MS)
        for event in events
        if event.device_type.name == "CUDA" and not event.name.startswith(_HOST_COPIES)
    ]
    return kernels, len(kernels)


def kernel_name(signature: str) -> str:
    """The name of a kernel without its template's and its own arguments.

    "void at::native::(anonymous namespace)::copy<float>(int)" -> "at::native::copy".
    """
    bare = signature.removeprefix("void ").replace("(anonymous namespace)::", "")
    return bare.partition("<")[0].partition("(")[0].strip() or signature


@contextmanager
def _without_its_own_words() -> Iterator[None]:
    """Keep the lines back that the profiler writes to standard error, past Python, whenever it starts and stops."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(kept, 2)
                said.seek(0)
                os.write(2, b"".join(line for line in said if not line.startswith(b"USDT:")))
    finally:
        os.close(kept)
