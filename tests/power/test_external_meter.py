"""Energy from nvidia-smi's readings against a meter of 4.78 kHz in the cables of the same card, at the same time.

Recordings of Yang et al. (arXiv 2312.02741, github.com/JimZeyuYang/GPU_Power_Benchmark, MIT), and the gains that their
workbook gives for these two models; a gain is of one card, so a model's is not known more closely than to some percent.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from espnet_edge.power.energy import coverage, mean_power_mw
from espnet_edge.power.plan import delay_ns
from espnet_edge.power.sensor import LoadStretch, SensorUnclearError, characterise
from espnet_edge.power.trace import PowerTrace, SensorFacts
from nvml_traces import BURSTS_3090, BURSTS_A100, STEP_3090, STEP_4090, STEP_A100, STEP_A5000, Recording, read_recording
from power_signals import MS

pytestmark = pytest.mark.shared
NAMES = (BURSTS_3090, BURSTS_A100, STEP_3090, STEP_4090, STEP_A100, STEP_A5000)
# W, as the recordings' description has them: of the meter, and of the column power.draw.
STATED = {
    BURSTS_3090: (292.9, 278.2),
    BURSTS_A100: (125.0, 123.1),
    STEP_3090: (277.6, 272.1),
    STEP_4090: (217.8, 209.2),
    STEP_A100: (126.9, 120.2),
    STEP_A5000: (152.2, 148.0),
}
# Of the 3090 the workbook has a gain of 0.944 and, with an offset, 4 % less on the whole; of the A100 PCIe 5.5 % less.
# A point on each side for the card, which may not be the same.
OF_3090 = (-0.056 - 0.01, -0.04 + 0.01)
OF_A100 = (-0.055 - 0.01, -0.055 + 0.01)
# A sensor that sees 25 of every 100 ms sees bursts of 50 ms at some 80 phases in the window. Were these drawn at
# random, the mean would be off by 6 % (one standard deviation: 0.55 of the mean over the root of 80).
OF_A100_BURSTS = (-0.055 - 0.06, -0.055 + 0.06)
# From the K80's -8.9 % to the 2060 Super's +10.9 %: of the 4090 and the A5000 the workbook's gains were not at hand.
ANY_CARD = (-0.089, 0.109)


@dataclass(frozen=True)
class Expected:
    """By which share nvidia-smi may be off, and the averaging window by Yang et al. where the recording has none."""

    name: str
    column: str
    least: float
    most: float
    window_ns: int | None = None


EXPECTED = [
    Expected(BURSTS_3090, "power.draw", *OF_3090),
    Expected(BURSTS_3090, "power.draw.instant", *OF_3090),
    Expected(STEP_3090, "power.draw", *OF_3090),
    Expected(STEP_3090, "power.draw.instant", *OF_3090),
    Expected(STEP_A100, "power.draw", *OF_A100, 25 * MS),
    Expected(STEP_A100, "power.draw.instant", *OF_A100, 25 * MS),
    Expected(BURSTS_A100, "power.draw", *OF_A100_BURSTS),
    Expected(BURSTS_A100, "power.draw.instant", *OF_A100_BURSTS),
    Expected(STEP_4090, "power.draw", *ANY_CARD),
    Expected(STEP_A5000, "power.draw", *ANY_CARD),
    Expected(STEP_A5000, "power.draw.instant", *ANY_CARD, 100 * MS),
]


@cache
def recording(shared: Path, name: str) -> Recording:
    return read_recording(shared, name)


def facts_of(recorded: Recording, expected: Expected) -> SensorFacts:
    trace = recorded.columns[expected.column]
    try:
        return characterise(trace, [LoadStretch(*load) for load in recorded.loads_ns]).facts
    except SensorUnclearError as error:
        assert expected.window_ns is not None
        return error.found.updated(averaging_window_ns=expected.window_ns)


def moved_back(trace: PowerTrace, facts: SensorFacts) -> PowerTrace:
    return trace.shifted(-delay_ns(facts, facts.update_period_ns or 0))


def mean_of_inner_samples_w(trace: PowerTrace, start_ns: int, end_ns: int) -> float:
    """Trapezoids between the samples inside the window, over all of it: what lies before and after them is lost."""
    inside = (trace.time_ns >= start_ns) & (trace.time_ns <= end_ns)
    time_ns, power_mw = trace.time_ns[inside], trace.power_mw[inside]
    return float(((power_mw[1:] + power_mw[:-1]) / 2 * np.diff(time_ns)).sum() / (end_ns - start_ns) / 1e3)


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_means_are_those_without_interpolated_edges(shared, name) -> None:
    recorded = recording(shared, name)
    meter_w, smi_w = STATED[name]
    assert mean_of_inner_samples_w(recorded.meter, *recorded.common_ns) == pytest.approx(meter_w, abs=0.06)
    assert mean_of_inner_samples_w(recorded.columns["power.draw"], *recorded.common_ns) == pytest.approx(
        smi_w, abs=0.06
    )


@pytest.mark.parametrize("name", NAMES)
def test_means_with_interpolated_edges_are_a_little_higher(shared, name) -> None:
    """By up to two polls of 13 ms in 8 s; the meter's samples are so close that its edges do not matter."""
    recorded = recording(shared, name)
    meter_w, smi_w = STATED[name]
    assert mean_power_mw(recorded.meter, *recorded.common_ns) / 1e3 == pytest.approx(meter_w, abs=0.07)
    ours_w = mean_power_mw(recorded.columns["power.draw"], *recorded.common_ns) / 1e3
    assert smi_w < ours_w < smi_w * 1.0025


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda expected: f"{expected.name} {expected.column}")
def test_energy_is_off_by_the_cards_gain_alone(shared, expected) -> None:
    recorded = recording(shared, expected.name)
    start_ns, end_ns = recorded.common_ns
    trace = recorded.columns[expected.column]
    ours_mw = mean_power_mw(moved_back(trace, facts_of(recorded, expected)), start_ns, end_ns)
    assert coverage(trace.time_ns, start_ns, end_ns, 13 * MS).doubt(50 * MS) is None
    assert expected.least <= ours_mw / mean_power_mw(recorded.meter, start_ns, end_ns) - 1 <= expected.most


@pytest.mark.parametrize("name", [BURSTS_3090, STEP_3090, STEP_A5000])
def test_two_fields_of_one_card_agree_once_moved_back_by_their_delay(shared, name) -> None:
    """As read, the mean over 1 s of a card that steps down is up to 4 % above the momentary power."""
    recorded = recording(shared, name)
    moved_mw = []
    for column in ("power.draw", "power.draw.instant"):
        facts = facts_of(recorded, Expected(name, column, 0, 0, 100 * MS))
        moved_mw.append(mean_power_mw(moved_back(recorded.columns[column], facts), *recorded.common_ns))
    assert moved_mw[0] == pytest.approx(moved_mw[1], rel=0.012)
    if name != BURSTS_3090:
        as_read_mw = [
            mean_power_mw(recorded.columns[c], *recorded.common_ns) for c in ("power.draw", "power.draw.instant")
        ]
        assert as_read_mw[0] / as_read_mw[1] - 1 > 0.02
