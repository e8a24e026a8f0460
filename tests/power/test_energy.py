"""Energy of a window against signals whose joules are known, and what must be refused."""

import math

import numpy as np
import pytest

from espnet_edge.power.energy import Coverage, counter_energy, coverage, energy_j, mean_power_mw
from espnet_edge.power.trace import CounterTrace, PowerTrace, SensorFacts
from power_signals import (
    MS,
    Constant,
    Heating,
    Polyline,
    Ramp,
    S,
    Signal,
    SimulatedCounter,
    SimulatedSensor,
    Square,
    Step,
    polls,
)

LOADED = Constant(40e3) + Square(0, 200e3, 130 * MS, 50 * MS) + Heating(5e3, 2 * S)


def sampled(signal: Signal, start_ns: int, end_ns: int, period_ns: int, jitter_ns: int = 0) -> PowerTrace:
    """Momentary power, as an ideal sensor reads it."""
    time_ns = polls(start_ns, end_ns, period_ns, jitter_ns)
    return PowerTrace(time_ns, signal.power_mw(time_ns))


# Trapezoids over samples.


@pytest.mark.parametrize(
    ("signal", "period_ns"),
    [
        (Constant(73e3), 100 * MS),
        (Ramp(9e3), 100 * MS),
        (Constant(20e3) + Ramp(-1e3), 7 * MS),
        # Lines that bend where a sample lies.
        (Polyline([0, S, 2 * S, 4 * S], [10e3, 90e3, 30e3, 30e3]), 100 * MS),
    ],
    ids=["constant", "ramp", "falling", "lines"],
)
@pytest.mark.parametrize(("start_ns", "end_ns"), [(S, 3 * S), (1_234_567_891, 2_345_678_912), (500 * MS, 500 * MS + 1)])
def test_straight_signals_are_exact_wherever_the_window_lies(signal, period_ns, start_ns, end_ns) -> None:
    trace = sampled(signal, 0, 5 * S, period_ns, jitter_ns=0 if isinstance(signal, Polyline) else 3 * MS)
    assert energy_j(trace, start_ns, end_ns) == pytest.approx(signal.energy_j(start_ns, end_ns), rel=1e-9)


@pytest.mark.parametrize("edge_ns", [2 * S, 2 * S + 1, 2 * S + 3 * MS, 2 * S + 9 * MS])
def test_a_step_is_off_by_half_a_sample_at_most(edge_ns) -> None:
    step = Step(20e3, 120e3, edge_ns)
    off_j = energy_j(sampled(step, 0, 5 * S, 10 * MS), S, 4 * S) - step.energy_j(S, 4 * S)
    assert abs(off_j) <= 100 * 5e-3 * (1 + 1e-9)  # 100 W for 5 ms


def test_a_square_is_right_to_a_sample_at_each_end() -> None:
    square = Square(10e3, 150e3, 100 * MS, 30 * MS, phase_ns=17 * MS)
    trace = sampled(square, 0, 12 * S, 10 * MS)
    assert energy_j(trace, S, 11 * S) == pytest.approx(square.energy_j(S, 11 * S), abs=140 * 10e-3)


def test_a_bent_signal_converges_with_the_square_of_the_sampling_period() -> None:
    heating = Heating(100e3, 500 * MS)
    errors = [
        abs(energy_j(sampled(heating, 0, 5 * S, period), S // 2, 4 * S) / heating.energy_j(S // 2, 4 * S) - 1)
        for period in (100 * MS, 50 * MS)
    ]
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_a_window_between_two_samples_is_interpolated() -> None:
    trace = PowerTrace([0, S], [10e3, 30e3])
    assert energy_j(trace, S // 4, S // 2) == pytest.approx(17.5e3 * 0.25e-3, rel=1e-12)
    assert mean_power_mw(trace, S // 4, S // 2) == pytest.approx(17.5e3, rel=1e-12)


def test_a_window_of_the_whole_trace_and_one_that_ends_at_samples() -> None:
    trace = PowerTrace([0, S, 3 * S], [10e3, 30e3, 20e3])
    assert energy_j(trace, 0, 3 * S) == pytest.approx(70)
    assert energy_j(trace, S, 3 * S) == pytest.approx(50)


def test_windows_add_up() -> None:
    random = np.random.default_rng(11)
    trace = sampled(LOADED, 0, 10 * S, 10 * MS, jitter_ns=7 * MS)
    for a, b, c in np.sort(random.integers(0, 10 * S, (200, 3)), axis=1).tolist():
        if a < b < c:
            parts_j = energy_j(trace, a, b) + energy_j(trace, b, c)
            assert energy_j(trace, a, c) == pytest.approx(parts_j, rel=1e-9, abs=1e-12)


def test_the_energy_is_that_of_the_hours_that_the_clock_shows() -> None:
    """A clock of Unix time has instants of 19 digits, more than a float holds."""
    since_ns = 1_764_046_800_123_456_789
    near, far = (PowerTrace(zero + polls(0, S, 10 * MS), np.arange(101) ** 2.0) for zero in (0, since_ns))
    start, end = 123_456_789, 123_456_999
    found_mw = mean_power_mw(far, since_ns + start, since_ns + end)
    assert found_mw == pytest.approx(mean_power_mw(near, start, end), rel=1e-9)


@pytest.mark.parametrize(("start_ns", "end_ns"), [(20, 20), (30, 20)])
def test_empty_windows_are_refused(start_ns, end_ns) -> None:
    power, counter = PowerTrace([0, 50], [1.0, 1.0]), CounterTrace([0, 50], [0, 1])
    wanted = f"window {start_ns} to {end_ns} ns is empty"
    with pytest.raises(ValueError, match=wanted):
        energy_j(power, start_ns, end_ns)
    with pytest.raises(ValueError, match=wanted):
        mean_power_mw(power, start_ns, end_ns)
    with pytest.raises(ValueError, match=wanted):
        counter_energy(counter, start_ns, end_ns)
    with pytest.raises(ValueError, match=wanted):
        coverage(power.time_ns, start_ns, end_ns, 10)


@pytest.mark.parametrize(("start_ns", "end_ns"), [(9, 40), (10, 51), (0, 60), (60, 70)])
def test_windows_outside_the_trace_are_refused_with_both_ranges(start_ns, end_ns) -> None:
    wanted = f"window {start_ns} to {end_ns} ns reaches outside the trace, which spans 10 to 50 ns"
    with pytest.raises(ValueError, match=wanted):
        energy_j(PowerTrace([10, 30, 50], [1.0, 1.0, 1.0]), start_ns, end_ns)
    with pytest.raises(ValueError, match=wanted):
        counter_energy(CounterTrace([10, 30, 50], [0, 1, 2]), start_ns, end_ns)


# How much was seen.


def test_steady_readings_cover_all() -> None:
    assert coverage(polls(0, 10 * S, 100 * MS), S, 9 * S, 100 * MS) == Coverage(1.0, 100 * MS)


def test_late_readings_still_follow_on_each_other() -> None:
    seen = coverage(polls(0, 100 * S, 100 * MS, jitter_ns=45 * MS), S, 99 * S, 100 * MS)
    assert seen.share == 1.0
    assert 100 * MS < seen.max_gap_ns <= 145 * MS


@pytest.mark.parametrize("lost", [1, 2, 5, 30])
def test_a_gap_counts_as_one_period_that_was_seen(lost) -> None:
    time_ns = np.delete(polls(0, 10 * S, 100 * MS), slice(40, 40 + lost))
    seen = coverage(time_ns, 0, 10 * S, 100 * MS)
    assert seen.share == pytest.approx(1 - lost / 100)
    assert seen.max_gap_ns == (lost + 1) * 100 * MS
    assert (seen.doubt(100 * MS) is None) == (lost <= 2)


def test_single_lost_readings_add_up() -> None:
    time_ns = np.delete(polls(0, 10 * S, 100 * MS), np.arange(5, 95, 10))  # 9 of 100
    seen = coverage(time_ns, 0, 10 * S, 100 * MS)
    assert seen.share == pytest.approx(0.91)
    assert seen.doubt(100 * MS) == "readings cover 91.0% of the window, less than 95%"


def test_a_long_gap_is_named() -> None:
    time_ns = np.delete(polls(0, 100 * S, 100 * MS), slice(40, 44))
    assert coverage(time_ns, 0, 100 * S, 100 * MS).doubt(100 * MS) == (
        "no reading for 500 ms, more than 3 periods of 100 ms"
    )


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "share", "gap_ms"),
    [
        (-1_000, 9_000, 0.9, 1_000),
        (1_000, 11_000, 0.9, 1_000),
        (-2_000, -1_000, 0.0, 1_000),
        (11_000, 13_000, 0.0, 2_000),
        (-1_000, 11_000, 10 / 12, 1_000),
    ],
)
def test_what_lies_outside_the_readings_was_not_seen(start_ms, end_ms, share, gap_ms) -> None:
    seen = coverage(polls(0, 10 * S, 100 * MS), start_ms * MS, end_ms * MS, 100 * MS)
    assert (seen.share, seen.max_gap_ns) == (pytest.approx(share), gap_ms * MS)


def test_a_gap_over_the_edge_of_the_window_counts_in_full() -> None:
    time_ns = np.delete(polls(0, 10 * S, 100 * MS), slice(0, 50))
    early = np.insert(time_ns, 0, 0)
    assert coverage(early, 4_500 * MS, 6 * S, 100 * MS) == Coverage(pytest.approx(1.1 / 1.5), 5_000 * MS)


def test_one_reading_covers_nothing() -> None:
    assert coverage(np.array([5 * S]), 0, 8 * S, S) == Coverage(0.0, 5 * S)


# Counters.


@pytest.mark.parametrize("name", ["constant", "ramp", "step", "loaded"])
def test_between_ticks_a_counter_is_exact(name) -> None:
    signals = {"constant": Constant(90e3), "ramp": Ramp(20e3), "step": Step(20e3, 300e3, 3 * S), "loaded": LOADED}
    signal = signals[name]
    # Polls at the ticks: their instants are known to half a poll.
    trace = SimulatedCounter(signal, 100 * MS, phase_ns=37 * MS, step_uj=1).trace(0, 10 * S, MS)
    found = counter_energy(trace, 1_003 * MS, 9_001 * MS)
    assert found.ticks == 79
    assert (found.start_ns, found.end_ns) == (1_037 * MS - MS // 2, 8_937 * MS - MS // 2)
    assert found.energy_j == pytest.approx(signal.energy_j(1_037 * MS, 8_937 * MS), abs=2e-6)
    assert found.tick_error_ns == MS // 2


def test_aligned_to_ticks_a_counter_is_right_where_plain_differences_are_off() -> None:
    counter = SimulatedCounter(Constant(200e3), 100 * MS)
    aligned, plain = [], []
    for start in range(1_001, 1_100, 7):
        start_ns, end_ns = start * MS, start * MS + 1_050 * MS
        first, last = counter.counts_uj([start_ns, end_ns]).tolist()
        plain.append((last - first) / 1e6 / (200 * 1.05) - 1)
        found = counter_energy(counter.trace(0, 3 * S, 5 * MS), start_ns, end_ns)
        aligned.append(found.energy_j / (200 * (found.end_ns - found.start_ns) / S) - 1)
    assert np.abs(plain).max() == pytest.approx(0.05, abs=0.003)
    assert np.abs(aligned).max() < 1e-4


def test_the_tick_error_bounds_what_late_polls_do() -> None:
    counter = SimulatedCounter(Constant(200e3), 100 * MS, phase_ns=13 * MS)
    for seed in range(30):
        found = counter_energy(counter.trace(0, 4 * S, 20 * MS, jitter_ns=19 * MS, seed=seed), S, 3 * S)
        off_ns = found.energy_j / 200 * S - (found.end_ns - found.start_ns)
        assert abs(off_ns) <= 2 * found.tick_error_ns
        assert found.tick_error_ns <= 20 * MS


def test_counters_and_powers_agree_on_a_load() -> None:
    trace = SimulatedSensor(LOADED, 20 * MS, 20 * MS).trace(0, 20 * S, 5 * MS).shifted(-20 * MS)
    found = counter_energy(SimulatedCounter(LOADED, 20 * MS).trace(0, 20 * S, 5 * MS), S, 18 * S)
    assert found.energy_j == pytest.approx(energy_j(trace, found.start_ns, found.end_ns), rel=2e-3)


@pytest.mark.parametrize("wrap_j", [1_000, 300, 50])
def test_wraps_are_undone_also_several_in_one_window(wrap_j) -> None:
    counter = SimulatedCounter(
        Constant(100e3), MS, step_uj=61, wrap_uj=wrap_j * 1_000_000, first_uj=(wrap_j - 10) * 1_000_000
    )
    trace = counter.trace(0, 10 * S, 10 * MS)
    assert (np.diff(trace.energy_uj) < 0).sum() >= 1 + 900 // wrap_j
    found = counter_energy(trace, 0, 10 * S)
    assert found.energy_j == pytest.approx(100 * (found.end_ns - found.start_ns) / S, rel=1e-3)


def with_change(trace: CounterTrace, at: int, by_uj: int) -> CounterTrace:
    """The counter is off by so much from one reading on."""
    return CounterTrace(
        trace.time_ns, trace.energy_uj + np.where(np.arange(trace.time_ns.size) >= at, by_uj, 0), trace.wrap_uj
    )


def test_a_reset_is_refused() -> None:
    trace = SimulatedCounter(Constant(100e3), 100 * MS).trace(0, 10 * S, 10 * MS)
    reset = with_change(trace, 500, -int(trace.energy_uj[500]))
    with pytest.raises(ValueError, match=r"total: the counter fell from 490000000 to 0 uJ: it was reset"):
        counter_energy(reset, S, 9 * S)
    assert counter_energy(reset, S, 4 * S).energy_j == pytest.approx(290)
    assert counter_energy(reset, 6 * S, 9 * S).energy_j == pytest.approx(290)


def test_a_reset_of_a_counter_that_wraps_is_no_wrap() -> None:
    trace = SimulatedCounter(Constant(100e3), MS, wrap_uj=262_143_328_850).trace(0, 10 * S, 10 * MS)
    with pytest.raises(ValueError, match=r"the counter rose by 2616\d+ uJ"):
        counter_energy(with_change(trace, 500, -int(trace.energy_uj[500])), S, 9 * S)


@pytest.mark.parametrize("at", [150, 500, 880])
def test_a_jump_is_refused(at) -> None:
    trace = SimulatedCounter(Constant(100e3), 100 * MS).trace(0, 10 * S, 10 * MS)
    with pytest.raises(ValueError, match=r"the counter jumped by 1?\d{10} uJ between two readings; measure again"):
        counter_energy(with_change(trace, at, 10**10), S, 9 * S)


def test_a_reading_of_0_in_between_is_refused() -> None:
    trace = SimulatedCounter(Constant(100e3), 100 * MS, first_uj=10**9).trace(0, 10 * S, 10 * MS)
    counts = trace.energy_uj.copy()
    counts[500] = 0
    with pytest.raises(ValueError, match="fell from"):
        counter_energy(CounterTrace(trace.time_ns, counts), S, 9 * S)


def test_a_late_poll_between_two_ticks_is_no_jump() -> None:
    """700 W, a tick every 100 ms: the first is seen 96 ms late, the second 5 ms after it."""
    counter = SimulatedCounter(Constant(700e3), 100 * MS)
    time_ns = np.concatenate([polls(0, 995 * MS, 5 * MS), [1_096 * MS], polls(1_101 * MS, 3_001 * MS, 5 * MS)])
    found = counter_energy(CounterTrace(time_ns, counter.counts_uj(time_ns)), 500 * MS, 2_500 * MS)
    assert found.energy_j == pytest.approx(700 * 1.9, rel=1e-6)


@pytest.mark.parametrize(("end_ms", "ticks"), [(1_990, 0), (2_040, 1)])
def test_a_window_shorter_than_a_tick_is_refused(end_ms, ticks) -> None:
    counter = SimulatedCounter(Constant(1_000e3), S)
    trace = counter.trace(0, 10 * S, 10 * MS)
    with pytest.raises(
        ValueError, match=f"the counter moved {ticks} times in .* s, two ticks are needed; measure for longer"
    ):
        counter_energy(trace, 1_950 * MS, end_ms * MS)


def test_a_counter_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match=r"moved 0 times in 8\.000 s"):
        counter_energy(CounterTrace(polls(0, 10 * S, 10 * MS), np.full(1001, 7)), S, 9 * S)


def test_two_ticks_are_enough() -> None:
    found = counter_energy(SimulatedCounter(Constant(50e3), S).trace(0, 10 * S, 10 * MS), 1_900 * MS, 3_100 * MS)
    assert (found.ticks, found.energy_j) == (1, 50.0)


def test_counts_between_ticks_add_up() -> None:
    random = np.random.default_rng(3)
    trace = SimulatedCounter(LOADED, 20 * MS, step_uj=1).trace(0, 10 * S, 5 * MS, jitter_ns=4 * MS)
    for a, b, c in np.sort(random.integers(0, 10 * S, (100, 3)), axis=1).tolist():
        if min(b - a, c - b) > 100 * MS:
            left, whole = counter_energy(trace, a, b), counter_energy(trace, a, c)
            # From the last tick of the left part on.
            right = counter_energy(trace, left.end_ns, c)
            assert right.start_ns == left.end_ns
            assert a <= left.start_ns < left.end_ns <= b
            assert whole.end_ns <= c
            assert left.energy_j + right.energy_j == pytest.approx(whole.energy_j, rel=1e-9)


# Traces.


def test_what_is_no_trace_is_refused() -> None:
    with pytest.raises(ValueError, match="VDD_IN: 2 instants and 1 powers"):
        PowerTrace([0, 1], [1.0], rail="VDD_IN")
    with pytest.raises(ValueError, match="2 instants and 3 counts"):
        CounterTrace([0, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="instants do not increase"):
        PowerTrace([0, 0], [1.0, 1.0])
    with pytest.raises(ValueError, match="give a list with one at least"):
        PowerTrace([], [])
    with pytest.raises(ValueError, match=r"instants of shape \(1, 2\)"):
        CounterTrace([[0, 1]], [[1, 2]])
    for power in (math.nan, math.inf):
        with pytest.raises(ValueError, match="a power is not a number"):
            PowerTrace([0, 1], [1.0, power])


def test_a_shifted_trace_has_the_same_powers_and_facts() -> None:
    trace = PowerTrace([0, 10], [1.0, 2.0], "nvml", "GPU 0", SensorFacts(100 * MS))
    later = trace.shifted(-5)
    assert later.time_ns.tolist() == [-5, 5]
    assert (later.power_mw.tolist(), later.source, later.rail, later.sensor) == ([1, 2], "nvml", "GPU 0", trace.sensor)


def test_facts_are_updated_by_those_that_are_known() -> None:
    facts = SensorFacts(100 * MS, step_mw=1.0, source="header")
    assert facts.updated(step_mw=380.0, gain_error=None) == SensorFacts(100 * MS, step_mw=380.0, source="header")
