"""Energy over a stretch of time: from samples of power, and from counters of energy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .trace import CounterTrace, PowerTrace

_J_PER_MW_NS = 1e-12  # 1 mW for 1 ns
_UJ_PER_J = 1e6
# A longer pause between two readings than this many sampling periods hides what happened in it.
MAX_GAP_PERIODS = 3.0
MIN_COVERAGE = 0.95
# Readings that come late by up to half a period still follow on each other.
_LATE_PERIODS = 1.5
# No device that this is for draws more: a counter that runs faster has jumped.
MAX_PLAUSIBLE_W = 10_000.0


@dataclass(frozen=True)
class Coverage:
    """How much of a window was seen: the share of its time, and the longest pause between two readings in ns."""

    share: float
    max_gap_ns: int

    def doubt(self, period_ns: int) -> str | None:
        """Why a number from this window is not earned; None where it is."""
        if self.max_gap_ns > MAX_GAP_PERIODS * period_ns:
            return (
                f"no reading for {self.max_gap_ns / 1e6:.0f} ms, more than {MAX_GAP_PERIODS:g} periods of "
                f"{period_ns / 1e6:.0f} ms"
            )
        if self.share < MIN_COVERAGE:
            return f"readings cover {self.share:.1%} of the window, less than {MIN_COVERAGE:.0%}"
        return None


@dataclass(frozen=True)
class CounterEnergy:
    """What a counter says of the stretch between two of its own ticks.

    Attributes:
        energy_j: between the ticks. Units: J.
        start_ns: the first tick in the window. Units: ns.
        end_ns: the last one. Units: ns.
        ticks: how often it moved in between.
        tick_error_ns: half of the longer pause before the two readings that showed the ticks: each happened
            somewhere in that pause. Units: ns.
    """

    energy_j: float
    start_ns: int
    end_ns: int
    ticks: int
    tick_error_ns: int


def energy_j(trace: PowerTrace, start_ns: int, end_ns: int) -> float:
    """Energy drawn between two instants. Units: J.

    Trapezoid rule over the samples; the power at both ends is interpolated between its two neighbours.

    Args:
        trace: the samples.
        start_ns: on the trace's clock.
        end_ns: likewise, later.

    Raises:
        ValueError: the window is empty, or reaches outside the trace; the message has both ranges.
    """
    _check_window(trace.time_ns, start_ns, end_ns)
    inside = (trace.time_ns > start_ns) & (trace.time_ns < end_ns)
    # Relative to the start: an instant of Unix time in ns has more digits than a float.
    at_ends = np.interp([0, end_ns - start_ns], trace.time_ns - start_ns, trace.power_mw)
    time_ns = np.concatenate([[start_ns], trace.time_ns[inside], [end_ns]])
    power_mw = np.concatenate([at_ends[:1], trace.power_mw[inside], at_ends[1:]])
    return float(((power_mw[1:] + power_mw[:-1]) / 2 * np.diff(time_ns)).sum() * _J_PER_MW_NS)


def mean_power_mw(trace: PowerTrace, start_ns: int, end_ns: int) -> float:
    """`energy_j` over the window's length. Units: mW."""
    return energy_j(trace, start_ns, end_ns) / ((end_ns - start_ns) * _J_PER_MW_NS)


def coverage(time_ns: NDArray[np.int64], start_ns: int, end_ns: int, period_ns: int) -> Coverage:
    """How much of the window was seen by readings that are meant to come every `period_ns`.

    A pause of more than one and a half periods counts as one period that was seen, the rest of it as not seen.
    Parts of the window before the first reading and after the last one were not seen.

    Raises:
        ValueError: the window is empty.
    """
    if end_ns <= start_ns:
        raise ValueError(_EMPTY.format(start_ns, end_ns))
    pauses_ns, edges = np.diff(time_ns), np.clip(time_ns, start_ns, end_ns)
    # The part of each pause that lies in the window.
    inside_ns = np.diff(edges)
    seen = np.where(pauses_ns <= _LATE_PERIODS * period_ns, inside_ns, np.minimum(inside_ns, period_ns))
    outside_ns = (int(edges[0]) - start_ns, end_ns - int(edges[-1]))
    longest = max(int(pauses_ns[inside_ns > 0].max(initial=0)), *outside_ns)
    return Coverage(float(seen.sum() / (end_ns - start_ns)), longest)


def counter_energy(trace: CounterTrace, start_ns: int, end_ns: int) -> CounterEnergy:
    """What the counter says of the longest stretch inside the window that begins and ends with a tick.

    A counter stands still between its ticks, so a difference between arbitrary instants is wrong by up to a tick on
    each side; between ticks it is not. Each tick is taken as the middle of the pause before the reading that showed it.

    Args:
        trace: the counter's readings.
        start_ns: on the trace's clock.
        end_ns: likewise, later.

    Raises:
        ValueError: the window is empty or reaches outside the trace, fewer than two ticks lie in it, or the counter
            was reset or jumped in it.
    """
    _check_window(trace.time_ns, start_ns, end_ns)
    first = max(int(np.searchsorted(trace.time_ns, start_ns, side="right")) - 1, 0)
    last = int(np.searchsorted(trace.time_ns, end_ns, side="left"))
    time_ns, steps_uj = trace.time_ns[first : last + 1], _steps_uj(trace, first, last)
    ticks = np.flatnonzero(steps_uj) + 1
    middles = (time_ns[ticks - 1] + time_ns[ticks]) // 2
    ticks = ticks[(middles >= start_ns) & (middles <= end_ns)]
    if ticks.size < 2:
        raise ValueError(
            f"{trace.rail}: the counter moved {ticks.size} times in {(end_ns - start_ns) / 1e9:.3f} s, two ticks are "
            "needed; measure for longer"
        )
    ends = ticks[[0, -1]]
    return CounterEnergy(
        energy_j=float(steps_uj[ends[0] : ends[1]].sum() / _UJ_PER_J),
        start_ns=int((time_ns[ends[0] - 1] + time_ns[ends[0]]) // 2),
        end_ns=int((time_ns[ends[1] - 1] + time_ns[ends[1]]) // 2),
        ticks=int(ticks.size - 1),
        tick_error_ns=int((time_ns[ends] - time_ns[ends - 1]).max() // 2),
    )


def unwrapped(trace: CounterTrace) -> NDArray[np.int64]:
    """The counter had it never started again, from 0 at the first reading; resets are left in it. Units: uJ."""
    return np.concatenate([[0], np.cumsum(_without_wraps(np.diff(trace.energy_uj), trace.wrap_uj))]).astype(np.int64)


def tick_period_ns(trace: CounterTrace) -> int | None:
    """Median time from one movement of the counter to the next; None where it moved less than twice. Units: ns."""
    ticks_ns = trace.time_ns[1:][np.diff(trace.energy_uj) != 0]
    return int(np.median(np.diff(ticks_ns))) if ticks_ns.size > 1 else None


_EMPTY = "window {} to {} ns is empty: its end must be later than its start"


def _check_window(time_ns: NDArray[np.int64], start_ns: int, end_ns: int) -> None:
    if end_ns <= start_ns:
        raise ValueError(_EMPTY.format(start_ns, end_ns))
    if start_ns < time_ns[0] or end_ns > time_ns[-1]:
        raise ValueError(
            f"window {start_ns} to {end_ns} ns reaches outside the trace, which spans {time_ns[0]} to {time_ns[-1]} ns"
        )


def _steps_uj(trace: CounterTrace, first: int, last: int) -> NDArray[np.int64]:
    """What the counter rose by from each reading to the next, wraps undone. Units: uJ."""
    counts, time_ns = trace.energy_uj[first : last + 1], trace.time_ns[first : last + 1]
    steps_uj = _without_wraps(np.diff(counts), trace.wrap_uj)
    if trace.wrap_uj is not None and (steps_uj > trace.wrap_uj / 2).any():
        raise ValueError(
            f"{trace.rail}: the counter rose by {steps_uj.max()} uJ between two readings and starts again after "
            f"{trace.wrap_uj} uJ: it may have done so more than once; read it more often"
        )
    if (steps_uj < 0).any():
        at = int(np.flatnonzero(steps_uj < 0)[0])
        raise ValueError(
            f"{trace.rail}: the counter fell from {counts[at]} to {counts[at + 1]} uJ: it was reset; measure again"
        )
    if _jumped(steps_uj, time_ns):
        raise ValueError(f"{trace.rail}: the counter jumped by {steps_uj.max()} uJ between two readings; measure again")
    return steps_uj


def _without_wraps(steps_uj: NDArray[np.int64], wrap_uj: int | None) -> NDArray[np.int64]:
    return steps_uj if wrap_uj is None else np.where(steps_uj < 0, steps_uj + wrap_uj, steps_uj)


def _jumped(steps_uj: NDArray[np.int64], time_ns: NDArray[np.int64]) -> bool:
    """Whether one tick gathered more than any device can draw since the tick before it.

    What the first tick gathered is no part of the energy between ticks. The tick before came at the earliest right
    after the reading that did not show it yet.
    """
    ticks = np.flatnonzero(steps_uj)
    since_ns = time_ns[ticks[1:] + 1] - time_ns[ticks[:-1]]
    return bool((steps_uj[ticks[1:]] > MAX_PLAUSIBLE_W * 1e-3 * since_ns).any())
