"""Signals of power whose energy is known exactly, and what sensors of given facts would say of them, in virtual time.

A signal has its power at instants and its energy in closed form; a sensor that is simulated on it reads what NVML's
sensors read by Yang et al. (arXiv 2312.02741): the mean over a stretch of time, renewed at a steady pace, in steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from espnet_edge.power.trace import CounterTrace, PowerTrace, SensorFacts

MS, S = 1_000_000, 1_000_000_000  # Units: ns.
_J_PER_MW_NS = 1e-12

Floats = NDArray[np.float64]


class Signal:
    """Power over time. Signals add up: `Constant(40e3) + Ramp(10.0)`."""

    def power_mw(self, time_ns: ArrayLike) -> Floats:
        """Power at each instant. Units: mW."""
        raise NotImplementedError

    def integral_mw_ns(self, time_ns: ArrayLike) -> Floats:
        """Energy from instant 0 to each instant, negative before it. Units: mW ns."""
        raise NotImplementedError

    def energy_j(self, start_ns: int, end_ns: int) -> float:
        """Energy between two instants, exact. Units: J."""
        at_start, at_end = self.integral_mw_ns([start_ns, end_ns])
        return float((at_end - at_start) * _J_PER_MW_NS)

    def mean_mw(self, time_ns: ArrayLike, window_ns: int) -> Floats:
        """Mean over the `window_ns` before each instant. Units: mW."""
        instants = np.asarray(time_ns, dtype=np.float64)
        return (self.integral_mw_ns(instants) - self.integral_mw_ns(instants - window_ns)) / window_ns

    def __add__(self, other: "Signal") -> "Sum":
        return Sum((self, other))


@dataclass(frozen=True)
class Sum(Signal):
    parts: tuple[Signal, ...]

    def power_mw(self, time_ns: ArrayLike) -> Floats:
        return np.sum([part.power_mw(time_ns) for part in self.parts], axis=0)

    def integral_mw_ns(self, time_ns: ArrayLike) -> Floats:
        return np.sum([part.integral_mw_ns(time_ns) for part in self.parts], axis=0)


@dataclass(frozen=True)
class Constant(Signal):
    level_mw: float

    def power_mw(self, time_ns: ArrayLike) -> Floats:
        return np.full(np.shape(time_ns), self.level_mw)

    def integral_mw_ns(self, time_ns: ArrayLike) -> Floats:
        return self.level_mw * np.asarray(time_ns, dtype=np.float64)


@dataclass(frozen=True)
class Step(Signal):
    """From one level to another at an instant; the instant itself has the new level."""

    before_mw: float
    after_mw: float
    at_ns: int

    def power_mw(self, time_ns: ArrayLike) -> Floats:
        return np.where(np.asarray(time_ns) < self.at_ns, self.before_mw, self.after_mw).astype(np.float64)

    def integral_mw_ns(self, time_ns: ArrayLike) -> Floats:
        instants = np.asarray(time_ns, dtype=np.float64)
        rise_mw = self.after_mw - self.before_mw
        return self.before_mw * instants + rise_mw * (np.maximum(instants - self.at_ns, 0) - max(-self.at_ns, 0))


@dataclass(frozen=True)
class Square(Signal):
    """High for `high_ns` from `phase_ns` on, then low, again and again every `period_ns`, before and after."""

    low_mw: float
    high_mw: float
    period_ns: int
    high_ns: int
    phase_ns: int = 0

    def power_mw(self, time_ns: ArrayLike) -> Floats:
        in_period = np.mod(np.asarray(time_ns, dtype=np.float64) - self.phase_ns, self.period_ns)
        return np.where(in_period < self.high_ns, self.high_mw, self.low_mw)

    def integral_mw_ns(self, time_ns: ArrayLike) -> Floats:
        instants = np.asarray(time_ns, dtype=np.float64)
        high_ns = self._high_until_ns(instants) - self._high_until_ns(np.zeros(1))
        return self.low_mw * instants + (self.high_mw - self.low_mw) * high_ns

    def _high_until_ns(self, instants: Floats) -> Floats:
        whole, rest = np.divmod(instants - self.phase_ns, self.period_ns)
        return whole * self.high_ns + np.minimum(rest, self.high_ns)


@dataclass(frozen=True)
class Ramp(Signal):
    """`slope_mw_per_s` times the time since instant 0; negative before it."""

    slope_mw_per_s: float

    def power_mw(self, time_ns: ArrayLike) -> Floats:
        return self.slope_mw_per_s * np.asarray(time_ns, dtype=np.float64) / S

    def integral_mw_ns(self, time_ns: ArrayLike) -> Floats:
        return self.slope_mw_per_s * np.asarray(time_ns, dtype=np.float64) ** 2 / (2 * S)


@dataclass(frozen=True)
class Heating(Signal):
    """0 until `from_ns`, then rising to `final_mw` as leakage does while a chip warms up: 1 - exp(-t / tau)."""

    final_mw: float
    tau_ns: int
    from_ns: int = 0

    def power_mw(self, time_ns: ArrayLike) -> Floats:
        return -self.final_mw * np.expm1(-self._since_ns(time_ns) / self.tau_ns)

    def integral_mw_ns(self, time_ns: ArrayLike) -> Floats:
        return self._until(self._since_ns(time_ns)) - self._until(self._since_ns(0))

    def _since_ns(self, time_ns: ArrayLike) -> Floats:
        return np.maximum(np.asarray(time_ns, dtype=np.float64) - self.from_ns, 0)

    def _until(self, since_ns: Floats) -> Floats:
        return self.final_mw * (since_ns + self.tau_ns * np.expm1(-since_ns / self.tau_ns))


@dataclass(frozen=True)
class Polyline(Signal):
    """Straight lines between points, level before the first and after the last: any load with edges of known slope."""

    time_ns: Sequence[int]
    level_mw: Sequence[float]

    def power_mw(self, time_ns: ArrayLike) -> Floats:
        return np.interp(np.asarray(time_ns, dtype=np.float64), self.time_ns, self.level_mw)

    def integral_mw_ns(self, time_ns: ArrayLike) -> Floats:
        return self._until(np.asarray(time_ns, dtype=np.float64)) - self._until(np.zeros(1))

    def _until(self, instants: Floats) -> Floats:
        """From the first point to each instant."""
        points, levels = np.asarray(self.time_ns, dtype=np.float64), np.asarray(self.level_mw, dtype=np.float64)
        areas = np.concatenate([[0], np.cumsum((levels[1:] + levels[:-1]) / 2 * np.diff(points))])
        at = np.clip(np.searchsorted(points, instants, side="right") - 1, 0, points.size - 1)
        begins = np.where(instants < points[0], levels[0], levels[at])
        return areas[at] + (begins + self.power_mw(instants)) / 2 * (instants - points[at])


def loads(
    stretches: Sequence[tuple[int, int]], low_mw: float, high_mw: float, rise_ns: int = 1, fall_ns: int | None = None
) -> Polyline:
    """`high_mw` in each (start, end), `low_mw` elsewhere; edges take their time from the stretch's own instants on.

    `fall_ns`: as `rise_ns` where it is None.
    """
    falls_ns = rise_ns if fall_ns is None else fall_ns
    points = [instant for start, end in stretches for instant in (start, start + rise_ns, end, end + falls_ns)]
    assert points == sorted(points), "an edge takes longer than a stretch or pause lasts"
    return Polyline(points, [low_mw, high_mw, high_mw, low_mw] * len(stretches))


@dataclass(frozen=True)
class SimulatedSensor:
    """What a sensor says of a signal.

    Attributes:
        signal: the true power.
        update_period_ns: a new reading comes at `phase_ns` and every `update_period_ns` before and after it.
        averaging_window_ns: each is the mean over so much time before it.
        step_mw: and then rounded to a multiple of this.
        gain: and before that multiplied by this.
        noise_mw: and before that changed by a normal deviate of this standard deviation, of its own for each update.
    """

    signal: Signal
    update_period_ns: int
    averaging_window_ns: int
    phase_ns: int = 0
    step_mw: float = 1.0
    gain: float = 1.0
    noise_mw: float = 0.0
    seed: int = 0

    @property
    def facts(self) -> SensorFacts:
        """What a perfect description of it says."""
        return SensorFacts(self.update_period_ns, self.averaging_window_ns, self.step_mw, abs(self.gain - 1), "known")

    def readings_mw(self, time_ns: ArrayLike) -> Floats:
        """What a poll at each instant gets: the last update's reading. Units: mW."""
        numbers, which = np.unique(self._updates_until(time_ns), return_inverse=True)
        mean_mw = self.signal.mean_mw(numbers * self.update_period_ns + self.phase_ns, self.averaging_window_ns)
        read_mw = (mean_mw + self._noise_mw(numbers)) * self.gain
        held: Floats = (np.round(read_mw / self.step_mw) * self.step_mw)[which.reshape(np.shape(time_ns))]
        return held

    def trace(self, start_ns: int, end_ns: int, poll_period_ns: int, jitter_ns: int = 0) -> PowerTrace:
        """Polled from `start_ns` to `end_ns`; each poll but the first is late by up to `jitter_ns`, by the seed."""
        time_ns = polls(start_ns, end_ns, poll_period_ns, jitter_ns, self.seed)
        return PowerTrace(time_ns, self.readings_mw(time_ns), source="simulated", sensor=self.facts)

    def _updates_until(self, time_ns: ArrayLike) -> NDArray[np.int64]:
        return (np.asarray(time_ns, dtype=np.int64) - self.phase_ns) // self.update_period_ns

    def _noise_mw(self, numbers: NDArray[np.int64]) -> Floats:
        if self.noise_mw == 0:
            return np.zeros(numbers.size)
        draws = [np.random.default_rng((self.seed, int(number) + (1 << 32))).normal() for number in numbers]
        return self.noise_mw * np.array(draws)


@dataclass(frozen=True)
class SimulatedCounter:
    """What a counter of energy says of a signal: it moves at `phase_ns` and every `tick_ns` before and after it.

    It stands at `first_uj` at instant 0, counts in whole `step_uj` and starts again at 0 when it reaches `wrap_uj`.
    """

    signal: Signal
    tick_ns: int
    phase_ns: int = 0
    step_uj: int = 1000
    wrap_uj: int | None = None
    first_uj: int = 0

    def counts_uj(self, time_ns: ArrayLike) -> NDArray[np.int64]:
        """What a poll at each instant gets. Units: uJ."""
        instants = np.asarray(time_ns, dtype=np.int64)
        moved_ns = (instants - self.phase_ns) // self.tick_ns * self.tick_ns + self.phase_ns
        # 1 mW for 1 ns is 1e-6 uJ.
        steps = np.floor(self.signal.integral_mw_ns(moved_ns) * 1e-6 / self.step_uj).astype(np.int64)
        counts = self.first_uj + steps * self.step_uj
        return counts if self.wrap_uj is None else counts % self.wrap_uj

    def trace(self, start_ns: int, end_ns: int, poll_period_ns: int, jitter_ns: int = 0, seed: int = 0) -> CounterTrace:
        """Polled from `start_ns` to `end_ns`."""
        time_ns = polls(start_ns, end_ns, poll_period_ns, jitter_ns, seed)
        return CounterTrace(time_ns, self.counts_uj(time_ns), self.wrap_uj, source="simulated")


def polls(start_ns: int, end_ns: int, period_ns: int, jitter_ns: int = 0, seed: int = 0) -> NDArray[np.int64]:
    """Instants from `start_ns` to `end_ns` at a period, all but the first and last late by up to `jitter_ns`."""
    time_ns = np.arange(start_ns, end_ns + 1, period_ns, dtype=np.int64)
    if jitter_ns:
        late_ns = np.random.default_rng(seed).integers(0, jitter_ns, time_ns.size, endpoint=True)
        time_ns[1:-1] += late_ns[1:-1]
    return time_ns
