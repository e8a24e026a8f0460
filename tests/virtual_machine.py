"""A machine in virtual time: loads that draw known power, a sensor that reads it, a sampler that runs beside them."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from espnet_edge.power.meter import Channel, MeterError, MeterInfo, Reading
from espnet_edge.power.samples import Sampler
from espnet_edge.power.trace import SensorFacts

MS, S = 1_000_000, 1_000_000_000  # Units: ns.
_LONGEST_STEP_NS = 50 * MS


@dataclass(frozen=True)
class SensorModel:
    """How the meter of the machine sees its power. `step_mw` 0: no steps; `tick_ns` of the energy counter."""

    update_period_ns: int = 100 * MS
    averaging_window_ns: int = 100 * MS
    phase_ns: int = 0
    step_mw: float = 0
    gain: float = 1.0
    tick_ns: int | None = None
    counter_gain: float = 1.0


class VirtualMachine:
    """Time passes only in `load`s and in `sleep`.

    `extra_mw(time_ns)` is drawn at any time, for drift; `noise` is the standard deviation of each step's power, as a
    share of it. `ramp_ns`: power rises for so long after a load begins, and falls at once. `after_load`: (ns, mW) that
    are drawn on top of idle for so long after a load.
    """

    def __init__(
        self,
        idle_mw: float,
        *,
        extra_mw: Callable[[int], float] = lambda _ns: 0.0,
        noise: float = 0.003,
        seed: int = 0,
        ramp_ns: int = 0,
        after_load: tuple[int, float] = (0, 0.0),
    ) -> None:
        self.ramp_ns, self.after_load = ramp_ns, after_load
        self._load_began_ns, self._load_ended_ns = 0, 0
        self.noise, self.random = noise, np.random.default_rng(seed)
        self.now_ns = 1_000 * S
        self.idle_mw, self.extra_mw = idle_mw, extra_mw
        self.sampler: Sampler | None = None
        self._next_sample_ns = self.now_ns
        self._times, self._energies = [0], [0.0]
        self._levels = [idle_mw + extra_mw(0)]

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, duration_s: float) -> None:
        ended_ns, (after_ns, after_mw) = self.now_ns, self.after_load
        lasting_ns = min(round(duration_s * S), max(0, self._load_ended_ns + after_ns - ended_ns))
        self._advance(lasting_ns, self.idle_mw + after_mw)
        self._advance(round(duration_s * S) - lasting_ns, self.idle_mw)

    def load(self, *phases: tuple[int, float], slow_first: tuple[int, float] = (0, 1.0)) -> Callable[[], None]:
        """An inference that draws each power for its duration: (ns, mW); the first so many take that much longer."""
        done = 0

        def infer() -> None:
            nonlocal done
            factor = slow_first[1] if done < slow_first[0] else 1.0
            done += 1
            # Clocks stay where they are in a short pause.
            if self.now_ns > self._load_ended_ns + 100 * MS:
                self._load_began_ns = self.now_ns
            for duration_ns, power_mw in phases:
                self._rise(round(duration_ns * factor), power_mw)
            self._load_ended_ns = self.now_ns

        return infer

    def _rise(self, duration_ns: int, power_mw: float) -> None:
        """Draw that power for that time, less where the device still rises."""
        end_ns = self.now_ns + duration_ns
        while self.now_ns < min(end_ns, self._load_began_ns + self.ramp_ns):
            share = (self.now_ns - self._load_began_ns) / self.ramp_ns
            step_ns = min(end_ns - self.now_ns, 2 * MS)
            self._advance(step_ns, self.idle_mw + share * (power_mw - self.idle_mw))
        self._advance(end_ns - self.now_ns, power_mw)

    def energy_mw_ns(self, time_ns: int) -> float:
        """Drawn since the start. Units: mW ns."""
        i = max(0, bisect_right(self._times, time_ns) - 1)
        return self._energies[i] + self._levels[i] * (time_ns - self._times[i])

    def mean_mw(self, start_ns: int, end_ns: int) -> float:
        return (self.energy_mw_ns(end_ns) - self.energy_mw_ns(start_ns)) / (end_ns - start_ns)

    def _advance(self, duration_ns: int, power_mw: float) -> None:
        end_ns = self.now_ns + duration_ns
        while self.now_ns < end_ns:
            self._step(min(end_ns, self.now_ns + _LONGEST_STEP_NS), power_mw)

    def _step(self, end_ns: int, power_mw: float) -> None:
        self._energies.append(self.energy_mw_ns(self.now_ns))
        self._times.append(self.now_ns)
        self._levels.append(power_mw * self.random.normal(1, self.noise) + self.extra_mw(self.now_ns))
        while self.sampler is not None and self._next_sample_ns <= end_ns:
            self.now_ns = max(self.now_ns, self._next_sample_ns)
            self.sampler.sample()
            self._next_sample_ns = self.now_ns + self.sampler.period_ns
        self.now_ns = end_ns


class VirtualMeter:
    """The machine's meter: power, and where the model has a tick an energy counter; see `meter.Meter`."""

    def __init__(
        self,
        machine: VirtualMachine,
        model: SensorModel,
        *,
        has_power: bool = True,
        declared: SensorFacts | None = None,
        conditions: Callable[[int], Sequence[float | None]] = lambda _ns: (50.0,),
        condition_names: tuple[str, ...] = ("temperature_c",),
    ) -> None:
        self.machine, self.model, self.has_power, self.conditions = machine, model, has_power, conditions
        self.shares: Mapping[str, float] = {"power": 1.0}
        self.rail_silent_between = ("", 0, 0)
        self.frozen_after_ns = 10**18
        self.silent_between: list[tuple[int, int]] = []
        self.counter_offset_uj: Callable[[int], int] = lambda _ns: 0
        channels = [Channel("power", "power_mw", declared or SensorFacts())] if has_power else []
        channels += [Channel("energy", "energy_uj")] if model.tick_ns else []
        self.info = MeterInfo(
            source="virtual",
            device="virtual GPU",
            sees="gpu",
            scope="the virtual GPU",
            channels=tuple(channels),
            power_total=("power",) if has_power else (),
            energy_total=("energy",) if model.tick_ns else (),
            condition_names=condition_names,
        )

    def split(self, shares: Mapping[str, float], total: Sequence[str], step_mw: float) -> None:
        """Read rails that draw these shares of the machine's power, each in steps of its own."""
        self.shares, sensor = shares, SensorFacts(step_mw=step_mw, gain_error=0.015, offset_mw=2 * step_mw)
        self.model = replace(self.model, step_mw=step_mw)
        rails = tuple(Channel(name, "power_mw", sensor) for name in shares)
        reason = None if total else "no board in the table has these rails"
        self.info = replace(self.info, channels=rails, power_total=tuple(total), no_total_reason=reason)

    def read(self) -> Reading | None:
        now_ns = self.machine.now_ns
        if any(start <= now_ns < end for start, end in self.silent_between):
            raise MeterError("the virtual meter does not answer")
        rails = self.shares.items() if self.has_power else ()
        values = [None if self._is_silent(rail, now_ns) else self._power_mw(now_ns, share) for rail, share in rails]
        values += [self._energy_uj(now_ns)] if self.model.tick_ns else []
        return Reading(now_ns, tuple(values))

    def read_conditions(self) -> tuple[float | None, ...]:
        return tuple(self.conditions(self.machine.now_ns))

    def close(self) -> None:
        pass

    def _is_silent(self, rail: str, now_ns: int) -> bool:
        silent, start_ns, end_ns = self.rail_silent_between
        return rail == silent and start_ns <= now_ns < end_ns

    def _power_mw(self, now_ns: int, share: float) -> float:
        model, now_ns = self.model, min(now_ns, self.frozen_after_ns)
        updated_ns = (now_ns - model.phase_ns) // model.update_period_ns * model.update_period_ns + model.phase_ns
        mean_mw = self.machine.mean_mw(updated_ns - model.averaging_window_ns, updated_ns) * model.gain * share
        return round(mean_mw / model.step_mw) * model.step_mw if model.step_mw else round(mean_mw)

    def _energy_uj(self, now_ns: int) -> int:
        assert self.model.tick_ns is not None
        ticked_ns = now_ns // self.model.tick_ns * self.model.tick_ns
        uj = self.machine.energy_mw_ns(ticked_ns) * 1e-6 * self.model.counter_gain
        return round(uj) + self.counter_offset_uj(now_ns)


def sampler_of(machine: VirtualMachine, meter: VirtualMeter, period_ns: int = 10 * MS) -> Sampler:
    """A sampler that the machine's time drives."""
    machine.sampler = Sampler(meter, period_ns=period_ns, clock=machine.clock)
    return machine.sampler
