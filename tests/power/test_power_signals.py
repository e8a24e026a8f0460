"""The known answers are right: closed forms agree with fine sums, and simulated sensors do what they say."""

import numpy as np
import pytest

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
    loads,
)

SIGNALS = {
    "constant": Constant(40e3),
    "step": Step(20e3, 90e3, 1_300 * MS),
    "step before 0": Step(20e3, 90e3, -1_300 * MS),
    "square": Square(10e3, 150e3, 100 * MS, 30 * MS, phase_ns=17 * MS),
    "ramp": Ramp(700.0),
    "heating": Heating(8e3, 900 * MS, from_ns=-400 * MS),
    "polyline": Polyline([-500 * MS, 200 * MS, 210 * MS, 2 * S], [5e3, 7e3, 80e3, 60e3]),
    "sum": Constant(15e3) + Square(0, 40e3, 100 * MS, 50 * MS) + Heating(3e3, S),
}


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize(("start_ns", "end_ns"), [(-2 * S, 3 * S), (123 * MS, 1_417 * MS), (-900 * MS, -137 * MS)])
def test_energy_is_the_integral_of_power(name: str, start_ns: int, end_ns: int) -> None:
    signal: Signal = SIGNALS[name]
    pieces = 400_000
    middles = start_ns + (np.arange(pieces) + 0.5) * (end_ns - start_ns) / pieces
    summed_j = signal.power_mw(middles).sum() * (end_ns - start_ns) / pieces * 1e-12
    assert signal.energy_j(start_ns, end_ns) == pytest.approx(summed_j, rel=2e-5, abs=1e-6)


def test_loads_are_high_in_their_stretches_alone() -> None:
    signal = loads([(0, 2 * S), (3 * S, 4 * S)], 10e3, 50e3, rise_ns=100 * MS)
    assert signal.power_mw([-S, 50 * MS, S, 2_500 * MS, 3_050 * MS, 3_500 * MS, 5 * S]).tolist() == pytest.approx(
        [10e3, 30e3, 50e3, 10e3, 30e3, 50e3, 10e3]
    )


def test_a_reading_is_the_mean_before_its_update_and_stays_until_the_next() -> None:
    sensor = SimulatedSensor(Ramp(1_000.0), 100 * MS, 20 * MS, phase_ns=30 * MS, step_mw=0.5)
    at = [130 * MS, 180 * MS, 229 * MS, 230 * MS]
    assert sensor.readings_mw(at).tolist() == [120.0, 120.0, 120.0, 220.0]


def test_readings_are_rounded_to_steps_after_the_gain() -> None:
    assert SimulatedSensor(Constant(1_000.0), 100 * MS, 20 * MS, step_mw=380, gain=0.9).readings_mw([0]) == [760.0]


def test_noise_is_of_the_update_and_not_of_the_poll() -> None:
    sensor = SimulatedSensor(Constant(50e3), 100 * MS, 20 * MS, noise_mw=500, seed=3)
    trace = sensor.trace(0, 100 * S, 10 * MS, jitter_ns=3 * MS)
    by_update = trace.power_mw[:-1].reshape(-1, 10)
    assert (by_update == by_update[:, :1]).all()
    assert np.std(by_update[:, 0]) == pytest.approx(500, rel=0.1)
    assert sensor.readings_mw([5_050 * MS])[0] == by_update[50, 0]


def test_a_counter_moves_at_its_ticks_in_steps_and_wraps() -> None:
    counter = SimulatedCounter(Constant(10e3), 20 * MS, phase_ns=5 * MS, step_uj=1_000, wrap_uj=1_000_000)
    assert counter.counts_uj([5 * MS, 24 * MS, 25 * MS, 105 * MS]).tolist() == [50_000, 50_000, 250_000, 50_000]
