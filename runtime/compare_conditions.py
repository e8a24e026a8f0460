"""Whether two results were measured under equal conditions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from ..power.conditions import MAX_TEMPERATURE_CHANGE_C, ClockRange, MachineConditions
from .compare_changes import meter_facts
from .result import Line, Result

# Load averages that lie further apart than this share of the cores tell of other work.
MAX_LOAD_SHARE = 0.25
# GPU clocks whose medians lie further apart than this share were set, or held down, differently.
MAX_CLOCK_SHARE = 0.05
# Settings of a measurement of latency that decide how well it is known, not what it is of.
_HOW_OFTEN = {"warmup_iterations", "warmup_s", "max_warmup_s", "block_s", "stages", "iterations", "rounds", "seed"}
# Facts of an NVIDIA GPU that a user sets.
_GPU_SETTINGS = (
    "power_limit_mw",
    "enforced_power_limit_mw",
    "application_sm_clock_mhz",
    "application_memory_clock_mhz",
)


@dataclass(frozen=True)
class Difference:
    """A condition that is not the same in both results.

    Attributes:
        what: the condition, with the line's name where it is of one line.
        before: in the first result, as text.
        after: in the second.
        decides: the figures are not comparable with it; others are doubts.
    """

    what: str
    before: str
    after: str
    decides: bool

    @property
    def text(self) -> str:
        """ "governor: powersave before, performance after"."""
        return f"{self.what}: {self.before} before, {self.after} after"


def differences(before: Result, after: Result, lines: Sequence[tuple[Line, Line]]) -> tuple[Difference, ...]:
    """What is not the same, what decides first.

    Args:
        before: the first result.
        after: the second.
        lines: those that are compared.
    """
    found = [
        *_of_machines(before, after),
        *_of_states(before, after),
        *_of_settings(before, after),
        *_of_meters(before, after),
        *(one for first, second in lines for one in _of_lines(first, second)),
    ]
    return tuple(sorted(found, key=lambda one: not one.decides))


def _different(what: str, before: object, after: object, *, decides: bool) -> Iterator[Difference]:
    if before != after:
        yield Difference(what, _text(before), _text(after), decides)


def _text(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _of_machines(before: Result, after: Result) -> Iterator[Difference]:
    first, second = before.environment, after.environment
    for name in ("cpu", "machine", "board", "cores", "usable_cores", "cpu_limit", "governor"):
        yield from _different(name.replace("_", " "), getattr(first, name), getattr(second, name), decides=True)
    yield from _different("system", first.os, second.os, decides=False)
    yield from _different("Python", first.python, second.python, decides=False)


def _of_states(before: Result, after: Result) -> Iterator[Difference]:
    first, second = before.before.conditions, after.before.conditions
    yield from _different("power mode", _mode(first), _mode(second), decides=True)
    yield from _different("Jetson Linux", first.l4t, second.l4t, decides=False)
    yield from _different("turbo", first.turbo, second.turbo, decides=True)
    if not any(_tells_clocks(result) for result in (before, after)):
        # Two unknowns are not known to be equal.
        yield Difference("clocks, governor and power mode", "unknown", "unknown", decides=False)
    yield from _of_clocks("CPU clock", first.cpu_clocks, second.cpu_clocks)
    yield from _of_clocks("GPU clock", first.gpu_clocks, second.gpu_clocks)
    cores = before.environment.cores or before.environment.usable_cores
    yield from _apart("load average", before.before.load_average, after.before.load_average, MAX_LOAD_SHARE * cores)
    yield from _apart("temperature in C", first.temperature_c, second.temperature_c, MAX_TEMPERATURE_CHANGE_C)


def _tells_clocks(result: Result) -> bool:
    conditions = result.before.conditions
    return bool(result.environment.governor or conditions.cpu_clocks or conditions.gpu_clocks or conditions.power_mode)


def _mode(conditions: MachineConditions) -> str | None:
    mode = conditions.power_mode
    return None if mode is None else mode.name or f"unknown ({mode.answer})"


def _of_clocks(what: str, before: Sequence[ClockRange], after: Sequence[ClockRange]) -> Iterator[Difference]:
    """Limits and governors; where the clock happens to be is no setting."""
    was, now = ({clock.name: _limits(clock) for clock in clocks} for clocks in (before, after))
    for name in sorted({*was, *now}):
        yield from _different(f"{what} {name}", was.get(name), now.get(name), decides=True)


def _limits(clock: ClockRange) -> str:
    low, high = ("?" if limit is None else f"{limit:g}" for limit in (clock.min_mhz, clock.max_mhz))
    return f"{clock.governor or 'unknown governor'}, {low} to {high} MHz"


def _apart(what: str, before: float | None, after: float | None, limit: float) -> Iterator[Difference]:
    """A doubt where two numbers lie further apart than the limit."""
    if before is not None and after is not None and abs(after - before) > limit:
        yield Difference(what, f"{before:.1f}", f"{after:.1f}", decides=False)


def _of_settings(before: Result, after: Result) -> Iterator[Difference]:
    """What was measured: a fixed rate is another latency than a closed loop."""
    if before.latency is None or after.latency is None:
        return
    first, second = ({**asdict(result.latency.settings)} for result in (before, after) if result.latency)
    for name in sorted({*first, *second} - _HOW_OFTEN):
        yield from _different(name.replace("_", " "), first.get(name), second.get(name), decides=True)


def _of_meters(before: Result, after: Result) -> Iterator[Difference]:
    if not (before.power and before.power.result and after.power and after.power.result):
        return
    first, second = meter_facts(before), meter_facts(after)
    if not (first and second):
        # Nobody knows whether it was the same one.
        yield Difference("power meter", _text(first.get("device")), _text(second.get("device")), decides=False)
        return
    for name in ("source", "device"):
        yield from _different(f"power meter, its {name}", first.get(name), second.get(name), decides=False)
    was, now = _facts(first), _facts(second)
    for name in _GPU_SETTINGS:
        yield from _different(f"GPU, {name}", was.get(name), now.get(name), decides=True)
    yield from _different("GPU driver", was.get("driver"), now.get("driver"), decides=False)
    clocks = [_median_clock_mhz(result) for result in (before, after)]
    if clocks[0] and clocks[1] and abs(clocks[1] / clocks[0] - 1) > MAX_CLOCK_SHARE:
        yield Difference("GPU clock, its median in MHz", f"{clocks[0]:.0f}", f"{clocks[1]:.0f}", decides=True)


def _facts(meter: Mapping[str, Any]) -> Mapping[str, Any]:
    facts = meter.get("facts")
    return facts if isinstance(facts, Mapping) else {}


def _median_clock_mhz(result: Result) -> float | None:
    """Of the GPU, over the whole measurement of power; None where nothing read it."""
    recording = (result.power.recording if result.power else None) or {}
    conditions = recording.get("conditions")
    columns = conditions.get("columns") if isinstance(conditions, Mapping) else None
    column = columns.get("sm_clock_mhz") if isinstance(columns, Mapping) else None
    values = [value for value in column or () if isinstance(value, (int, float))]
    return median(values) if values else None


def _of_lines(before: Line, after: Line) -> Iterator[Difference]:
    name = before.name
    for field in ("device", "device_name", "threads", "rate_hz", "inputs"):
        what = f"{field.replace('_', ' ')} of {name}"
        yield from _different(what, getattr(before, field), getattr(after, field), decides=True)
    yield from _different(f"runtime of {name}", before.runtime, after.runtime, decides=False)
    yield from _different(f"version of {name}", before.version, after.version, decides=False)
    yield from _different(f"CUDA graph of {name}", before.graph, after.graph, decides=False)
