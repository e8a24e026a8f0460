"""ONNX Runtime's own profile: the time of each node, from the JSON file that a session writes."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ..errors import UnavailableError
from .feeds import random_feeds
from .manifest import Manifest
from .operator_times import OperatorTimes, by_kind
from .ort_runner import OrtRunner
from .result import Line

_WARM_UPS = 3
_MAX_BYTES = 1 << 28  # a node's event has below 1 kB: more than 10,000 nodes in 25 inferences
_US_PER_MS = 1000


class _Event(BaseModel):
    """One event of the trace. Units: us."""

    category: str = Field(alias="cat")
    name: str
    start_us: int = Field(alias="ts", ge=0)
    duration_us: int = Field(alias="dur", ge=0)
    arguments: dict[str, Any] = Field(alias="args", default={})


def ort_times(line: Line, artefact: Path, manifest: Manifest | None, inferences: int, seed: int) -> OperatorTimes:
    """Times of the nodes of `artefact` after ONNX Runtime's own optimisation, each in whole us.

    Raises:
        UnavailableError: on a GPU, where the profiler times the host's calls; or the profile is not as expected.
    """
    if line.device != "cpu":
        raise UnavailableError(
            f"{line.name}: onnxruntime's profiler times the host's calls on {line.device}, not the GPU; "
            "profile the engine or torch"
        )
    with tempfile.TemporaryDirectory(prefix="espnet-edge-profile-") as folder:
        # Closed first: a session that is still profiling writes its file when it goes.
        with OrtRunner(artefact, manifest, line.device, line.threads, profile_prefix=Path(folder, "run")) as runner:
            feeds = random_feeds(runner.inputs, batch=line.batch, seed=seed, source=artefact.name)
            for _ in range(_WARM_UPS + inferences):
                runner.infer(feeds)
            events = read_profile(runner.end_profiling())
        return _times(events, inferences, f"onnxruntime {runner.info.version} profiler, {inferences} inferences")


def read_profile(path: Path) -> list[_Event]:
    """The events in a profile.

    Raises:
        UnavailableError: it is not in the form that is known, or too long.
    """
    if (size_bytes := path.stat().st_size) > _MAX_BYTES:
        raise UnavailableError(f"the profile has {size_bytes} bytes, {_MAX_BYTES} are read; profile fewer inferences")
    try:
        return TypeAdapter(list[_Event]).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise UnavailableError(f"the profile is not as expected: {first['loc']}: {first['msg']}") from error


def _times(events: Sequence[_Event], inferences: int, source: str) -> OperatorTimes:
    runs = sorted((e for e in events if e.name == "model_run"), key=lambda e: e.start_us)[-inferences:]
    if len(runs) < inferences:
        raise UnavailableError(f"the profile has {len(runs)} of {inferences} inferences")
    begin = runs[0].start_us
    nodes = [
        (str(e.arguments.get("op_name", "?")), e.duration_us / _US_PER_MS)
        for e in events
        if e.category == "Node" and e.name.endswith("_kernel_time") and e.start_us >= begin
    ]
    inference_ms = sum(run.duration_us for run in runs) / inferences / _US_PER_MS
    return OperatorTimes(by_kind(nodes, inferences), round(len(nodes) / inferences), inference_ms, source)
