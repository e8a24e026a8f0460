"""What every meter of power or energy is: named channels that are read together, and facts about the device."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .trace import SensorFacts

# The kinds of meters, and what people call them.
SOURCE_NAMES = {"nvml": "NVML", "ina3221": "INA3221", "tegrastats": "tegrastats", "rapl": "RAPL"}

Quantity = Literal["power_mw", "energy_uj"]
Fact = str | int | float | bool | None


@dataclass(frozen=True)
class Channel:
    """One number that a meter reads.

    Attributes:
        name: the rail's or the field's own name.
        quantity: power in mW, or a counter of energy in uJ.
        sensor: how it is measured, as far as the device or its documents say.
        wrap_uj: of a counter that starts again at 0 when it reaches this. Units: uJ.
    """

    name: str
    quantity: Quantity
    sensor: SensorFacts = field(default_factory=SensorFacts)
    wrap_uj: int | None = None


@dataclass(frozen=True)
class MeterInfo:
    """What a meter reads, and of what.

    Attributes:
        source: nvml, ina3221, tegrastats, rapl, replay.
        device: the device in words, unique on the machine.
        sees: whose power the total is: that of the GPU alone, the processor package alone, the module (or board) with
            both on it.
        scope: what is in the total, and what is not, in words.
        channels: what is read, in this order.
        power_total: channels whose powers add up to the total; () where there is none.
        energy_total: counters whose sum is the total; () where there is none.
        no_total_reason: why neither is known, with the way out; None where one is.
        condition_names: what `Meter.read_conditions` gives, with units: temperature_c, sm_clock_mhz, throttle_reasons.
        facts: what else is worth knowing: driver, power limit, power mode.
    """

    source: str
    device: str
    sees: Literal["gpu", "cpu", "machine"]
    scope: str
    channels: tuple[Channel, ...]
    power_total: tuple[str, ...] = ()
    energy_total: tuple[str, ...] = ()
    no_total_reason: str | None = None
    condition_names: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call this kind of meter."""
        return SOURCE_NAMES.get(self.source, self.source)


@dataclass(frozen=True)
class Reading:
    """All channels at one instant; None for one that could not be read. `time_ns` is of the monotonic clock."""

    time_ns: int
    values: tuple[float | None, ...]


class MeterError(Exception):
    """A meter that was opened cannot be read now; the text says why."""


class NoMeterError(Exception):
    """A kind of meter that gives no plausible reading on this machine.

    Attributes:
        answer: what the probe answered.
        way_out: what the user can do.
    """

    def __init__(self, answer: str, way_out: str) -> None:
        super().__init__(answer)
        self.answer = answer
        self.way_out = way_out


class Meter(Protocol):
    """An open meter; used from one thread."""

    @property
    def info(self) -> MeterInfo:
        """What it reads; the same as long as it is open."""

    def read(self) -> Reading | None:
        """The newest reading; None where nothing is new since the last call. Never waits for the device's next one.

        Raises:
            MeterError: nothing can be read now.
        """

    def read_conditions(self) -> tuple[float | None, ...]:
        """One number for each of `info.condition_names`; None where it cannot be read."""

    def close(self) -> None:
        """Give back what it holds; may be called twice."""
