"""The latency engine, mostly in virtual time: how long, in which order, what is kept."""

import os
import signal
import threading
import time
from dataclasses import asdict, replace

import pytest

from espnet_edge.errors import InputError
from espnet_edge.runtime import bench, open_runner
from espnet_edge.runtime.bench import BenchSettings
from espnet_edge.runtime.feeds import random_feeds
from espnet_edge.runtime.work import Work

MS = 1_000_000
# No warm-up, three timed inferences in each of four rounds.
PLAIN = BenchSettings(rounds=4, iterations=3, warmup_iterations=0, warmup_s=0, max_warmup_s=0)


class Clock:
    """Time that passes only when a call runs or somebody sleeps. Units: ns."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        # Looking at the clock takes time, too.
        self.now += max(round(seconds * 1e9), 1000)


class Scripted:
    """A call that takes `durations_ms` in turn, again from the start at the end."""

    def __init__(self, clock, durations_ms, called=None):
        self.clock, self.durations_ms, self.called, self.count = clock, durations_ms, called or (lambda: None), 0

    def __call__(self):
        self.clock.now += round(self.durations_ms[self.count % len(self.durations_ms)] * MS)
        self.count += 1
        self.called()


def scripted(durations_ms, settings=PLAIN, **options):
    """Result and calls of a bench of lines that take the given times."""
    clock, calls = Clock(), []
    works = {
        name: Work((Scripted(clock, times, lambda name=name: calls.append(name)),))
        for name, times in durations_ms.items()
    }
    return bench(works, settings, clock=clock, sleep=clock.sleep, **options), calls


def one_line(durations_ms, settings=PLAIN):
    (line,) = scripted({"a": durations_ms}, settings)[0].lines
    return line


def test_every_sample_is_kept_in_whole_nanoseconds():
    line = one_line([9, 8, 1, 2, 3], replace(PLAIN, rounds=2, warmup_iterations=1))
    # Warm-up 9; round 1: 8 discarded, 1, 2, 3; round 2: 9 discarded, 8, 1, 2.
    assert line.warmup_ns == (9 * MS,)
    assert line.discarded_ns == (8 * MS, 9 * MS)
    assert line.samples_ns == ((1 * MS, 2 * MS, 3 * MS), (8 * MS, 1 * MS, 2 * MS))
    assert line.starts_ns == ((17 * MS, 18 * MS, 20 * MS), (32 * MS, 40 * MS, 41 * MS))
    assert line.elapsed_ns == (6 * MS, 11 * MS)
    assert line.service_ns is None
    assert line.service_summary is None
    assert all(type(sample) is int for block in line.samples_ns for sample in block)
    assert (line.summary.n, line.summary.p50_ms, line.summary.max_ms) == (6, 2, 8)
    assert line.round_medians_ns == (2 * MS, 2 * MS)
    assert line.throughput_per_s == pytest.approx(6 / 0.017)


def test_blocks_are_interleaved_in_the_seeded_order():
    names = {"a": [1], "b": [2], "c": [3]}
    result, calls = scripted(names, replace(PLAIN, rounds=6, warmup_iterations=1, seed=3))
    expected = ["a", "b", "c"] + [name for order in result.order for name in order for _ in range(4)]
    assert calls == expected
    assert all(sorted(order) == ["a", "b", "c"] for order in result.order)
    assert len(set(result.order)) > 1
    assert result.partial is None
    again = replace(PLAIN, rounds=6, warmup_iterations=1, seed=3)
    assert scripted(names, again)[0] == result
    assert scripted(names, replace(again, seed=4))[0].order != result.order


def test_a_block_lasts_until_both_iterations_and_time_are_reached():
    settings = replace(PLAIN, rounds=1, iterations=3, block_s=0.5)
    assert len(one_line([400], settings).samples_ns[0]) == 3
    assert len(one_line([10], settings).samples_ns[0]) == 50


def test_ratio_is_paired_by_round():
    # Each round of 4 calls takes twice as long as the one before: only the pairs tell that b takes 3 times as long.
    slowing = [1] * 4 + [2] * 4 + [4] * 4 + [8] * 4 + [16] * 4
    result, _ = scripted({"a": slowing, "b": [3 * t for t in slowing]}, replace(PLAIN, rounds=5))
    ratio = result.ratio(result.lines[1])
    assert (ratio.median, ratio.minimum, ratio.maximum, ratio.rounds) == (3, 3, 3, 5)
    assert (ratio.low, ratio.high) == (3, 3)
    assert result.ratio(result.lines[0]).median == 1
    result, _ = scripted({"a": [1], "b": [2] * 4 + [3] * 4 + [7] * 4}, replace(PLAIN, rounds=3))
    ratio = result.ratio(result.lines[1])
    assert (ratio.median, ratio.minimum, ratio.maximum) == (3, 2, 7)
    assert (ratio.low, ratio.high) == (None, None)


def test_progress_is_told_between_blocks():
    told = []
    settings = replace(PLAIN, rounds=2, warmup_iterations=1)
    _, calls = scripted({"a": [1], "b": [1]}, settings, progress=lambda *step: told.append(step))
    assert [done for _, done, _ in told] == [0, 1, 2, 3, 4, 5, 6]
    assert {total for _, _, total in told} == {6}
    assert told[0][0] == "warm-up: a"
    assert told[2][0].startswith("round 1 of 2: ")
    assert told[-1][0] == "done"
    assert len(calls) == 2 + 2 * 2 * 4


# ---- warm-up


REST = replace(PLAIN, rounds=1, max_warmup_s=2)


@pytest.mark.parametrize(
    ("durations_ms", "settings", "count", "steady"),
    [
        # Windows of three: 80, 60, then three of 50.
        ([80] * 3 + [60] * 3 + [50] * 1000, REST, 15, True),
        # Windows of 100 ms are full of fast inferences.
        ([1], REST, 300, True),
        ([1], replace(REST, warmup_s=0.45), 500, True),
        ([50], replace(REST, warmup_iterations=11), 12, True),
        # One long inference does not move a median.
        ([50, 50, 90], REST, 9, True),
        # 5 % is still at rest, more is not: then the window that comes next decides.
        ([50] * 3 + [51] * 3 + [52.5] * 3, REST, 9, True),
        ([50] * 3 + [51] * 3 + [52.6] * 300, REST, 12, True),
        # Two levels in turn: 5 x (150 + 240) ms, and one inference up to 2 s.
        ([50] * 3 + [80] * 3, REST, 31, False),
        # Every window is 3 % slower than the one before: 6 % over three.
        ([40 * 1.03 ** (i // 3) for i in range(300)], replace(REST, max_warmup_s=1), 23, False),
        # Slower than the longest warm-up: the least number all the same.
        ([20_000], replace(REST, warmup_iterations=2), 2, False),
        ([20_000], REST, 1, False),
        ([1], PLAIN, 0, False),
    ],
)
def test_warm_up_ends_when_the_line_has_come_to_rest(durations_ms, settings, count, steady):
    line = one_line(durations_ms, settings)
    assert (len(line.warmup_ns), line.steady) == (count, steady)


# ---- fixed rate


def stalling(rate_hz):
    """100 inferences of 10 ms, of which the 41st stalls for 200 ms; one is discarded before."""
    durations_ms = [10] * 101
    durations_ms[41] = 200
    return one_line(durations_ms, replace(PLAIN, rounds=1, iterations=100, rate_hz=rate_hz))


def test_a_closed_loop_hides_a_stall():
    summary = stalling(None).summary
    assert (summary.n, summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.max_ms) == (100, 10, 10, 10, 200)
    # Rank 98.01 of 0 to 99: between 10 and 200.
    assert summary.p99_ms == pytest.approx(10 + 0.01 * 190)


def test_arrivals_at_a_fixed_rate_see_the_stall():
    line = stalling(50)
    # Arrivals every 20 ms, each served in 10: the backlog of 200 ms shrinks by 10 ms for each of them.
    expected = [10] * 40 + [200 - 10 * behind for behind in range(19)] + [10] * 41
    assert line.samples_ns == (tuple(ms * MS for ms in expected),)
    summary = line.summary
    # Ranks 49.5, 89.1, 94.05 and 98.01 of 81 times 10, then 20, 30, ... 200.
    assert summary.p50_ms == 10
    assert summary.p90_ms == pytest.approx(101)
    assert summary.p95_ms == pytest.approx(150.5)
    assert summary.p99_ms == pytest.approx(190.1)
    # The work itself took as long as in the closed loop.
    assert line.service_summary == stalling(None).summary
    assert line.elapsed_ns == (2000 * MS,)
    assert line.throughput_per_s == pytest.approx(50)


def test_the_timetable_does_not_drift():
    line = one_line([10], replace(PLAIN, rounds=1, iterations=1, block_s=1, rate_hz=30))
    # The discarded inference ends at 10 ms.
    assert line.starts_ns == (tuple(10 * MS + round(number * 1e9 / 30) for number in range(30)),)
    assert set(line.samples_ns[0]) <= {10 * MS + late for late in range(1000)}
    assert line.service_ns == ((10 * MS,) * 30,)


def test_a_line_that_is_too_slow_drops_nothing():
    line = one_line([10], replace(PLAIN, rounds=1, iterations=20, rate_hz=1000))
    assert line.starts_ns == (tuple(10 * MS + number * MS for number in range(20)),)
    assert line.samples_ns == (tuple(10 * MS * (number + 1) - number * MS for number in range(20)),)


# ---- streams


class ThreadClock(threading.local):
    """A time for each thread, as if each had a processor of its own."""

    now = 0

    def __call__(self):
        return self.now


def test_streams_are_pooled_over_their_common_time():
    clock = ThreadClock()
    # The discarded inference takes no time, so that the threads' times agree when they start.
    calls = (Scripted(clock, [0] + [10] * 4), Scripted(clock, [0] + [25] * 4))
    result = bench({"a": Work(calls, images=8)}, replace(PLAIN, rounds=2, iterations=4), clock=clock)
    (line,) = result.lines
    assert line.discarded_ns == (0, 0, 0, 0)
    assert line.elapsed_ns == (100 * MS, 100 * MS)
    # By their starts: 0, 10, 20, 30 and 0, 25, 50, 75 ms.
    assert line.starts_ns == (tuple(ms * MS for ms in (0, 0, 10, 20, 25, 30, 50, 75)),) * 2
    assert line.samples_ns == (tuple(ms * MS for ms in (10, 25, 10, 10, 25, 10, 25, 25)),) * 2
    assert line.throughput_per_s == pytest.approx(8 * 8 / 0.1)


def test_streams_run_at_the_same_time_in_threads_of_their_own():
    # Each call waits until the other stream is in its call, too.
    both, threads = threading.Barrier(2, timeout=30), {0: set(), 1: set()}

    def call_of(stream):
        def call():
            threads[stream].add(threading.get_ident())
            both.wait()

        return call

    result = bench({"a": Work((call_of(0), call_of(1)))}, replace(PLAIN, rounds=1, iterations=5))
    assert result.lines[0].summary.n == 10
    assert len(threads[0]) == len(threads[1]) == 1
    assert threading.get_ident() not in threads[0] | threads[1]
    assert threads[0] != threads[1]


def test_one_stream_runs_in_the_callers_thread():
    threads = set()
    bench({"a": Work((lambda: threads.add(threading.get_ident()),))}, replace(PLAIN, warmup_iterations=2))
    assert threads == {threading.get_ident()}


def test_streams_warm_up_together():
    counts = [0, 0]

    def call_of(stream):
        def call():
            counts[stream] += 1
            time.sleep(0.001)

        return call

    settings = replace(PLAIN, rounds=1, iterations=1, warmup_iterations=4)
    (line,) = bench({"a": Work((call_of(0), call_of(1)))}, settings).lines
    assert len(line.warmup_ns) == 8
    assert counts == [6, 6]


def test_a_free_stream_takes_the_next_arrival():
    arrivals, counts, is_stuck, rest_done = 12, [0, 0], threading.Event(), threading.Event()

    def stuck():
        counts[0] += 1
        if counts[0] == 2:  # after the discarded one
            is_stuck.set()
            assert rest_done.wait(30)

    def free():
        counts[1] += 1
        if counts[1] > 1:
            assert is_stuck.wait(30)
        if counts[1] == arrivals:
            rest_done.set()

    settings = replace(PLAIN, rounds=1, iterations=arrivals // 2, rate_hz=1000)
    (line,) = bench({"a": Work((stuck, free))}, settings).lines
    assert counts == [2, arrivals]
    first = line.starts_ns[0][0]
    assert [start - first for start in line.starts_ns[0]] == [number * MS for number in range(arrivals)]
    # It took the first arrival or the second, and waited for the last one's instant.
    assert max(line.samples_ns[0]) >= 10 * MS


@pytest.mark.parametrize("failing", [1, 7])
def test_a_failing_stream_stops_the_others(failing):
    counts = [0, 0]

    def good():
        counts[0] += 1

    def bad():
        counts[1] += 1
        if counts[1] == failing:
            raise ValueError("no memory left")

    before = threading.active_count()
    with pytest.raises(ValueError, match="no memory left"):
        bench({"a": Work((good, bad))}, replace(PLAIN, iterations=10_000_000))
    assert threading.active_count() == before
    assert counts[0] < 10_000_000


# ---- stages


def test_stages_have_blocks_of_their_own_after_the_timed_ones():
    calls = []

    def staged():
        calls.append("staged")
        return {"h2d": len(calls), "compute": 5 * MS}

    work = Work((lambda: calls.append("plain"),), staged=staged)
    settings = replace(PLAIN, rounds=2, iterations=2)
    (line,) = bench({"a": work}, settings).lines
    # One of each block is discarded.
    assert calls == (["plain"] * 3 + ["staged"] * 3) * 2
    assert dict(line.stages_ns) == {"h2d": ((5, 6), (11, 12)), "compute": ((5 * MS,) * 2,) * 2}
    assert (line.stages["compute"].n, line.stages["compute"].p50_ms) == (4, 5)
    assert line.summary.n == 4
    calls.clear()
    assert bench({"a": work}, replace(settings, stages=False)).lines[0].stages_ns == {}
    assert "staged" not in calls


# ---- Ctrl-C


def interrupted_at(call, settings):
    """Result of a bench of two lines in which Ctrl-C is pressed in that call of the second."""
    clock = Clock()

    def press():
        if second.count == call:
            raise KeyboardInterrupt

    second = Scripted(clock, [2], press)
    works = {"a": Work((Scripted(clock, [1]),)), "b": Work((second,))}
    return bench(works, settings, clock=clock)


def test_an_interrupted_bench_keeps_the_complete_rounds():
    settings = replace(PLAIN, rounds=10)
    result = interrupted_at(10, settings)
    assert result.partial == "interrupted in round 3 of 10"
    assert result.settings == settings
    assert len(result.order) == 2
    assert [line.samples_ns for line in result.lines] == [((MS,) * 3,) * 2, ((2 * MS,) * 3,) * 2]
    assert [len(line.elapsed_ns) for line in result.lines] == [2, 2]
    assert result.ratio(result.lines[1]).median == 2


@pytest.mark.parametrize("call", [1, 3, 6])
def test_an_interrupted_bench_without_a_complete_round_is_interrupted(call):
    with pytest.raises(KeyboardInterrupt):
        interrupted_at(call, replace(PLAIN, rounds=10, warmup_iterations=2))


@pytest.mark.parametrize(
    ("step", "partial", "rounds"),
    [("round 2 of 2", "interrupted in round 2 of 2", 1), ("done", "interrupted after round 2 of 2", 2)],
)
def test_an_interrupt_between_blocks_keeps_the_complete_rounds(step, partial, rounds):
    def progress(text, _done, _total):
        if text.startswith(step):
            raise KeyboardInterrupt

    result, _ = scripted({"a": [1]}, replace(PLAIN, rounds=2), progress=progress)
    assert result.partial == partial
    assert len(result.order) == len(result.lines[0].samples_ns) == rounds


@pytest.fixture
def pressing():
    """Makes a call that presses Ctrl-C when called for the `count`th time, and returns when that was noticed."""
    noticed = threading.Event()

    def handler(_signal, _frame):
        noticed.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)

    def call_of(count):
        calls = []

        def call():
            calls.append(None)
            if len(calls) == count:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                assert noticed.wait(30)

        return call

    yield call_of
    signal.signal(signal.SIGINT, before)


def test_interrupted_streams_stop(pressing):
    before = threading.active_count()
    # Two calls of each stream in each round.
    works = {"a": Work((pressing(4), lambda: None))}
    result = bench(works, replace(PLAIN, rounds=5, iterations=1))
    assert result.partial == "interrupted in round 2 of 5"
    assert len(result.lines[0].samples_ns) == 1
    assert threading.active_count() == before


def test_streams_that_wait_for_a_far_arrival_stop(pressing):
    before, began = threading.active_count(), time.monotonic()
    # Two discarded inferences, then the first arrival; the second is due after 1000 s.
    call = pressing(3)
    with pytest.raises(KeyboardInterrupt):
        bench({"a": Work((call, call))}, replace(PLAIN, iterations=1, rate_hz=0.001))
    assert threading.active_count() == before
    assert time.monotonic() - began < 60


# ---- the clock


def test_jumps_of_the_wall_clock_change_nothing(monkeypatch):
    jumps = iter(range(10**9, 0, -(10**5)))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    monkeypatch.setattr(time, "time_ns", lambda: next(jumps) * 10**9)
    before = time.perf_counter_ns()
    settings = replace(PLAIN, warmup_iterations=1, rate_hz=1000)
    (line,) = bench({"a": Work((time.time,))}, settings).lines
    after = time.perf_counter_ns()
    starts = [start for block in line.starts_ns for start in block]
    assert starts == sorted(starts)
    assert before < starts[0] < starts[-1] < after
    assert all(0 < sample < after - before for block in line.samples_ns for sample in block)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="the clocks of Linux")
def test_starts_are_on_the_clock_of_power_recordings():
    (line,) = bench({"a": Work((lambda: None,))}, PLAIN).lines
    assert 0 <= time.monotonic_ns() - line.starts_ns[-1][-1] < 60 * 10**9


# ---- input


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": 0}, "rounds 0: give 1 to"),
        ({"rounds": 10**9}, "rounds 1000000000"),
        ({"iterations": 0}, "iterations 0"),
        ({"iterations": float("nan")}, "iterations nan"),
        ({"block_s": -1}, "block_s -1"),
        ({"block_s": 3601}, "block_s 3601: give 0 to 3600"),
        ({"block_s": float("inf")}, "block_s inf"),
        ({"warmup_iterations": -1}, "warmup_iterations -1"),
        ({"warmup_s": float("nan")}, "warmup_s nan"),
        ({"max_warmup_s": 1e9}, r"max_warmup_s 1000000000\.0"),
        ({"warmup_s": 3, "max_warmup_s": 2}, "max_warmup_s 2 is below warmup_s 3"),
        ({"rate_hz": 0}, "rate_hz 0: give more than 0, and 1e"),
        ({"rate_hz": -5}, "rate_hz -5"),
        ({"rate_hz": float("nan")}, "rate_hz nan"),
        ({"rate_hz": 2e6}, r"rate_hz 2000000\.0"),
        ({"rate_hz": 1e-6}, r"iterations 10 at rate_hz 1e-06 take 1e\+07 s"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_wrong_numbers(wrong, message):
    with pytest.raises(InputError, match=message):
        bench({"a": Work((lambda: None,))}, BenchSettings(**wrong))


def test_nothing_to_measure():
    with pytest.raises(InputError, match="one line at least"):
        bench({}, PLAIN)
    with pytest.raises(InputError, match="a: 0 streams of 1 images"):
        bench({"a": Work(())}, PLAIN)
    with pytest.raises(InputError, match="a: 1 streams of 0 images"):
        bench({"a": Work((lambda: None,), images=0)}, PLAIN)


def test_settings_are_plain_values():
    assert BenchSettings(**asdict(PLAIN)) == PLAIN


def test_a_real_bench(conv_artefact):
    path = conv_artefact()
    with open_runner(path, threads=1) as ort, open_runner(path, "openvino", threads=1) as openvino:
        feeds = random_feeds(ort.inputs, batch=None, seed=0, source="conv.onnx")
        works = {"ort": Work((lambda: ort.infer(feeds),)), "ov": Work((lambda: openvino.infer(feeds),))}
        result = bench(works, replace(PLAIN, rounds=2, warmup_iterations=1))
    for line in result.lines:
        assert line.summary.n == 6
        assert 0 < line.summary.min_ms <= line.summary.p50_ms <= line.summary.p99_ms <= 1000
