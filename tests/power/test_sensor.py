"""Sensors of known facts are recognised from their readings; recorded ones as far as the recordings tell."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from espnet_edge.power.sensor import Characterisation, LoadStretch, SensorUnclearError, characterise, probe_schedule
from espnet_edge.power.trace import PowerTrace, SensorFacts
from nvml_traces import BURSTS_3090, BURSTS_A100, STEP_3090, STEP_4090, STEP_A100, STEP_A5000, read_recording
from power_signals import MS, S, SimulatedSensor, Square, loads

IDLE_MW, LOAD_MW = 50e3, 250e3
# Update period and averaging window in ms, as Yang et al. list them.
SENSORS = [(20, 10), (20, 20), (100, 25), (100, 100), (100, 1000), (1000, 1000)]
# How far off the window may be: where polls are half a period apart an update is known to a few ms only.
WINDOW_TOLERANCE = {20: 0.3, 100: 0.06, 1000: 0.03}


def probed(declared: SensorFacts) -> list[tuple[int, int]]:
    """Start and end of each load of the schedule, from 1 s on."""
    at, stretches = 1.0, []
    for load_s, pause_s in probe_schedule(declared):
        stretches.append((int(at * S), int((at + load_s) * S)))
        at += load_s + pause_s
    return stretches


def polled(
    sensor: SimulatedSensor, stretches: Sequence[tuple[int, int]], poll_ms: float, declared: SensorFacts | None = None
) -> PowerTrace:
    """Polls are late by up to a third, as those of a process that is not alone on its machine."""
    trace = sensor.trace(0, stretches[-1][1] + 2 * S, int(poll_ms * MS), jitter_ns=int(poll_ms * MS / 3))
    return replace(trace, sensor=declared or SensorFacts())


def characterised(period_ms: float, window_ms: float, poll_ms: float, **sensor: float) -> Characterisation:
    facts = SensorFacts(int(period_ms * MS), int(window_ms * MS))
    stretches = probed(facts)
    rise_ns = int(sensor.pop("rise_ns", 1))
    signal = loads(stretches, IDLE_MW, LOAD_MW, rise_ns)
    simulated = SimulatedSensor(
        signal, facts.update_period_ns, facts.averaging_window_ns, **{"phase_ns": 3 * MS, **sensor}
    )
    return characterise(polled(simulated, stretches, poll_ms), [LoadStretch(*stretch) for stretch in stretches])


@pytest.mark.parametrize(("period_ms", "window_ms"), SENSORS)
@pytest.mark.parametrize("poll_ms", [7, 10, 13])
@pytest.mark.parametrize("step_mw", [1, 380])
def test_period_and_window_are_recovered(period_ms, window_ms, poll_ms, step_mw) -> None:
    found = characterised(period_ms, window_ms, poll_ms, step_mw=step_mw, noise_mw=300, seed=1)
    assert found.facts.update_period_ns == pytest.approx(period_ms * MS, rel=0.01)
    assert found.facts.averaging_window_ns == pytest.approx(window_ms * MS, rel=WINDOW_TOLERANCE[period_ms])
    assert found.window_range_ns[0] <= window_ms * MS <= found.window_range_ns[1]
    assert found.facts.source == "measured by a probe load"


@pytest.mark.parametrize("phase_ms", range(0, 100, 9))
def test_the_phase_of_the_sensor_does_not_matter(phase_ms) -> None:
    found = characterised(100, 25, 10, phase_ns=phase_ms * MS, noise_mw=300, seed=phase_ms)
    assert found.facts.update_period_ns == pytest.approx(100 * MS, rel=0.01)
    assert found.facts.averaging_window_ns == pytest.approx(25 * MS, rel=0.06)
    assert abs(found.delay_ns) < 5 * MS


def test_the_gain_changes_neither_period_nor_window() -> None:
    found = characterised(100, 25, 7, gain=0.6, noise_mw=300)
    assert (found.facts.update_period_ns, found.facts.averaging_window_ns) == pytest.approx(
        (100 * MS, 25 * MS), rel=0.06
    )


def test_a_value_that_seldom_changes_still_shows_the_period() -> None:
    """Without noise and with coarse steps only edges of the load change the reading."""
    found = characterised(100, 100, 10, step_mw=5_000)
    assert found.facts.update_period_ns == pytest.approx(100 * MS, rel=0.01)


def test_a_clock_that_slips_now_and_then() -> None:
    """NVML's updates leave their pace a few times in ten seconds: 40 to 60 ms after the update before."""
    stretches = probed(SensorFacts(100 * MS, 25 * MS))
    sensor = SimulatedSensor(loads(stretches, IDLE_MW, LOAD_MW), 100 * MS, 25 * MS, noise_mw=300)
    late = replace(sensor, phase_ns=43 * MS)
    before, after = polled(sensor, stretches, 10), polled(late, stretches, 10)
    slipped = np.where(before.time_ns < 3 * S, before.power_mw, after.power_mw)
    found = characterise(PowerTrace(before.time_ns, slipped), [LoadStretch(*stretch) for stretch in stretches])
    assert found.facts.update_period_ns == pytest.approx(100 * MS, rel=0.01)
    assert found.facts.averaging_window_ns == pytest.approx(25 * MS, abs=10 * MS)  # a poll
    assert found.window_range_ns[0] <= 25 * MS <= found.window_range_ns[1]


def every(period_ms: int, on_ms: int, count: int) -> list[tuple[int, int]]:
    return [(S + k * period_ms * MS, S + (k * period_ms + on_ms) * MS) for k in range(count)]


def test_a_sensor_as_fast_as_its_polling_has_the_period_of_the_polling() -> None:
    stretches = every(700, 330, 12)
    sensor = SimulatedSensor(loads(stretches, IDLE_MW, LOAD_MW), MS, 40 * MS, noise_mw=300)
    found = characterise(polled(sensor, stretches, 10), [LoadStretch(*stretch) for stretch in stretches])
    assert found.facts.update_period_ns == pytest.approx(10 * MS, rel=0.05)
    assert found.facts.averaging_window_ns == pytest.approx(40 * MS, rel=0.1)
    assert found.notes[0].startswith("renewed at least as often as it was polled, every ")


@pytest.mark.parametrize("rise_ms", [0, 300, 800])
@pytest.mark.parametrize("falls_as_slowly", [False, True])
def test_window_and_rise_together_are_what_settling_takes(rise_ms, falls_as_slowly) -> None:
    """Settled is within 5 % of the swing, so that a straight rise of 300 ms counts as 285 ms."""
    stretches = every(5_987, 3_011, 9)
    signal = loads(stretches, IDLE_MW, LOAD_MW, max(rise_ms * MS, 1), None if falls_as_slowly else 1)
    sensor = SimulatedSensor(signal, 20 * MS, 10 * MS, noise_mw=300)
    found = characterise(polled(sensor, stretches, 5), [LoadStretch(*stretch) for stretch in stretches])
    assert found.rise_ns is not None
    settling_ns = found.rise_ns + found.facts.averaging_window_ns
    assert (0.9 * rise_ms + 5) * MS <= settling_ns <= (rise_ms + 30) * MS
    assert any("makes its averaging window look longer" in note for note in found.notes) == (
        rise_ms > 0 and not falls_as_slowly
    )


def test_without_a_long_load_the_rise_is_not_known() -> None:
    stretches = every(173, 83, 40)
    sensor = SimulatedSensor(loads(stretches, IDLE_MW, LOAD_MW), 100 * MS, 100 * MS, noise_mw=300)
    found = characterise(polled(sensor, stretches, 10), [LoadStretch(*stretch) for stretch in stretches])
    assert found.rise_ns is None
    assert "no load ran long enough to tell the rise time" in found.notes


def test_of_a_long_load_after_the_end_of_the_trace_no_rise_is_known() -> None:
    stretches = every(173, 83, 40)
    sensor = SimulatedSensor(loads(stretches, IDLE_MW, LOAD_MW), 100 * MS, 100 * MS, noise_mw=300)
    late = (20 * S, 25 * S)
    found = characterise(polled(sensor, stretches, 10), [LoadStretch(*stretch) for stretch in [*stretches, late]])
    assert found.rise_ns is None


@pytest.mark.parametrize("step_mw", [1, 10, 41, 155, 380])
def test_the_step_is_recovered(step_mw) -> None:
    assert characterised(20, 20, 5, step_mw=step_mw, noise_mw=2_000, seed=4).facts.step_mw == step_mw


def test_the_step_of_a_coarse_current_times_a_fine_voltage() -> None:
    """20 mA at about 19 V, the voltage in steps of 8 mV and lower under load."""
    stretches = probed(SensorFacts(100 * MS, 100 * MS))
    trace = polled(SimulatedSensor(loads(stretches, 5e3, 12e3), 100 * MS, 100 * MS, noise_mw=600), stretches, 10)
    updates = np.cumsum(np.append(0, np.diff(trace.power_mw) != 0))
    volts = 19.04 - 0.008 * np.random.default_rng(2).integers(0, 4, updates[-1] + 1)[updates]
    coarse = PowerTrace(trace.time_ns, np.round(np.round(trace.power_mw / volts / 20) * 20 * volts))
    found = characterise(coarse, [LoadStretch(*stretch) for stretch in stretches])
    assert found.facts.step_mw == pytest.approx(380, rel=0.02)


def test_a_step_that_does_not_show_is_not_guessed() -> None:
    found = characterised(1000, 1000, 50, noise_mw=300, step_mw=1e-3)
    # The safe side: no step is larger.
    closest_mw = found.facts.step_mw
    assert closest_mw is not None
    assert closest_mw > 0
    assert any(note.startswith("no step shows: the closest of its readings differ by ") for note in found.notes)


def test_what_was_declared_stays_where_nothing_was_measured_and_contradictions_are_noted() -> None:
    stretches = probed(SensorFacts(100 * MS, 25 * MS))
    sensor = SimulatedSensor(loads(stretches, IDLE_MW, LOAD_MW), 100 * MS, 25 * MS, noise_mw=300)
    declared = SensorFacts(100 * MS, 1000 * MS, 1.0, 0.05, "the vendor's header")
    found = characterise(polled(sensor, stretches, 10, declared), [LoadStretch(*stretch) for stretch in stretches])
    assert found.facts.gain_error == 0.05
    assert len(found.notes) == 1
    assert found.notes[0].startswith("averaging_window_ns: declared 1000 ms, measured 2")


def test_a_constant_reading_tells_nothing() -> None:
    declared = SensorFacts(gain_error=0.05)
    trace = PowerTrace(np.arange(1000) * 10 * MS, np.full(1000, 50e3), rail="VDD_IN", sensor=declared)
    with pytest.raises(SensorUnclearError, match=r"VDD_IN: the reading changed 0 times in 1000 polls") as caught:
        characterise(trace, [LoadStretch(S, 2 * S)])
    assert caught.value.found == declared


def test_too_few_changes_tell_nothing() -> None:
    sensor = SimulatedSensor(loads([(S, 2 * S)], IDLE_MW, LOAD_MW), 100 * MS, 100 * MS)
    with pytest.raises(SensorUnclearError, match=r"changed [234] times in 301 polls, 20 changes are needed"):
        characterise(sensor.trace(0, 3 * S, 10 * MS), [LoadStretch(S, 2 * S)])


def test_a_load_that_the_readings_do_not_follow_gives_no_window_but_the_period() -> None:
    stretches = probed(SensorFacts(100 * MS, 25 * MS))
    sensor = SimulatedSensor(Square(IDLE_MW, LOAD_MW, 313 * MS, 140 * MS), 100 * MS, 25 * MS, noise_mw=300)
    with pytest.raises(SensorUnclearError, match=r"the load explains \d\d?% of the readings' changes, 50%") as caught:
        characterise(polled(sensor, stretches, 10), [LoadStretch(*stretch) for stretch in stretches])
    assert caught.value.found.update_period_ns == pytest.approx(100 * MS, rel=0.01)
    assert caught.value.found.averaging_window_ns is None


def test_windows_that_noise_makes_alike_are_not_told_apart() -> None:
    with pytest.raises(SensorUnclearError, match=r"averaging windows from \d+ to \d+ ms explain the readings alike"):
        characterised(100, 25, 10, noise_mw=70e3, seed=2)


def test_changes_at_random_instants_have_no_period() -> None:
    random = np.random.default_rng(5)
    time_ns = np.arange(0, 60 * S, 10 * MS)
    at = np.sort(random.choice(time_ns.size, 200, replace=False))
    power_mw = random.normal(50e3, 5e3, 201)[np.searchsorted(at, np.arange(time_ns.size), side="right")]
    with pytest.raises(SensorUnclearError, match="no period fits the 200 changes"):
        characterise(PowerTrace(time_ns, power_mw), [LoadStretch(S, 2 * S)])


def test_no_load_and_loads_that_end_before_they_start() -> None:
    with pytest.raises(SensorUnclearError, match="no load ran"):
        characterise(PowerTrace([0, MS], [1.0, 2.0]), [])
    with pytest.raises(ValueError, match="load from 5 to 5 ns: its end must be later"):
        LoadStretch(5, 5)
    with pytest.raises(ValueError, match="a load starts at 20 ns, before the end of the one before it at 30 ns"):
        characterise(PowerTrace([0, MS], [1.0, 2.0]), [LoadStretch(10, 30), LoadStretch(20, 40)])


def test_readings_that_fall_under_load_are_not_of_it() -> None:
    stretches = probed(SensorFacts(100 * MS, 25 * MS))
    sensor = SimulatedSensor(loads(stretches, LOAD_MW, IDLE_MW), 100 * MS, 25 * MS, noise_mw=300)
    with pytest.raises(SensorUnclearError, match="run a heavier load"):
        characterise(polled(sensor, stretches, 10), [LoadStretch(*stretch) for stretch in stretches])


@pytest.mark.parametrize(
    ("declared", "least_s", "most_s"),
    [
        (SensorFacts(20 * MS, 10 * MS), 5, 8),
        (SensorFacts(100 * MS, 25 * MS), 10, 13),
        (SensorFacts(100 * MS, 1000 * MS), 20, 37),
        (SensorFacts(1000 * MS, 1000 * MS), 65, 76),
        (SensorFacts(), 20, 37),
        (SensorFacts(update_period_ns=2 * S), 130, 165),
    ],
)
def test_a_probe_takes_as_long_as_its_sensor_needs(declared, least_s, most_s) -> None:
    schedule = probe_schedule(declared)
    assert least_s <= sum(map(sum, schedule)) <= most_s
    assert min(map(min, schedule)) > 0


# From here on: recorded traces. The recordings hold each burst's edges to some ms; of a step there are two edges alone.


def recorded(shared: Path, name: str, column: str) -> Characterisation:
    recording = read_recording(shared, name)
    return characterise(recording.columns[column], [LoadStretch(*load) for load in recording.loads_ns])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "column", "period_ms"),
    [
        (BURSTS_3090, "power.draw", 100),
        (BURSTS_3090, "power.draw.instant", 100),
        # Polls 13 ms apart show the A100's updates 91 or 104 ms apart; the mean is 101 ms.
        (BURSTS_A100, "power.draw", 101.2),
        (BURSTS_A100, "power.draw.instant", 101.2),
        (STEP_3090, "power.draw", 100),
        (STEP_3090, "power.draw.instant", 100),
        (STEP_4090, "power.draw", 100),
        (STEP_A5000, "power.draw", 100),
    ],
)
def test_update_periods_of_recorded_traces(shared, name, column, period_ms) -> None:
    assert recorded(shared, name, column).facts.update_period_ns == pytest.approx(period_ms * MS, rel=0.005)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "column", "least_ms", "most_ms"),
    [
        # Yang et al.: 25 ms.
        (BURSTS_A100, "power.draw", 24, 28),
        (BURSTS_A100, "power.draw.instant", 24, 28),
        # 100 ms.
        (BURSTS_3090, "power.draw.instant", 95, 110),
        # 1000 ms; bursts of 50 ms nearly vanish in it, and the card itself took 150 ms to reach its full power.
        (BURSTS_3090, "power.draw", 1000, 1350),
        (STEP_3090, "power.draw", 1000, 1250),
        (STEP_A5000, "power.draw", 1000, 1350),
        # 100 ms, with two edges only; the first 150 ms of the load drew two thirds of its power.
        (STEP_3090, "power.draw.instant", 100, 250),
        (STEP_4090, "power.draw", 100, 150),
    ],
)
def test_averaging_windows_of_recorded_traces(shared, name, column, least_ms, most_ms) -> None:
    found = recorded(shared, name, column)
    assert least_ms * MS <= found.facts.averaging_window_ns <= most_ms * MS
    assert found.facts.step_mw == 10  # nvidia-smi writes two digits after the point


@pytest.mark.shared
@pytest.mark.parametrize(("name", "column"), [(STEP_A100, "power.draw"), (STEP_A5000, "power.draw.instant")])
def test_one_step_does_not_tell_a_window_shorter_than_the_period(shared, name, column) -> None:
    with pytest.raises(SensorUnclearError, match="readings show a part of it, 4 are needed") as caught:
        recorded(shared, name, column)
    assert caught.value.found.update_period_ns == pytest.approx(100.5 * MS, rel=0.01)
