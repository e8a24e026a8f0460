"""Whole measurements in virtual time, on machines whose joules are known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from espnet_edge.errors import InputError, UnavailableError
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
    loads: Mapping[str, Phases | Callable[[VirtualMachine], Callable[[], None]]],
    *,
    idle_mw: float = IDLE_MW,
    settings: Settings | None = None,
    extra_mw: Callable[[int], float] = lambda _ns: 0.0,
    noise: float = 0.003,
    ramp_ns: int = 0,
    after_load: tuple[int, float] = (0, 0.0),
    slow_first: tuple[int, float] = (0, 1.0),
    prepare: Callable[[VirtualMeter], object] = lambda _meter: None,
    **meter_options,
) -> Recording:
    machine = VirtualMachine(idle_mw, extra_mw=extra_mw, noise=noise, ramp_ns=ramp_ns, after_load=after_load)
    meter = VirtualMeter(machine, model, **meter_options)
    prepare(meter)
    sampler = sampler_of(machine, meter)
    try:
        return measure(
            {
                name: load(machine) if callable(load) else machine.load(*load, slow_first=slow_first)
                for name, load in loads.items()
            },
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


@pytest.mark.parametrize(
    ("silent", "told"), [("energy", ["the virtual counter"]), ("power", ["the virtual samples"]), ("", [])]
)
def test_a_way_of_measuring_that_never_gave_a_reading_is_told(silent: str, told: list[str]) -> None:
    recording = run(COUNTER, {"a": STEADY})
    readings = recording.readings
    columns = {name: (None,) * len(column) if name == silent else column for name, column in readings.columns.items()}
    report = analyse(replace(recording, readings=replace(readings, columns=columns)))
    assert known(only(report).total.gross_mj).value == pytest.approx(400, rel=0.01)
    assert [doubt.split(" never")[0] for doubt in report.doubts if "never gave a reading" in doubt] == told


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
            meter.silent_between = [(middle_ns, middle_ns + S) for middle_ns in middles_ns[:windows]]

        return prepare

    # Time passes alike in each run.
    loads = run(SensorModel(), {"a": STEADY}).of("load", "a")
    middles_ns = [(stretch.window_start_ns + stretch.window_end_ns) // 2 for stretch in loads]
    model = SensorModel()
    few = analyse(run(model, {"a": STEADY}, prepare=silent(1)))
    assert known(only(few).total.gross_mj).n == 8
    assert any("1 of 9 windows were left out" in doubt and "no reading for" in doubt for doubt in few.doubts)
    many = analyse(run(model, {"a": STEADY}, prepare=silent(9)))
    assert "windows give none" in reason(only(many).total.gross_mj)
    assert "no reading for" in reason(only(many).total.gross_mj)


def test_rails_of_a_board_add_up_once() -> None:
    """Steps of 400 mW on each, as an AGX Orin has them; VDDQ is a part of VIN."""
    rails = {"VDD_GPU_SOC": 0.5, "VDD_CPU_CV": 0.2, "VIN_SYS_5V0": 0.3, "VDDQ": 0.1}
    recording = run(
        SensorModel(), {"a": [(5 * MS, 25e3)]}, idle_mw=9e3, prepare=lambda meter: meter.split(rails, [*rails][:3], 400)
    )
    load = only(analyse(recording))
    gross = known(load.total.gross_mj)
    assert gross.low <= 125 <= gross.high
    assert gross.value == pytest.approx(125, rel=0.03)
    # Three undithered steps of 400 mW over 5 ms are 3 x (400 / sqrt(12)) squared, at most.
    (quantisation,) = (part for part in gross.components if part.name == "quantisation")
    assert 0 < quantisation.standard_uncertainty <= 400 / 12**0.5 * 3**0.5 * 5e-3 * 1.001
    assert [rail.label for rail in load.rails] == [*rails]
    assert sum(known(rail.gross_mj).value for rail in load.rails[:3]) == pytest.approx(gross.value, rel=1e-3)
    assert (load.total.gain_error, load.total.offset_mj) == (0.015, pytest.approx(3 * 800 * 5e-3))


def test_rails_without_a_total_are_told_one_by_one() -> None:
    recording = run(
        SensorModel(), {"a": STEADY}, prepare=lambda meter: meter.split({"VDD_A": 0.5, "VDD_B": 0.25}, [], 1.0)
    )
    load = only(analyse(recording))
    assert reason(load.total.gross_mj) == "no board in the table has these rails"
    assert [known(rail.gross_mj).value for rail in load.rails] == pytest.approx([200, 100], rel=0.005)
    assert load.inference_ms == pytest.approx(5)


def test_heating_is_flagged_and_does_not_widen_the_interval_much() -> None:
    recording = run(COUNTER, {"a": STEADY}, extra_mw=lambda ns: 40 * (ns / S - 1_000))
    report = analyse(recording)
    load = only(report)
    assert any("power drifted by +" in doubt for doubt in report.doubts)
    assert any("idle drifted by +" in doubt for doubt in report.doubts)
    # What both idle and load draw more cancels in net energy.
    assert known(load.total.net_mj).value == pytest.approx(300, rel=0.005)
    assert known(load.total.net_mj).low <= 300 <= known(load.total.net_mj).high
    mean_mw = 80e3 + 40 * (np.mean([window.mid_ns for window in load.total.windows]) / S - 1_000)
    assert known(load.total.gross_mj).value == pytest.approx(mean_mw * 5e-3, rel=0.003)


def test_a_machine_that_never_comes_to_rest() -> None:
    """Power that swings by half for a minute or so: the warm-up ends without an end, and says so."""
    recording = run(COUNTER, {"a": STEADY}, extra_mw=lambda ns: 20e3 * (int(ns / S / 3) % 2))
    assert not recording.steady
    assert len(recording.of("warmup", "a")) == 10
    assert any("had not become steady" in doubt for doubt in analyse(recording).doubts)


def test_a_device_that_is_slowed_down_or_changes_its_clock() -> None:
    def conditions(ns: int) -> tuple[float, float]:
        in_window = ns > start_ns
        return (0x40 if in_window and int(ns / S) % 2 else 0x1, 1980 if in_window else 210)

    start_ns = run(COUNTER, {"a": STEADY}).of("load", "a")[2].start_ns
    names = ("throttle_reasons", "sm_clock_mhz")
    doubts = analyse(run(COUNTER, {"a": STEADY}, conditions=conditions, condition_names=names)).doubts
    assert any("it was slowed down in" in doubt and "hw_thermal_slowdown" in doubt for doubt in doubts), doubts
    assert any("sm_clock_mhz was" in doubt and "lock the clocks" in doubt for doubt in doubts)
    quiet = analyse(run(COUNTER, {"a": STEADY}, conditions=lambda _ns: (0x1, 1980), condition_names=names)).doubts
    assert not any("slowed" in doubt or "clock" in doubt for doubt in quiet), quiet


def test_a_dead_sensor_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(UnavailableError, match=r"no reading came in while the sensor was looked at .*does not answer"):
        run(SensorModel(), {"a": STEADY}, prepare=lambda meter: meter.silent_between.append((0, 10**18)))
    with pytest.raises(UnavailableError, match="its counter did not move twice in 10 s of load"):
        run(SensorModel(tick_ns=3_600 * S), {"a": STEADY}, has_power=False)


def test_a_constant_reading_tells_nothing() -> None:
    with pytest.raises(UnavailableError, match=r"its reading stood still at 0 mW, with and without load"):
        run(SensorModel(step_mw=1e6), {"a": STEADY})
    with pytest.raises(UnavailableError, match=r"stood still"):
        run(SensorModel(step_mw=1e6), {"a": STEADY}, declared=SensorFacts(100 * MS))


def test_a_load_that_the_sensor_hardly_sees_is_measured_as_declared_and_says_so() -> None:
    """Readings of two levels, at random, whether the load runs or not."""
    phases, declared = [(5 * MS, 20.2e3)], SensorFacts(100 * MS)
    report = analyse(run(SensorModel(step_mw=400), {"a": phases}, idle_mw=20.2e3, noise=0.0005, declared=declared))
    assert any("is taken as declared" in doubt for doubt in report.doubts)
    assert any("net energy cannot be told from 0" in doubt for doubt in report.doubts)
    gross = known(only(report).total.gross_mj)
    assert gross.low <= 101 <= gross.high


def test_the_users_window_and_rounds() -> None:
    recording = run(COUNTER, {"a": STEADY}, settings=Settings(rounds=4, window_s=2.0, seed=3))
    load = only(analyse(recording))
    assert known(load.total.gross_mj).n == 4
    assert load.window_s == pytest.approx(2, abs=0.2)
    with pytest.raises(InputError, match=r"a window of 0\.1 s does not fit"):
        run(COUNTER, {"a": STEADY}, settings=Settings(window_s=0.1))


def test_the_order_is_drawn_anew_for_each_round_by_the_seed() -> None:
    loads = dict.fromkeys("abc", STEADY)

    def order(seed: int) -> list[str | None]:
        recording = run(COUNTER, loads, settings=Settings(rounds=6, window_s=1.0, seed=seed))
        return [stretch.name for stretch in recording.stretches if stretch.kind == "load"]

    first = order(1)
    assert first == order(1) != order(2)
    rounds = [tuple(first[i : i + 3]) for i in range(0, 18, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(rounds)) > 2


@pytest.mark.parametrize(
    ("phases", "idle_mw", "model", "true_mj"),
    [
        ([(100_000, 80e3)], 20e3, COUNTER, 8),  # 0.1 ms
        ([(2 * S, 80e3)], 20e3, COUNTER, 160_000),
        ([(200 * MS, 80e3), (100 * MS, 30e3)], 20e3, SensorModel(100 * MS, 25 * MS), 19_000),
        (STEADY, 20e3, SensorModel(tick_ns=1_000 * MS), 400),
        ([(5 * MS, 8e3)], 5e3, SensorModel(1_000 * MS, 1_000 * MS), 40),
        # Readings that do not move within a window: what the step hides must be in the interval.
        ([(5 * MS, 10.3e3)], 9e3, SensorModel(step_mw=400), 51.5),
    ],
)
def test_intervals_hold_the_truth_for_inferences_and_sensors_of_all_kinds(phases, idle_mw, model, true_mj) -> None:
    load = only(analyse(run(model, {"a": phases}, idle_mw=idle_mw)))
    gross = known(load.total.gross_mj)
    assert gross.low <= true_mj <= gross.high
    assert gross.half_width < 0.03 * true_mj


def test_a_rail_that_falls_silent_costs_its_windows_only() -> None:
    def prepare(meter: VirtualMeter) -> None:
        meter.split({"VDD_A": 0.5, "VDD_B": 0.5}, ["VDD_A", "VDD_B"], 1.0)
        meter.rail_silent_between = ("VDD_B", start_ns, start_ns + 5 * S)

    start_ns = run(SensorModel(), {"a": STEADY}).of("load", "a")[3].window_start_ns
    report = analyse(run(SensorModel(), {"a": STEADY}, prepare=prepare))
    load = only(report)
    assert 6 <= known(load.total.gross_mj).n < 9
    assert known(load.total.gross_mj).value == pytest.approx(400, rel=0.005)
    assert known(load.rails[0].gross_mj).n == 9
    assert known(load.rails[1].gross_mj).n < 9


def test_a_negative_offset_of_a_rail_is_no_failure() -> None:
    """Thor's GPU rail reads -392 mW where next to nothing flows."""
    recording = run(
        SensorModel(), {"a": STEADY}, prepare=lambda meter: meter.split({"A": 1.0, "B": -0.005}, ["A", "B"], 1)
    )
    load = only(analyse(recording))
    assert known(load.total.gross_mj).value == pytest.approx(400 * 0.995, rel=0.003)
    assert known(load.rails[1].gross_mj).value == pytest.approx(-2, rel=0.05)


@pytest.mark.parametrize("ramp_ms", [60, 150, 300])
@pytest.mark.parametrize("declared", [SensorFacts(100 * MS, 25 * MS), SensorFacts()])
def test_a_device_that_rises_does_not_hide_that_the_sensor_looks_part_of_the_time(ramp_ms, declared) -> None:
    """The ramp makes the averaging window look as long as the period; the second load keeps step with the sensor."""
    model = SensorModel(100 * MS, 25 * MS)
    loads = {"steady": [(5 * MS, 250e3)], "bursts": [(50 * MS, 250e3), (50 * MS, 50e3)]}
    report = analyse(run(model, loads, idle_mw=50e3, ramp_ns=ramp_ms * MS, declared=declared))
    gross = known(report.loads[1].total.gross_mj)
    assert gross.value == pytest.approx(15_000, rel=0.02)
    assert gross.half_width < 0.03 * gross.value
    if declared.averaging_window_ns:
        assert gross.low <= 15_000 <= gross.high


@pytest.mark.parametrize("has_power", [True, False])
def test_a_device_that_rises_slowly_is_not_measured_while_it_does(has_power) -> None:
    model = SensorModel(tick_ns=20 * MS)
    report = analyse(run(model, {"a": STEADY}, ramp_ns=2_500 * MS, has_power=has_power))
    gross = known(only(report).total.gross_mj)
    assert gross.low <= 400 <= gross.high
    if has_power:
        assert gross.value == pytest.approx(400, rel=0.002)


def test_power_that_rises_within_all_windows_is_told() -> None:
    """Each time that this network's turn comes, its power takes seconds to rise."""

    def slow(machine: VirtualMachine) -> Callable[[], None]:
        began_ns, ended_ns = 0, 0

        def infer() -> None:
            nonlocal began_ns, ended_ns
            if machine.now_ns > ended_ns + S:
                began_ns = machine.now_ns
            machine.load((5 * MS, 80e3 * (1 - 0.3 * np.exp((began_ns - machine.now_ns) / (3 * S)))))()
            ended_ns = machine.now_ns

        return infer

    doubts = analyse(run(SensorModel(tick_ns=20 * MS), {"slow": slow, "b": STEADY}, has_power=False)).doubts
    assert any(doubt.startswith("slow: power changed by +") and "had not settled" in doubt for doubt in doubts), doubts
    assert not any(doubt.startswith("b: power changed") for doubt in doubts)


def test_first_inferences_that_are_slow_do_not_choose_the_window() -> None:
    recording = run(
        SensorModel(100 * MS, 25 * MS), {"a": STEADY}, slow_first=(3, 10.0), declared=SensorFacts(100 * MS, 25 * MS)
    )
    load = only(analyse(recording))
    assert load.window_s == pytest.approx(12, abs=0.5)
    assert known(load.total.gross_mj).value == pytest.approx(400, rel=0.01)


def test_idle_is_measured_when_the_device_has_come_to_rest() -> None:
    """A fan goes on for 8 s after a load."""
    load = only(analyse(run(COUNTER, {"a": STEADY}, after_load=(8 * S, 40e3))))
    assert known(load.total.net_mj).value == pytest.approx(300, rel=0.02)
    assert known(load.total.net_mj).low <= 300 <= known(load.total.net_mj).high


def test_a_meter_that_dies_ends_the_measurement() -> None:
    with pytest.raises(UnavailableError, match=r"no reading came in|has stopped to answer"):
        run(COUNTER, {"a": STEADY}, prepare=lambda meter: meter.silent_between.append((1_100 * S, 10**18)))


@pytest.mark.parametrize(("window_ms", "period_ms"), [(10, 20), (10, 40)])
def test_bursts_in_step_with_a_fast_part_time_sensor(window_ms, period_ms) -> None:
    """Hundreds of its periods are in a window: its period must be known closely for the load to slide past it."""
    for phase_ms in (0, 7, 13):
        model = SensorModel(period_ms * MS, window_ms * MS, phase_ns=phase_ms * MS)
        half_ns = period_ms * MS // 2
        load = only(analyse(run(model, {"a": [(half_ns, 250e3), (half_ns, 50e3)]}, idle_mw=50e3)))
        assert known(load.total.gross_mj).value == pytest.approx(150 * period_ms, rel=0.01)


def test_spikes_do_not_pass_for_noise_that_dithers() -> None:
    """A load that now and then draws 4 W more, in steps of 400 mW without noise: what they hide stays hidden."""
    phases = [(19 * 100 * MS, 13.2e3), (100 * MS, 17.2e3)]
    held = []
    for seed in range(12):
        declared, extra_mw = SensorFacts(100 * MS, 100 * MS, step_mw=400), 33.0 * seed
        recording = run(
            SensorModel(step_mw=400),
            {"a": phases},
            idle_mw=9e3,
            noise=0.0003,
            declared=declared,
            extra_mw=lambda _ns, extra_mw=extra_mw: extra_mw,
        )
        gross = known(only(analyse(recording)).total.gross_mj)
        held.append(gross.low <= 1.9 * 13.2e3 + 0.1 * 17.2e3 + 2 * extra_mw <= gross.high)
    assert sum(held) >= 11


def test_a_sensor_that_stops_in_the_middle_gives_no_figure() -> None:
    loads = run(SensorModel(), {"a": STEADY}).of("load", "a")

    def prepare(meter: VirtualMeter) -> None:
        meter.frozen_after_ns = loads[2].start_ns

    load = only(analyse(run(SensorModel(), {"a": STEADY}, prepare=prepare)))
    assert "stood still at" in reason(load.total.gross_mj)
    assert "the sensor has stopped" in reason(load.total.gross_mj)


def test_idle_is_that_of_the_figures_to_go_by() -> None:
    """The counter is reset, so samples count: idle and its drift are theirs."""

    def reset(meter: VirtualMeter) -> None:
        start_ns = meter.machine.now_ns
        meter.counter_offset_uj = lambda now_ns: -int((now_ns - start_ns) // (5 * S)) * 1_000_000_000

    report = analyse(run(COUNTER, {"a": STEADY}, prepare=reset, extra_mw=lambda ns: 40 * (ns / S - 1_000)))
    assert report.idle_before_mw is not None
    assert any("idle drifted by +" in doubt for doubt in report.doubts)


def interrupted(at_inference: int) -> Callable[[VirtualMachine], Callable[[], None]]:
    """A load during whose inference of that number Ctrl-C is pressed."""

    def load_of(machine: VirtualMachine) -> Callable[[], None]:
        infer, numbers = machine.load(*STEADY), count(1)

        def load() -> None:
            if next(numbers) == at_inference:
                raise KeyboardInterrupt
            infer()

        return load

    return load_of


def test_ctrl_c_after_three_rounds_keeps_what_was_measured() -> None:
    whole = run(COUNTER, {"a": STEADY})
    done = sum(
        stretch.marks[-1].inferences for stretch in whole.stretches if stretch.marks and (stretch.round or 0) < 5
    )
    recording = run(COUNTER, {"a": interrupted(done + 10)})
    assert recording.partial == "interrupted in round 6 of 9"
    assert [stretch.round for stretch in recording.of("load", "a")] == [0, 1, 2, 3, 4]
    report = analyse(recording)
    (load,) = report.loads
    assert known(load.total.gross_mj).n == 5
    assert known(load.total.gross_mj).value == pytest.approx(400, rel=0.01)
    assert isinstance(load.total.net_mj, Unavailable)  # idle after the rounds is not known
    assert any("interrupted in round 6 of 9" in doubt for doubt in report.doubts)


def test_ctrl_c_before_three_rounds_goes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(COUNTER, {"a": interrupted(50)})
