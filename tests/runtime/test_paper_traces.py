"""Power over time for the same work, on a machine in virtual time whose power is known."""

import time

import numpy as np
import pytest

from espnet_edge.errors import UnavailableError
from espnet_edge.power.meter import Channel, MeterInfo, Reading
from espnet_edge.runtime.paper.comparison import traced
from espnet_edge.runtime.paper.low_pass import PERIOD_NS
from espnet_edge.runtime.paper.work_trace import images_for, traces
from espnet_edge.runtime.result import WorkTrace
from espnet_edge.runtime.work import Work
from virtual_machine import MS, S, SensorModel, VirtualMachine, VirtualMeter, sampler_of

IDLE_MW = 1e3
# Time and power of an inference.
LOADS = {"slow": (50 * MS, 4e3), "fast": (20 * MS, 6e3), "frugal": (40 * MS, 2e3)}


def recorded(
    model: SensorModel | None = None, *, images: int = 60, batch: int = 1, seed: int = 0, **meter_options
) -> dict[str, WorkTrace]:
    machine = VirtualMachine(IDLE_MW, noise=0.0)
    meter = VirtualMeter(machine, model or SensorModel(20 * MS, 20 * MS), **meter_options)
    sampler = sampler_of(machine, meter, PERIOD_NS)
    works = {name: Work((machine.load(load),), batch) for name, load in LOADS.items()}
    try:
        found = traces(works, sampler, images=images, seed=seed, sleep=machine.sleep)
        return {trace.line: trace for trace in found}
    finally:
        sampler.close()


@pytest.mark.parametrize("way", ["power", "counter"])
def test_the_same_work_from_idle_to_idle(way: str) -> None:
    found = recorded() if way == "power" else recorded(SensorModel(tick_ns=1 * MS), has_power=False)
    assert found.keys() == LOADS.keys()
    for name, (inference_ns, power_mw) in LOADS.items():
        trace = found[name]
        work_s = 60 * inference_ns / S
        assert (trace.images, trace.work_s) == (60, pytest.approx(work_s))
        assert -2 <= trace.time_s[0] < -1.8
        assert work_s + 1.8 < trace.time_s[-1] <= work_s + 2
        power = dict(zip(trace.time_s, trace.power_w, strict=True))
        before = [watts for time_s, watts in power.items() if time_s < 0]
        during = [watts for time_s, watts in power.items() if 0.2 < time_s < work_s - 0.1]
        assert np.mean(before) == pytest.approx(IDLE_MW / 1e3, abs=0.05)
        assert np.mean(during) == pytest.approx(power_mw / 1e3, abs=0.05)
        # The filtered curve has a point every 100 ms, and rises and falls as the paper's do.
        assert np.diff(trace.filtered_time_s) == pytest.approx(0.1)
        after = [w for t, w in zip(trace.filtered_time_s, trace.filtered_w, strict=True) if t > work_s + 0.35]
        falling = np.array(after[:6]) - IDLE_MW / 1e3
        assert falling[1:] / falling[:-1] == pytest.approx(0.75, abs=0.01)


def test_batches_are_whole_and_the_order_is_drawn() -> None:
    found = recorded(images=5, batch=4)
    assert {trace.images for trace in found.values()} == {8}
    assert len({tuple(recorded(images=1, seed=seed)) for seed in range(8)}) > 2
    assert list(recorded(images=1, seed=3)) == list(recorded(images=1, seed=3))


def test_the_slowest_sets_the_number_of_images() -> None:
    machine = VirtualMachine(IDLE_MW)
    works = {name: Work((machine.load(load),), 8) for name, load in LOADS.items()}
    # 50 ms for 8 images: 100 inferences in 5 s.
    assert images_for(works, clock=machine.clock) == 800
    assert images_for({"long": Work((machine.load((20 * S, 2e3)),), 8)}, clock=machine.clock) == 8


class SteadyMeter:
    """Reads 5 W at any time, of the system's clock."""

    def __init__(self) -> None:
        self.info = MeterInfo("test", "a device", "cpu", "all of it", (Channel("total", "power_mw"),), ("total",))
        self.is_open = True

    def read(self) -> Reading:
        return Reading(time.monotonic_ns(), (5000.0,))

    def read_conditions(self) -> tuple[float, ...]:
        return ()

    def close(self) -> None:
        self.is_open = False


def test_in_real_time_ctrl_c_keeps_the_traces_that_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espnet_edge.runtime.paper.work_trace.IDLE_S", 0.3)
    monkeypatch.setattr("espnet_edge.runtime.paper.work_trace._MARGIN_S", 0.25)
    calls = []

    def work() -> None:
        # Once before each trace, then 10 times.
        if len(calls) == 15:
            raise KeyboardInterrupt
        calls.append(time.sleep(0.02))

    meter = SteadyMeter()
    found = traced({name: Work((work,)) for name in "abc"}, lambda: meter, images=10, seed=0)
    assert (found.reason, found.interrupted) == ("interrupted after 1 of 3 traces", True)
    (trace,) = found.traces
    assert set(trace.power_w) == set(trace.filtered_w) == {5.0}
    assert trace.work_s >= 0.2
    assert not meter.is_open


def test_readings_that_stop_are_no_trace() -> None:
    machine = VirtualMachine(IDLE_MW)
    meter = VirtualMeter(machine, SensorModel(20 * MS, 20 * MS))
    meter.silent_between = [(machine.now_ns + 3 * S, machine.now_ns + 1000 * S)]
    sampler = sampler_of(machine, meter, PERIOD_NS)
    works = {"a": Work((machine.load(LOADS["slow"]),))}
    with pytest.raises(UnavailableError, match=r"do not cover the work of a \(the virtual meter does not answer\)"):
        list(traces(works, sampler, images=60, sleep=machine.sleep))
    sampler.close()


def test_a_meter_without_a_total_says_so() -> None:
    machine = VirtualMachine(IDLE_MW)
    meter = VirtualMeter(machine, SensorModel(20 * MS, 20 * MS))
    meter.split({"left": 0.5, "right": 0.5}, (), 1.0)
    sampler = sampler_of(machine, meter, PERIOD_NS)
    with pytest.raises(UnavailableError, match="no board in the table has these rails"):
        list(traces({"a": Work((machine.load(LOADS["slow"]),))}, sampler, images=1, sleep=machine.sleep))
    sampler.close()


def test_what_ends_the_panel_is_its_reason() -> None:
    def no_meter() -> VirtualMeter:
        raise UnavailableError("nothing here reads power")

    works = {"a": Work((lambda: None,))}
    found = traced(works, no_meter, images=1, seed=0)
    assert (found.traces, found.reason, found.interrupted) == ((), "nothing here reads power", False)

    def interrupting() -> VirtualMeter:
        raise KeyboardInterrupt

    found = traced(works, interrupting, images=1, seed=0)
    assert (found.reason, found.interrupted) == ("interrupted after 0 of 1 traces", True)
