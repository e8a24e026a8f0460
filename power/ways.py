"""The ways of measuring that a recording offers: traces of power, and counters of energy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import TypeVar

import numpy as np

from .meter import MeterInfo
from .plan import delay_ns
from .recording import Recording, counter_trace, power_trace
from .trace import CounterTrace, PowerTrace, SensorFacts

Number = TypeVar("Number", int, float)

# A counter misses nothing between two readings; they must only be close enough to see it start again.
_COUNTER_PERIOD_NS = 1_000_000_000
_MOST = 0.5


@dataclass(frozen=True)
class Way:
    """A way of measuring.

    Attributes:
        label: what to call it.
        trace: samples of power, moved back by `delay_ns`; or a counter, as it was read.
        period_ns: from one reading that tells something new to the next. Units: ns.
        parts: the traces of power that add up to `trace`, each with the step of its own sensor; () of a counter.
        is_lively: most of its readings under the probe's load differed from the one before, as noise alone makes them
            do where the sensor's step is fine; readings that stand still tell of a sensor that has stopped, then.
    """

    label: str
    trace: PowerTrace | CounterTrace
    period_ns: int
    parts: tuple[PowerTrace, ...] = ()
    is_lively: bool = False

    @property
    def reach_ns(self) -> int:
        """How far back a reading of power reaches: what it is the mean of, and how long it is shown. Units: ns."""
        return (self.trace.sensor.averaging_window_ns or 0) + self.period_ns

    @property
    def delay_ns(self) -> int:
        """See `plan.delay_ns`."""
        return delay_ns(self.trace.sensor, self.period_ns)


def total_ways(recording: Recording) -> list[Way]:
    """The ways of measuring the total, the better one first: a counter misses nothing between two readings."""
    meter = recording.meter
    counter = _by_counter(recording, meter.energy_total, f"{meter.name} counter")
    power = _by_power(recording, meter.power_total, f"{meter.name} samples")
    return [way for way in (counter, power) if way is not None]


def silent_totals(recording: Recording) -> list[str]:
    """Labels of the ways of measuring the total that the meter declares, and of which it never gave all channels."""
    meter, found = recording.meter, [way.label for way in total_ways(recording)]
    declared = {f"{meter.name} counter": meter.energy_total, f"{meter.name} samples": meter.power_total}
    return [label for label, names in declared.items() if names and label not in found]


def rail_ways(recording: Recording) -> list[Way]:
    """Each channel that is not the total by itself, and was read."""
    meter = recording.meter
    channels = [c for c in meter.channels if (c.name,) not in {meter.power_total, meter.energy_total}]
    by_quantity = {"power_mw": _by_power, "energy_uj": _by_counter}
    ways = [by_quantity[channel.quantity](recording, (channel.name,), channel.name) for channel in channels]
    return [way for way in ways if way is not None]


def declared_sensor(meter: MeterInfo, names: Sequence[str]) -> SensorFacts:
    """What the meter says of the sum of these channels.

    The slowest period, the longest window and the largest gain error of them, the sum of their offsets; of their steps
    the root of the sum of squares, since rails step independently of each other. None where one of them does not say.
    """
    sensors = [channel.sensor for channel in meter.channels if channel.name in names]
    if len(sensors) == 1:
        return sensors[0]
    steps_mw, offsets_mw = _all_of(s.step_mw for s in sensors), _all_of(s.offset_mw for s in sensors)
    return SensorFacts(
        update_period_ns=_greatest(sensor.update_period_ns for sensor in sensors),
        averaging_window_ns=_greatest(sensor.averaging_window_ns for sensor in sensors),
        step_mw=hypot(*steps_mw) if steps_mw else None,
        gain_error=_greatest(sensor.gain_error for sensor in sensors),
        offset_mw=sum(offsets_mw) if offsets_mw else None,
        source="; ".join(dict.fromkeys(sensor.source for sensor in sensors)) or "unknown",
    )


def _by_power(recording: Recording, names: tuple[str, ...], label: str) -> Way | None:
    is_total = names == recording.meter.power_total
    sensor = recording.sensor if is_total and recording.sensor else _of_rail(recording, names)
    trace = power_trace(recording.meter, recording.readings, names, sensor)
    if trace is None:
        return None
    way = Way(label, trace, _period_ns(recording, sensor))
    singles = {(name,): _of_rail(recording, (name,)) for name in names}
    parts = [power_trace(recording.meter, recording.readings, name, facts) for name, facts in singles.items()]
    moved = [part.shifted(-way.delay_ns) for part in (parts if len(names) > 1 else [trace]) if part is not None]
    lively = _is_lively(recording, trace, way.period_ns)
    return replace(way, trace=trace.shifted(-way.delay_ns), parts=tuple(moved), is_lively=lively)


def _is_lively(recording: Recording, trace: PowerTrace, period_ns: int) -> bool:
    probes = [stretch for stretch in recording.stretches if stretch.kind == "characterise"]
    moved_ns = trace.time_ns[1:][np.diff(trace.power_mw) != 0]
    changes = sum(int(((moved_ns > one.start_ns) & (moved_ns <= one.end_ns)).sum()) for one in probes)
    return changes * period_ns > _MOST * sum(one.end_ns - one.start_ns for one in probes)


def _of_rail(recording: Recording, names: tuple[str, ...]) -> SensorFacts:
    """As declared; what is not, as found of the total, which the same device reads."""
    declared, found = declared_sensor(recording.meter, names), recording.sensor or SensorFacts()
    return replace(
        declared,
        update_period_ns=declared.update_period_ns or found.update_period_ns,
        averaging_window_ns=declared.averaging_window_ns or found.averaging_window_ns,
        step_mw=declared.step_mw or found.step_mw,
    )


def _by_counter(recording: Recording, names: tuple[str, ...], label: str) -> Way | None:
    trace = counter_trace(recording.meter, recording.readings, names)
    return Way(label, trace, _COUNTER_PERIOD_NS) if trace else None


def _period_ns(recording: Recording, sensor: SensorFacts) -> int:
    """What is polled more slowly than it is renewed is renewed by each poll."""
    return max(sensor.update_period_ns or 0, *(plan.sample_period_ns for plan in recording.plans.values()))


def _greatest(values: Iterable[Number | None]) -> Number | None:
    """None where one of them is."""
    return max(_all_of(values), default=None)


def _all_of(values: Iterable[Number | None]) -> list[Number]:
    """All of them; none where one is None."""
    known: list[Number] = []
    for value in values:
        if value is None:
            return []
        known.append(value)
    return known
