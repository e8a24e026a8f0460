"""A result file: everything that was measured in one run, as values that are written, read, printed and compared.

The one form of a measurement. `espnet-bench` and `espnet-paper` make it, tables, pages and gates are made from it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import InputError
from ..files import write_text
from ..power.conditions import MachineConditions
from ..power.recording_file import read_json
from .bench import BenchSettings
from .environment import Environment
from .stats import Ratio, Summary

SCHEMA_VERSION = 3

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
Ns = Annotated[int, Field(ge=0)]
# One tuple for each round.
Rounds = tuple[tuple[Ns, ...], ...]


def _between(least: float, value: float, most: float) -> bool:
    """But for what rounding may have moved it."""
    return least * (1 - 1e-9) <= value <= most * (1 + 1e-9)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MeasuredFile(_Part):
    """An artefact that was measured. From its manifest, and None for a trusted file without one: all from `name` on.

    `conv_macs` and `linear_macs` are of one image or word. `weights_random`: its answers mean nothing; its speed does.
    """

    path: Name
    sha256: str
    size_bytes: Count
    name: str | None = None
    task: str | None = None
    network: str | None = None
    width_mult: float | None = None
    dataset: str | None = None
    precision: str | None = None
    conv_macs: Count | None = None
    linear_macs: Count | None = None
    params: Count | None = None
    weights_random: bool | None = None

    @property
    def macs(self) -> int | None:
        """Convolutions and linear layers together, of one image or word."""
        if self.conv_macs is None or self.linear_macs is None:
            return None
        return self.conv_macs + self.linear_macs


class Line(_Part):
    """One thing that was measured: a file in a runtime at a batch size.

    Attributes:
        name: unique in the result; the other parts refer to it.
        file: path of the artefact, one of `Result.files`.
        runtime: the library that computes.
        version: of that library.
        device: "cpu" or "cuda".
        device_name: of a GPU.
        threads: CPU threads of the library.
        graph: whether a CUDA graph runs; None where the library knows none.
        graph_fallback_reason: why a runtime that can have one runs without.
        batch: images (or words) of one inference.
        streams: inferences that are under way at the same time.
        rate_hz: inferences that arrive per second by a timetable; None where the next follows when one is done.
        inputs: name, type and shape of what is fed, as "image uint8 (1,512,1024,3)"; or the photos.
    """

    name: Name
    file: Name
    runtime: str
    version: str
    device: Literal["cpu", "cuda"]
    device_name: str | None = None
    threads: AtLeastOne
    graph: bool | None = None
    graph_fallback_reason: str | None = None
    batch: AtLeastOne = 1
    streams: AtLeastOne = 1
    rate_hz: NotNegative | None = None
    inputs: tuple[str, ...] = ()


class LineLatency(_Part):
    """How long inferences of one line took. Units: ns, unless the name says otherwise.

    Attributes:
        name: of the line.
        warmup_ns: durations of the warm-up, in order; they enter no figure.
        steady: whether the warm-up came to rest by the stated rule.
        discarded_ns: the first inference of each block, which enters no figure.
        starts_ns: when each inference was due: at its call in a closed loop, by the timetable at a fixed rate. Instants
            of the monotonic clock, which are those of a power recording in the same file.
        samples_ns: latency of each inference from that instant on, one tuple for each round.
        service_ns: at a fixed rate, the same from the call on; None in a closed loop, where it is the same.
        elapsed_ns: length of each round's block.
        stages_ns: parts of inferences that were timed in blocks of their own, by the name of the stage.
        summary: figures of `samples_ns`.
        service_summary: figures of `service_ns`.
        stages: figures of `stages_ns`.
        throughput_per_s: images (or words) that came out per second, all streams together.
        ratio: time relative to the first line of the result; None for that line.
    """

    name: Name
    warmup_ns: tuple[Ns, ...]
    steady: bool
    discarded_ns: tuple[Ns, ...]
    starts_ns: tuple[tuple[int, ...], ...]
    samples_ns: Rounds
    service_ns: Rounds | None = None
    elapsed_ns: tuple[Ns, ...]
    stages_ns: Mapping[str, Rounds] = {}
    summary: Summary
    service_summary: Summary | None = None
    stages: Mapping[str, Summary] = {}
    throughput_per_s: NotNegative
    ratio: Ratio | None = None

    @model_validator(mode="after")
    def _figures_fit(self) -> "LineLatency":
        blocks = self.samples_ns
        if not blocks or not all(blocks):
            raise ValueError("it has a round without samples, or no round")
        lengths = [len(block) for block in blocks]
        if [len(block) for block in self.starts_ns] != lengths or len(self.elapsed_ns) != len(lengths):
            raise ValueError("instants, samples and lengths of its rounds do not fit")
        least, most = (end(min(block) if end is min else max(block) for block in blocks) / 1e6 for end in (min, max))
        if self.summary.n != sum(lengths) or not _between(least, self.summary.p50_ms, most):
            raise ValueError("its summary is not of its samples")
        return self


class Latency(_Part):
    """Latencies of all lines; `order` has the names of each round's blocks as they ran."""

    settings: BenchSettings
    order: tuple[tuple[Name, ...], ...]
    lines: Annotated[tuple[LineLatency, ...], Field(min_length=1)]


class Figure(_Part):
    """A value with its 95 % interval, `value` +- `half_width`, and what is known of both: see docs/power.md."""

    value: float
    half_width: NotNegative
    n: Count
    dof: float | None = Field(description="effective degrees of freedom; null where they are without limit")
    components: tuple[Mapping[str, Any], ...] = ()
    flags: tuple[str, ...] = ()


class Unknown(_Part):
    """A figure that is not known, and why; it is never 0."""

    reason: str


class EnergyFigures(_Part):
    """Figures of one line by one way of measuring: see `power.figures.EnergyBy`. Units: mJ of one inference, mW."""

    label: str
    gross_mj: Figure | Unknown
    net_mj: Figure | Unknown
    power_mw: Figure | Unknown
    gain_error: float | None
    offset_mj: float | None
    windows: tuple[Mapping[str, Any], ...] = ()


class LineEnergy(_Part):
    """What one line draws: see `power.figures.LoadEnergy`."""

    name: Name
    total: EnergyFigures
    other: EnergyFigures | None
    difference: float | None
    rails: tuple[EnergyFigures, ...]
    ratio: Figure | Unknown | None
    inference_ms: float
    window_s: float


class EnergyResult(_Part):
    """Figures of all lines, and idle power before and after. Units: mW."""

    loads: tuple[LineEnergy, ...]
    idle_before_mw: float | None
    idle_after_mw: float | None
    doubts: tuple[str, ...]


class Power(_Part):
    """Power and energy; `unavailable` says why there are none, and `probes` what each meter answered then.

    `recording` is read by `power.recording_file` alone: the figures follow from it.
    """

    schema_version: int
    unavailable: str | None = None
    probes: tuple[Mapping[str, Any], ...] = ()
    result: EnergyResult | None = None
    recording: Mapping[str, Any] | None = None


class LineMemory(_Part):
    """Memory that one line takes, measured in a process of its own. Units: bytes.

    Attributes:
        name: of the line.
        before_rss_bytes: resident memory of the process before the library is imported.
        loaded_rss_bytes: with the network open, before the first inference.
        peak_rss_bytes: the highest of the whole life of the process.
        gpu_bytes: GPU memory that this process holds after the inferences; None on the CPU.
        gpu_note: what told `gpu_bytes`, or why it is not known; None on the CPU.
        inferences: how many were run.
        unavailable: why nothing is known; the numbers are None then.
    """

    name: Name
    before_rss_bytes: Count | None = None
    loaded_rss_bytes: Count | None = None
    peak_rss_bytes: Count | None = None
    gpu_bytes: Count | None = None
    gpu_note: str | None = None
    inferences: Count = 0
    unavailable: str | None = None


class Snapshot(_Part):
    """The machine right before or right after: load average over the last minute, clocks, temperature, power mode."""

    load_average: float | None
    conditions: MachineConditions


class SkippedLine(_Part):
    """A file in a runtime that could not be measured, and why."""

    file: str
    runtime: str
    reason: str


class OperatorShare(_Part):
    """Time of all operators of one kind in one inference; `share` is of the time of all operators."""

    operator: str
    count: Count
    time_ms: NotNegative
    share: NotNegative


class Breakdown(_Part):
    """Where the time of one line goes: counts of the network, and its runtime's own profile.

    Attributes:
        line: name of the line.
        operators: nodes of the ONNX file by type; {} where there is no ONNX file to be read.
        kernels: operators that the runtime executes in one inference, after its own fusions; None if it does not say.
        weights_bytes: of the weights, each once.
        activations_bytes: maps that are written by one node and read by another, written once and read once for each
            reader, as if nothing were fused: what a runtime without fusion moves.
        shares: by kind of operator as the runtime calls it, the longest first.
        profiled_ms: time of all operators of one inference, with the profiler on.
        source: what gave the profile: "onnxruntime 1.32.0 profiler, 20 inferences".
        unavailable: why there is no profile; the counts may be there all the same.
    """

    line: Name
    operators: Mapping[str, Count] = {}
    kernels: Count | None = None
    weights_bytes: Count | None = None
    activations_bytes: Count | None = None
    shares: tuple[OperatorShare, ...] = ()
    profiled_ms: NotNegative | None = None
    source: str | None = None
    unavailable: str | None = None


class Claim(_Part):
    """One statement of the paper beside what was measured here.

    `paper` and `ours` are the two figures as text with units, `source` says where the paper's is from. The verdict is
    "not told apart" where our interval contains both outcomes, "not measured" with the `reason` where nothing was.
    """

    statement: str
    source: str
    paper: str
    ours: str
    verdict: Literal["holds", "does not hold", "not told apart", "not measured"]
    reason: str | None = None


class WorkTrace(_Part):
    """Power over time while one line did the same work as the others: idle, `images` inferred, idle.

    `time_s` counts from the start of the work, and is negative before. `filtered_w` is `power_w` resampled every 100 ms
    and low-pass filtered as the paper's figure seems to be.
    """

    line: Name
    images: AtLeastOne
    work_s: NotNegative
    time_s: tuple[float, ...]
    power_w: tuple[float, ...]
    filtered_time_s: tuple[float, ...]
    filtered_w: tuple[float, ...]


class PaperComparison(_Part):
    """What `espnet-paper` adds: the networks of the paper's comparison, in its order, with what belongs to them.

    Attributes:
        networks: names of the networks, ESPNetv2 first.
        top1: published ImageNet top-1 of each network and width as measured here, in percent.
        batches: batch sizes of the panels.
        claims: the paper's statements beside ours.
        traces: the third panel; () where no meter gives a trace.
        no_traces_reason: why there are none.
    """

    networks: tuple[str, ...]
    top1: Mapping[str, float]
    batches: tuple[AtLeastOne, ...]
    claims: tuple[Claim, ...] = ()
    traces: tuple[WorkTrace, ...] = ()
    no_traces_reason: str | None = None


class Result(_Part):
    """One run of `espnet-bench` or `espnet-paper`.

    Attributes:
        schema_version: of this form; files of another one are refused.
        program: what measured: "espnet-bench".
        command: its arguments.
        started: ISO 8601, UTC.
        partial: why something is missing that was asked for: "interrupted in round 3 of 5"; None where nothing is.
        environment: the machine and its libraries.
        before: its state right before.
        after: and right after.
        files: the artefacts.
        lines: what was measured, in the order in which it was given; ratios refer to the first.
        skipped: what could not be measured.
        latency: None where it was not asked for.
        power: likewise.
        memory: likewise.
        breakdowns: where the time of each line goes; () where it was not asked for.
        paper: what `espnet-paper` adds.
        definitions: what the figures mean, for people.
        doubts: what speaks against them, each with its remedy.
    """

    schema_version: Literal[3] = 3
    program: str
    command: tuple[str, ...] = ()
    started: str
    partial: str | None = None
    environment: Environment
    before: Snapshot
    after: Snapshot
    files: tuple[MeasuredFile, ...]
    lines: Annotated[tuple[Line, ...], Field(min_length=1)]
    skipped: tuple[SkippedLine, ...] = ()
    latency: Latency | None = None
    power: Power | None = None
    memory: tuple[LineMemory, ...] | None = None
    breakdowns: tuple[Breakdown, ...] = ()
    paper: PaperComparison | None = None
    definitions: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> "Result":
        names = [line.name for line in self.lines]
        for part, referred in {"lines": names, **self._references()}.items():
            if len(set(referred)) < len(referred):
                raise ValueError(f"two {part} have one name: {referred}")
        paths = {file.path for file in self.files}
        for line in self.lines:
            if line.file not in paths:
                raise ValueError(f"line {line.name!r} is of {line.file!r}, which is not among the files")
        for part, referred in self._references().items():
            if unknown := set(referred) - set(names):
                raise ValueError(f"{part} has {min(unknown)!r}, which is not among the lines")
        return self

    def _references(self) -> dict[str, list[str]]:
        """Names of lines that the parts refer to."""
        paper = self.paper
        return {
            "latency": [line.name for line in self.latency.lines] if self.latency else [],
            "power": [load.name for load in self.power.result.loads] if self.power and self.power.result else [],
            "memory": [line.name for line in self.memory or ()],
            "breakdowns": [part.line for part in self.breakdowns],
            "paper": [trace.line for trace in paper.traces] if paper else [],
            "order": sorted({name for names in self.latency.order for name in names}) if self.latency else [],
        }

    def file_of(self, line: Line) -> MeasuredFile:
        """The artefact of a line."""
        return next(file for file in self.files if file.path == line.file)

    def latency_of(self, name: str) -> LineLatency | None:
        """The latency of a line; None where it was not measured."""
        return next((line for line in self.latency.lines if line.name == name), None) if self.latency else None

    def energy_of(self, name: str) -> LineEnergy | None:
        """The energy of a line; None where it was not measured."""
        loads = self.power.result.loads if self.power and self.power.result else ()
        return next((load for load in loads if load.name == name), None)

    def breakdown_of(self, name: str) -> Breakdown | None:
        """Where the time of a line goes; None where it was not profiled."""
        return next((part for part in self.breakdowns if part.line == name), None)

    def memory_of(self, name: str) -> LineMemory | None:
        """The memory of a line; None where it was not measured."""
        return next((line for line in self.memory or () if line.name == name), None)


def result_text(result: Result) -> str:
    """The text of a result file: the same result gives the same bytes."""
    return result.model_dump_json(indent=1) + "\n"


def write_result(path: Path, result: Result) -> None:
    """Write the result file in one step: see `files.write_text`."""
    write_text(path, result_text(result))


def read_result(path: Path) -> Result:
    """The result in a file of `espnet-bench --json` or `espnet-paper`.

    Raises:
        InputError: the file is not there, too large, no JSON, of another schema version, or contradicts itself; the
            message names the place.
    """
    values = read_json(path)
    if not isinstance(values, dict) or "schema_version" not in values:
        raise InputError(f"{path} is no result: it has no schema_version; give a file that espnet-bench --json wrote")
    if (version := values["schema_version"]) != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {str(version)[:20]}, this program reads {SCHEMA_VERSION}; measure again, or "
            "take the version of the program that wrote it"
        )
    try:
        return Result.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the result"
        raise InputError(f"{path}: {where}: {first['msg']}; the file was changed, or is of another version") from error
