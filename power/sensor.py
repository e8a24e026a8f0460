"""How a sensor measures, found from a polled trace and the known stretches of a load.

Yang et al. (arXiv 2312.02741) found that the sensors of GPUs differ in how often they renew their reading and in the
stretch of time that a reading is the mean of, by architecture, driver and field; a measurement that does not know both
may be wrong by two thirds. Here both are measured before use, as they did: with a load that goes on and off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .trace import PowerTrace, SensorFacts
from .updates import SensorUnclearError, Updates, find_updates

__all__ = ["Characterisation", "LoadStretch", "SensorUnclearError", "characterise", "probe_schedule"]

Floats = NDArray[np.float64]

# Readings that come after an edge of the load are settled when they stay within this share of the swing.
SETTLED = 0.05
# Declared and measured figures that differ by more are reported.
CONTRADICTION = 0.15
_COMPARED = (("update_period_ns", "ms", 1e6), ("averaging_window_ns", "ms", 1e6), ("step_mw", "mW", 1.0))
# A window is known when the longest and the shortest that fit differ by less than this factor.
_MAX_WINDOW_RATIO = 2.0
_MIN_EXPLAINED = 0.5
_MIN_PARTIAL = 4
# Gaps between readings are multiples of a step when nearly all of them are within a tenth of one; the gaps within a
# group of readings are less than an eighth of those between groups.
_MIN_GAPS, _NEAR, _NEARLY_ALL, _APART = 5, 0.1, 0.9, 8
# Readings that show less than this of the load, or all but this, do not tell the window.
_EDGE = 0.02
# Squared standard errors: what fits within two of them is not told apart.
_TWO_ERRORS = 4.0
# Share of the window: a longer rise shows in it.
_SLOW = 0.2
_FITTED = 4  # numbers: window, delay, two levels
_WINDOWS_PER_PERIOD = (1 / 20, 25.0)
_DELAYS_PER_PERIOD = (-0.5, 0.75)
_GRID, _ZOOM, _ZOOMS = (60, 51), 25, 5
# Loads and pauses of a probe, in windows or update periods: ratios of Yang et al., with neighbours that share no
# divisor with the period, so that edges fall at all of its phases.
_PROBE_RATIOS = (1 / 2, 0.57, 2 / 3, 3 / 4, 0.83, 0.9, 1.1, 1.17, 5 / 4, 4 / 3)
_PROBE_UPDATES = 60
# One stretch of the probe is long enough for the clocks of most devices to rise and stay.
_LONGEST_RISE_S = 4.0
# Standard deviations within which noise stays.
_NOISE = 4.0
_MIN_EDGES_IN_WINDOWS = 10
_UNKNOWN = SensorFacts(100_000_000, 1_000_000_000)


@dataclass(frozen=True)
class LoadStretch:
    """The load ran from `start_ns` to `end_ns`, on the trace's clock.

    Raises:
        ValueError: it ends before it starts.
    """

    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        """Check the order."""
        if self.end_ns <= self.start_ns:
            raise ValueError(f"load from {self.start_ns} to {self.end_ns} ns: its end must be later than its start")


@dataclass(frozen=True)
class Characterisation:
    """How a sensor measures.

    Attributes:
        facts: period, window and step as measured; the rest as declared with the trace.
        window_range_ns: the shortest and longest averaging window that the readings allow, give or take a
            poll. Units: ns.
        delay_ns: how much later than the stated edges of the load the readings follow them, beyond the window.
            Negative where the load really ended, or its clock ran, earlier. Units: ns.
        rise_ns: how long the device itself takes to settle after the load starts; None where no load was long enough
            to tell. Units: ns.
        notes: what a reader of the numbers must know.
    """

    facts: SensorFacts
    window_range_ns: tuple[int, int]
    delay_ns: int
    rise_ns: int | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Window:
    """A reading is low + swing x (share of the `window_ns` before it, `delay_ns` late, in which the load ran).

    `explained`: share of the readings' variance that this explains. `partial`: readings that show a part of the load.
    """

    window_ns: float
    delay_ns: float
    range_ns: tuple[float, float]
    swing_mw: float
    explained: float
    partial: int


def characterise(trace: PowerTrace, load: Sequence[LoadStretch]) -> Characterisation:
    """Find update period, averaging window, step and rise time of the sensor behind `trace`.

    Period: see `find_updates`. Window: the one with which the share of the load in it explains the readings best (least
    squares over windows and delays). Step: of which all differences between readings are multiples. Rise: how long
    after the start a reading's window still began before the device was settled.

    A device that takes its time to rise makes the window look longer: where it falls as slowly the two cannot be told
    apart from readings at all. So of a slow device the window is an upper bound, which a note says; window and rise
    together are what must be thrown away at the start of a load.

    Args:
        trace: polled faster than the sensor renews its reading, from before the first load to after the last.
        load: when the load ran; edges at different phases of the sensor's period, as `probe_schedule` has them.

    Raises:
        SensorUnclearError: the trace does not tell one of these; `found` has those that it does.
        ValueError: loads overlap or are not in order of time.
    """
    if not load:
        raise SensorUnclearError(f"{trace.rail}: no load ran, so the window cannot be seen; run one", trace.sensor)
    _check_order(load)
    try:
        updates = find_updates(trace)
    except SensorUnclearError as error:
        raise SensorUnclearError(str(error), trace.sensor) from error
    found = trace.sensor.updated(
        update_period_ns=round(updates.period_ns), step_mw=_step_mw(trace.power_mw), source="measured by a probe load"
    )
    has_step = found.step_mw is not None
    if not has_step:
        # The true step is no larger: that is the safe side, and never "none".
        found = found.updated(step_mw=_closest_mw(trace))
    window = _window(updates, load, found, trace.rail)
    facts = found.updated(averaging_window_ns=round(window.window_ns))
    rise_ns = _rise_ns(updates, load, window, facts.step_mw or 0.0)
    # When an update came is known to a poll.
    poll_ns = float(np.median(np.diff(trace.time_ns)))
    low_ns, high_ns = window.range_ns
    return Characterisation(
        facts,
        (max(round(low_ns - poll_ns), 0), round(high_ns + poll_ns)),
        round(window.delay_ns),
        rise_ns,
        tuple(_notes(trace, updates, facts, rise_ns, has_step=has_step)),
    )


def _check_order(load: Sequence[LoadStretch]) -> None:
    for before, after in pairwise(load):
        if after.start_ns < before.end_ns:
            raise ValueError(
                f"a load starts at {after.start_ns} ns, before the end of the one before it at {before.end_ns} ns: "
                "give them in order of time"
            )


def probe_schedule(declared: SensorFacts) -> list[tuple[float, float]]:
    """The load to run for `characterise`: how long it runs and then pauses, again and again. Units: s.

    First three stretches that are long enough to settle, then short ones around the sensor's window or period,
    whichever is longer, each followed by a pause of another length. The sum is at least 60 update periods, and about
    10 edges or more fall into averaging windows.

    Args:
        declared: what is thought of the sensor; what is None is taken as 100 ms with a mean over 1 s, the slowest that
            NVML has.
    """
    period_ns = declared.update_period_ns or _UNKNOWN.update_period_ns or 0
    window_ns = declared.averaging_window_ns or max(period_ns, _UNKNOWN.averaging_window_ns or 0)
    base_s, long_s = max(period_ns, window_ns) / 1e9, 2.5 * (period_ns + window_ns) / 1e9 + 0.2
    schedule = [(long_s + extra * base_s, long_s) for extra in (0.0, 0.37, 0.71)]
    edges = _MIN_EDGES_IN_WINDOWS / min(1.0, window_ns / period_ns)
    count = len(_PROBE_RATIOS)
    at = 0
    while at < edges / 2 or sum(map(sum, schedule)) < _PROBE_UPDATES * period_ns / 1e9:
        schedule.append((_PROBE_RATIOS[at % count] * base_s, _PROBE_RATIOS[(3 * at + 4) % count] * base_s))
        at += 1
    # Last, so that what is known of the sensor does not depend on it.
    return [*schedule, (max(long_s, _LONGEST_RISE_S), long_s)]


def _window(updates: Updates, load: Sequence[LoadStretch], found: SensorFacts, rail: str) -> _Window:
    best = _Fit(updates, load).best()
    if best.swing_mw <= 0 or best.explained < _MIN_EXPLAINED or best.partial < _MIN_PARTIAL:
        raise SensorUnclearError(
            f"{rail}: the load explains {best.explained:.0%} of the readings' changes, {_MIN_EXPLAINED:.0%} are "
            f"needed, and {best.partial} readings show a part of it, {_MIN_PARTIAL} are needed; run a heavier load, on "
            "and off for longer",
            found,
        )
    low_ns, high_ns = best.range_ns
    if high_ns > _MAX_WINDOW_RATIO * low_ns:
        raise SensorUnclearError(
            f"{rail}: averaging windows from {low_ns / 1e6:.0f} to {high_ns / 1e6:.0f} ms explain the readings alike; "
            "run the load on and off more often",
            found,
        )
    return best


class _Fit:
    """Least squares of readings on the share of the load in a window before them."""

    def __init__(self, updates: Updates, load: Sequence[LoadStretch]) -> None:
        edges = np.array([(stretch.start_ns, stretch.end_ns) for stretch in load]) - round(updates.time_ns[0])
        self._edges_ns = edges.ravel().astype(np.float64)
        self._on_until_ns = np.concatenate([[0.0], np.repeat(np.cumsum(np.diff(edges).ravel()), 2)[:-1]])
        self._time_ns = updates.time_ns - updates.time_ns[0]
        self._power_mw = updates.power_mw
        self._period_ns = updates.period_ns

    def best(self) -> _Window:
        """The window and delay of the smallest residual: on a wide grid, then on finer and finer ones around it."""
        windows, delays = self._grid()
        left = self._left_over(windows, delays)
        alike = self._alike(windows, left.min(axis=1))
        for _ in range(_ZOOMS):
            at, late = np.unravel_index(int(left.argmin()), left.shape)
            windows, delays = np.exp(_around(np.log(windows), int(at))), _around(delays, int(late))
            left = self._left_over(windows, delays)
        at, late = np.unravel_index(int(left.argmin()), left.shape)
        return self._described(float(windows[at]), float(delays[late]), alike)

    def _grid(self) -> tuple[Floats, Floats]:
        shortest, longest = (factor * self._period_ns for factor in _WINDOWS_PER_PERIOD)
        longest = min(longest, float(self._time_ns[-1]) / 2)
        early, late = (factor * self._period_ns for factor in _DELAYS_PER_PERIOD)
        return np.geomspace(shortest, longest, _GRID[0]), np.linspace(early, late, _GRID[1])

    def _left_over(self, windows_ns: Floats, delays_ns: Floats) -> Floats:
        """(windows, delays): squared residuals of the readings. Units: mW^2."""
        return np.array([self._left_over_of(window_ns, delays_ns) for window_ns in windows_ns])

    def _left_over_of(self, window_ns: float, delays_ns: Floats) -> Floats:
        share, power_mw = self._centred(window_ns, delays_ns[:, None])
        common, spread = (share * power_mw).sum(axis=-1), (share**2).sum(axis=-1)
        left: Floats = (power_mw**2).sum() - np.divide(common**2, spread, out=np.zeros_like(common), where=spread > 0)
        return left

    def _described(self, window_ns: float, delay_ns: float, alike: tuple[float, float]) -> _Window:
        centred, power_mw = self._centred(window_ns, delay_ns)
        common, spread = float((centred * power_mw).sum()), float((centred**2).sum())
        share = self._share(window_ns, delay_ns)
        return _Window(
            window_ns,
            delay_ns,
            range_ns=(min(alike[0], window_ns), max(alike[1], window_ns)),
            swing_mw=common / spread if spread else 0.0,
            explained=common**2 / spread / float((power_mw**2).sum()) if spread else 0.0,
            partial=int(((share > _EDGE) & (share < 1 - _EDGE)).sum()),
        )

    def _alike(self, windows_ns: Floats, left: Floats) -> tuple[float, float]:
        """The windows whose residuals are not worse than the best by more than two standard errors."""
        free = max(self._time_ns.size - _FITTED, 1)
        alike = windows_ns[left <= left.min() * (1 + _TWO_ERRORS / free)]
        return float(alike.min()), float(alike.max())

    def _centred(self, window_ns: float, delay_ns: Floats | float) -> tuple[Floats, Floats]:
        """Share of the load and power, each less its mean."""
        share = self._share(window_ns, delay_ns)
        return share - share.mean(axis=-1, keepdims=True), self._power_mw - self._power_mw.mean()

    def _share(self, window_ns: float, delay_ns: Floats | float) -> Floats:
        ends = self._time_ns - delay_ns
        share: Floats = (self._on(ends) - self._on(ends - window_ns)) / window_ns
        return share

    def _on(self, instants: Floats) -> Floats:
        """For how long the load had run until each instant."""
        on: Floats = np.interp(instants, self._edges_ns, self._on_until_ns)
        return on


def _around(grid: Floats, at: int) -> Floats:
    """A third of the grid's reach, centred: windows and delays make up for each other, so the best may move far."""
    reach = (grid[-1] - grid[0]) / 6
    return np.linspace(grid[at] - reach, grid[at] + reach, _ZOOM)


def _step_mw(power_mw: Floats) -> float | None:
    """The distance of which all differences between readings are multiples; None where there is none.

    Where a power is the product of a coarse current and a fine voltage, as of TI's INA3221, readings stand in narrow
    groups: then it is the distance between groups.
    """
    gaps = np.sort(np.diff(np.unique(power_mw)))
    groups = np.concatenate([[0], np.flatnonzero(gaps[1:] > _APART * gaps[:-1]) + 1])
    for at in groups:
        multiples = gaps[at:] / gaps[at]
        if multiples.size >= _MIN_GAPS and np.mean(np.abs(multiples - np.round(multiples)) < _NEAR) >= _NEARLY_ALL:
            return round(float(np.median(gaps[at:] / np.round(multiples))), 3)
    return None


def _rise_ns(updates: Updates, load: Sequence[LoadStretch], window: _Window, step_mw: float) -> int | None:
    near_mw = max(SETTLED * abs(window.swing_mw), 3 * step_mw)
    rises = [_rise_of(updates, stretch, window, near_mw) for stretch in load]
    known = [rise for rise in rises if rise is not None]
    return max(0, round(max(known))) if known else None


def _rise_of(updates: Updates, stretch: LoadStretch, window: _Window, near_mw: float) -> float | None:
    """How long after the start the last reading still was away from its later level, less window and delay.

    That reading was the mean over a window that began before the device had settled. None where the stretch has no
    second half that a whole window fits into, or the trace has little of it.
    """
    if stretch.end_ns - stretch.start_ns < 2 * (window.window_ns + updates.period_ns):
        return None
    inside = (updates.time_ns > stretch.start_ns) & (updates.time_ns <= stretch.end_ns + min(window.delay_ns, 0))
    time_ns, power_mw = updates.time_ns[inside] - stretch.start_ns, updates.power_mw[inside]
    if power_mw.size < _MIN_PARTIAL:
        return None
    settled_mw = power_mw[power_mw.size // 2 :]
    # Noise comes as far without rising.
    near_mw = max(near_mw, _NOISE * float(settled_mw.std()))
    away = np.flatnonzero(np.abs(power_mw - np.median(settled_mw)) > near_mw)
    return float(time_ns[away[-1]] - window.window_ns - window.delay_ns) if away.size else 0.0


def _closest_mw(trace: PowerTrace) -> float:
    """The smallest difference between two of the values that were read. Units: mW."""
    return float(np.diff(np.unique(trace.power_mw)).min())


def _notes(
    trace: PowerTrace, updates: Updates, facts: SensorFacts, rise_ns: int | None, *, has_step: bool
) -> list[str]:
    notes = []
    if updates.at_each_poll:
        notes.append(
            f"renewed at least as often as it was polled, every {updates.period_ns / 1e6:.1f} ms, which is taken as "
            "its update period"
        )
    if not has_step:
        notes.append(
            f"no step shows: the closest of its readings differ by {facts.step_mw:g} mW, which is taken as its step"
        )
    if rise_ns is not None and rise_ns > _SLOW * (facts.averaging_window_ns or 0):
        notes.append(
            f"the device took {rise_ns / 1e6:.0f} ms to settle, which makes its averaging window look longer: it is at "
            f"most {(facts.averaging_window_ns or 0) / 1e6:.0f} ms"
        )
    if rise_ns is None:
        notes.append("no load ran long enough to tell the rise time")
    return notes + _contradictions(trace.sensor, facts)


def _contradictions(declared: SensorFacts, measured: SensorFacts) -> list[str]:
    notes = []
    for name, unit, scale in _COMPARED:
        said, found = getattr(declared, name), getattr(measured, name)
        if said is not None and found is not None and abs(found - said) > CONTRADICTION * said:
            notes.append(
                f"{name}: declared {said / scale:g} {unit}, measured {found / scale:.4g} {unit}; the measured is used"
            )
    return notes
