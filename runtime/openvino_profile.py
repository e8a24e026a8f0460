"""OpenVINO's own profile: the time of each node that its CPU plug-in executes."""

import time
from pathlib import Path

from ..errors import UnavailableError
from .feeds import random_feeds
from .manifest import Manifest
from .openvino_runner import OpenVinoRunner
from .operator_times import OperatorTimes, by_kind
from .result import Line

_WARM_UPS = 3
_NS_PER_MS = 1_000_000


def openvino_times(line: Line, artefact: Path, manifest: Manifest | None, inferences: int, seed: int) -> OperatorTimes:
    """Times of the nodes of `artefact` after OpenVINO's own fusions, each in whole us.

    The counters are means over the life of the compiled network and cannot be set to zero, so that all inferences are
    in them, the first ones too.

    Raises:
        UnavailableError: the counters are empty.
    """
    runs = _WARM_UPS + inferences
    with OpenVinoRunner(artefact, manifest, line.threads, profiled=True) as runner:
        feeds = random_feeds(runner.inputs, batch=line.batch, seed=seed, source=artefact.name)
        start = time.perf_counter_ns()
        for _ in range(runs):
            runner.infer(feeds)
        inference_ms = (time.perf_counter_ns() - start) / runs / _NS_PER_MS
        nodes = runner.executed_nodes()
        if not nodes:
            raise UnavailableError(f"{line.name}: openvino's performance counters are empty")
        source = f"openvino {runner.info.version} performance counters, mean of all {runs} inferences"
        return OperatorTimes(by_kind(nodes, 1), len(nodes), inference_ms, source)
