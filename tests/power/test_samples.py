"""Sampling beside the measured work: what is kept, what it costs, and what a sick meter may not do."""

import threading
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from espnet_edge.power.meter import Channel, MeterError, MeterInfo, Reading
from espnet_edge.power.samples import SampleLog, Sampler, running

S = 1_000_000_000
INFO = MeterInfo(
    source="test",
    device="a test",
    sees="gpu",
    scope="nothing",
    channels=(Channel("a", "power_mw"), Channel("b", "energy_uj")),
    condition_names=("temperature_c",),
)


class ScriptedMeter:
    """Reads what `values` gives at that instant; see `meter.Meter`."""

    info = INFO

    def __init__(self, values: Callable[[], tuple[float | None, ...] | None], clock=time.monotonic_ns) -> None:
        self.values, self.clock = values, clock
        self.closed = 0

    def read(self) -> Reading | None:
        values = self.values()
        return None if values is None else Reading(self.clock(), values)

    def read_conditions(self) -> tuple[float | None, ...]:
        return (50.0,)

    def close(self) -> None:
        self.closed += 1


class VirtualClock:
    def __init__(self) -> None:
        self.now_ns = 7 * S

    def __call__(self) -> int:
        return self.now_ns


def test_rows_come_back_in_order_with_what_was_not_read() -> None:
    log = SampleLog(["a", "b"])
    for time_ns, values in ((10, (1.5, None)), (20, (None, 2)), (20, (9, 9)), (15, (9, 9)), (2**62, (3, 2**52))):
        log.append(time_ns, values)
    time_ns, values = log.rows()
    assert time_ns.tolist() == [10, 20, 2**62]
    np.testing.assert_array_equal(values, [[1.5, np.nan], [np.nan, 2], [3, 2**52]])
    log.close()


def test_an_hour_at_100_hz_takes_no_more_memory_than_a_minute() -> None:
    clock = VirtualClock()
    sampler = Sampler(ScriptedMeter(lambda: (20e3, clock.now_ns // 1000), clock), clock=clock)

    def sample_for(seconds: int) -> None:
        for _ in range(seconds * 100):
            clock.now_ns += S // 100
            sampler.sample()

    tracemalloc.start()
    try:
        sample_for(60)
        after_a_minute = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        sample_for(3_540)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - after_a_minute < 500_000
    time_ns, values = sampler.readings.rows()
    assert time_ns.size == 360_000
    assert (np.diff(time_ns) == S // 100).all()
    assert values[-1].tolist() == [20e3, clock.now_ns // 1000]
    assert sampler.conditions.rows()[0].size == pytest.approx(3_600, abs=2)
    sampler.close()


def test_a_reading_that_fails_is_counted_and_leaves_a_gap() -> None:
    def values() -> tuple[float | None, ...] | None:
        clock.now_ns += S
        step = clock.now_ns // S
        if step % 3 == 0:
            raise MeterError("bus error")
        if step % 5 == 0:
            raise OSError("a driver's own fault")
        return None if step % 7 == 0 else (1.0, None)

    clock = VirtualClock()
    sampler = Sampler(ScriptedMeter(values, clock), clock=clock)
    for _ in range(30):
        sampler.sample()
    steps = range(8, 38)
    failures = [n for n in steps if n % 3 == 0 or n % 5 == 0]
    assert sampler.cost.failures == len(failures)
    assert sampler.cost.last_failure == "bus error"
    kept = [n * S for n in steps if n % 3 and n % 5 and n % 7]
    assert sampler.readings.rows()[0].tolist() == kept
    assert sampler.cost.readings == len(kept)
    sampler.close()


def test_a_meter_that_hangs_holds_up_neither_the_work_nor_the_end() -> None:
    let_go = threading.Event()

    def hang() -> tuple[float | None, ...]:
        let_go.wait(10)
        return (1.0, 1)

    sampler = Sampler(ScriptedMeter(hang))
    start_s = time.monotonic()
    with running(sampler, stop_limit_s=0.1):
        done = sum(range(1000))
    assert done == 499_500
    assert time.monotonic() - start_s < 5
    let_go.set()
    for thread in threading.enumerate():
        if thread.name == "power-sampler":
            thread.join()
    sampler.close()


def test_sampling_runs_beside_the_work(capsys) -> None:
    sampler = Sampler(ScriptedMeter(lambda: (1.0, 1)))
    with running(sampler):
        time.sleep(0.5)
    readings = sampler.cost.readings
    assert 5 < readings <= 51
    time.sleep(0.05)
    assert sampler.cost.readings == readings
    share = sampler.cost.cpu_ns / sampler.cost.wall_ns
    with capsys.disabled():
        print(f"\nsampling at 100 Hz took {share:.2%} of a core here")
    sampler.close()
    assert sampler.meter.closed == 1
