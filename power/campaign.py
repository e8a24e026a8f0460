"""Running a measurement of power: who computes when, while a sampler reads the meter.

The order is: look at the sensor, choose how long to measure, warm up until power is steady, idle, rounds of all loads
in random order, idle again. Everything that happens is recorded with its instants; figures are computed afterwards,
from the recording alone (`analysis`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import UnavailableError
from .conditions import MachineConditions, read_conditions
from .energy import tick_period_ns
from .plan import DEFAULT_RISE_NS, SMALLEST_SHARE, Plan, plan
from .recording import Mark, Pause, Recording, Samples, Stretch, StretchKind, counter_trace, power_trace, samples_of
from .samples import Sampler
from .sensor import Characterisation, LoadStretch, SensorUnclearError, characterise, probe_schedule
from .trace import SensorFacts
from .uncertainty import steady
from .ways import declared_sensor

Load = Callable[[], object]
# Called between stretches, never inside one, with what is measured next and the planned length of it all in ns.
Progress = Callable[[str, int], None]

_NS_PER_S = 1_000_000_000
# A mark of how many inferences were done is made this often in a window, so that its length does not matter.
_MARKS = 1000
_PROBE_INFERENCES = 3
# How long a counter of energy is watched to see how often it moves.
_TICK_PROBE_NS, _TICK_PROBES = 2 * _NS_PER_S, 5
# Each load runs for so long in a pass of the warm-up; the mean power of whole passes is compared.
_WARMUP_NS = 2 * _NS_PER_S
_MAX_WARMUP_PASSES = 10
# A device whose counter alone is read shows no rise: it is taken to be a slow one.
_RISE_BY_COUNTER_NS = _NS_PER_S
# Idle comes to rest when the means of the last three waits agree, after 10 s at the soonest and 30 s at the latest.
_REST_NS, _MIN_RESTS, _MAX_RESTS = 2 * _NS_PER_S, 5, 15
# Fewer rounds give no figure, so that an interrupted measurement of fewer is not kept.
LEAST_ROUNDS = 3
# A meter that gave nothing for so long, and ten of its periods, has stopped.
_SILENCE_NS = 3 * _NS_PER_S


@dataclass(frozen=True)
class Settings:
    """What the user may choose; None leaves it to the plan: see `plan`."""

    rounds: int | None = None
    window_s: float | None = None
    seed: int = 0


def measure(
    loads: Mapping[str, Load],
    sampler: Sampler,
    settings: Settings,
    *,
    sleep: Callable[[float], None] = time.sleep,
    snapshot: Callable[[], MachineConditions] = read_conditions,
    progress: Progress | None = None,
) -> Recording:
    """Measure what the loads draw, while `sampler` runs (see `samples.running`).

    Args:
        loads: one inference of each, by name; everything that it needs is loaded and ready.
        sampler: reads the meter; its clock is that of all instants.
        settings: rounds, length of a window, seed of the order.
        sleep: waits; not the system's own where a test makes time.
        snapshot: what the machine's state is, asked after the warm-up and at the end.
        progress: see `Progress`.

    Raises:
        ValueError: there is no load.
        InputError: a window that was asked for is too short for the sensor.
        UnavailableError: the meter has stopped to answer, or how it measures could not be found out, so that no window
            can be chosen.
        KeyboardInterrupt: Ctrl-C came before three rounds were complete; after that the recording ends there, and its
            `partial` says so.
    """
    if not loads:
        raise ValueError("there is no load to measure: give one at least")
    return _Campaign(loads, sampler, settings, sleep, snapshot, progress).run()


class _Campaign:
    """The state of one measurement: what was recorded so far."""

    def __init__(
        self,
        loads: Mapping[str, Load],
        sampler: Sampler,
        settings: Settings,
        sleep: Callable[[float], None],
        snapshot: Callable[[], MachineConditions],
        progress: Progress | None,
    ) -> None:
        self.loads, self.sampler, self.settings = loads, sampler, settings
        self.meter, self.clock, self.sleep = sampler.meter.info, sampler.clock, sleep
        self.snapshot, self.progress = snapshot, progress
        self.stretches: list[Stretch] = []
        self.notes: list[str] = []
        self.started_ns, self.planned_ns = self.clock(), 0

    def run(self) -> Recording:
        first_ns = {name: self._first_inference_ns(load) for name, load in self.loads.items()}
        sensor = self._sensor()
        # A window that does not fit is refused before minutes are spent on it.
        plans = {name: self._plan(sensor, time_ns) for name, time_ns in first_ns.items()}
        self.sampler.period_ns = min(one.sample_period_ns for one in plans.values())
        self.planned_ns = self.clock() - self.started_ns + _length_ns(plans)
        is_steady = self._warm_up()
        # First inferences build, allocate, and run at low clocks: only a warm device tells how long one takes.
        plans = {name: self._plan(sensor, self._warm_inference_ns(name)) for name in self.loads}
        self.planned_ns = self.clock() - self.started_ns + _length_ns(plans)
        before = self.snapshot()
        self._idle("idle before", plans)
        partial = self._rounds(plans)
        return Recording(
            meter=self.meter,
            readings=samples_of(self.sampler.readings),
            conditions=samples_of(self.sampler.conditions),
            stretches=tuple(self.stretches),
            sensor=sensor.facts,
            sensor_notes=tuple(self.notes),
            steady=is_steady,
            plans=plans,
            seed=self.settings.seed,
            cost=self.sampler.cost,
            machine=(before, self.snapshot()),
            partial=partial,
        )

    def _rounds(self, plans: Mapping[str, Plan]) -> str | None:
        """All rounds, and idle after them; why some are missing where Ctrl-C came after enough of them."""
        order = self._order(plans)
        for number, names in enumerate(order):
            try:
                for name in names:
                    self._tell(f"round {number + 1} of {len(order)}: {name}")
                    self._measure_load(name, number, plans[name])
            except KeyboardInterrupt:
                if number < LEAST_ROUNDS:
                    raise
                self.stretches = [stretch for stretch in self.stretches if stretch.round != number]
                return f"interrupted in round {number + 1} of {len(order)}"
        try:
            self._idle("idle after", plans)
        except KeyboardInterrupt:
            return "interrupted in idle after the rounds"
        return None

    def _first_inference_ns(self, load: Load) -> int:
        """How long an inference takes at first, roughly."""
        durations = []
        for _ in range(_PROBE_INFERENCES):
            start_ns = self.clock()
            load()
            durations.append(self.clock() - start_ns)
        return max(1, min(durations))

    def _warm_inference_ns(self, name: str) -> int:
        """How long one took in the last pass of the warm-up."""
        last = self._of_warm_up(name)[-1]
        return max(1, (last.end_ns - last.start_ns) // last.marks[-1].inferences)

    def _of_warm_up(self, name: str) -> list[Stretch]:
        return [stretch for stretch in self.stretches if (stretch.kind, stretch.name) == ("warmup", name)]

    def _plan(self, sensor: "_Seen", inference_ns: int) -> Plan:
        return plan(
            sensor.facts,
            inference_ns,
            has_counter=bool(self.meter.energy_total),
            rise_ns=sensor.rise_ns,
            least_window_ns=sensor.least_window_ns,
            window_s=self.settings.window_s,
            rounds=self.settings.rounds,
        )

    def _sensor(self) -> "_Seen":
        """How the sensor of the total measures, and how long the device takes to settle under load."""
        name = next(iter(self.loads))
        channels = self.meter.power_total or tuple(c.name for c in self.meter.channels if c.quantity == "power_mw")
        if not channels:
            return _Seen(self._counter_facts(name), _RISE_BY_COUNTER_NS, None)
        self._tell("looking at the sensor")
        declared = declared_sensor(self.meter, channels)
        loads = []
        for load_s, pause_s in probe_schedule(declared):
            loads.append(self._compute("characterise", name, round(load_s * _NS_PER_S)))
            self.sleep(pause_s)
        trace = power_trace(self.meter, self._readings(), channels, declared)
        if trace is None:
            raise self._silent("no reading came in while the sensor was looked at")
        if np.ptp(trace.power_mw) == 0:
            raise self._silent(f"its reading stood still at {trace.power_mw[0]:g} mW, with and without load")
        try:
            found = characterise(trace, [LoadStretch(stretch.start_ns, stretch.end_ns) for stretch in loads])
        except SensorUnclearError as error:
            return _Seen(self._facts_of_unclear(error, declared), None, None)
        self.notes += found.notes
        return _Seen(found.facts, found.rise_ns, _least_window_ns(found, declared))

    def _facts_of_unclear(self, error: SensorUnclearError, declared: SensorFacts) -> SensorFacts:
        """What is left to go by; without an update period there is nothing."""
        seen = {name: getattr(error.found, name) for name in ("update_period_ns", "step_mw")}
        facts = declared.updated(
            **seen, source=f"{declared.source}; update period and step by a probe load, where seen"
        )
        if facts.update_period_ns is None:
            raise UnavailableError(f"{self.meter.device}: how it measures could not be found out: {error}") from error
        self.notes.append(f"how the sensor measures could not be seen, and is taken as declared: {error}")
        return facts

    def _counter_facts(self, name: str) -> SensorFacts:
        """How often the counter moves."""
        self._tell("looking at the counter")
        for _ in range(_TICK_PROBES):
            self._compute("characterise", name, _TICK_PROBE_NS)
            counter = counter_trace(self.meter, self._readings(), self.meter.energy_total)
            period_ns = tick_period_ns(counter) if counter else None
            if period_ns is not None:
                source = "measured by a probe load"
                return SensorFacts(update_period_ns=period_ns, averaging_window_ns=period_ns, source=source)
        probed_s = _TICK_PROBES * _TICK_PROBE_NS / _NS_PER_S
        raise self._silent(f"its counter did not move twice in {probed_s:g} s of load")

    def _silent(self, what: str) -> UnavailableError:
        reason = self.sampler.cost.last_failure
        why = f" ({reason})" if reason else ""
        return UnavailableError(f"{self.meter.device}: {what}{why}; try another --power-source")

    def _readings(self) -> Samples:
        return samples_of(self.sampler.readings)

    def _warm_up(self) -> bool:
        """Run all loads in turn until the power of whole passes is steady; False where it never was."""
        powers_mw: list[float] = []
        for number in range(_MAX_WARMUP_PASSES):
            self._tell(f"warm-up, pass {number + 1}")
            start_ns = self.clock()
            for name in self.loads:
                self._compute("warmup", name, _WARMUP_NS)
            if (power_mw := self._mean_mw(start_ns, self.clock())) is None:
                raise self._silent("no reading came in during the warm-up")
            powers_mw.append(power_mw)
            if steady(powers_mw):
                return True
        return False

    def _mean_mw(self, start_ns: int, end_ns: int) -> float | None:
        """Mean power of what was read in that time, roughly; None where nothing was."""
        time_ns, values = self.sampler.readings.rows()
        inside = (time_ns >= start_ns) & (time_ns <= end_ns)
        powers = [channel.name for channel in self.meter.channels if channel.quantity == "power_mw"]
        names = self.meter.power_total or self.meter.energy_total or powers
        columns = [i for i, channel in enumerate(self.meter.channels) if channel.name in names]
        rows, times = values[inside][:, columns], time_ns[inside]
        whole = ~np.isnan(rows).any(axis=1) if columns else np.zeros(len(rows), dtype=bool)
        if whole.sum() < 2:
            return None
        total = rows[whole].sum(axis=1)
        if names != self.meter.energy_total:
            return float(total.mean())
        passed_ns = times[whole][-1] - times[whole][0]
        # uJ in ns are kW. A counter that started again makes this pass look unlike the others, and one more is run.
        return float((total[-1] - total[0]) / passed_ns * 1e6)

    def _order(self, plans: Mapping[str, Plan]) -> list[list[str]]:
        generator, names = np.random.default_rng(self.settings.seed), list(plans)
        rounds = max(one.rounds for one in plans.values())
        return [[names[i] for i in generator.permutation(len(names))] for _ in range(rounds)]

    def _idle(self, text: str, plans: Mapping[str, Plan]) -> None:
        """Nothing computes, and everything stays loaded and ready."""
        self._tell(text)
        self._come_to_rest()
        idle_ns, settle_ns = (max(getattr(p, name) for p in plans.values()) for name in ("idle_ns", "settle_ns"))
        start_ns = self.clock()
        self.sleep(idle_ns / _NS_PER_S)
        window = (start_ns + settle_ns, self.clock())
        self.sleep(max(one.tail_ns for one in plans.values()) / _NS_PER_S)
        self.stretches.append(Stretch("idle", None, None, start_ns, self.clock(), *window))

    def _come_to_rest(self) -> None:
        """Wait until idle power is steady: fans, clocks and leakage fall for seconds after a load."""
        powers_mw: list[float] = []
        for _ in range(_MAX_RESTS):
            start_ns = self.clock()
            self.sleep(_REST_NS / _NS_PER_S)
            if (power_mw := self._mean_mw(start_ns, self.clock())) is None:
                raise self._silent("no reading came in during idle")
            powers_mw.append(power_mw)
            if len(powers_mw) >= _MIN_RESTS and steady(powers_mw):
                return
        waited_s = _MAX_RESTS * _REST_NS / _NS_PER_S
        self.notes.append(
            f"idle had not come to rest after {waited_s:g} s: stop other work on the machine, lock its clocks"
        )

    def _compute(self, kind: StretchKind, name: str, duration_ns: int) -> Stretch:
        """Run a load for at least that long, and once at least."""
        run = _Run(self.loads[name], self.clock, duration_ns)
        run.until(run.start_ns + duration_ns)
        return self._recorded(kind, name, None, run, (run.start_ns, run.now_ns))

    def _measure_load(self, name: str, number: int, chosen: Plan) -> None:
        """Load until the readings show nothing else, then the window, then load until the readings have shown it."""
        if self.clock() - (self.sampler.last_ns or 0) > _SILENCE_NS + 10 * chosen.period_ns:
            raise self._silent("it has stopped to answer")
        # Each round meets the sensor at another phase: what sliding leaves shows as scatter, and averages out.
        self.sleep(number / chosen.rounds * chosen.period_ns / _NS_PER_S)
        run = _Run(self.loads[name], self.clock, chosen.window_ns)
        run.until(run.start_ns + chosen.settle_ns)
        start_ns = run.now_ns
        if chosen.phases_ns:
            self._run_groups(run, chosen)
        else:
            run.until(start_ns + chosen.window_ns)
        window = (start_ns, run.now_ns)
        run.until(run.now_ns + chosen.tail_ns)
        self._recorded("load", name, number, run, window)

    def _run_groups(self, run: "_Run", chosen: Plan) -> None:
        """Slide the load along the sensor's period: see `plan`."""
        start_ns, left_ns = run.now_ns, set(chosen.phases_ns)
        while left_ns:
            phase_ns, pause_ns = chosen.next_group(left_ns, run.now_ns - start_ns)
            self._pause(run, pause_ns)
            run.times(chosen.group_inferences)
            left_ns.remove(phase_ns)
        self._pause(run, chosen.closing_pause_ns(run.now_ns - start_ns))

    def _pause(self, run: "_Run", pause_ns: int) -> None:
        if pause_ns > 0:
            self.sleep(pause_ns / _NS_PER_S)
            run.paused()

    def _recorded(
        self, kind: StretchKind, name: str, number: int | None, run: "_Run", window: tuple[int, int]
    ) -> Stretch:
        marks, pauses = tuple(run.marks), tuple(run.pauses)
        stretch = Stretch(kind, name, number, run.start_ns, run.now_ns, *window, marks, pauses)
        self.stretches.append(stretch)
        return stretch

    def _tell(self, text: str) -> None:
        if self.progress is not None:
            self.progress(text, self.planned_ns)


@dataclass(frozen=True)
class _Seen:
    """What was seen of the sensor and of how long the device takes to settle: see `plan`."""

    facts: SensorFacts
    rise_ns: int | None
    least_window_ns: int | None


def _least_window_ns(found: Characterisation, declared: SensorFacts) -> int:
    """The shortest averaging window that the sensor may have.

    A device that takes its time to rise makes a window look longer, so that a sensor that looks part of the time passes
    for one that looks all the time. What is declared counts where readings allow it; else a rise may be in what was
    found.
    """
    found_ns, period_ns = found.facts.averaging_window_ns or 0, found.facts.update_period_ns or 0
    shortest_ns, longest_ns = found.window_range_ns
    if declared.averaging_window_ns is not None:
        allowed = shortest_ns <= declared.averaging_window_ns <= longest_ns
        return declared.averaging_window_ns if allowed else min(found_ns, declared.averaging_window_ns)
    return max(found_ns - DEFAULT_RISE_NS, round(SMALLEST_SHARE * period_ns))


class _Run:
    """A load that runs: how many inferences are done, and when."""

    def __init__(self, load: Load, clock: Callable[[], int], duration_ns: int) -> None:
        self._load, self._clock, self._mark_ns = load, clock, duration_ns // _MARKS
        self.start_ns = self.now_ns = clock()
        self.marks, self.pauses = [Mark(self.start_ns, 0)], list[Pause]()
        self._done = 0

    def until(self, end_ns: int) -> None:
        """Compute until then, and once at least."""
        self._infer()
        while self.now_ns < end_ns:
            self._infer()
        self._mark()

    def times(self, inferences: int) -> None:
        """Compute so often."""
        for _ in range(inferences):
            self._infer()
        self._mark()

    def paused(self) -> None:
        """Nothing was computed from the last inference until now."""
        start_ns, self.now_ns = self.now_ns, self._clock()
        self.pauses.append(Pause(start_ns, self.now_ns))
        self._mark()

    def _infer(self) -> None:
        self._load()
        self._done += 1
        self.now_ns = self._clock()
        if self.now_ns - self.marks[-1].time_ns >= self._mark_ns:
            self._mark()

    def _mark(self) -> None:
        if self.marks[-1].time_ns < self.now_ns:
            self.marks.append(Mark(self.now_ns, self._done))


def _length_ns(plans: Mapping[str, Plan]) -> int:
    """How long the rest takes, roughly."""
    loads_ns = sum(one.rounds * (one.settle_ns + one.window_ns + one.tail_ns) for one in plans.values())
    idle_ns = 2 * max(one.idle_ns + one.tail_ns for one in plans.values())
    return loads_ns + idle_ns + 3 * len(plans) * _WARMUP_NS
