"""Statistics of samples: pure functions on sequences, one stated rule for each figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, sqrt

from .order_statistics import percentile_bounds

PERCENTILE_RULE = "rank p/100 * (n - 1) in the sorted samples counted from 0, interpolated linearly (NumPy's 'linear')"
_NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Summary:
    """Figures of `n` samples. Units: ms. `stddev_ms` is None where n = 1.

    `bounds_ms`: 95 % interval of each percentile, by its name ("p99"), free of assumptions about the distribution; a
    percentile for which there are too few samples is not in it.
    """

    n: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    stddev_ms: float | None
    bounds_ms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    percentile_rule: str = PERCENTILE_RULE


@dataclass(frozen=True)
class Ratio:
    """Time of one line over that of another, formed within each of `rounds` rounds.

    `median`, `minimum` and `maximum` over the rounds; `low` and `high` are the 95 % interval of the median, None where
    there are too few rounds for one.
    """

    median: float
    minimum: float
    maximum: float
    rounds: int
    low: float | None = None
    high: float | None = None


def summarise(samples_ns: Sequence[int]) -> Summary:
    """The figures of samples given in ns."""
    samples_ms = sorted(sample / _NS_PER_MS for sample in samples_ns)
    bounds = {f"p{percent}": percentile_bounds(samples_ms, percent) for percent in (50, 90, 95, 99)}
    return Summary(
        n=len(samples_ms),
        p50_ms=median(samples_ms),
        p90_ms=percentile(samples_ms, 90),
        p95_ms=percentile(samples_ms, 95),
        p99_ms=percentile(samples_ms, 99),
        mean_ms=mean(samples_ms),
        min_ms=min(samples_ms),
        max_ms=max(samples_ms),
        stddev_ms=stddev(samples_ms),
        bounds_ms={name: bound for name, bound in bounds.items() if bound is not None},
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the values lie, in the values' unit. See `PERCENTILE_RULE`.

    Raises:
        ValueError: there are no values, or `percent` is not in 0 to 100.
    """
    _require(values)
    if not 0 <= percent <= 100:
        raise ValueError(f"percent {percent}: it lies in 0 to 100")
    ordered = sorted(values)
    rank = percent / 100 * (len(ordered) - 1)
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def median(values: Sequence[float]) -> float:
    """The 50th percentile, in the values' unit."""
    return percentile(values, 50)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, in the values' unit."""
    _require(values)
    return fsum(values) / len(values)


def stddev(values: Sequence[float]) -> float | None:
    """The sample standard deviation (divided by n - 1), in the values' unit; None for one value."""
    _require(values)
    if len(values) == 1:
        return None
    centre = mean(values)
    return sqrt(fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def _require(values: Sequence[float]) -> None:
    if not values:
        raise ValueError("there are no values to compute a figure of")
