"""Measuring latency: several lines of work, interleaved, every sample kept.

Lines are measured in rounds. In each round every line has one block, in an order drawn anew, so that what changes
slowly (temperature, clocks, other work) touches all of them alike, and a ratio is formed within a round.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .arrivals import NS_PER_S, Timetable, nap, wait_until
from .paired import paired_ratio
from .stats import Ratio, Summary, median, summarise
from .steady import WINDOW_INFERENCES, WINDOW_S, is_steady
from .streams import Together
from .work import Call, StagedCall, Work

Clock = Callable[[], int]
Sleep = Callable[[float], None]
Progress = Callable[[str, int, int], None]

_LONGEST_S = 3600.0
_LIMITS = {
    "rounds": (1, 10_000),
    "iterations": (1, 10_000_000),
    "block_s": (0, _LONGEST_S),
    "warmup_iterations": (0, 1_000_000),
    "warmup_s": (0, _LONGEST_S),
    "max_warmup_s": (0, _LONGEST_S),
    "seed": (0, 2**63 - 1),
}
_HIGHEST_RATE_HZ = 1e6
_WINDOW_NS = round(WINDOW_S * NS_PER_S)


@dataclass(frozen=True)
class BenchSettings:
    """How often, for how long and in which order: see `bench`.

    Attributes:
        rounds: blocks of each line.
        iterations: least number of timed inferences of a block, of each stream.
        block_s: least duration of a block.
        warmup_iterations: least number of inferences, of each stream, before the first round.
        warmup_s: least duration of that warm-up.
        max_warmup_s: it ends by then although the line has not come to rest.
        rate_hz: inferences due per second, all streams together; None: the next follows when one is done.
        stages: time the stages of works that have them, in blocks of their own.
        preset: name of the tool whose defaults these are.
        seed: of the order within the rounds.
    """

    rounds: int = 10
    iterations: int = 10
    block_s: float = 0.0
    warmup_iterations: int = 3
    warmup_s: float = 0.5
    max_warmup_s: float = 10.0
    rate_hz: float | None = None
    stages: bool = True
    preset: str | None = None
    seed: int = 0

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        for name, (least, most) in _LIMITS.items():
            # Written so that NaN is refused, too.
            if not least <= (value := getattr(self, name)) <= most:
                raise InputError(f"{name} {value}: give {least} to {most:g}")
        if self.max_warmup_s < self.warmup_s:
            raise InputError(
                f"max_warmup_s {self.max_warmup_s:g} is below warmup_s {self.warmup_s:g}: give at least as much"
            )
        if self.rate_hz is None:
            return
        if not 0 < self.rate_hz <= _HIGHEST_RATE_HZ:
            raise InputError(f"rate_hz {self.rate_hz}: give more than 0, and {_HIGHEST_RATE_HZ:g} at most")
        if self.iterations / self.rate_hz > _LONGEST_S:
            raise InputError(
                f"iterations {self.iterations} at rate_hz {self.rate_hz:g} take {self.iterations / self.rate_hz:.3g} s "
                f"in each block, the limit is {_LONGEST_S:g} s: give fewer iterations or a higher rate"
            )


@dataclass(frozen=True)
class LatencySamples:
    """All that was measured of one line. Units: ns. Named and meant as in `result.LineLatency`.

    Samples of several streams stand together, by the instant at which they were due. `images` are those of one
    inference.
    """

    name: str
    warmup_ns: tuple[int, ...]
    steady: bool
    discarded_ns: tuple[int, ...]
    starts_ns: tuple[tuple[int, ...], ...]
    samples_ns: tuple[tuple[int, ...], ...]
    service_ns: tuple[tuple[int, ...], ...] | None
    elapsed_ns: tuple[int, ...]
    stages_ns: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    images: int = 1

    @property
    def summary(self) -> Summary:
        """Figures over the latencies of all rounds."""
        return summarise(_flat(self.samples_ns))

    @property
    def service_summary(self) -> Summary | None:
        """Figures over the times from the call on; None in a closed loop, where they are the latencies."""
        return None if self.service_ns is None else summarise(_flat(self.service_ns))

    @property
    def stages(self) -> Mapping[str, Summary]:
        """Figures over the durations of each stage."""
        return {stage: summarise(_flat(rounds)) for stage, rounds in self.stages_ns.items()}

    @property
    def throughput_per_s(self) -> float:
        """Images (or words) that came out per second of the timed blocks, all streams together."""
        return self.images * sum(map(len, self.samples_ns)) * NS_PER_S / sum(self.elapsed_ns)

    @property
    def round_medians_ns(self) -> tuple[float, ...]:
        """The median of each round's block."""
        return tuple(median(block) for block in self.samples_ns)


@dataclass(frozen=True)
class BenchResult:
    """What `bench` measured; `order` has the names of each round's blocks in the order in which they ran.

    `partial` says why there are fewer rounds than the settings ask for; None where there are all.
    """

    settings: BenchSettings
    lines: tuple[LatencySamples, ...]
    order: tuple[tuple[str, ...], ...]
    partial: str | None = None

    def ratio(self, samples: LatencySamples) -> Ratio:
        """`samples` against the first line, paired by round: medians of blocks of the same round are divided."""
        return paired_ratio(samples.round_medians_ns, self.lines[0].round_medians_ns)


def bench(
    works: Mapping[str, Work],
    settings: BenchSettings,
    *,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter_ns,
    sleep: Sleep = nap,
) -> BenchResult:
    """Latency of each work's inference.

    First every line is warmed up, in a closed loop, until it has come to rest by `steady.STEADY_RULE`. Then, in each
    round, every line runs one block: one inference that is discarded, because the caches and the cores still belong to
    the line before it, and the timed ones. Each stream of a line has a thread of its own; the streams start together
    after their discarded inference and each goes on until its share is done. Then, where the work can time its stages,
    a block of those follows, one discarded and `iterations` timed, so that timing them does not disturb the latency.

    In a closed loop a sample is the time from the call until the call returns. At a fixed rate it counts from the
    instant at which the inference was due by a timetable that starts with the block; an inference that is due while all
    streams are busy is run by the first that comes free.

    Args:
        works: what is measured, by the name of the line; ratios refer to the first.
        settings: how often, for how long and in which order.
        progress: called between blocks, never inside one, with a text, the blocks done and all blocks. It may raise
            KeyboardInterrupt, for a Ctrl-C that a library swallowed.
        clock: monotonic, in ns. On Linux the default is the clock of power recordings (CLOCK_MONOTONIC).
        sleep: takes seconds; used at a fixed rate only.

    Returns:
        The samples. After Ctrl-C those of the complete rounds, marked `partial`, if there is one at least.

    Raises:
        InputError: a number is out of range, or there is nothing to measure.
        KeyboardInterrupt: Ctrl-C, before the first round was complete.
    """
    settings.check()
    if not works:
        raise InputError("nothing to measure: give one line at least")
    for name, work in works.items():
        if not work.calls or work.images < 1:
            raise InputError(f"{name}: {len(work.calls)} streams of {work.images} images: give 1 of each at least")
    told = _Steps(progress, total=len(works) * (settings.rounds + 1))
    timing = _Timing(settings, clock, sleep)
    warmups = {}
    for name, work in works.items():
        told.step(f"warm-up: {name}")
        warmups[name] = _warm_up(work, timing)
    order = _order(list(works), settings)
    rounds: list[dict[str, _Block]] = []
    interrupted = None
    try:
        for number, names in enumerate(order, 1):
            blocks = {}
            for name in names:
                told.step(f"round {number} of {settings.rounds}: {name}")
                blocks[name] = _block(works[name], timing)
            rounds.append(blocks)
        told.step("done")
    except KeyboardInterrupt:
        if not rounds:
            raise
        where = f"in round {len(rounds) + 1}" if len(rounds) < settings.rounds else f"after round {len(rounds)}"
        interrupted = f"interrupted {where} of {settings.rounds}"
    lines = tuple(
        _samples(name, work, settings, warmups[name], [blocks[name] for blocks in rounds])
        for name, work in works.items()
    )
    return BenchResult(settings, lines, order[: len(rounds)], interrupted)


@dataclass(frozen=True)
class _Timing:
    settings: BenchSettings
    clock: Clock
    sleep: Sleep


class _Inferences:
    """Instants of inferences, in ns of the clock. `due` is `called` in a closed loop.

    Lists of numbers, because objects of their own would make the garbage collector run during what is measured.
    """

    def __init__(self) -> None:
        self.due: list[int] = []
        self.called: list[int] = []
        self.ended: list[int] = []

    def __len__(self) -> int:
        return len(self.due)

    def run(self, call: Call, clock: Clock, due: int | None = None) -> None:
        """Time one inference, from `due` on or from its call on."""
        called = clock()
        outputs = call()
        ended = clock()
        # Freed here and not while the next call is timed.
        del outputs
        self.due.append(called if due is None else due)
        self.called.append(called)
        self.ended.append(ended)

    @property
    def latency_ns(self) -> tuple[int, ...]:
        return tuple(ended - due for due, ended in zip(self.due, self.ended, strict=True))

    @property
    def service_ns(self) -> tuple[int, ...]:
        return tuple(ended - called for called, ended in zip(self.called, self.ended, strict=True))


def _pooled(streams: Iterable[_Inferences]) -> _Inferences:
    """Those of all streams, in the order in which they were due."""
    pooled = _Inferences()
    for due, called, ended in sorted(one for s in streams for one in zip(s.due, s.called, s.ended, strict=True)):
        pooled.due.append(due)
        pooled.called.append(called)
        pooled.ended.append(ended)
    return pooled


@dataclass(frozen=True)
class _WarmUp:
    durations_ns: tuple[int, ...]
    steady: bool


@dataclass(frozen=True)
class _Block:
    """One round of one line, all streams together."""

    discarded: _Inferences
    inferences: _Inferences
    elapsed_ns: int
    stages: tuple[Mapping[str, int], ...]


class _Steps:
    """Counts blocks for a progress display."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def step(self, text: str) -> None:
        if self._progress is not None:
            self._progress(text, self._done, self._total)
        self._done += 1


def _order(names: list[str], settings: BenchSettings) -> tuple[tuple[str, ...], ...]:
    generator = np.random.default_rng(settings.seed)
    return tuple(tuple(names[i] for i in generator.permutation(len(names))) for _ in range(settings.rounds))


def _warm_up(work: Work, timing: _Timing) -> _WarmUp:
    """Windows of inferences in a closed loop, until the line has come to rest or the time is over."""
    settings, clock = timing.settings, timing.clock
    began = clock()
    earliest = began + round(settings.warmup_s * NS_PER_S)
    latest = began + round(settings.max_warmup_s * NS_PER_S)
    windows: list[tuple[int, ...]] = []
    durations: list[int] = []
    done = 0  # by the stream that has done the fewest
    while True:
        now, steady = clock(), is_steady(windows)
        if done >= settings.warmup_iterations and now >= earliest and (steady or now >= latest):
            return _WarmUp(tuple(durations), steady)
        window = _window(work.calls, clock, latest, settings.warmup_iterations - done)
        done += min(map(len, window))
        durations += _pooled(window).service_ns
        # One that was cut short says nothing about rest.
        if clock() - now >= _WINDOW_NS and min(map(len, window)) >= WINDOW_INFERENCES:
            windows.append(_pooled(window).service_ns)


def _window(calls: Sequence[Call], clock: Clock, latest: int, missing: int) -> list[_Inferences]:
    """One window of each stream, cut short at `latest` where it is not `missing` any inferences."""
    together: Together[_Inferences] = Together(len(calls), clock)

    def stream(call: Call) -> _Inferences:
        end = together.meet() + _WINDOW_NS

        def goes_on(count: int) -> bool:
            now = clock()
            wanted = count < missing if now >= latest else count < WINDOW_INFERENCES or now < end
            return wanted and not together.stopped

        return _closed_loop(call, clock, goes_on)

    return together.run([partial(stream, call) for call in calls])


def _block(work: Work, timing: _Timing) -> _Block:
    """One discarded inference of each stream, the timed ones, and those with their stages timed."""
    settings, clock = timing.settings, timing.clock
    together: Together[_Streamed] = Together(len(work.calls), clock)
    timetable = _timetable(work, settings)

    def stream(call: Call) -> _Streamed:
        discarded = _Inferences()
        discarded.run(call, clock)
        start = together.meet()
        if timetable is not None:
            return _Streamed(start, discarded, _open_loop(call, timing, start, timetable, together))
        end = start + round(settings.block_s * NS_PER_S)

        def goes_on(count: int) -> bool:
            return not together.stopped and (count < settings.iterations or clock() < end)

        return _Streamed(start, discarded, _closed_loop(call, clock, goes_on))

    streams = together.run([partial(stream, call) for call in work.calls])
    inferences = _pooled(one.inferences for one in streams)
    return _Block(
        discarded=_pooled(one.discarded for one in streams),
        inferences=inferences,
        elapsed_ns=max(*inferences.ended, streams[0].start + _length_ns(timetable)) - streams[0].start,
        stages=_staged(work.staged, settings.iterations) if settings.stages and work.staged else (),
    )


class _Streamed(NamedTuple):
    """What one stream did in a block, `start` being the common one. Units: ns of the clock."""

    start: int
    discarded: _Inferences
    inferences: _Inferences


def _length_ns(timetable: Timetable | None) -> int:
    """A block at a fixed rate lasts until the next arrival would be due: else more would come out than went in."""
    return 0 if timetable is None else timetable.length_ns


def _timetable(work: Work, settings: BenchSettings) -> Timetable | None:
    """Of a block at a fixed rate, all streams together; None in a closed loop."""
    if settings.rate_hz is None:
        return None
    least = settings.iterations * len(work.calls)
    return Timetable(settings.rate_hz, max(least, ceil(settings.block_s * settings.rate_hz)))


def _closed_loop(call: Call, clock: Clock, goes_on: Callable[[int], bool]) -> _Inferences:
    """One inference after the other as long as `goes_on`, which is given their number."""
    inferences = _Inferences()
    while goes_on(len(inferences)):
        inferences.run(call, clock)
    return inferences


def _open_loop(call: Call, timing: _Timing, start: int, timetable: Timetable, together: Together[Any]) -> _Inferences:
    """Inferences when they are due, or as soon as possible after."""
    inferences = _Inferences()
    while (since_start := timetable.take()) is not None:
        due = start + since_start
        wait_until(due, timing.clock, timing.sleep, lambda: together.stopped)
        if together.stopped:
            break
        inferences.run(call, timing.clock, due)
    return inferences


def _staged(call: StagedCall, iterations: int) -> tuple[Mapping[str, int], ...]:
    """Durations of the stages of `iterations` inferences, after one that is discarded."""
    call()
    return tuple(dict(call()) for _ in range(iterations))


def _flat(blocks: Iterable[Iterable[int]]) -> tuple[int, ...]:
    return tuple(number for block in blocks for number in block)


def _samples(
    name: str, work: Work, settings: BenchSettings, warm_up: _WarmUp, blocks: Sequence[_Block]
) -> LatencySamples:
    return LatencySamples(
        name=name,
        warmup_ns=warm_up.durations_ns,
        steady=warm_up.steady,
        discarded_ns=_flat(block.discarded.service_ns for block in blocks),
        starts_ns=tuple(tuple(block.inferences.due) for block in blocks),
        samples_ns=tuple(block.inferences.latency_ns for block in blocks),
        service_ns=None if settings.rate_hz is None else tuple(block.inferences.service_ns for block in blocks),
        elapsed_ns=tuple(block.elapsed_ns for block in blocks),
        stages_ns={
            stage: tuple(tuple(times[stage] for times in block.stages) for block in blocks)
            for stage in (blocks[0].stages[0] if blocks[0].stages else ())
        },
        images=work.images,
    )
