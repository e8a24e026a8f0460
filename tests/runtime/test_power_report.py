"""What is printed of power: digits that mean something, reasons instead of numbers, doubts with their remedy."""

from dataclasses import replace

import pytest

from espnet_edge.errors import UnavailableError
from espnet_edge.power.analysis import analyse
from espnet_edge.power.campaign import Settings, measure
from espnet_edge.power.conditions import MachineConditions
from espnet_edge.power.figures import Unavailable
from espnet_edge.power.recording import Samples
from espnet_edge.power.samples import SamplerCost
from espnet_edge.power.uncertainty import Component, Estimate
from espnet_edge.runtime.power_report import (
    MeasuredPower,
    MissingPower,
    figure_text,
    nothing_known,
    power_definitions,
    power_doubts,
    power_json,
    power_rows,
    power_sentences,
)
from espnet_edge.runtime.runner import RunnerInfo
from results import line
from virtual_machine import MS, SensorModel, VirtualMachine, VirtualMeter, sampler_of

GPU, CPU = RunnerInfo("tensorrt", "10.3", "cuda", 1, "NVIDIA L4"), RunnerInfo("openvino", "2026.4", "cpu", 2)


@pytest.fixture(scope="module")
def measured() -> MeasuredPower:
    machine = VirtualMachine(20e3)
    sampler = sampler_of(machine, VirtualMeter(machine, SensorModel(tick_ns=100 * MS)))
    loads = {"seg": machine.load((5 * MS, 80e3)), "cls": machine.load((2 * MS, 50e3))}
    recording = measure(loads, sampler, Settings(), sleep=machine.sleep, snapshot=MachineConditions)
    sampler.close()
    return MeasuredPower(recording, analyse(recording))


def estimate(value: float, half_width: float) -> Estimate:
    return Estimate(value, half_width, 9, 7.0, (Component("between windows", half_width / 2.4),))


@pytest.mark.parametrize(
    ("value", "half_width", "text"),
    [
        (3.4138, 0.1234, "3.41 ± 0.12"),
        (412.34, 3.1, "412.3 ± 3.1"),
        (14953.7, 92.5, "14954 ± 92"),
        (0.012346, 0.00045, "0.01235 ± 0.00045"),
        (5.0, 0.0, "5.000 ± 0.000"),
        (-1.3, 9.31, "-1.3 ± 9.3"),
        (2e-16, 7.6e-15, "0.000000 ± 0.000000"),
        (-0.001, 0.5, "0.00 ± 0.50"),
        (-0.0, 0.0, "0.000 ± 0.000"),
        (-0.3, 5.0, "-0.3 ± 5.0"),
    ],
)
def test_two_digits_of_the_interval_and_as_many_of_the_value(value, half_width, text) -> None:
    assert figure_text(estimate(value, half_width)) == text


def test_what_is_not_known_is_no_number() -> None:
    assert figure_text(Unavailable("no board has these rails")) == "unknown"
    assert figure_text(estimate(2000.0, 100.0), 1e-3) == "2.00 ± 0.10"


def test_sentences_name_meter_rounds_windows_and_budget(measured) -> None:
    first, budget, other, *_ = power_sentences(measured)
    assert first.startswith("seg: 400.")
    assert "(95 %, virtual counter, n=9, 12 s windows); net of idle 300." in first
    assert budget.startswith("seg: standard uncertainties in mJ: between windows ")
    assert "its gain error is not known" in budget
    assert other.startswith("seg: by virtual samples 400.")
    rows = power_rows(measured)
    assert rows["seg"]["energy ratio"] == "1.00"
    assert rows["cls"]["energy ratio"].startswith(("0.25", "0.24"))
    assert float(rows["seg"]["inferences/J"]) == pytest.approx(2.5, rel=1e-3)
    text = "\n".join(power_definitions(measured))
    for words in ("virtual GPU", "Gross is all", "net is what idle", "a new reading every 100 ms", "9 for each line"):
        assert words in text


def test_a_figure_that_is_refused_is_told_with_its_reason(measured) -> None:
    first, *others = measured.energy.loads
    why = Unavailable("the meter fell off")
    total = replace(first.total, gross_mj=why, net_mj=why, power_mw=why)
    refused = replace(measured, energy=replace(measured.energy, loads=(replace(first, total=total), *others)))
    assert power_sentences(refused)[0] == "seg: energy unknown: the meter fell off"
    assert power_rows(refused)["seg"]["inferences/J"] == power_rows(refused)["seg"]["energy ratio"] == "unknown"
    assert nothing_known(refused) is None
    alone = replace(refused, energy=replace(refused.energy, loads=refused.energy.loads[:1]))
    assert nothing_known(alone) == "the meter fell off"
    assert power_json(refused)["result"]["loads"][0]["total"]["gross_mj"] == {"reason": "the meter fell off"}


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_no_energy_has_no_inferences_per_joule(measured, value: float) -> None:
    load, *_ = measured.energy.loads
    none = replace(load, total=replace(load.total, gross_mj=estimate(value, 1.0)))
    rows = power_rows(replace(measured, energy=replace(measured.energy, loads=(none,))))
    assert rows["seg"]["inferences/J"] == "unknown"


def test_a_meter_that_does_not_see_what_computes(measured) -> None:
    assert not any("the meter sees" in doubt for doubt in power_doubts(measured, [GPU]))
    (doubt,) = (doubt for doubt in power_doubts(measured, [GPU, CPU]) if "the meter sees" in doubt)
    assert doubt == "the meter sees the GPU alone, and the processor computed here: choose another --power-source"


def test_lines_of_a_result_tell_what_computed(measured) -> None:
    assert power_doubts(measured, [line(device="cpu")]) == power_doubts(measured, [CPU])
    assert power_doubts(measured, [line(device="cuda")]) == power_doubts(measured, [GPU])
    assert power_doubts(measured, [CPU]) != power_doubts(measured, [GPU])


@pytest.mark.parametrize(
    ("busy_percent", "source", "runners", "doubted"),
    [
        (0.0, "nvml", [GPU], True),
        (4.0, "nvml", [CPU, GPU], True),
        (60.0, "nvml", [GPU], False),
        (None, "nvml", [GPU], False),
        (0.0, "nvml", [CPU], False),
        (0.0, "replay", [GPU], False),
    ],
)
def test_a_meter_of_another_gpu_than_the_one_that_computes(measured, busy_percent, source, runners, doubted) -> None:
    """It is idle under every load."""
    recording = measured.recording
    times_ns = recording.conditions.time_ns
    conditions = Samples(times_ns, {"utilisation_percent": (busy_percent,) * len(times_ns)})
    meter = replace(recording.meter, source=source, condition_names=("utilisation_percent",))
    other = replace(measured, recording=replace(recording, conditions=conditions, meter=meter))
    found = [doubt for doubt in power_doubts(other, runners) if "another GPU computed" in doubt]
    assert len(found) == doubted
    assert all(doubt.startswith(f"virtual GPU was busy for {busy_percent:.0f} % of the time") for doubt in found)


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (("12 s windows", "12 s windows"), "after; 12 s windows"),
        (("12 s windows", "pauses"), "after; seg: 12 s windows; cls: pauses"),
    ],
)
def test_each_reason_of_a_plan_is_told_once(measured, reasons, told) -> None:
    recording = measured.recording
    named = zip(recording.plans.items(), reasons, strict=True)
    plans = {name: replace(plan, reason=reason) for (name, plan), reason in named}
    text = power_definitions(replace(measured, recording=replace(recording, plans=plans)))[-1]
    assert text.startswith("power rounds: 9 for each line")
    assert text.endswith(told)


def test_a_rail_says_how_well_it_is_known(measured) -> None:
    first, *_ = measured.energy.loads
    rail = replace(first.total, label="VDD_GPU", gain_error=0.015, offset_mj=0.25)
    unknown = replace(rail, label="VDD_CPU", gross_mj=Unavailable("it was never read"))
    energy = replace(measured.energy, loads=(replace(first, rails=(rail, unknown)),))
    *_, told, refused = power_sentences(replace(measured, energy=energy))
    assert told.startswith("seg: VDD_GPU 400.")
    assert told.endswith(
        "(n=9; apart from the intervals the sensor: its gain, ±1.5%, and its offset, ±0.25 mJ, which net energy has "
        "not)"
    )
    assert refused.startswith("seg: VDD_CPU unknown (it was never read), net ")
    assert "gain" not in refused


def test_sampling_that_cost_too_much_or_failed(measured) -> None:
    cost = SamplerCost(readings=90, failures=10, last_failure="bus error", cpu_ns=20, wall_ns=1000)
    doubts = power_doubts(replace(measured, recording=replace(measured.recording, cost=cost)), [GPU])
    assert any("sampling took 2.0% of a core" in doubt for doubt in doubts)
    assert any("10 readings of 100 failed, the last one: bus error" in doubt for doubt in doubts)


def test_power_that_is_missing() -> None:
    missing = MissingPower(UnavailableError("nothing here"), ())
    assert power_sentences(missing) == ["not measured: nothing here"]
    assert power_json(missing) == {"schema_version": 1, "unavailable": "nothing here", "probes": []}
    assert power_definitions(missing) == power_doubts(missing, [GPU]) == []
