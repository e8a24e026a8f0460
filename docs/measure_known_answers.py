"""Measures machines in virtual time, whose joules are known, and recorded GPUs beside their external meter.

    python docs/measure_known_answers.py [SHARED]

prints the tables of docs/power.md. The machines are those of the tests; SHARED is the folder of the reference data,
with the recorded traces in it.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from espnet_edge.power.analysis import analyse
from espnet_edge.power.boards import total_of
from espnet_edge.power.campaign import Settings, measure
from espnet_edge.power.conditions import MachineConditions
from espnet_edge.power.energy import mean_power_mw
from espnet_edge.power.figures import Figure
from espnet_edge.power.sensor import LoadStretch, SensorUnclearError, characterise
from espnet_edge.power.tegrastats import parse_line
from espnet_edge.power.trace import PowerTrace, SensorFacts
from espnet_edge.power.uncertainty import Estimate
from espnet_edge.runtime.power_report import figure_text
from nvml_traces import BURSTS_3090, BURSTS_A100, STEP_3090, STEP_4090, STEP_A100, STEP_A5000, read_recording
from virtual_machine import MS, S, SensorModel, VirtualMachine, VirtualMeter, sampler_of


@dataclass(frozen=True)
class Machine:
    """What is measured: an inference as (ns, mW), idle power, drift, the sensor, and what it declares."""

    name: str
    phases: Sequence[tuple[int, float]]
    idle_mw: float
    model: SensorModel
    declared: SensorFacts = field(default_factory=SensorFacts)
    extra_mw: Callable[[int], float] = lambda _ns: 0.0
    rails: dict[str, float] = field(default_factory=dict)


def _machines() -> Iterator[Machine]:
    steady, bursts = [(5 * MS, 80e3)], [(50 * MS, 250e3), (50 * MS, 50e3)]
    part_time = SensorModel(100 * MS, 25 * MS)
    yield Machine("5 ms at 80 W, counter of 100 ms", steady, 20e3, SensorModel(tick_ns=100 * MS))
    yield Machine("5 ms at 80 W, samples of 100 ms", steady, 20e3, SensorModel())
    yield Machine("5 ms at 80 W, mean over 1 s", steady, 20e3, SensorModel(100 * MS, 1000 * MS))
    yield Machine("5 ms at 80 W, processor's counter", steady, 20e3, SensorModel(tick_ns=MS))
    for phase_ms in (0, 25, 50, 75):
        declared = SensorFacts(100 * MS, 25 * MS, source="declared")
        model = replace(part_time, phase_ns=phase_ms * MS)
        yield Machine(f"50 ms 250 W, 50 ms 50 W, seen 25 of 100 ms, phase {phase_ms} ms", bursts, 50e3, model, declared)
    heating = SensorModel(tick_ns=100 * MS)
    yield Machine("the first, heating by 40 mW/s", steady, 20e3, heating, extra_mw=lambda ns: 40 * (ns / S - 1_000))
    rails = {"VDD_GPU_SOC": 0.5, "VDD_CPU_CV": 0.2, "VIN_SYS_5V0": 0.3}
    yield Machine("5 ms at 25 W on three rails of 400 mW steps", [(5 * MS, 25e3)], 9e3, SensorModel(), rails=rails)


def _figures(machine: Machine) -> tuple[float, Figure, Figure]:
    """True mean gross energy in the windows, and what was measured: gross and net. Units: mJ."""
    virtual = VirtualMachine(machine.idle_mw, extra_mw=machine.extra_mw)
    has_power = machine.model.tick_ns != MS
    meter = VirtualMeter(virtual, machine.model, declared=machine.declared, has_power=has_power)
    if machine.rails:
        meter.split(machine.rails, [*machine.rails], 400)
    sampler = sampler_of(virtual, meter)
    load = virtual.load(*machine.phases)
    recording = measure({"a": load}, sampler, Settings(), sleep=virtual.sleep, snapshot=MachineConditions)
    sampler.close()
    total = analyse(recording).loads[0].total
    seconds = sum(duration_ns for duration_ns, _ in machine.phases) / S
    pure_mj = sum(duration_ns * power_mw for duration_ns, power_mw in machine.phases) / S
    extra_mw = [machine.extra_mw(window.mid_ns) for window in total.windows]
    return pure_mj + seconds * sum(extra_mw) / len(extra_mw), total.gross_mj, total.net_mj


def _text(figure: Figure) -> str:
    return figure_text(figure) if isinstance(figure, Estimate) else figure.reason


def _known_answers() -> None:
    print("| machine | true gross mJ | measured | true net mJ | measured |\n|---|---|---|---|---|")
    for machine in _machines():
        true_mj, gross, net = _figures(machine)
        extra_free_mj = sum(duration_ns * (power_mw - machine.idle_mw) for duration_ns, power_mw in machine.phases) / S
        print(f"| {machine.name} | {true_mj:.1f} | {_text(gross)} | {extra_free_mj:.1f} | {_text(net)} |")


def _external_meters(shared: Path) -> None:
    print(
        "| recording | field | meter W | ours W | difference | period ms | window ms |\n|---|---|---|---|---|---|---|"
    )
    for name in (BURSTS_3090, BURSTS_A100, STEP_3090, STEP_4090, STEP_A100, STEP_A5000):
        recorded = read_recording(shared, name)
        meter_w = mean_power_mw(recorded.meter, *recorded.common_ns) / 1e3
        for column in ("power.draw", "power.draw.instant"):
            if (trace := recorded.columns.get(column)) is None:
                continue
            facts = _facts(trace, recorded.loads_ns)
            delay_ns = ((facts.averaging_window_ns or 0) + (facts.update_period_ns or 0)) // 2
            ours_w = mean_power_mw(trace.shifted(-delay_ns), *recorded.common_ns) / 1e3
            period_ms, window_ms = _ms(facts.update_period_ns), _ms(facts.averaging_window_ns)
            share = f"{ours_w / meter_w - 1:+.1%}"
            print(f"| {name} | {column} | {meter_w:.1f} | {ours_w:.1f} | {share} | {period_ms} | {window_ms} |")


def _facts(trace: PowerTrace, loads_ns: Sequence[tuple[int, int]]) -> SensorFacts:
    try:
        return characterise(trace, [LoadStretch(*load) for load in loads_ns]).facts
    except SensorUnclearError as error:
        return error.found


def _ms(time_ns: int | None) -> str:
    return "cannot be told" if time_ns is None else f"{round(time_ns / MS, 1):g}"


def _corpus(shared: Path) -> None:
    print("| board | lines | with rails | total is |\n|---|---|---|---|")
    text = (shared / "traces" / "tegrastats_corpus.jsonl").read_text()
    found: dict[str, list[tuple[str, ...]]] = {}
    for entry in map(json.loads, text.splitlines()):
        found.setdefault(entry["board"], []).append(tuple(parse_line(entry["line"])))
    for board, lines in sorted(found.items()):
        totals = {" + ".join(total_of(rails).rails) or "not known" for rails in lines if rails}
        print(f"| {board} | {len(lines)} | {sum(map(bool, lines))} | {'; '.join(sorted(totals)) or 'no rails'} |")


if __name__ == "__main__":
    _known_answers()
    for arguments in sys.argv[1:]:
        _external_meters(Path(arguments))
        _corpus(Path(arguments))
