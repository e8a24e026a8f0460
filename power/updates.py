"""When a polled sensor renews its reading: the period, and the instant of each update."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .trace import PowerTrace, SensorFacts

Floats = NDArray[np.float64]

MIN_CHANGES = 20
# Updates further apart than this do not share a phase where the sensor's clock slips now and then, as NVML's do.
_LAGS = range(1, 17)
# Share of pauses between changes that are whole periods, give or take the polling; the rest are slips. What fails this
# is not looked at more finely.
_MIN_WHOLE = 0.85
# Mean of cos(2 pi pause / period): 1 where every pause is a whole number of periods; (sin x / x)^2 with x = pi poll /
# period where polls blur it, 0.15 at two polls for three periods. By chance it stays below one over the root of the
# number of changes, as simulated readings without any period showed.
_MIN_COHERENCE = 0.1
# With fewer polls for each period than this the update that a poll shows cannot be told.
_MIN_POLLS_PER_PERIOD = 1.2
# Shares of polls, and of changes that come right after another, from which on the sensor is as fast as its polling.
_NEARLY_ALL, _OFTEN = 0.95, 0.2
_SLIP_NEIGHBOURS = 7
# Each lag is so much longer than the last, and the phase holds over it where so much of the coherence is left.
# Less than the last is as likely chance, where there are a dozen candidates and a few polls for each period.
_LONGER, _HELD, _CLEAR = 3, 0.8, 0.3


class SensorUnclearError(ValueError):
    """A trace does not tell how its sensor measures; the text says why and what to do.

    Attributes:
        found: what it does tell, with what was declared.
    """

    def __init__(self, reason: str, found: SensorFacts | None = None) -> None:
        super().__init__(reason)
        self.found = found or SensorFacts()


@dataclass(frozen=True, eq=False)
class Updates:
    """The sensor's own readings, one for each update.

    Attributes:
        time_ns: (n,) when each came, to within a fraction of a poll. Units: ns.
        power_mw: (n,) what was read until the next. Units: mW.
        period_ns: from one to the next. Units: ns.
        at_each_poll: the sensor renews at least as often as it was polled, so `period_ns` is that of the polling.
    """

    time_ns: Floats
    power_mw: Floats
    period_ns: float
    at_each_poll: bool = False


@dataclass(frozen=True, eq=False)
class _Changes:
    """Polls that brought another value: the instant, and the pause since the poll before, in which the update was."""

    time_ns: Floats
    pause_ns: Floats

    @property
    def middle_ns(self) -> Floats:
        return self.time_ns - self.pause_ns / 2


def find_updates(trace: PowerTrace) -> Updates:
    """Update period and updates of the sensor behind a polled trace.

    An update lies somewhere in the pause before the poll that shows it, and shows only where it changes the value.
    So the time between two changes is a whole number of periods, give or take the polling. The period is the one
    for which this holds best.

    Args:
        trace: polled at least one and a half times for each period, better ten times; a steady rate is not needed.

    Raises:
        SensorUnclearError: fewer than 20 changes, or no period fits.
    """
    changes = _changes(trace)
    if changes.time_ns.size < MIN_CHANGES:
        raise SensorUnclearError(
            f"{trace.rail}: the reading changed {changes.time_ns.size} times in {trace.time_ns.size} polls, "
            f"{MIN_CHANGES} changes are needed; vary the load for longer"
        )
    if changes.time_ns.size >= _NEARLY_ALL * (trace.time_ns.size - 1):
        return _one_for_each_poll(trace)
    period_ns = _period_ns(changes)
    if period_ns is not None:
        return _on_the_lattice(trace, changes, period_ns)
    if _share_right_after(changes) >= _OFTEN:
        return _one_for_each_poll(trace)
    raise SensorUnclearError(
        f"{trace.rail}: no period fits the {changes.time_ns.size} changes of the reading, polled every "
        f"{np.median(changes.pause_ns) / 1e6:.1f} ms; poll faster, or vary the load for longer"
    )


def _changes(trace: PowerTrace) -> _Changes:
    at = np.flatnonzero(np.diff(trace.power_mw)) + 1
    # Relative to the first poll: a Unix time in ns has more digits than a float.
    since_ns = (trace.time_ns - trace.time_ns[0]).astype(np.float64)
    return _Changes(since_ns[at], since_ns[at] - since_ns[at - 1])


def _share_right_after(changes: _Changes) -> float:
    """Share of changes that came with the poll right after that of another change."""
    return float(np.mean(np.diff(changes.time_ns) <= changes.pause_ns[1:] * 1.001))


def _one_for_each_poll(trace: PowerTrace) -> Updates:
    period_ns = float(np.median(np.diff(trace.time_ns)))
    return Updates(trace.time_ns.astype(np.float64), trace.power_mw, period_ns, at_each_poll=True)


def _period_ns(changes: _Changes) -> float | None:
    candidates = _possible_periods(changes)
    if candidates is None:
        return None
    coherence = np.mean([_coherence(candidates, changes, lag) for lag in _usable_lags(changes)], axis=0)
    if coherence.max() < max(_MIN_COHERENCE, changes.time_ns.size**-0.5):
        return None
    # Divisors of the period fit too, but polling blurs them more.
    best = int(coherence.argmax())
    return _refined(float(candidates[best]), float(coherence[best]), changes)


def _refined(period_ns: float, coherence: float, changes: _Changes) -> float:
    """The period again, over longer and longer lags, as long as the sensor's clock holds its phase over them.

    A load as long as the period slides past the sensor by what the period is off in each cycle, so a thousandth is
    too much: over a window of 600 periods it is more than half of one.
    """
    poll_ns, lag = float(np.median(changes.pause_ns)), _usable_lags(changes)[-1]
    while (longer := min(_LONGER * lag, changes.time_ns.size // 2)) > lag:
        # What the shorter lag leaves open, in steps that move the phase over the longer one by a tenth of a poll.
        reach_ns, next_ns = (float(np.median(changes.time_ns[n:] - changes.time_ns[:-n])) for n in (lag, longer))
        wide, fine = 0.2 * poll_ns / reach_ns, 0.1 * poll_ns / next_ns
        candidates = period_ns * (1 + np.arange(-wide, wide + fine, fine))
        found = _coherence(candidates, changes, longer)
        if found.max() < max(_HELD * coherence, _CLEAR):
            return period_ns
        period_ns, lag = float(candidates[found.argmax()]), longer
    return period_ns


def _possible_periods(changes: _Changes) -> Floats | None:
    """The stretch of longest periods of which nearly all pauses between changes can be multiples."""
    poll_ns, pauses_ns = np.median(changes.pause_ns), np.diff(changes.time_ns)
    shortest, longest = _MIN_POLLS_PER_PERIOD * poll_ns, np.quantile(pauses_ns, 0.25) + poll_ns
    coarse = _log_grid(shortest, longest, 0.2 * poll_ns / np.quantile(pauses_ns, 0.9))
    fits = np.flatnonzero(_whole(coarse, changes) >= _MIN_WHOLE)
    if fits.size == 0:
        return None
    gaps = np.flatnonzero(np.diff(fits) > 1)
    first = fits[gaps[-1] + 1] if gaps.size else fits[0]
    lag = _usable_lags(changes)[-1]
    reach_ns = np.quantile(changes.time_ns[lag:] - changes.time_ns[:-lag], 0.9)
    # Fine enough that the phase over the longest lag moves by a tenth of a poll.
    return _log_grid(coarse[first], coarse[fits[-1]], 0.1 * poll_ns / reach_ns)


def _usable_lags(changes: _Changes) -> range:
    return range(_LAGS.start, min(_LAGS.stop, changes.time_ns.size // 2))


def _log_grid(low: float, high: float, relative: float) -> Floats:
    return np.exp(np.arange(np.log(low) - relative, np.log(high) + 2 * relative, relative))


def _whole(periods_ns: Floats, changes: _Changes) -> Floats:
    """(periods,): share of pauses between neighbouring changes that can be a whole number of each period."""
    pauses_ns = np.diff(changes.time_ns)
    shortest, longest = pauses_ns - changes.pause_ns[1:], pauses_ns + changes.pause_ns[:-1]
    periods = periods_ns[:, None]
    multiples = np.maximum(np.ceil(shortest / periods + 1e-12), 1)
    share: Floats = (multiples * periods < longest).mean(axis=1)
    return share


def _coherence(periods_ns: Floats, changes: _Changes, lag: int) -> Floats:
    pauses_ns = changes.middle_ns[lag:] - changes.middle_ns[:-lag]
    mean: Floats = np.cos(2 * np.pi * pauses_ns / periods_ns[:, None]).mean(axis=1)
    return mean


def _on_the_lattice(trace: PowerTrace, changes: _Changes, period_ns: float) -> Updates:
    """Every update, also those that did not change the value; where the sensor's clock slips, they follow it."""
    steps = np.maximum(np.round(np.diff(changes.middle_ns) / period_ns), 1)
    numbers = np.concatenate([[0], np.cumsum(steps)])
    phase_ns = _rolling_median(changes.middle_ns - numbers * period_ns)
    every = np.arange(numbers[-1] + 1)
    time_ns = every * period_ns + np.interp(every, numbers, phase_ns)
    since_ns = (trace.time_ns - trace.time_ns[0]).astype(np.float64)
    power_mw = trace.power_mw[_nearest(since_ns, time_ns + period_ns / 2)]
    return Updates(time_ns + float(trace.time_ns[0]), power_mw, period_ns)


def _rolling_median(values: Floats) -> Floats:
    reach = _SLIP_NEIGHBOURS
    return np.array([np.median(values[max(0, i - reach) : i + reach + 1]) for i in range(values.size)])


def _nearest(sorted_values: Floats, wanted: Floats) -> NDArray[np.intp]:
    after = np.clip(np.searchsorted(sorted_values, wanted), 1, sorted_values.size - 1)
    earlier = wanted - sorted_values[after - 1] < sorted_values[after] - wanted
    return after - earlier
