"""A load that arrives at a fixed rate, for measurements that call it over and over."""

import time
from collections.abc import Callable

from .arrivals import NS_PER_S, nap, wait_until
from .work import Call


def paced(
    call: Call,
    rate_hz: float | None,
    *,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = nap,
) -> Call:
    """`call` so that it begins no more than `rate_hz` times a second; itself where that is None.

    What is drawn while it waits belongs to it, so that energy measured of it is that of one arrival. A late call begins
    at once, and one period of its delay at most is caught up: no burst follows a pause.
    """
    if rate_hz is None:
        return call
    period_ns = round(NS_PER_S / rate_hz)
    due_ns = clock()

    def wait_and_call() -> object:
        nonlocal due_ns
        wait_until(due_ns, clock, sleep, lambda: False)
        due_ns = max(due_ns, clock() - period_ns) + period_ns
        return call()

    return wait_and_call
