"""Whole measurements in virtual time, on machines whose joules are known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from espnet_edge.power.analysis import analyse
from espnet_edge.power.campaign import Settings, measure
from espnet_edge.power.conditions import MachineConditions
from espnet_edge.power.figures import EnergyReport, LoadEnergy, Unavailable
from espnet_edge.power.recording import Recording
from espnet_edge.power.trace import SensorFacts
from espnet_edge.power.uncertainty import Estimate
from virtual_machine import MS, S, SensorModel, VirtualMachine, VirtualMeter, sampler_of

Phases = Sequence[tuple[int, float]]
STEADY = [(5 * MS, 80e3)]  # 5 ms at 80 W: 400 mJ
IDLE_MW = 20e3
COUNTER = SensorModel(tick_ns=100 * MS)


def run(
    model: SensorModel,
    loads: Mapping[str, Phases],
    *,
    idle_mw: float = IDLE_MW,
    settings: Settings | None = None,
    extra_mw: Callable[[int], float] = lambda _ns: 0.0,
    prepare: Callable[[VirtualMeter], object] = lambda _meter: None,
    **meter_options,
) -> Recording:
    machine = VirtualMachine(idle_mw, extra_mw=extra_mw)
    meter = VirtualMeter(machine, model, **meter_options)
    prepare(meter)
    sampler = sampler_of(machine, meter)
    try:
        return measure(
            {name: machine.load(*phases) for name, phases in loads.items()},
            sampler,
            settings or Settings(),
            sleep=machine.sleep,
            snapshot=MachineConditions,
        )
    finally:
        sampler.close()


def known(figure: Estimate | Unavailable) -> Estimate:
    assert isinstance(figure, Estimate), figure
    return figure


def reason(figure: Estimate | Unavailable) -> str:
    assert isinstance(figure, Unavailable), figure
    return figure.reason


def only(report: EnergyReport) -> LoadEnergy:
    (load,) = report.loads
    return load


def test_gross_and_net_of_a_steady_load_by_counter_and_by_samples() -> None:
    load = only(analyse(run(COUNTER, {"a": STEADY})))
    assert load.total.label == "virtual counter"
    assert load.other is not None
    assert load.other.label == "virtual samples"
    for by in (load.total, load.other):
        assert known(by.gross_mj).value == pytest.approx(400, rel=0.003)
        assert known(by.net_mj).value == pytest.approx(300, rel=0.005)
        assert known(by.power_mw).value == pytest.approx(80e3, rel=0.003)
        assert known(by.gross_mj).half_width < 4
    assert load.difference == pytest.approx(0, abs=0.003)
    assert load.inference_ms == pytest.approx(5)


def test_intervals_hold_the_truth_and_ratios_are_paired() -> None:
    report = analyse(run(COUNTER, {"a": STEADY, "b": [(5 * MS, 60e3), (3 * MS, 30e3)]}))
    first, second = report.loads
    assert known(first.total.gross_mj).low <= 400 <= known(first.total.gross_mj).high
    assert known(second.total.gross_mj).low <= 390 <= known(second.total.gross_mj).high
    assert first.ratio is None
    assert second.ratio is not None
    assert known(second.ratio).value == pytest.approx(390 / 400, rel=0.003)
    assert known(second.ratio).half_width < 0.01


@pytest.mark.parametrize("phase_ms", [0, 30, 60, 90])
def test_bursts_in_step_with_a_part_time_sensor_come_within_two_percent(phase_ms: int) -> None:
    """By phase alone such a sensor reads them 67 % too high or too low."""
    model = SensorModel(update_period_ns=100 * MS, averaging_window_ns=25 * MS, phase_ns=phase_ms * MS)
    facts = SensorFacts(100 * MS, 25 * MS, source="declared")
    recording = run(model, {"a": [(50 * MS, 250e3), (50 * MS, 50e3)]}, idle_mw=50e3, declared=facts)
    load = only(analyse(recording))
    assert recording.plans["a"].phases_ns
    assert known(load.total.gross_mj).value == pytest.approx(15_000, rel=0.02)
    assert known(load.total.net_mj).value == pytest.approx(10_000, rel=0.03)


def test_the_sensor_is_looked_at_before_it_is_used() -> None:
    model = SensorModel(update_period_ns=100 * MS, averaging_window_ns=1000 * MS)
    recording = run(model, {"a": STEADY}, declared=SensorFacts(gain_error=0.05))
    assert recording.sensor is not None
    assert recording.sensor.update_period_ns == pytest.approx(100 * MS, rel=0.1)
    assert recording.sensor.averaging_window_ns == pytest.approx(1000 * MS, rel=0.1)
    assert recording.sensor.gain_error == 0.05
    load = only(analyse(recording))
    assert known(load.total.gross_mj).value == pytest.approx(400, rel=0.005)
    assert load.total.gain_error == 0.05
    # The mean of about 1 s still shows what was before: no window begins sooner.
    for stretch in recording.of("load", "a"):
        assert stretch.window_start_ns - stretch.start_ns >= 980 * MS


def test_a_counter_alone_is_enough() -> None:
    """As a processor has it: no power, and a movement every millisecond."""
    recording = run(SensorModel(tick_ns=MS), {"a": STEADY}, has_power=False)
    load = only(analyse(recording))
    assert load.other is None
    assert known(load.total.gross_mj).value == pytest.approx(400, rel=0.003)
    assert known(load.total.net_mj).value == pytest.approx(300, rel=0.005)
    assert recording.sensor is not None
    assert recording.sensor.update_period_ns == 10 * MS  # at each poll


def test_a_counter_and_samples_that_contradict_each_other_give_no_figure() -> None:
    load = only(analyse(run(replace(COUNTER, counter_gain=0.57), {"a": STEADY})))
    assert "they differ by" in reason(load.total.gross_mj)
    assert "measure with another meter" in reason(load.total.gross_mj)
    assert load.difference == pytest.approx(1 / 0.57 - 1, rel=0.01)


def test_a_counter_that_is_reset_gives_way_to_the_samples_and_says_so() -> None:
    def reset(meter: VirtualMeter) -> None:
        start_ns = meter.machine.now_ns
        meter.counter_offset_uj = lambda now_ns: -int((now_ns - start_ns) // (5 * S)) * 1_000_000_000

    report = analyse(run(COUNTER, {"a": STEADY}, prepare=reset))
    load = only(report)
    assert load.total.label == "virtual samples"
    assert known(load.total.gross_mj).value == pytest.approx(400, rel=0.003)
    assert load.other is not None
    assert "it was reset" in reason(load.other.gross_mj)
    assert any("virtual counter gives no figure to compare with" in doubt for doubt in report.doubts)


def test_gaps_cost_their_windows_and_too_many_of_them_the_figure() -> None:
    def silent(windows: int) -> Callable[[VirtualMeter], None]:
        def prepare(meter: VirtualMeter) -> None:
            meter.silent_between = [(first + k * 9 * S, first + k * 9 * S + S) for k in range(windows)]

        first = 1_000 * S + 75 * S
        return prepare

    model = SensorModel()
    few = analyse(run(model, {"a": STEADY}, prepare=silent(1)))
    assert known(only(few).total.gross_mj).n == 8
    assert any("1 of 9 windows were left out" in doubt and "no reading for" in doubt for doubt in few.doubts)
    many = analyse(run(model, {"a": STEADY}, prepare=silent(9)))
    assert "windows give none" in reason(only(many).total.gross_mj)
    assert "no reading for" in reason(only(many).total.gross_mj)
