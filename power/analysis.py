"""From a recording to joules for each inference: pure functions, so that the same recording gives the same figures.

A figure of a load is formed in its windows. A window is the part of a stretch of load that the sensor saw whole: the
time in which its readings still had something in them of what ran before is left out at the start, and of what came
after at the end. Its inferences are counted with the fraction at each end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import hypot

import numpy as np
from numpy.typing import NDArray

from .doubts import doubts_of
from .energy import counter_energy, coverage, energy_j
from .figures import EnergyBy, EnergyReport, Figure, LoadEnergy, Unavailable, Window
from .recording import Recording, Stretch
from .trace import CounterTrace, PowerTrace
from .uncertainty import (
    BETWEEN_WINDOWS,
    Component,
    IdleLine,
    edges,
    mean_over_windows,
    net_over_windows,
    paired_ratio,
    quantisation,
    series_mean,
)
from .ways import Way, rail_ways, total_ways

# Counter and samples of the same device that differ by more than this contradict each other, unless their intervals
# allow for it.
MAX_DIFFERENCE = 0.02
# Fewer windows, or a smaller share of those that were measured, make no figure.
LEAST_WINDOWS = 3
LEAST_SHARE = 2 / 3
# A counter's idle power is the mean of its power in so many parts of the idle stretch.
_IDLE_PARTS = 12
# Idle that drifts by less than this share of a load's net power is told by the interval alone.
IDLE_SHARE = 0.01
# So many updates that are all the same are no chance, where readings moved before.
_STILL_PERIODS = 20
_MW_NS_PER_J = 1e12
_MJ_PER_J = 1e3
_MJ_PER_MW_NS = 1e-9


def analyse(recording: Recording) -> EnergyReport:
    """All figures of a recording."""
    ways, rails = total_ways(recording), rail_ways(recording)
    loads: list[LoadEnergy] = []
    for name in recording.loads:
        loads.append(_load_energy(recording, name, ways, rails, loads[0] if loads else None))
    labels = [load.total.label for load in loads]
    idle = next((_idle(recording, way) for way in ways if way.label in labels), None)
    known = idle if isinstance(idle, IdleLine) else None
    return EnergyReport(
        loads=tuple(loads),
        idle_before_mw=known.before.mean if known else None,
        idle_after_mw=known.after.mean if known else None,
        doubts=(*doubts_of(recording, loads), *_idle_doubts(loads, known)),
    )


def _idle_doubts(loads: Sequence[LoadEnergy], idle: IdleLine | None) -> Iterator[str]:
    """Idle that drifted by more than its interval, and by enough to matter in some net power."""
    powers_mw = [load.total.power_mw.value for load in loads if not isinstance(load.total.power_mw, Unavailable)]
    if idle is None or not idle.flag or not powers_mw:
        return
    net_mw = min(powers_mw) - (idle.before.mean + idle.after.mean) / 2
    if abs(idle.drift_mw) > IDLE_SHARE * net_mw:
        yield idle.flag


def _load_energy(
    recording: Recording, name: str, ways: Sequence[Way], rails: Sequence[Way], first: LoadEnergy | None
) -> LoadEnergy:
    total, other, difference = _chosen([_energy_by(recording, name, way) for way in ways], recording)
    whole = [_counted(s, s.window_start_ns, s.window_end_ns) for s in recording.of("load", name)]
    windows = [window for window in total.windows if window.refused is None] or whole
    return LoadEnergy(
        name=name,
        total=total,
        other=other,
        difference=difference,
        rails=tuple(_energy_by(recording, name, way) for way in rails),
        ratio=None if first is None else _ratio(total, first.total),
        inference_ms=float(np.mean([window.inference_ns for window in windows])) / 1e6,
        window_s=float(np.mean([window.end_ns - window.start_ns for window in windows])) / 1e9,
    )


def _chosen(figures: Sequence[EnergyBy], recording: Recording) -> tuple[EnergyBy, EnergyBy | None, float | None]:
    """The figures to go by, the others, and their difference. Where two contradict each other, neither is believed."""
    # A way that gives net energy, too, comes before one that does not.
    figures = sorted(figures, key=lambda by: isinstance(by.net_mj, Unavailable))
    if not figures:
        return _unknown("total", recording.meter.no_total_reason or "nothing could be read", ()), None, None
    if len(figures) == 1:
        return figures[0], None, None
    known = [by for by in figures if not isinstance(by.gross_mj, Unavailable)]
    if len(known) < 2:
        first = known[0] if known else figures[0]
        return first, next(by for by in figures if by is not first), None
    (total, other), (mine, its) = figures, (by.gross_mj for by in figures)
    assert not isinstance(mine, Unavailable)
    assert not isinstance(its, Unavailable)
    difference = its.value / mine.value - 1
    allowed = max(MAX_DIFFERENCE, (mine.half_width**2 + its.half_width**2) ** 0.5 / mine.value)
    if abs(difference) > allowed:
        reason = (
            f"{total.label} says {mine.value:.4g} mJ and {other.label} {its.value:.4g} mJ: they differ by "
            f"{difference:+.1%}, more than {allowed:.1%}; measure with another meter, or for longer (--power-window)"
        )
        return _unknown(total.label, reason, total.windows), other, difference
    return total, other, difference


def _energy_by(recording: Recording, name: str, way: Way) -> EnergyBy:
    idle = _idle(recording, way)
    rise_ns = recording.plans[name].rise_ns
    # The pauses are short: where the measurement was interrupted, what idle drew before them says enough.
    in_pauses = _idle_before(recording, way) if recording.partial is not None else idle
    windows = tuple(_window(stretch, way, rise_ns, in_pauses) for stretch in recording.of("load", name))
    earned = [window for window in windows if window.refused is None]
    if len(earned) < max(LEAST_WINDOWS, LEAST_SHARE * len(windows)):
        refused = next((window.refused for window in windows if window.refused), "too few were measured")
        missing = len(windows) - len(earned)
        return _unknown(way.label, f"{missing} of {len(windows)} windows give none: {refused}", windows)
    try:
        return _figures(way, windows, earned, idle, in_pauses)
    except ValueError as error:
        return _unknown(way.label, str(error), windows)


def _figures(
    way: Way,
    windows: tuple[Window, ...],
    earned: Sequence[Window],
    idle: IdleLine | Unavailable,
    in_pauses: IdleLine | Unavailable,
) -> EnergyBy:
    mids_ns = [window.mid_ns for window in earned]
    inference_ns = [window.inference_ns for window in earned]
    gross_mj = [window.gross_mj for window in earned if window.gross_mj is not None]
    power_mw = [energy / (time_ns * _MJ_PER_MW_NS) for energy, time_ns in zip(gross_mj, inference_ns, strict=True)]
    of_power = _Budget(*_budget_mw(way, earned, power_mw, in_pauses))
    sensor, mean_ns = way.trace.sensor, float(np.mean(inference_ns))
    of_energy = of_power.scaled(mean_ns * _MJ_PER_MW_NS)
    return EnergyBy(
        label=way.label,
        gross_mj=mean_over_windows(gross_mj, mids_ns, of_energy.shared, of_energy.within),
        net_mj=idle
        if isinstance(idle, Unavailable)
        else net_over_windows(gross_mj, mids_ns, idle, inference_ns, of_energy.shared, of_energy.within),
        power_mw=mean_over_windows(power_mw, mids_ns, of_power.shared, of_power.within),
        gain_error=sensor.gain_error,
        offset_mj=None if sensor.offset_mw is None else sensor.offset_mw * mean_ns * _MJ_PER_MW_NS,
        windows=windows,
    )


@dataclass(frozen=True)
class _Budget:
    """Lines of an uncertainty budget: what all windows share, and what their scatter shows already."""

    shared: tuple[Component, ...]
    within: tuple[Component, ...]

    def scaled(self, factor: float) -> "_Budget":
        """The same in another unit."""

        def scaled(components: Sequence[Component]) -> tuple[Component, ...]:
            return tuple(replace(c, standard_uncertainty=c.standard_uncertainty * factor) for c in components)

        return _Budget(scaled(self.shared), scaled(self.within))


def _budget_mw(
    way: Way, earned: Sequence[Window], power_mw: Sequence[float], idle: IdleLine | Unavailable
) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
    """The lines of the budget of mean power, shared and within. Units: mW."""
    mean_mw, n = float(np.mean(power_mw)), len(earned)
    edge_mw = abs(mean_mw) * max(edges(window.tick_ns, window.end_ns - window.start_ns) for window in earned)
    shared = [*_pause_components(earned, mean_mw, idle)]
    if isinstance(way.trace, CounterTrace):
        # Ticks and readings may keep step for minutes, and then all windows are off by the same.
        return (*shared, Component("edges", edge_mw, "ticks lie anywhere between two readings")), ()
    within = [Component("edges", edge_mw / n**0.5, "windows end anywhere between two readings")]
    spans = [(window.start_ns, window.end_ns) for window in earned]
    errors = [
        series_mean(values).standard_error for span in spans if (values := _readings_mw(way.trace, *span)).size > 1
    ]
    if errors:
        sampling_mw = float(np.sqrt(np.mean(np.square(errors)) / n))
        within.append(Component("sampling", sampling_mw, "autocorrelated readings within the windows"))
    if (step_mw := _quantisation_mw(way, spans)) is not None:
        shared.append(Component("quantisation", step_mw, "the sensor's step"))
    return tuple(shared), tuple(within)


def _pause_components(earned: Sequence[Window], mean_mw: float, idle: IdleLine | Unavailable) -> Iterator[Component]:
    """A device that has just computed may draw more than idle; at most what it drew while computing."""
    paused = sum(window.paused_ns for window in earned)
    if not paused or isinstance(idle, Unavailable):
        return
    share = paused / sum(window.end_ns - window.start_ns - window.paused_ns for window in earned)
    above_idle_mw = max(mean_mw - (idle.before.mean + idle.after.mean) / 2, 0.0)
    # Anywhere from idle, which is taken off, to all that computing drew: the root mean square of that.
    yield Component("pauses", share * above_idle_mw / 3**0.5, "a device may draw more than idle right after computing")


def _quantisation_mw(way: Way, spans: Sequence[tuple[int, int]]) -> float | None:
    """What the steps of the sensors do to the mean over all spans; None where a step is not known. Units: mW.

    Rails step independently of each other, whatever their sum does.
    """
    errors_mw = []
    for part in way.parts:
        windows_mw = [values for span in spans if (values := _readings_mw(part, *span)).size]
        if not part.sensor.step_mw or not windows_mw:
            return None
        errors_mw.append(quantisation(*windows_mw, step_mw=part.sensor.step_mw).systematic_mw)
    return hypot(*errors_mw) if errors_mw else None


def _idle(recording: Recording, way: Way) -> IdleLine | Unavailable:
    """Idle power before and after, by the same way of measuring."""
    stretches = recording.of("idle")
    if len(stretches) != 2:
        return Unavailable(f"idle was measured {len(stretches)} times, before and after is needed")
    mids_ns = [(stretch.start_ns + stretch.end_ns) // 2 for stretch in stretches]
    return _idle_line(recording, way, stretches[0], stretches[1], mids_ns[0], mids_ns[1])


def _idle_before(recording: Recording, way: Way) -> IdleLine | Unavailable:
    """Idle power as if it stayed what it was before the rounds, until the last of them."""
    stretches = recording.of("idle")
    if not stretches:
        return Unavailable("idle was not measured")
    first = stretches[0]
    return _idle_line(recording, way, first, first, first.start_ns, recording.stretches[-1].end_ns)


def _idle_line(
    recording: Recording, way: Way, before: Stretch, after: Stretch, before_ns: int, after_ns: int
) -> IdleLine | Unavailable:
    try:
        rise_ns = max(plan.rise_ns for plan in recording.plans.values())
        spans = [_seen_span(stretch, way, rise_ns) for stretch in (before, after)]
        mean_before, mean_after = (series_mean(_idle_mw(way, *span)) for span in spans)
        return IdleLine(mean_before, mean_after, before_ns, after_ns, _quantisation_mw(way, spans) or 0.0)
    except ValueError as error:
        return Unavailable(f"idle: {error}")


def _idle_mw(way: Way, start_ns: int, end_ns: int) -> NDArray[np.float64]:
    """Power at equally spaced instants, or in equal parts, of that time. Units: mW."""
    _require_seen(way, start_ns, end_ns)
    if isinstance(way.trace, PowerTrace):
        return _readings_mw(way.trace, start_ns, end_ns)
    edges_ns = np.linspace(start_ns, end_ns, _IDLE_PARTS + 1).astype(np.int64).tolist()
    parts = [counter_energy(way.trace, start, end) for start, end in pairwise(edges_ns)]
    return np.array([part.energy_j / (part.end_ns - part.start_ns) * _MW_NS_PER_J for part in parts])


def _window(stretch: Stretch, way: Way, rise_ns: int, idle: IdleLine | Unavailable) -> Window:
    """The stretch without its ends, as that way of measuring sees it."""
    bare = _counted(stretch, stretch.window_start_ns, stretch.window_end_ns)
    try:
        bare = _counted(stretch, *_seen_span(stretch, way, rise_ns))
        _require_seen(way, bare.start_ns, bare.end_ns)
        return _without_pauses(_measured(way.trace, stretch, bare), idle)
    except ValueError as error:
        return replace(bare, refused=str(error))


def _measured(trace: PowerTrace | CounterTrace, stretch: Stretch, bare: Window) -> Window:
    if isinstance(trace, PowerTrace):
        tick_ns = trace.sensor.update_period_ns or 0
        return replace(bare, energy_j=energy_j(trace, bare.start_ns, bare.end_ns), tick_ns=tick_ns)
    found = counter_energy(trace, bare.start_ns, bare.end_ns)
    aligned = _counted(stretch, found.start_ns, found.end_ns)
    return replace(aligned, energy_j=found.energy_j, tick_ns=2 * found.tick_error_ns)


def _without_pauses(window: Window, idle: IdleLine | Unavailable) -> Window:
    """The window with the energy of an inference: idle power for the time of the pauses is taken off."""
    if window.energy_j is None or window.inferences <= 0:
        raise ValueError(f"{window.inferences:g} inferences ran in the window; measure for longer (--power-window)")
    paused_j = 0.0
    if window.paused_ns:
        if isinstance(idle, Unavailable):
            raise ValueError(f"what its pauses drew is not known: {idle.reason}")
        paused_j = float(idle.at_mw([window.mid_ns])[0]) * window.paused_ns / _MW_NS_PER_J
    return replace(window, gross_mj=(window.energy_j - paused_j) / window.inferences * _MJ_PER_J)


def _seen_span(stretch: Stretch, way: Way, rise_ns: int) -> tuple[int, int]:
    """The stretch's window, less where readings of a channel that averages for longer show what was around it."""
    start_ns, end_ns = stretch.window_start_ns, stretch.window_end_ns
    if isinstance(way.trace, PowerTrace):
        start_ns = max(start_ns, stretch.start_ns + rise_ns + way.reach_ns - way.delay_ns)
        end_ns = min(end_ns, stretch.end_ns - way.delay_ns)
    if start_ns >= end_ns:
        raise ValueError(
            f"{way.label}: its readings show what was around the window for all of its "
            f"{(stretch.window_end_ns - stretch.window_start_ns) / 1e9:.3g} s; measure for longer (--power-window)"
        )
    return start_ns, end_ns


def _counted(stretch: Stretch, start_ns: int, end_ns: int) -> Window:
    return Window(
        round=stretch.round or 0,
        start_ns=start_ns,
        end_ns=end_ns,
        inferences=stretch.inferences(start_ns, end_ns),
        paused_ns=stretch.paused_ns(start_ns, end_ns),
    )


def _require_seen(way: Way, start_ns: int, end_ns: int) -> None:
    """Raise ValueError where gaps between the readings leave a number from this window unearned."""
    period_ns = way.period_ns
    doubt = coverage(way.trace.time_ns, start_ns, end_ns, period_ns).doubt(period_ns)
    if doubt is not None:
        raise ValueError(doubt)
    if isinstance(way.trace, PowerTrace) and way.is_lively and end_ns - start_ns >= _STILL_PERIODS * way.period_ns:
        readings = _readings_mw(way.trace, start_ns, end_ns)
        if readings.size and np.ptp(readings) == 0:
            raise ValueError(
                f"readings stood still at {readings[0]:g} mW for {(end_ns - start_ns) / 1e9:.3g} s, and moved all the "
                "time before: the sensor has stopped; measure again"
            )


def _readings_mw(trace: PowerTrace, start_ns: int, end_ns: int) -> NDArray[np.float64]:
    inside: NDArray[np.float64] = trace.power_mw[(trace.time_ns >= start_ns) & (trace.time_ns <= end_ns)]
    return inside


def _ratio(mine: EnergyBy, first: EnergyBy) -> Figure:
    """Of the energies of the rounds in which both have a window."""
    for by in (mine, first):
        if isinstance(by.gross_mj, Unavailable):
            return Unavailable(f"an energy is not known: {by.gross_mj.reason}")
    its = {window.round: window.gross_mj for window in first.windows}
    pairs = [(window.gross_mj, its.get(window.round)) for window in mine.windows]
    whole = [(numerator, denominator) for numerator, denominator in pairs if numerator and denominator]
    if len(whole) < LEAST_WINDOWS:
        return Unavailable(f"{len(whole)} rounds have a window of both, {LEAST_WINDOWS} are needed: more rounds")
    numerators, denominators = zip(*whole, strict=True)
    try:
        return paired_ratio(numerators, denominators, [_apart(mine, first)])
    except ValueError as error:
        return Unavailable(str(error))


def _apart(mine: EnergyBy, first: EnergyBy) -> Component:
    """What all rounds of one have in common and the other has not, so that neither scatter nor division shows it."""
    shares = [
        component.standard_uncertainty / by.gross_mj.value
        for by in (mine, first)
        if not isinstance(by.gross_mj, Unavailable)
        for component in by.gross_mj.components
        if not component.contained and component.name != BETWEEN_WINDOWS
    ]
    return Component("steps and pauses", hypot(*shares), "of both")


def _unknown(label: str, reason: str, windows: tuple[Window, ...]) -> EnergyBy:
    unknown = Unavailable(reason)
    return EnergyBy(label, unknown, unknown, unknown, None, None, windows)
