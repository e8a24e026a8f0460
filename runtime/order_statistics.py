"""What a number of samples says of a percentile, whatever their distribution: exact, by the binomial distribution.

Of n independent samples, the number below the true p-th percentile is binomial with n and p/100. Samples that follow
each other resemble each other, so these numbers are the least that can be asked for.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import exp, lgamma, log, log1p, sqrt

import numpy as np

COVERAGE = 0.95
CONFIDENCE = 0.99
# Beyond, probabilities of the binomial distribution are far below rounding.
_STANDARD_DEVIATIONS = 12


def percentile_bounds(ordered: Sequence[float], percent: float) -> tuple[float, float] | None:
    """95 % interval of a percentile between two of the samples; None where there are too few for one.

    Either end is missed with a probability of 2.5 % at most. (David and Nagaraja, "Order Statistics", section 7.1.)

    Args:
        ordered: the samples, sorted, in any unit.
        percent: between 0 and 100, both excluded.
    """
    if (ranks := _ranks(len(ordered), percent)) is None:
        return None
    lower, upper = ranks
    return ordered[lower - 1], ordered[upper - 1]


@lru_cache
def least_samples(percent: float, confidence: float = CONFIDENCE) -> int:
    """How many samples a percentile needs: so many that two of them lie above it, with that probability.

    Then the second largest sample is no longer too good for the percentile: one may be an accident. This is the rule of
    MLPerf Inference ("early stopping" of LoadGen) with one overshoot allowed: 64 for p90 and 662 for p99. The number of
    samples above is binomial, and fewer than two have the probability p^n + n (1 - p) p^(n - 1).

    Args:
        percent: between 0 and 100, both excluded.
        confidence: between 0 and 1, both excluded.

    Raises:
        ValueError: a number is out of range.
    """
    if not 0 < percent < 100 or not 0 < confidence < 1:
        raise ValueError(f"p{percent:g} with confidence {confidence}: give 0 to 100 and 0 to 1, ends excluded")
    below = percent / 100

    def suffices(n: int) -> bool:
        return below**n + n * (1 - below) * below ** (n - 1) <= 1 - confidence

    many = 2
    while not suffices(many):
        many *= 2
    few = many // 2
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if suffices(middle) else (middle, many)
    return many


def percentile_doubts(n: int, percents: Sequence[float] = (90, 95, 99)) -> list[str]:
    """Which percentiles rest on too few samples, by `least_samples`: at most one line.

    Args:
        n: number of samples.
        percents: the percentiles that are shown.
    """
    short = [f"p{percent:g} needs {least_samples(percent)}" for percent in percents if n < least_samples(percent)]
    return [f"too few samples, n={n}: {', '.join(short)}; raise --rounds or --iterations"] if short else []


@lru_cache
def _ranks(n: int, percent: float) -> tuple[int, int] | None:
    """Ranks, counted from 1, between which the percentile lies with probability 95 %; None where one is not there."""
    probability = percent / 100
    reach = _STANDARD_DEVIATIONS * sqrt(n * probability * (1 - probability)) + _STANDARD_DEVIATIONS**2
    first, last = max(int(n * probability - reach), 0), min(int(n * probability + reach), n)
    # Probability that at most k samples lie below the percentile, for each k from `first` on.
    at_most = np.cumsum([_binomial(k, n, probability) for k in range(first, last + 1)])
    tail = (1 - COVERAGE) / 2
    # The largest lower rank with P(fewer below) <= 2.5 %, the smallest upper one with P(as many below) <= 2.5 %.
    lower = first + int(np.searchsorted(at_most, tail, side="right"))
    upper = first + int(np.searchsorted(at_most, 1 - tail, side="left")) + 1
    return (lower, upper) if lower >= 1 and upper <= n else None


def _binomial(k: int, n: int, probability: float) -> float:
    """Probability of k successes in n trials."""
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return exp(ways + k * log(probability) + (n - k) * log1p(-probability))
