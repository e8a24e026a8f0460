"""What a sensor said over time, and what is known of the sensor."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class SensorFacts:
    """How a sensor measures; None where that is not known.

    Attributes:
        update_period_ns: time from one new reading to the next. Units: ns.
        averaging_window_ns: stretch of time that a reading is the mean of, ending when the reading appears; shorter
            than the update period where the sensor looks only part of the time. Units: ns.
        step_mw: smallest change that the sensor can show. Units: mW.
        gain_error: half-width of the interval in which the sensor's constant factor lies, as a share: 0.05 for 5 %.
            It is the same for all readings of one device, so it cancels in ratios measured there.
        offset_mw: half-width of the interval in which the sensor's constant error lies, which cancels in net energy.
            Units: mW.
        source: where the facts are from, in words.
    """

    update_period_ns: int | None = None
    averaging_window_ns: int | None = None
    step_mw: float | None = None
    gain_error: float | None = None
    offset_mw: float | None = None
    source: str = "unknown"

    def updated(self, **facts: Any) -> "SensorFacts":
        """The same with those of `facts` that are not None."""
        return replace(self, **{name: value for name, value in facts.items() if value is not None})


@dataclass(frozen=True, eq=False)
class PowerTrace:
    """Power of one rail or device at instants of a monotonic clock.

    Attributes:
        time_ns: (n,) int64, increasing; the clock's zero is of no meaning. Units: ns.
        power_mw: (n,) float64. Units: mW.
        source: the meter: nvml, ina3221, tegrastats, replay.
        rail: what draws the power: VDD_IN, the name of a GPU, "total".
        sensor: how it was measured.

    Raises:
        ValueError: the arrays differ in length or are empty, times do not increase, or a power is not finite.
    """

    time_ns: NDArray[np.int64]
    power_mw: NDArray[np.float64]
    source: str = "unknown"
    rail: str = "total"
    sensor: SensorFacts = field(default_factory=SensorFacts)

    def __post_init__(self) -> None:
        """Make arrays of what was given, and check them."""
        time_ns, power_mw = _instants(self.time_ns), np.asarray(self.power_mw, dtype=np.float64)
        if time_ns.shape != power_mw.shape:
            raise ValueError(f"{self.rail}: {time_ns.size} instants and {power_mw.size} powers: give one for each")
        if not np.isfinite(power_mw).all():
            raise ValueError(f"{self.rail}: a power is not a number; leave out what was not read")
        object.__setattr__(self, "time_ns", time_ns)
        object.__setattr__(self, "power_mw", power_mw)

    def shifted(self, by_ns: int) -> "PowerTrace":
        """The same powers at instants that are later by `by_ns`. Units: ns."""
        return replace(self, time_ns=self.time_ns + by_ns)


@dataclass(frozen=True, eq=False)
class CounterTrace:
    """An energy counter at instants of a monotonic clock.

    Attributes:
        time_ns: (n,) int64, increasing. Units: ns.
        energy_uj: (n,) int64, as the counter said, wraps included. Units: uJ.
        wrap_uj: the counter starts again at 0 when it reaches this; None where it never should. Units: uJ.
        source: the meter: nvml, rapl.
        rail: what draws the energy.

    Raises:
        ValueError: the arrays differ in length or are empty, or times do not increase.
    """

    time_ns: NDArray[np.int64]
    energy_uj: NDArray[np.int64]
    wrap_uj: int | None = None
    source: str = "unknown"
    rail: str = "total"
    sensor: SensorFacts = field(default_factory=SensorFacts)

    def __post_init__(self) -> None:
        """Make arrays of what was given, and check them."""
        time_ns, energy_uj = _instants(self.time_ns), np.asarray(self.energy_uj, dtype=np.int64)
        if time_ns.shape != energy_uj.shape:
            raise ValueError(f"{self.rail}: {time_ns.size} instants and {energy_uj.size} counts: give one for each")
        object.__setattr__(self, "time_ns", time_ns)
        object.__setattr__(self, "energy_uj", energy_uj)


def _instants(time_ns: ArrayLike | Sequence[int]) -> NDArray[np.int64]:
    instants = np.asarray(time_ns, dtype=np.int64)
    if instants.ndim != 1 or instants.size == 0:
        raise ValueError(f"instants of shape {instants.shape}: give a list with one at least")
    if (np.diff(instants) <= 0).any():
        raise ValueError("instants do not increase: each reading needs an instant of its own, in order of time")
    return instants
