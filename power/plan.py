"""How long to measure, what to throw away and where to pause, chosen from the sensor.

What goes wrong without: a sensor that sees 25 ms of every 100 ms (NVIDIA's A100 and H100) reads a load that comes and
goes every 100 ms as 67 % too high or too low, by chance; the mean over 1 s of newer cards reads a run of 1 s as 44 %
too low. Repetition, shifted starts and the removal of the rise are the remedies of Yang et al. (arXiv 2312.02741).
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from ..errors import InputError
from .trace import SensorFacts

# Share of a window's energy by which its two edges may be off, as a standard deviation: an edge lies anywhere between
# two updates, so it is off by period / sqrt(12), and two of them by period / sqrt(6).
MAX_EDGE_ERROR = 0.005
# Where a counter gives the energy, power is the cross-check only.
MAX_EDGE_ERROR_OF_CHECK = 0.01
MIN_WINDOW_NS = 5_000_000_000
# Pauses are about four periods of the sensor, whatever the window: a long one makes their share small.
MIN_WINDOW_WITH_PAUSES_NS = 12_000_000_000
MAX_WINDOW_NS = 3_600_000_000_000
MIN_INFERENCES = 10
MIN_UPDATES = 4  # in a window that the user asks for
MIN_ROUNDS, DEFAULT_ROUNDS = 3, 9
# Rise times of GPUs in the study of Yang et al. are 40 to 300 ms.
DEFAULT_RISE_NS = 300_000_000
MIN_PHASES = 8
# Inferences of varying length drift from the phase that their group began at: the sooner the next begins, the less.
_PERIODS_PER_GROUP = 5
# A reading over w shows whole cycles of a load of period L and a part of one. Where the sensor keeps step with the load
# it is the same part each time, and a load that is off half the time is read wrong by up to L / (2 w); nor by more than
# what the sensor does not see of each period p, (p - w) / w.
MAX_LOCKED_ERROR = 0.02
# The mean of idle is the largest part of net energy's interval: with noise that remembers for 3 s, intervals hold from
# 30 s on.
MIN_IDLE_NS = 30_000_000_000
_POLLS_PER_UPDATE = 5
# More than 100 readings a second would cost the processor more than 1 % of a core.
_MIN_SAMPLE_NS, _MAX_SAMPLE_NS = 10_000_000, 100_000_000
# What is not known of a sensor is taken as the worst that NVML has: a mean over 1 s, or over a quarter of each period.
_LONGEST_WINDOW_NS, SMALLEST_SHARE = 1_000_000_000, 0.25


@dataclass(frozen=True)
class Plan:
    """How to measure one load.

    Before the rounds and after them: idle for `idle_ns`. In each round: load for `settle_ns`, then without a stop the
    window, then load for `tail_ns` more.

    Attributes:
        sample_period_ns: from one poll of the sensor to the next.
        window_ns: the stretch that counts, at least. With groups, as long as they and their pauses take.
        settle_ns: from the start of each load and of each idle stretch on, what does not count: the device rises and
            the sensor's mean still has in it what was before.
        tail_ns: readings that come up to so much later still show what was in the window.
        rise_ns: how long the device takes to settle; part of `settle_ns`.
        rounds: how often to measure it.
        idle_ns: how long to idle before and after, `settle_ns` included.
        phases_ns: a group of inferences begins at each of these instants of the sensor's period, counted from the start
            of the window; the pauses in between (see `next_group`) slide the load along the period. () where nothing
            needs to slide: then inferences run back to back through the window. Units: ns.
        group_inferences: how many run back to back in each group.
        period_ns: the sensor's update period.
        reason: why, in one line.
    """

    sample_period_ns: int
    window_ns: int
    settle_ns: int
    tail_ns: int
    rise_ns: int
    rounds: int
    idle_ns: int
    phases_ns: tuple[int, ...]
    group_inferences: int
    period_ns: int
    reason: str

    def next_group(self, left_ns: Collection[int], since_start_ns: int) -> tuple[int, int]:
        """Which of the phases that are left comes next, and how long to wait for it, so that pauses are short.

        Args:
            left_ns: phases at which no group has begun yet. Units: ns.
            since_start_ns: time from the start of the window to now.
        """
        waits = {(phase_ns - since_start_ns) % self.period_ns: phase_ns for phase_ns in left_ns}
        return waits[min(waits)], min(waits)

    def closing_pause_ns(self, since_start_ns: int) -> int:
        """How long to wait at the end of the window, when all groups are done.

        It brings the load back to the phase of its start: the pauses together are whole periods then, and the sensor
        sees its share of them.
        """
        return -since_start_ns % self.period_ns


def delay_ns(facts: SensorFacts, period_ns: int) -> int:
    """How old what a poll shows is on average: half an averaging window and half a period. Units: ns.

    A trace is moved back by it before its energy is taken: `trace.shifted(-delay_ns(facts, period_ns))`.
    """
    return ((facts.averaging_window_ns or 0) + period_ns) // 2


def plan(
    facts: SensorFacts,
    inference_ns: int,
    *,
    has_counter: bool,
    rise_ns: int | None = None,
    least_window_ns: int | None = None,
    window_s: float | None = None,
    rounds: int | None = None,
) -> Plan:
    """Choose window, repetitions, settling time, sampling and phase shifts.

    Args:
        facts: the sensor, characterised or declared; its update period must be known.
        inference_ns: how long one inference takes. Units: ns.
        has_counter: a counter of energy is read, too, whose ticks give the edges of the window.
        rise_ns: how long the device takes to settle under load; None: 300 ms. Units: ns.
        least_window_ns: the shortest averaging window that the sensor may have, where that is shorter than the one in
            `facts`: the rise of a device makes a window look longer. Units: ns.
        window_s: the user's wish instead of the choice made here. Units: s.
        rounds: likewise.

    Raises:
        InputError: the update period is not known, the window is shorter than the sensor can tell, or there are no
            rounds.
        ValueError: an inference takes no time.
    """
    if inference_ns <= 0:
        raise ValueError(f"an inference of {inference_ns} ns: give how long one takes")
    if rounds is not None and rounds < MIN_ROUNDS:
        raise InputError(
            f"{rounds} rounds: at least {MIN_ROUNDS} are needed for an interval, {DEFAULT_ROUNDS} are usual"
        )
    if facts.update_period_ns is None:
        raise InputError("how often the sensor renews its reading is not known: characterise it with a load first")
    sample_ns = min(max(facts.update_period_ns // _POLLS_PER_UPDATE, _MIN_SAMPLE_NS), _MAX_SAMPLE_NS)
    # What is polled more slowly than it is renewed is renewed by each poll.
    period_ns = max(facts.update_period_ns, sample_ns)
    averaged_ns = _LONGEST_WINDOW_NS if facts.averaging_window_ns is None else facts.averaging_window_ns
    seen_ns = least_window_ns or facts.averaging_window_ns or round(SMALLEST_SHARE * period_ns)
    slides = _locks(seen_ns, period_ns, inference_ns)
    window_ns = _window_ns(period_ns, averaged_ns, inference_ns, has_counter, window_s)
    if slides and window_s is None:
        window_ns = max(window_ns, MIN_WINDOW_WITH_PAUSES_NS)
    rise_ns = DEFAULT_RISE_NS if rise_ns is None else rise_ns
    # A poll shows a window that began up to half of window and period before the instant that it is moved back to.
    settle_ns = rise_ns + max(averaged_ns, (averaged_ns + period_ns) // 2)
    phases_ns = _phases_ns(seen_ns, period_ns, inference_ns, window_ns) if slides else ()
    each = math.ceil(window_ns / inference_ns / len(phases_ns)) if slides else 0
    return Plan(
        sample_period_ns=sample_ns,
        window_ns=window_ns,
        settle_ns=settle_ns,
        tail_ns=averaged_ns + period_ns,
        rise_ns=rise_ns,
        rounds=DEFAULT_ROUNDS if rounds is None else rounds,
        idle_ns=settle_ns + max(MIN_IDLE_NS, _shortest_ns(period_ns, MAX_EDGE_ERROR_OF_CHECK)),
        phases_ns=phases_ns,
        group_inferences=each,
        period_ns=period_ns,
        reason="; ".join(_reasons(facts, period_ns, window_ns, settle_ns, seen_ns, len(phases_ns), each)),
    )


def edge_error(period_ns: int, window_ns: int) -> float:
    """Standard deviation of a window's energy because its edges lie between updates, as a share: p / (sqrt(6) T)."""
    return period_ns / (math.sqrt(6) * window_ns)


def _shortest_ns(period_ns: int, error: float) -> int:
    return math.ceil(period_ns / (math.sqrt(6) * error))


def _window_ns(period_ns: int, averaged_ns: int, inference_ns: int, has_counter: bool, window_s: float | None) -> int:
    if window_s is not None:
        return _asked_ns(window_s, period_ns, averaged_ns)
    error = MAX_EDGE_ERROR_OF_CHECK if has_counter else MAX_EDGE_ERROR
    return max(_shortest_ns(period_ns, error), MIN_WINDOW_NS, MIN_INFERENCES * inference_ns)


def _asked_ns(window_s: float, period_ns: int, averaged_ns: int) -> int:
    least_ns = max(MIN_UPDATES * period_ns, averaged_ns)
    if not least_ns <= window_s * 1e9 <= MAX_WINDOW_NS:
        raise InputError(
            f"a window of {window_s:g} s does not fit a sensor that renews its reading every {period_ns / 1e9:.3g} s "
            f"and averages over {averaged_ns / 1e9:.3g} s: take {least_ns / 1e9:.3g} to {MAX_WINDOW_NS / 1e9:g} s"
        )
    return round(window_s * 1e9)


def _locks(seen_ns: int, period_ns: int, inference_ns: int) -> bool:
    """Whether a sensor that keeps step with the load could read it wrong."""
    return min(inference_ns / (2 * seen_ns), (period_ns - seen_ns) / seen_ns) > MAX_LOCKED_ERROR


def _phases_ns(seen_ns: int, period_ns: int, inference_ns: int, window_ns: int) -> tuple[int, ...]:
    """Equally spaced, and so many that together the sensor sees the whole period; each for one inference at least."""
    wanted = min(round(window_ns / (_PERIODS_PER_GROUP * period_ns)), window_ns // inference_ns)
    phases = max(MIN_PHASES, math.ceil(period_ns / seen_ns), wanted)
    return tuple(round(number * period_ns / phases) for number in range(phases))


def _reasons(
    facts: SensorFacts, period_ns: int, window_ns: int, settle_ns: int, seen_ns: int, groups: int, each: int
) -> list[str]:
    readings, error = window_ns / period_ns, edge_error(period_ns, window_ns)
    reasons = [
        f"windows of {window_ns / 1e9:.3g} s or {readings:.0f} readings, whose edges are off by {error:.2%}",
        f"the first {settle_ns / 1e9:.2g} s of load do not count",
    ]
    if facts.averaging_window_ns is None:
        reasons.append("the averaging window is not known and taken as the worst of NVML's, for each purpose")
    if groups:
        reasons.append(
            f"{groups} groups of {each} inferences with pauses, as the sensor may see no more than "
            f"{seen_ns / 1e6:.0f} ms of every {period_ns / 1e6:.0f} ms"
        )
    return reasons
