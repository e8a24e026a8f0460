"""Measures machines in virtual time, whose joules are known, and the recorded GPUs beside their external meter.

    python docs/measure_known_answers.py [FOLDER OF THE RECORDED TRACES]

prints the tables of docs/power.md. The machines are those of the tests.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from espnet_edge.power.analysis import analyse
from espnet_edge.power.campaign import Settings, measure
from espnet_edge.power.conditions import MachineConditions
from espnet_edge.power.figures import Figure
from espnet_edge.power.trace import SensorFacts
from espnet_edge.power.uncertainty import Estimate
from espnet_edge.runtime.power_report import figure_text
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


if __name__ == "__main__":
    _known_answers()
