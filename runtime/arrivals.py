"""A fixed arrival rate: when each inference is due, and waiting until then."""

import select
import threading
import time
from collections.abc import Callable
from fractions import Fraction

NS_PER_S = 1_000_000_000
# A sleep may end late by about this much; the rest is waited out looking at the clock.
_SPIN_NS = 1_000_000
# So that a stream that waits for a far arrival notices that it should stop.
_LONGEST_SLEEP_NS = 50_000_000


class Timetable:
    """When each of `count` inferences is due: k / rate after the start. A stream that is free takes the next.

    An inference that is due while every stream is busy is run by the first that comes free, and its latency counts from
    the instant in the table. None is dropped or put off, so a stall is seen by all inferences that arrive during it
    (Tene, "How NOT to measure latency", on coordinated omission).
    """

    def __init__(self, rate_hz: float, count: int) -> None:
        # Exact: a rounded pause between two arrivals would add up.
        self._period_ns = NS_PER_S / Fraction(rate_hz)
        self._due = iter(range(count))
        # Until one more would be due. Units: ns.
        self.length_ns = round(count * self._period_ns)
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """When the next inference is due, counted from the start; None after the last. Units: ns."""
        with self._lock:
            number = next(self._due, None)
        return None if number is None else round(number * self._period_ns)


def nap(seconds: float) -> None:
    """`time.sleep`, but for 0 s it only lets other threads run: on Linux `time.sleep(0)` takes 50 us and more."""
    if seconds > 0:
        time.sleep(seconds)
    else:
        select.select((), (), (), 0)


def wait_until(
    due_ns: int, clock: Callable[[], int], sleep: Callable[[float], None], stopped: Callable[[], bool]
) -> None:
    """Return at `due_ns` or at once if that is over; earlier only when `stopped`.

    Args:
        due_ns: instant of `clock`.
        clock: monotonic, in ns.
        sleep: takes seconds; see `nap`.
        stopped: whether to give up.
    """
    while (left_ns := due_ns - clock()) > 0 and not stopped():
        # At the end for 0 s: a bare loop would hold Python's lock, and the other streams' results back.
        sleep(min(max(left_ns - _SPIN_NS, 0), _LONGEST_SLEEP_NS) / NS_PER_S)
