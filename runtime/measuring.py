"""Measuring what was opened: latency, power, memory, one after the other, as one result."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from rich.console import Console

from ..errors import EspnetEdgeError, InputError, UnavailableError
from ..power.campaign import Settings
from ..power.conditions import read_conditions
from ..power.meter import Meter
from ..power.meters import NoPowerError, open_meter
from .bench import BenchResult, BenchSettings, bench
from .environment import load_average, read_environment
from .memory_use import MemoryRequest, measured_memory
from .operator_profile import breakdown
from .pacing import paced
from .power_bench import measure_power
from .power_report import MeasuredPower, MissingPower, nothing_known, power_json
from .report import definitions, doubts
from .result import Breakdown, Latency, LineLatency, LineMemory, Power, Result, Snapshot
from .subjects import Opened, Subject

_INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Wanted:
    """What is to be measured, and how.

    Attributes:
        measures: of `capabilities.MEASURES`.
        bench: of latency.
        power: of power.
        power_source: which meter: see `power.meters.open_meter`.
        seed: of random inputs in memory's and the profiler's own processes.
    """

    measures: Sequence[str]
    bench: BenchSettings
    power: Settings
    power_source: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Measurement:
    """The result, power with its recording, and what was asked for and failed; `interrupted` by Ctrl-C."""

    result: Result
    power: MeasuredPower | MissingPower | None = None
    failure: EspnetEdgeError | None = None
    interrupted: bool = False


def measured(opened: Opened, wanted: Wanted, *, program: str, command: Sequence[str], console: Console) -> Measurement:
    """Measure everything that is wanted of what was opened.

    Where power is all that is wanted and no meter is there, that is an error; else the rest is delivered, with the
    reason. Ctrl-C ends it with what was measured until then, marked partial; before there is anything it goes through.

    Args:
        opened: at least one subject.
        wanted: what to measure.
        program: that was called, for the result.
        command: its arguments, likewise.
        console: for a bar and a live line where it is a terminal.

    Raises:
        InputError: a number is out of range.
        UnavailableError: there is no meter, and nothing else is wanted.
    """
    return _Measuring(opened, wanted, console).run(program, tuple(command))


class _Measuring:
    """What was measured so far."""

    def __init__(self, opened: Opened, wanted: Wanted, console: Console) -> None:
        self.opened, self.wanted, self.console = opened, wanted, console
        self.latency: BenchResult | None = None
        self.power: MeasuredPower | MissingPower | None = None
        self.memory: list[LineMemory] | None = None
        self.breakdowns: list[Breakdown] = []
        self.partial: str | None = None
        self.phase = "latency"

    def run(self, program: str, command: tuple[str, ...]) -> Measurement:
        started, environment, before = _now(), read_environment(), snapshot()
        with ExitStack() as stack:
            meter = self._meter(stack) if "power" in self.wanted.measures else None
            try:
                self._measure(meter)
            except KeyboardInterrupt:
                if not self._has_anything():
                    raise
                self.partial = f"{_INTERRUPTED} in {self.phase}"
                if self.phase == "power":
                    error = UnavailableError("interrupted before three rounds were complete")
                    self.power = MissingPower(error, ())
        result = Result(
            program=program,
            command=command,
            started=started,
            partial=self.partial,
            environment=environment,
            before=before,
            after=snapshot(),
            files=tuple({subject.path: subject.file for subject in self.opened.subjects}.values()),
            lines=tuple(
                subject.line.model_copy(update={"rate_hz": self.wanted.bench.rate_hz})
                for subject in self.opened.subjects
            ),
            skipped=tuple(self.opened.skipped),
            latency=latency_part(self.latency) if self.latency else None,
            power=Power.model_validate(power_json(self.power)) if self.power else None,
            memory=None if self.memory is None else tuple(self.memory),
            breakdowns=tuple(self.breakdowns),
        )
        told = {"definitions": definitions(result, self.power), "doubts": doubts(result, self.power)}
        result = result.model_copy(update={name: tuple(lines) for name, lines in told.items()})
        return Measurement(result, self.power, self._failure(), self.partial is not None)

    def _measure(self, meter: "Meter | MissingPower | None") -> None:
        if "latency" in self.wanted.measures:
            with _bar(self.console) as progress:
                self.latency = bench(self.opened.works, self.wanted.bench, progress=progress)
            if self.latency.partial:
                self.partial = self.latency.partial
                return
        if meter is not None:
            self.phase = "power"
            self.power = self._measured_power(meter)
            if isinstance(self.power, MeasuredPower) and self.power.recording.partial:
                self.partial = f"power was {self.power.recording.partial}"
                return
        if "memory" in self.wanted.measures:
            self.memory = []
            for subject in self._with_bar("memory"):
                self.memory.append(self._memory_of(subject))
        if "operators" in self.wanted.measures:
            for subject in self._with_bar("operators"):
                self.breakdowns.append(self._breakdown_of(subject))

    def _has_anything(self) -> bool:
        return bool(self.latency or isinstance(self.power, MeasuredPower) or self.memory or self.breakdowns)

    def _meter(self, stack: ExitStack) -> "Meter | MissingPower":
        """The meter; where none gives a reading, why. Where power is all that was asked for, that is the end."""
        devices = {"gpu" if subject.line.device == "cuda" else "cpu" for subject in self.opened.subjects}
        try:
            meter = open_meter(self.wanted.power_source, computes_on=devices)
        except NoPowerError as error:
            return self._missing(error, MissingPower(error, error.probes))
        stack.callback(meter.close)
        return meter

    def _measured_power(self, meter: "Meter | MissingPower") -> MeasuredPower | MissingPower:
        if isinstance(meter, MissingPower):
            return meter
        loads = {name: paced(work.call, self.wanted.bench.rate_hz) for name, work in self.opened.works.items()}
        try:
            return measure_power(loads, meter, self.wanted.power, self.console)
        except (InputError, UnavailableError) as error:
            return self._missing(error, MissingPower(error, ()))

    def _missing(self, error: EspnetEdgeError, missing: MissingPower) -> MissingPower:
        """Where power is all that was asked for, there is nothing left to do; else the rest is delivered first."""
        if tuple(self.wanted.measures) == ("power",):
            raise error
        return missing

    def _failure(self) -> EspnetEdgeError | None:
        if isinstance(self.power, MissingPower):
            return self.power.error
        if self.power is not None and (reason := nothing_known(self.power)) is not None:
            return UnavailableError(f"no energy is known: {reason}")
        if self.memory and all(line.unavailable for line in self.memory):
            return UnavailableError(f"no memory is known: {self.memory[0].unavailable}")
        if self.breakdowns and not any(part.operators or part.shares for part in self.breakdowns):
            return UnavailableError(f"no operators are known: {self.breakdowns[0].unavailable}")
        return None

    def _memory_of(self, subject: Subject) -> LineMemory:
        line = subject.line
        request = MemoryRequest(
            name=line.name,
            artefact=str(subject.path),
            runtime=line.runtime,
            device=line.device,
            threads=line.threads,
            batch=line.batch,
            seed=self.wanted.seed,
            trust=True,  # it was verified when it was opened, or is trusted
        )
        return measured_memory(request)

    def _breakdown_of(self, subject: Subject) -> Breakdown:
        return breakdown(subject.line, subject.path, trust=True, seed=self.wanted.seed)

    def _with_bar(self, what: str) -> Iterator[Subject]:
        subjects = self.opened.subjects
        with _bar(self.console) as progress:
            for number, subject in enumerate(subjects):
                self.phase = f"{what}, after {number} of {len(subjects)} lines"
                if progress is not None:
                    progress(f"{what}: {subject.name}", number, len(subjects))
                yield subject


def snapshot() -> Snapshot:
    """The machine now."""
    return Snapshot(load_average=load_average(), conditions=read_conditions())


def latency_part(measured: BenchResult) -> Latency:
    """Latencies as the part of a result."""
    lines = [
        LineLatency(
            name=line.name,
            warmup_ns=line.warmup_ns,
            steady=line.steady,
            discarded_ns=line.discarded_ns,
            starts_ns=line.starts_ns,
            samples_ns=line.samples_ns,
            service_ns=line.service_ns,
            elapsed_ns=line.elapsed_ns,
            stages_ns=line.stages_ns,
            summary=line.summary,
            service_summary=line.service_summary,
            stages=line.stages,
            throughput_per_s=line.throughput_per_s,
            ratio=None if line is measured.lines[0] else measured.ratio(line),
        )
        for line in measured.lines
    ]
    return Latency(settings=measured.settings, order=measured.order, lines=tuple(lines))


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar where `console` is a terminal. It is redrawn between blocks only: a timer would disturb."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("")

        def show(text: str, done: int, total: int) -> None:
            bar.update(task, description=text, completed=done, total=total, refresh=True)

        yield show


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
