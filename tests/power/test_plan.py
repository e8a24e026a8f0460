"""Plans defeat what their sensors would get wrong: shown with simulated sensors in virtual time."""

from collections.abc import Sequence

import numpy as np
import pytest

from espnet_edge.errors import InputError
from espnet_edge.power.energy import energy_j, mean_power_mw
from espnet_edge.power.plan import Plan, delay_ns, edge_error, plan
from espnet_edge.power.trace import SensorFacts
from power_signals import MS, Polyline, S, SimulatedSensor, Square, Step, loads

IDLE_MW, LOAD_MW = 50e3, 250e3
A100 = SensorFacts(100 * MS, 25 * MS)
TIMES_OF_PHASES = range(0, 100, 4)


def run(
    chosen: Plan, inference_ns: int, busy_ns: int, jitter: float = 0.0, seed: int = 0
) -> tuple[Polyline, int, int, int, int]:
    """What a device does that follows the plan, in virtual time; each inference draws power in its first `busy_ns`.

    Returns the signal, start and end of the window, all pauses together, and the number of inferences.
    """
    random = np.random.default_rng(seed)
    now, stretches, pauses_ns, count = S, [], 0, 0

    def infer() -> None:
        nonlocal now
        took = round(inference_ns * (1 + jitter * random.uniform(-1, 1)))
        stretches.append((now, now + busy_ns))
        now += took

    while now < S + chosen.settle_ns:
        infer()
    start = now
    left = set(chosen.phases_ns)
    while left:
        phase, pause = chosen.next_group(left, now - start)
        left.remove(phase)
        now, pauses_ns = now + pause, pauses_ns + pause
        for _ in range(chosen.group_inferences):
            infer()
            count += 1
    if chosen.phases_ns:
        pause = chosen.closing_pause_ns(now - start)
        now, pauses_ns = now + pause, pauses_ns + pause
    else:
        while now < start + chosen.window_ns:
            infer()
            count += 1
    return loads(stretches, IDLE_MW, LOAD_MW), start, now, pauses_ns, count


def read_j(chosen: Plan, facts: SensorFacts, ran: tuple[Polyline, int, int, int, int], phase_ns: int) -> float:
    """Energy of an inference as the sensor says."""
    signal, start, end, pauses_ns, count = ran
    sensor = SimulatedSensor(signal, facts.update_period_ns, facts.averaging_window_ns, phase_ns)
    trace = sensor.trace(start - S, end + chosen.tail_ns, chosen.sample_period_ns)
    moved = trace.shifted(-delay_ns(facts, chosen.period_ns))
    return (energy_j(moved, start, end) - pauses_ns * IDLE_MW * 1e-12) / count


def errors(
    facts: SensorFacts, inference_ns: int, phases: Sequence[int], jitter: float = 0.0, seed: int = 0
) -> list[float]:
    """By which share an inference that is busy for half of its time is read wrong, for each phase of the sensor."""
    chosen = plan(facts, inference_ns, has_counter=False)
    ran = run(chosen, inference_ns, inference_ns // 2, jitter, seed)
    signal, start, end, pauses_ns, count = ran
    true_j = (signal.energy_j(start, end) - pauses_ns * IDLE_MW * 1e-12) / count
    return [read_j(chosen, facts, ran, phase * MS) / true_j - 1 for phase in phases]


def test_a_burst_every_100_ms_is_read_two_thirds_wrong_by_phase_alone() -> None:
    bursts = Square(IDLE_MW, LOAD_MW, 100 * MS, 50 * MS)
    means = [
        mean_power_mw(SimulatedSensor(bursts, 100 * MS, 25 * MS, phase * MS).trace(0, 11 * S, 10 * MS), S, 10 * S)
        for phase in TIMES_OF_PHASES
    ]
    wrong = [mean / 150e3 - 1 for mean in means]
    assert (min(wrong), max(wrong)) == pytest.approx((-2 / 3, 2 / 3), abs=0.001)


def test_the_plan_reads_the_burst_within_2_percent_at_every_phase() -> None:
    assert len(TIMES_OF_PHASES) > 20
    assert np.abs(errors(A100, 100 * MS, TIMES_OF_PHASES)).max() < 0.02


@pytest.mark.parametrize("inference_ms", [5, 10, 12.5, 33, 50, 80, 100, 101, 150, 200, 300, 700])
def test_inferences_of_other_lengths_are_read_within_2_percent(inference_ms) -> None:
    assert np.abs(errors(A100, int(inference_ms * MS), range(0, 100, 7))).max() < 0.02


@pytest.mark.parametrize(("period_ms", "window_ms"), [(20, 10), (100, 12), (101.2, 26.4)])
def test_other_sensors_that_look_part_of_the_time(period_ms, window_ms) -> None:
    facts = SensorFacts(int(period_ms * MS), int(window_ms * MS))
    assert np.abs(errors(facts, facts.update_period_ns, range(0, int(period_ms), 3))).max() < 0.02


def test_inferences_whose_length_varies_by_1_percent() -> None:
    assert np.abs(errors(A100, 100 * MS, range(0, 100, 7), jitter=0.01)).max() < 0.02


def test_nine_rounds_with_inferences_whose_length_varies_by_5_percent() -> None:
    """A round is off by 3 % then (one standard deviation): its groups drift from their phases."""
    rounds = [errors(A100, 100 * MS, range(0, 100, 7), jitter=0.05, seed=seed) for seed in range(9)]
    assert np.abs(np.mean(rounds, axis=0)).max() < 0.02


def test_inferences_of_10_ms_are_read_20_percent_wrong_without_groups() -> None:
    """Two and a half of them fit into the averaging window, the same half each time."""
    bursts = Square(0, LOAD_MW, 10 * MS, 5 * MS)
    means = [
        mean_power_mw(SimulatedSensor(bursts, 100 * MS, 25 * MS, phase * MS).trace(0, 11 * S, 10 * MS), S, 10 * S)
        for phase in range(10)
    ]
    assert max(means) / 125e3 - 1 == pytest.approx(0.2, abs=0.001)
    assert plan(A100, 10 * MS, has_counter=False).phases_ns


def test_pauses_together_are_whole_periods_and_each_group_begins_at_its_phase() -> None:
    chosen = plan(A100, 100 * MS, has_counter=False)
    now, pauses_ns, began, left = 0, 0, [], set(chosen.phases_ns)
    while left:
        phase, pause = chosen.next_group(left, now)
        left.remove(phase)
        now, pauses_ns = now + pause, pauses_ns + pause
        began.append(now % (100 * MS))
        now += chosen.group_inferences * 100 * MS
    pauses_ns += chosen.closing_pause_ns(now)
    assert pauses_ns % (100 * MS) == 0
    assert began[0] == 0
    assert sorted(began) == [round(k * 100 * MS / 24) for k in range(24)]


def test_pauses_are_a_small_share_of_the_window() -> None:
    for inference_ms in (3.3, 7.7, 23, 41, 100, 130):
        _, start, end, pauses_ns, _ = run(
            plan(A100, int(inference_ms * MS), has_counter=False), int(inference_ms * MS), MS
        )
        assert pauses_ns / (end - start) < 0.05


@pytest.mark.parametrize(
    ("facts", "inference_ms"),
    [
        (SensorFacts(100 * MS, 100 * MS), 100),
        (SensorFacts(100 * MS, 1000 * MS), 700),
        (SensorFacts(1000 * MS, 1000 * MS), 100),
        (SensorFacts(100 * MS, 99 * MS), 100),
        (A100, 1),
    ],
)
def test_no_groups_where_the_sensor_sees_everything_or_many_inferences_at_once(facts, inference_ms) -> None:
    assert plan(facts, inference_ms * MS, has_counter=False).phases_ns == ()


@pytest.mark.parametrize(("window_s", "window_ms", "groups"), [(1, 25, 8), (8, 25, 16), (1, 5, 20)])
def test_there_are_at_least_eight_groups_and_enough_to_see_the_whole_period(window_s, window_ms, groups) -> None:
    facts = SensorFacts(100 * MS, window_ms * MS)
    assert len(plan(facts, 100 * MS, has_counter=False, window_s=window_s).phases_ns) == groups


def test_an_unknown_window_is_taken_as_the_worst_for_each_purpose() -> None:
    chosen = plan(SensorFacts(100 * MS), 100 * MS, has_counter=False)
    assert len(chosen.phases_ns) == 24
    assert chosen.settle_ns == 1_300 * MS
    assert "the averaging window is not known" in chosen.reason


def test_a_run_of_1_s_after_a_step_is_read_44_percent_low_and_right_with_the_plan() -> None:
    facts = SensorFacts(100 * MS, 1000 * MS)
    step = Step(30e3, 150e3, 2 * S)
    sensor = SimulatedSensor(step, 100 * MS, 1000 * MS, phase_ns=50 * MS)
    trace = sensor.trace(0, 20 * S, 10 * MS)
    assert mean_power_mw(trace, 2 * S, 3 * S) / 150e3 - 1 == pytest.approx(-0.44, abs=0.02)
    chosen = plan(facts, 5 * MS, has_counter=False, rise_ns=0)
    start = 2 * S + chosen.settle_ns
    read = energy_j(trace.shifted(-delay_ns(facts, chosen.period_ns)), start, start + chosen.window_ns)
    assert read == pytest.approx(step.energy_j(start, start + chosen.window_ns), rel=1e-6)


def test_a_slow_rise_does_not_count_either() -> None:
    facts = SensorFacts(100 * MS, 1000 * MS)
    signal = loads([(2 * S, 30 * S)], 20e3, 170e3, rise_ns=400 * MS)
    chosen = plan(facts, 5 * MS, has_counter=False, rise_ns=400 * MS)
    trace = SimulatedSensor(signal, 100 * MS, 1000 * MS).trace(0, 29 * S, 10 * MS)
    start = 2 * S + chosen.settle_ns
    assert mean_power_mw(trace.shifted(-delay_ns(facts, chosen.period_ns)), start, start + S) == pytest.approx(
        170e3, rel=1e-6
    )


def test_the_tail_is_as_long_as_readings_reach_back() -> None:
    """The reading that shows the end of the load for the last time has come when the tail is over."""
    facts = SensorFacts(100 * MS, 250 * MS)
    chosen = plan(facts, 5 * MS, has_counter=False)
    sensor = SimulatedSensor(Step(250e3, 50e3, 10 * S), 100 * MS, 250 * MS, phase_ns=-1)
    assert sensor.readings_mw([10 * S + chosen.tail_ns])[0] == 50e3
    assert sensor.readings_mw([10 * S + chosen.tail_ns - 110 * MS])[0] > 50e3


@pytest.mark.parametrize(
    ("facts", "inference_ms", "has_counter", "window_s"),
    [
        (SensorFacts(100 * MS, 100 * MS), 5, False, 8.165),
        (SensorFacts(100 * MS, 100 * MS), 5, True, 5),
        (SensorFacts(20 * MS, 10 * MS), 5, False, 12),
        (SensorFacts(1000 * MS, 1000 * MS), 5, False, 81.65),
        (SensorFacts(1000 * MS, 1000 * MS), 5, True, 40.82),
        (SensorFacts(100 * MS, 100 * MS), 2_000, True, 20),
    ],
)
def test_windows_are_as_long_as_edges_five_seconds_and_ten_inferences_need(facts, inference_ms, has_counter, window_s):
    chosen = plan(facts, inference_ms * MS, has_counter=has_counter)
    assert chosen.window_ns / S == pytest.approx(window_s, rel=1e-3)
    assert edge_error(chosen.period_ns, chosen.window_ns) <= (0.01 if has_counter else 0.005)
    assert chosen.rounds == 9


def test_the_edge_error_is_that_of_many_windows() -> None:
    """Edges at random between updates, one reading for each update taken as it stands until the next."""
    random = np.random.default_rng(7)
    window_ns, starts = 820 * MS, random.integers(0, 100 * MS, 20_000)
    readings = (starts + window_ns) // (100 * MS) - starts // (100 * MS)
    assert np.std(readings * 100 * MS / window_ns) == pytest.approx(edge_error(100 * MS, window_ns), rel=0.1)


@pytest.mark.parametrize(("period_ms", "sample_ms"), [(1, 10), (20, 10), (100, 20), (1000, 100), (5000, 100)])
def test_polls_are_faster_than_the_sensor_within_reason(period_ms, sample_ms) -> None:
    chosen = plan(SensorFacts(period_ms * MS, period_ms * MS), MS, has_counter=False)
    assert chosen.sample_period_ns == sample_ms * MS
    assert chosen.period_ns == max(period_ms, sample_ms) * MS


def test_what_is_thrown_away_and_how_long_idling_takes() -> None:
    chosen = plan(SensorFacts(100 * MS, 1000 * MS), MS, has_counter=True, rise_ns=200 * MS)
    assert (chosen.settle_ns, chosen.tail_ns) == (1_200 * MS, 1_100 * MS)
    assert delay_ns(SensorFacts(100 * MS, 1000 * MS), chosen.period_ns) == 550 * MS
    assert chosen.idle_ns == 31_200 * MS
    assert plan(SensorFacts(20 * MS, 10 * MS), MS, has_counter=True, rise_ns=0).idle_ns == 30_015 * MS


def test_the_reason_says_why() -> None:
    assert plan(A100, 100 * MS, has_counter=False).reason == (
        "windows of 12 s or 120 readings, whose edges are off by 0.34%; the first 0.36 s of load do not count; "
        "24 groups of 5 inferences with pauses, as the sensor may see no more than 25 ms of every 100 ms"
    )


def test_the_users_window_and_rounds() -> None:
    chosen = plan(SensorFacts(100 * MS, 100 * MS), MS, has_counter=False, window_s=1.5, rounds=3)
    assert (chosen.window_ns, chosen.rounds) == (1_500 * MS, 3)
    assert "edges are off by 2.72%" in chosen.reason


@pytest.mark.parametrize(
    ("facts", "window_s", "least"),
    [
        (SensorFacts(100 * MS, 100 * MS), 0.39, "0.4 to 3600 s"),
        (SensorFacts(100 * MS, 1000 * MS), 0.5, "1 to 3600 s"),
        (SensorFacts(1000 * MS, 1000 * MS), 3, "4 to 3600 s"),
        (SensorFacts(100 * MS, 100 * MS), float("nan"), "0.4 to 3600 s"),
        (SensorFacts(100 * MS, 100 * MS), float("inf"), "0.4 to 3600 s"),
        (SensorFacts(100 * MS, 100 * MS), -5, "0.4 to 3600 s"),
    ],
)
def test_windows_that_do_not_fit_the_sensor_are_refused(facts, window_s, least) -> None:
    with pytest.raises(InputError, match=f"a window of {window_s:g} s does not fit a sensor .* take {least}"):
        plan(facts, MS, has_counter=False, window_s=window_s)


def test_other_things_that_cannot_be_planned() -> None:
    with pytest.raises(InputError, match="not known: characterise it"):
        plan(SensorFacts(), MS, has_counter=False)
    with pytest.raises(InputError, match="0 rounds"):
        plan(A100, MS, has_counter=False, rounds=0)
    with pytest.raises(ValueError, match="an inference of 0 ns"):
        plan(A100, 0, has_counter=False)


def test_long_inferences_do_not_make_windows_long() -> None:
    chosen = plan(A100, 2_000 * MS, has_counter=False)
    assert (len(chosen.phases_ns), chosen.group_inferences) == (10, 1)
