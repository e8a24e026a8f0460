"""What changed from one run to another: every metric of a line with the interval of its change.

The two runs are independent of each other, and inferences of one round are not: rounds are what is counted. Nothing is
paired. What differs from one start of the program to the next shows in no round, so no interval here knows of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, expm1, fsum, inf, log, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..power.uncertainty import gain, student_t
from .result import Figure, Line, LineEnergy, LineLatency, Result, Unknown
from .stats import mean, median, percentile, stddev

Verdict = Literal["better", "worse", "not told apart", "no interval"]
# Memory that lies further apart than both is told apart. The limits are ours: allocators differ from start to start.
MEMORY_BYTES, MEMORY_SHARE = 1 << 20, 0.01
# A metric that is not compared, and why.
Missing = tuple[str, str]

# Units of what is compared, in the order in which it is printed.
UNITS = {
    "p50": "ms",
    "p90": "ms",
    "p95": "ms",
    "p99": "ms",
    "mean": "ms",
    "throughput": "/s",
    "energy": "mJ",
    "net": "mJ",
    "power": "mW",
    "memory": "B",
    "gpu_memory": "B",
}
HIGHER_IS_BETTER = frozenset({"throughput"})
# Samples beyond a percentile that it takes for an interval. A percentile of few samples is too low on average, which
# cancels between runs of the same rounds and iterations only. With these, intervals cover the truth in 92 to 98 % of
# simulated runs: see tests/runtime/test_compare.py.
LEAST_BEYOND, LEAST_BEYOND_OF_UNEQUAL_RUNS = 1, 5
RESAMPLES = 1000
_SEED = 0
_PERCENTILES = {"p90": 90.0, "p95": 95.0, "p99": 99.0}
_NS_PER_MS = 1e6
_NS_PER_S = 1e9
# A ratio whose logarithm is beyond is no measurement; its interval would not fit into a float.
_MAX_LOG = 300.0
# Squares of larger figures would not, either.
_MAX_NUMBER = 1e100
_ONE_ROUND = "one round has no scatter: raise --rounds"
_CELLS = 2_000_000  # that one step of the bootstrap holds in memory


@dataclass(frozen=True)
class Change:
    """One metric of one line in both runs.

    Attributes:
        metric: one of `UNITS`.
        before: in the first run, in the metric's unit.
        after: in the second.
        interval: 95 % interval of `after - before`; None where there is none.
        no_interval_reason: why there is none.
        relative: whether a change in percent means something: `before` can be told from 0.
    """

    metric: str
    before: float
    after: float
    interval: tuple[float, float] | None
    no_interval_reason: str | None = None
    relative: bool = True

    @property
    def unit(self) -> str:
        """Of both values and of the interval."""
        return UNITS[self.metric]

    @property
    def difference(self) -> float:
        """How much more it is after, in the unit."""
        return self.after - self.before

    @property
    def percent(self) -> float | None:
        """The same in percent of `before`."""
        return 100 * self.difference / self.before if self.relative else None

    @property
    def interval_percent(self) -> tuple[float, float] | None:
        """The interval in percent of `before`."""
        if self.interval is None or not self.relative:
            return None
        low, high = (100 * bound / self.before for bound in self.interval)
        return low, high

    @property
    def significant(self) -> bool:
        """Whether the interval excludes that nothing changed."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def verdict(self) -> Verdict:
        """Of the second run."""
        if self.interval is None:
            return "no interval"
        if not self.significant:
            return "not told apart"
        return "better" if (self.difference > 0) == (self.metric in HIGHER_IS_BETTER) else "worse"


@dataclass(frozen=True)
class Sensor:
    """What read the power: two runs with equal ones share their constant errors."""

    source: str
    device: str


def sensor_of(result: Result) -> Sensor | None:
    """The sensor of a result's power; None where no recording names it."""
    meter = meter_facts(result)
    source, device = meter.get("source"), meter.get("device")
    return Sensor(str(source), str(device)) if source is not None and device is not None else None


def meter_facts(result: Result) -> Mapping[str, Any]:
    """What the recording says of its meter; {} where there is none."""
    recording = (result.power.recording if result.power else None) or {}
    meter = recording.get("meter")
    return meter if isinstance(meter, Mapping) else {}


def changes_of(before: tuple[Result, Line], after: tuple[Result, Line]) -> tuple[tuple[Change, ...], dict[str, str]]:
    """The metrics of one line that both runs have, and why the others are not compared.

    The p50 is the geometric mean of the rounds' medians, `mean` and `throughput` likewise of the rounds' means and
    rates; their changes have Welch's t interval (Welch 1947) of the difference of the mean logarithms. Percentiles are
    those of all samples; the standard error of their logarithm is from a bootstrap over rounds (`RESAMPLES`, seeded),
    widened by R / (R - 1) for R rounds, with Welch's t factor. Figures of energy have intervals of their own, which are
    combined by Welch and Satterthwaite; the constant errors of the sensor cancel where both runs had the same one, and
    are added where not. Memory is one number for each run, and compared as it is.
    """
    compared = (
        *_latency_changes(before, after),
        *_energy_changes(before, after),
        *_memory_changes(before, after),
    )
    changes = tuple(one for one in compared if isinstance(one, Change))
    return changes, dict(one for one in compared if not isinstance(one, Change))


def _latency_changes(before: tuple[Result, Line], after: tuple[Result, Line]) -> Iterator[Change | Missing]:
    runs = [result.latency_of(line.name) for result, line in (before, after)]
    metrics = ("p50", *_PERCENTILES, "mean", "throughput")
    if runs[0] is None or runs[1] is None:
        yield from _absent(metrics, [run is not None for run in runs])
        return
    first, second = runs[0], runs[1]
    if not all(_usable(run) for run in (first, second)):
        yield from ((name, "a sample of 0 ns, or a round without samples, has no logarithm") for name in metrics)
        return
    yield _of_rounds("p50", *([median(block) / _NS_PER_MS for block in run.samples_ns] for run in (first, second)))
    yield from _tail_changes(first, second)
    yield _of_rounds("mean", *([mean(block) / _NS_PER_MS for block in run.samples_ns] for run in (first, second)))
    if all(all(run.elapsed_ns) and len(run.elapsed_ns) == len(run.samples_ns) for run in (first, second)):
        yield _of_rounds("throughput", _rates(first, before[1].batch), _rates(second, after[1].batch))
    else:
        yield "throughput", "a round has no length"


def _usable(run: LineLatency) -> bool:
    return len(run.samples_ns) > 0 and all(block and min(block) > 0 for block in run.samples_ns)


def _rates(run: LineLatency, batch: int) -> list[float]:
    """Images per second of each round."""
    return [
        batch * len(block) * _NS_PER_S / elapsed for block, elapsed in zip(run.samples_ns, run.elapsed_ns, strict=True)
    ]


def _of_rounds(metric: str, before: Sequence[float], after: Sequence[float]) -> Change:
    """By the logarithm of one number for each round."""
    logs = [[log(value) for value in run] for run in (before, after)]
    first, second = (exp(mean(run)) for run in logs)
    if min(len(before), len(after)) < 2:
        return Change(metric, first, second, None, _ONE_ROUND)
    errors = [(stddev(run) or 0.0) / sqrt(len(run)) for run in logs]
    half_width = _welch(errors, [len(run) - 1.0 for run in logs])
    return _by_log(metric, first, second, half_width)


def _by_log(metric: str, before: float, after: float, half_width: float) -> Change:
    """The interval of the difference from that of the logarithm of the ratio."""
    centre = log(after / before)
    if abs(centre) + half_width > _MAX_LOG:
        return Change(metric, before, after, None, "the change is beyond all numbers", relative=False)
    return Change(metric, before, after, (before * expm1(centre - half_width), before * expm1(centre + half_width)))


def _welch(errors: Sequence[float], dofs: Sequence[float]) -> float:
    """Half width of the interval of a difference of independent values, from their standard errors and freedoms."""
    variance = fsum(error**2 for error in errors)
    if variance == 0:
        return 0.0
    spread = fsum((error**2 / variance) ** 2 / dof for error, dof in zip(errors, dofs, strict=True))
    return student_t(1 / spread if spread else inf) * sqrt(variance)


def _tail_changes(first: LineLatency, second: LineLatency) -> Iterator[Change]:
    runs = [run.samples_ns for run in (first, second)]
    errors = [_bootstrap_errors(run) if len(run) > 1 else {} for run in runs]
    for name, percent in _PERCENTILES.items():
        before, after = (percentile([s for block in run for s in block], percent) / _NS_PER_MS for run in runs)
        if (reason := _too_few(name, runs)) is not None:
            yield Change(name, before, after, None, reason)
            continue
        half_width = _welch([error[name] for error in errors], [len(run) - 1.0 for run in runs])
        yield _by_log(name, before, after, half_width)


def _too_few(name: str, runs: Sequence[Sequence[Sequence[int]]]) -> str | None:
    """Why a percentile has no interval."""
    if min(map(len, runs)) < 2:
        return _ONE_ROUND
    lengths = [[len(block) for block in run] for run in runs]
    equal = lengths[0] == lengths[1]
    n, beyond = min(map(sum, lengths)), LEAST_BEYOND if equal else LEAST_BEYOND_OF_UNEQUAL_RUNS
    needed = round(beyond * 100 / (100 - _PERCENTILES[name]))
    if n >= needed:
        return None
    unequal = "" if equal else " between runs of different rounds or iterations"
    return f"{n} samples, {needed} are needed for {name}{unequal}: raise --rounds or --iterations"


def _bootstrap_errors(rounds: Sequence[Sequence[int]]) -> dict[str, float]:
    """Standard error of the logarithm of each percentile when rounds are drawn again, with replacement."""
    samples = np.concatenate([np.asarray(block, np.float64) for block in rounds])
    order = np.argsort(samples, kind="stable")
    samples, of_round = samples[order], np.repeat(np.arange(len(rounds)), [len(block) for block in rounds])[order]
    draws = np.random.default_rng(_SEED).integers(len(rounds), size=(RESAMPLES, len(rounds)))
    times_drawn = np.stack([(draws == i).sum(axis=1) for i in range(len(rounds))], axis=1)
    rows = max(1, _CELLS // samples.size)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _PERCENTILES}
    for start in range(0, RESAMPLES, rows):
        # How many of the drawn samples come up to each place in the sorted ones.
        up_to = np.cumsum(times_drawn[start : start + rows][:, of_round], axis=1)
        for name, percent in _PERCENTILES.items():
            found[name].append(_percentiles(samples, up_to, percent))
    widened = sqrt(len(rounds) / (len(rounds) - 1))
    return {name: float(np.log(np.concatenate(values)).std()) * widened for name, values in found.items()}


def _percentiles(samples: NDArray[np.float64], up_to: NDArray[np.int64], percent: float) -> NDArray[np.float64]:
    """The percentile of each row of drawn samples, by `stats.PERCENTILE_RULE`."""
    rank = percent / 100 * (up_to[:, -1] - 1)
    below = np.floor(rank).astype(np.int64)
    above = np.minimum(below + 1, up_to[:, -1] - 1)
    low, high = (samples[(up_to <= place[:, None]).sum(axis=1)] for place in (below, above))
    interpolated: NDArray[np.float64] = low + (high - low) * (rank - below)
    return interpolated


def _energy_changes(before: tuple[Result, Line], after: tuple[Result, Line]) -> Iterator[Change | Missing]:
    loads = [result.energy_of(line.name) for result, line in (before, after)]
    if loads[0] is None or loads[1] is None:
        yield from _absent(("energy", "net", "power"), [load is not None for load in loads])
        return
    if min(load.inference_ms for load in loads if load) <= 0:
        yield from ((name, "an inference of 0 ms has no power") for name in ("energy", "net", "power"))
        return
    sensors = [sensor_of(result) for result, _ in (before, after)]
    same = sensors[0] is not None and sensors[0] == sensors[1]
    for name, field in (("energy", "gross_mj"), ("net", "net_mj"), ("power", "power_mw")):
        figures = [getattr(load.total, field) for load in loads if load]
        unknown = [figure.reason for figure in figures if isinstance(figure, Unknown)]
        if unknown:
            yield name, f"not known: {unknown[0]}"
        else:
            yield _energy_change(name, figures, (loads[0], loads[1]), same=same)


def _energy_change(name: str, figures: Sequence[Figure], loads: tuple[LineEnergy, LineEnergy], *, same: bool) -> Change:
    before, after = (figure.value for figure in figures)
    # A ratio of what may be 0 means nothing.
    relative = all(figure.value > figure.half_width for figure in figures)
    gains = [load.total.gain_error for load in loads]
    if any(figure.dof is not None and figure.dof < 1 for figure in figures):
        return Change(name, before, after, None, "fewer than 1 degree of freedom: measure more rounds", relative)
    if not same and None in gains:
        return Change(name, before, after, None, "two sensors, and a gain error that is not known", relative)
    scales = (before, after) if relative else (1.0, 1.0)
    errors = [_standard_error(figure) / scale for figure, scale in zip(figures, scales, strict=True)]
    dofs = [inf if figure.dof is None else figure.dof for figure in figures]
    offsets = [_offset(name, load) / scale for load, scale in zip(loads, scales, strict=True)]
    if same:
        # The gain cancels. The same offset is in both, but not as the same share, nor for the same time.
        constant = [abs(offsets[1] - offsets[0]) / sqrt(3)]
    else:
        constant = [offset / sqrt(3) for offset in offsets]
        constant += [
            gain(figure.value, abs(error or 0.0)).standard_uncertainty / scale
            for figure, error, scale in zip(figures, gains, scales, strict=True)
        ]
    if max(*errors, *constant, abs(before), abs(after)) > _MAX_NUMBER:
        return Change(name, before, after, None, "a figure is beyond all numbers", relative=False)
    half_width = _welch([*errors, *constant], [*dofs, *(inf for _ in constant)])
    if relative:
        return _by_log(name, before, after, half_width)
    difference = after - before
    return Change(name, before, after, (difference - half_width, difference + half_width), relative=False)


def _standard_error(figure: Figure) -> float:
    return figure.half_width / student_t(inf if figure.dof is None else figure.dof)


def _offset(name: str, load: LineEnergy) -> float:
    """What the sensor's constant error may add, in the unit of the metric; net energy has none."""
    offset_mj = load.total.offset_mj or 0.0
    return {"energy": offset_mj, "net": 0.0, "power": 1e3 * offset_mj / load.inference_ms}[name]


def _memory_changes(before: tuple[Result, Line], after: tuple[Result, Line]) -> Iterator[Change | Missing]:
    memories = [result.memory_of(line.name) for result, line in (before, after)]
    for name, field in (("memory", "peak_rss_bytes"), ("gpu_memory", "gpu_bytes")):
        values = [getattr(memory, field) if memory else None for memory in memories]
        first, second = values
        if first is None or second is None:
            yield from _absent((name,), [value is not None for value in values])
        else:
            # One process was measured in each run, which tells no scatter.
            apart = max(MEMORY_BYTES, MEMORY_SHARE * first)
            yield Change(name, first, second, (second - first - apart, second - first + apart), relative=first > 0)


def _absent(metrics: Sequence[str], there: Sequence[bool]) -> Iterator[Missing]:
    """What to say of metrics that only one result has, or none."""
    where = {(True, False): "not in the second result", (False, True): "not in the first result"}
    reason = where.get((there[0], there[1]), "in neither result")
    return ((name, reason) for name in metrics)
