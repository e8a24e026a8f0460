"""A load that arrives at a fixed rate, in virtual time."""

from espnet_edge.runtime.pacing import paced

MS = 1_000_000


class Time:
    def __init__(self) -> None:
        self.now_ns = 0

    def clock(self) -> int:
        self.now_ns += 1_000  # looking at the clock takes a microsecond
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def begun_ns(time: Time, durations_ms: list[float], pauses_ms: list[float] | None = None) -> list[int]:
    """When calls that take so long began, each so long after the one before was done. Rounded to ms."""
    begun, durations = [], iter(durations_ms)

    def infer() -> None:
        begun.append(round(time.now_ns / MS))
        time.now_ns += round(next(durations) * MS)

    call = paced(infer, 100.0, clock=time.clock, sleep=time.sleep)
    for pause_ms in pauses_ms or [0.0] * len(durations_ms):
        time.now_ns += round(pause_ms * MS)
        call()
    return begun


def test_calls_begin_at_the_rate_however_long_they_take() -> None:
    assert begun_ns(Time(), [1, 9, 3, 3]) == [0, 10, 20, 30]


def test_of_a_late_call_one_period_at_most_is_caught_up() -> None:
    assert begun_ns(Time(), [25, 1, 1, 1]) == [0, 25, 26, 35]


def test_after_a_pause_there_is_no_burst() -> None:
    assert begun_ns(Time(), [1, 1, 1, 1], [0, 500, 0, 0]) == [0, 501, 502, 511]


def test_without_a_rate_it_is_the_call_itself() -> None:
    assert paced(print, None) is print
