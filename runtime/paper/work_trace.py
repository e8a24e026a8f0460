"""The paper's third panel: power over time while each network does the same work, from idle to idle."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ...errors import UnavailableError
from ...power.meter import Meter
from ...power.recording import counter_trace, power_trace, samples_of
from ...power.samples import Sampler, running
from ...power.trace import CounterTrace, PowerTrace, SensorFacts
from ..result import WorkTrace
from ..work import Work
from .low_pass import PERIOD_NS, low_passed, resampled

IDLE_S = 2.0
# The slowest network works for about so long, as in the paper's figure, where images are not given.
WORK_S = 5.0
_NS_PER_S = 1_000_000_000
_PROBE_INFERENCES = 3
# Sampled beyond the idle stretches, so that there is a reading at either end of them: no sensor here is renewed less
# often than once a second.
_MARGIN_S = 1.2

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Span:
    """One network's turn. Units: ns of the sampler's clock."""

    name: str
    images: int
    start_ns: int
    end_ns: int


def images_for(works: Mapping[str, Work], work_s: float = WORK_S, clock: Callable[[], int] = time.monotonic_ns) -> int:
    """How many images the slowest infers in about `work_s`, in whole batches and one at least."""
    batch = max(work.images for work in works.values())
    slowest_ns = max(_inference_ns(work, clock) / work.images for work in works.values())
    return batch * max(1, round(work_s * _NS_PER_S / max(slowest_ns, 1) / batch))


def recorded_traces(
    works: Mapping[str, Work], meter: Meter, *, images: int, seed: int = 0, progress: Progress | None = None
) -> Iterator[WorkTrace]:
    """Record one trace after the other, in an order drawn by the seed, with the meter read every 100 ms.

    What was recorded before Ctrl-C was given already.

    Args:
        works: one inference of each line, by its name, ready to run.
        meter: open; it is closed at the end.
        images: for each to infer, rounded up to its batch.
        seed: of the order.
        progress: called before each.

    Raises:
        UnavailableError: the meter gives no total, or stopped to answer.
    """
    sampler = Sampler(meter, period_ns=PERIOD_NS)
    try:
        with running(sampler):
            yield from traces(works, sampler, images=images, seed=seed, progress=progress)
    finally:
        sampler.close()


def traces(
    works: Mapping[str, Work],
    sampler: Sampler,
    *,
    images: int,
    seed: int = 0,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress | None = None,
) -> Iterator[WorkTrace]:
    """`recorded_traces` with a sampler that runs already; `sleep` is not the system's own where a test makes time."""
    names = list(works)
    for i in np.random.default_rng(seed).permutation(len(names)):
        name = names[i]
        if progress is not None:
            progress(f"power over time: {name}")
        # Builds and allocates, which is no work of the network's.
        works[name].call()
        yield _trace(sampler, _run(name, works[name], images, sampler, sleep))


def _inference_ns(work: Work, clock: Callable[[], int]) -> int:
    """How long one takes, roughly; the first one builds and allocates."""
    work.call()
    start_ns = clock()
    for _ in range(_PROBE_INFERENCES):
        work.call()
    return (clock() - start_ns) // _PROBE_INFERENCES


def _run(name: str, work: Work, images: int, sampler: Sampler, sleep: Callable[[float], None]) -> _Span:
    inferences = ceil(images / work.images)
    sleep(IDLE_S + _MARGIN_S)
    start_ns = sampler.clock()
    for _ in range(inferences):
        work.call()
    end_ns = sampler.clock()
    sleep(IDLE_S + _MARGIN_S)
    return _Span(name, inferences * work.images, start_ns, end_ns)


def _trace(sampler: Sampler, span: _Span) -> WorkTrace:
    device = sampler.meter.info.device
    from_ns, until_ns = span.start_ns - round(IDLE_S * _NS_PER_S), span.end_ns + round(IDLE_S * _NS_PER_S)
    measured = _total(sampler)
    inside = (measured.time_ns >= from_ns) & (measured.time_ns <= until_ns)
    try:
        even = resampled(measured, from_ns, until_ns)
    except ValueError as error:
        failure = sampler.cost.last_failure
        because = f" ({failure})" if failure else ""
        raise UnavailableError(
            f"{device}: its readings do not cover the work of {span.name}{because}; try another --power-source"
        ) from error
    return WorkTrace(
        line=span.name,
        images=span.images,
        work_s=(span.end_ns - span.start_ns) / _NS_PER_S,
        time_s=_since(measured.time_ns[inside], span.start_ns),
        power_w=_watts(measured.power_mw[inside]),
        filtered_time_s=_since(even.time_ns, span.start_ns),
        filtered_w=_watts(low_passed(even.power_mw)),
    )


def _total(sampler: Sampler) -> PowerTrace:
    """Total power so far: by the meter's power channels, else by the steps of its energy counter."""
    info, readings = sampler.meter.info, samples_of(sampler.readings)
    if info.power_total and (power := power_trace(info, readings, info.power_total, SensorFacts())):
        return power
    counter = counter_trace(info, readings, info.energy_total) if info.energy_total else None
    if counter is None or counter.time_ns.size < 2:
        why = info.no_total_reason or sampler.cost.last_failure or "no reading came in"
        raise UnavailableError(f"{info.device}: it gives no power over time: {why}; try another --power-source")
    return _slope(counter)


def _slope(counter: CounterTrace) -> PowerTrace:
    """Mean power between two readings of a counter, at the later one. 1 uJ in 1 ns is 1 kW, or 1e6 mW."""
    steps_uj = np.diff(counter.energy_uj)
    if counter.wrap_uj is not None:
        steps_uj = np.where(steps_uj < 0, steps_uj + counter.wrap_uj, steps_uj)
    return PowerTrace(counter.time_ns[1:], steps_uj / np.diff(counter.time_ns) * 1e6, counter.source, counter.rail)


def _since(time_ns: NDArray[np.int64], start_ns: int) -> tuple[float, ...]:
    return tuple(round(t / _NS_PER_S, 4) for t in (time_ns - start_ns).tolist())


def _watts(power_mw: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(p / 1e3, 4) for p in power_mw.tolist())
