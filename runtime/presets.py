"""How other tools measure by default, as data, and our measurement set to it: `espnet-bench --as trtexec-10`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .runner import Array, Runner
from .stats import PERCENTILE_RULE
from .trt_runner import TrtRunner
from .work import Work

_MS_PER_S = 1000


@dataclass(frozen=True)
class Preset:
    """The defaults of one version of a tool.

    Attributes:
        name: as the user gives it.
        tool: program and version.
        source: where the defaults stand.
        warmup_ms: least duration of the warm-up. Units: ms.
        duration_s: least duration of the measurement after it. Units: s.
        iterations: least number of inferences.
        averaged_runs: inferences whose mean makes one line of the tool's running print-out.
        percentiles: that the tool reports besides the median.
        streams: execution contexts at work at the same time.
        transfers: whether inputs are copied to the GPU and outputs back in each inference.
        graph: whether a CUDA graph runs.
        spin_wait: whether the tool's host spins while it waits for the GPU.
    """

    name: str
    tool: str
    source: str
    warmup_ms: float
    duration_s: float
    iterations: int
    averaged_runs: int
    percentiles: tuple[float, ...]
    streams: int
    transfers: bool
    graph: bool
    spin_wait: bool

    def as_settings(self) -> dict[str, Any]:
        """Fields of the bench's settings: one round of one block that ends when it is long enough in both ways."""
        return {
            "rounds": 1,
            "iterations": self.iterations,
            "block_s": self.duration_s,
            "warmup_iterations": 0,
            "warmup_s": self.warmup_ms / _MS_PER_S,
        }

    @property
    def definitions(self) -> tuple[str, ...]:
        """What applies, and what differs from the tool, for people."""
        return (self._applied(), self._latency(), self._percentiles(), self._queue(), self._wait())

    def _applied(self) -> str:
        return (
            f"as {self.tool} by default ({self.source}): warm-up {self.warmup_ms:g} ms, then at least "
            f"{self.duration_s:g} s and {self.iterations} inferences, {self.streams} stream, "
            f"{_with(self.transfers)} data transfers, {_with(self.graph)} CUDA graph; one round, so that a ratio has "
            "no interval"
        )

    def _latency(self) -> str:
        parts = "h2d + compute + d2h" if self.transfers else "compute alone, for nothing is transferred"
        return (
            f"trtexec calls latency what CUDA events tell: {parts}; compare it with the stages here. Our latency is by "
            "the host's clock, from the call to the end of the wait"
            + (", with the host's copy to pinned memory" if self.transfers else "")
        )

    def _percentiles(self) -> str:
        named = ", ".join(f"{percent:g}" for percent in self.percentiles)
        return (
            f"trtexec reports the percentiles {named} by another rule: of n sorted samples, counted from 0, number "
            f"n - 1 - int((1 - p/100) * n), so that p99 of 100 samples can be the largest; here: {PERCENTILE_RULE}. "
            f"Its lines of averages over {self.averaged_runs} runs are not printed"
        )

    def _queue(self) -> str:
        copies = " and copies on streams of their own" if self.transfers else ""
        return (
            f"trtexec queues the next inference while one is under way{copies}; here each is waited for, so our "
            "throughput is lower, and compute contains the launch where the GPU waits for it"
        )

    def _wait(self) -> str:
        theirs = "spins until the GPU is done" if self.spin_wait else "sleeps until the GPU wakes it"
        return (
            f"trtexec {theirs}; here the stream is synchronised as CUDA does by default, which spins where there are "
            "more cores than CUDA contexts and yields otherwise (a Jetson may sleep): that is in our latency, and "
            "in no stage"
        )


_OF_BOTH: Mapping[str, Any] = {
    "warmup_ms": 200.0,
    "duration_s": 3.0,
    "iterations": 10,
    "averaged_runs": 10,
    "percentiles": (90.0, 95.0, 99.0),
    "streams": 1,
}
_SOURCE = "samples/common/sampleOptions.h, InferenceOptions and ReportingOptions, of NVIDIA/TensorRT"
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="trtexec-10",
            tool="trtexec 10",
            source=f"{_SOURCE}, release/10.0 and release/10.16",
            transfers=True,
            graph=False,
            spin_wait=False,
            **_OF_BOTH,
        ),
        Preset(
            name="trtexec-11",
            tool="trtexec 11",
            source=f"{_SOURCE}, release/11.0 and release/11.1",
            transfers=False,
            graph=True,
            spin_wait=True,
            **_OF_BOTH,
        ),
    )
}


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(f"--as {name}: no such preset; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def preset_work(runner: Runner, feeds: Mapping[str, Array], chosen: Preset) -> Work:
    """An inference as the tool makes it; the runner uses CUDA graphs, or none, from now on as the tool does.

    With transfers a call is `infer`, with the stages of `work.GPU_STAGES`; without, it computes on the inputs that
    are on the GPU already, and has the stages "enqueue" and "compute".

    Args:
        runner: open, of an engine.
        feeds: the inputs.
        chosen: from `preset`.

    Raises:
        InputError: the runner is not of an engine, or the inputs do not fit.
        UnavailableError: the GPU or the library gave an error.
    """
    if not isinstance(runner, TrtRunner):
        raise InputError(
            f"--as {chosen.name}: trtexec measures engines on a GPU, and this is {runner.info.label}; give an engine "
            "(.trt) alone, or leave --as out"
        )
    runner.use_graphs(chosen.graph)
    runner.infer(feeds)  # the inputs are on the GPU from here on
    call: Callable[[], object] = runner.compute
    staged: Callable[[], Mapping[str, int]] = runner.staged_compute
    if chosen.transfers:
        call, staged = lambda: runner.infer(feeds), lambda: runner.staged(feeds)
    first = runner.inputs[0]
    return Work((call,), images=feeds[first.name].shape[first.batch_axis], staged=staged)


def _with(there: bool) -> str:
    return "with" if there else "without"
