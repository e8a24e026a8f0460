"""All that was recorded while power was measured: enough to compute every figure again, by this program or another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .conditions import MachineConditions
from .energy import unwrapped
from .meter import Channel, MeterInfo
from .plan import Plan
from .samples import SampleLog, SamplerCost
from .trace import CounterTrace, PowerTrace, SensorFacts

StretchKind = Literal["characterise", "warmup", "idle", "load"]


@dataclass(frozen=True)
class Mark:
    """So many inferences were done at this instant. Units: ns."""

    time_ns: int
    inferences: int


@dataclass(frozen=True)
class Pause:
    """Nothing was computed in this time, within a load: see `plan`. Units: ns."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Stretch:
    """A stretch of time in which one thing happened.

    Attributes:
        kind: what it was for; idle means that nothing was computed, everything being loaded and ready.
        name: the load that ran; None where none did.
        round: counted from 0, for loads that are measured.
        start_ns: Units: ns of the monotonic clock.
        end_ns: the end of the last inference.
        window_start_ns: from here on the readings show nothing else; the windows of figures lie in it.
        window_end_ns: until here.
        marks: how many inferences were done when, first (start_ns, 0), last (end_ns, all).
        pauses: in order of time.
    """

    kind: StretchKind
    name: str | None
    round: int | None
    start_ns: int
    end_ns: int
    window_start_ns: int
    window_end_ns: int
    marks: tuple[Mark, ...] = ()
    pauses: tuple[Pause, ...] = ()

    def inferences(self, start_ns: int, end_ns: int) -> float:
        """How many were done between two instants, the one under way at each counted by its share."""
        times_ns, counts = [mark.time_ns for mark in self.marks], [mark.inferences for mark in self.marks]
        at = np.interp([start_ns, end_ns], times_ns, counts)
        return float(at[1] - at[0])

    def paused_ns(self, start_ns: int, end_ns: int) -> int:
        """Length of the pauses between two instants. Units: ns."""
        return sum(max(0, min(pause.end_ns, end_ns) - max(pause.start_ns, start_ns)) for pause in self.pauses)


@dataclass(frozen=True)
class Samples:
    """Columns of numbers beside the instants at which they were read; None for what could not be read."""

    time_ns: tuple[int, ...]
    columns: dict[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class Recording:
    """A measurement of power as it was recorded.

    Attributes:
        meter: what was read.
        readings: of all channels of the meter.
        conditions: of the device, once a second: see `MeterInfo.condition_names`.
        stretches: what happened when, in order of time.
        sensor: the facts about the power total's sensor, as found before the measurement; None where there is none.
        sensor_notes: what was noticed while finding them, or why they could not be found.
        steady: whether the warm-up came to an end by itself; False where power still changed after the longest one.
        plan: of each load.
        seed: of the order of the loads within the rounds.
        cost: of sampling.
        machine: its state after the warm-up and at the end.
        partial: why rounds or idle are missing: "interrupted in round 5 of 9"; None where nothing is.
    """

    meter: MeterInfo
    readings: Samples
    conditions: Samples
    stretches: tuple[Stretch, ...]
    sensor: SensorFacts | None
    sensor_notes: tuple[str, ...]
    steady: bool
    plans: dict[str, Plan]
    seed: int
    cost: SamplerCost
    machine: tuple[MachineConditions, MachineConditions]
    partial: str | None = None

    @property
    def loads(self) -> list[str]:
        """Names of what was measured, in the order in which they were given."""
        return list(self.plans)

    def of(self, kind: StretchKind, name: str | None = None) -> list[Stretch]:
        """The stretches of that kind, and of that load."""
        return [stretch for stretch in self.stretches if stretch.kind == kind and stretch.name == name]


def samples_of(log: SampleLog) -> Samples:
    """What the log holds."""
    time_ns, values = log.rows()
    columns = {
        name: tuple(None if np.isnan(value) else _short(value) for value in values[:, i].tolist())
        for i, name in enumerate(log.columns)
    }
    return Samples(tuple(time_ns.tolist()), columns)


def power_trace(meter: MeterInfo, samples: Samples, names: tuple[str, ...], sensor: SensorFacts) -> PowerTrace | None:
    """The sum of those power channels wherever all of them were read; None where they never were."""
    time_ns, values = _rows(samples, names)
    if not time_ns.size:
        return None
    return PowerTrace(time_ns, values.sum(axis=1), meter.source, _label(names), sensor)


def counter_trace(meter: MeterInfo, samples: Samples, names: tuple[str, ...]) -> CounterTrace | None:
    """The sum of those counters wherever all of them were read, wraps undone; None where they never were."""
    time_ns, values = _rows(samples, names)
    if not time_ns.size:
        return None
    channels = _by_name(meter)
    parts = [
        CounterTrace(
            time_ns, values[:, i].astype(np.int64), channels[name].wrap_uj, meter.source, name, channels[name].sensor
        )
        for i, name in enumerate(names)
    ]
    if len(parts) == 1:
        return parts[0]
    total_uj = sum((unwrapped(part) for part in parts[1:]), unwrapped(parts[0]))
    return CounterTrace(time_ns, total_uj, None, meter.source, "total", parts[0].sensor)


def _rows(samples: Samples, names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Instants (n,) and values (n, names) of the rows in which all of them were read; none without names."""
    values = np.empty((len(samples.time_ns), len(names)))
    for i, name in enumerate(names):
        values[:, i] = np.array(samples.columns[name], dtype=np.float64)
    whole = np.isfinite(values).all(axis=1) if names else np.zeros(len(values), dtype=np.bool_)
    return np.array(samples.time_ns, dtype=np.int64)[whole], values[whole]


def _by_name(meter: MeterInfo) -> Mapping[str, Channel]:
    return {channel.name: channel for channel in meter.channels}


def _label(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else "total"


def _short(value: float) -> float:
    """Whole numbers without the decimal point: counters are whole, and files get shorter."""
    return int(value) if value == int(value) else value
