"""What a number of samples says of a percentile, against exact sums of binomial probabilities."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from espnet_edge.runtime.order_statistics import least_samples, percentile_bounds, percentile_doubts
from espnet_edge.runtime.stats import percentile


def at_most(k: int, n: int, percent: int) -> Fraction:
    """Probability that at most k of n samples lie below the percentile."""
    below = Fraction(percent, 100)
    return sum((comb(n, i) * below**i * (1 - below) ** (n - i) for i in range(k + 1)), Fraction(0))


@pytest.mark.parametrize("percent", [50, 90, 95, 99])
@pytest.mark.parametrize("n", [1, 5, 6, 10, 35, 36, 71, 72, 100, 367, 368, 700])
def test_bounds_are_the_narrowest_that_miss_at_most_a_fortieth_on_each_side(n, percent):
    tail = Fraction(1, 40)
    bounds = percentile_bounds(range(1, n + 1), percent)
    if bounds is None:
        # Not even the smallest and the largest sample enclose it surely enough.
        assert at_most(0, n, percent) > tail or 1 - at_most(n - 1, n, percent) > tail
        return
    lower, upper = bounds
    assert at_most(lower - 1, n, percent) <= tail < at_most(lower, n, percent)
    assert 1 - at_most(upper - 1, n, percent) <= tail < 1 - at_most(upper - 2, n, percent)
    assert lower <= percentile(range(1, n + 1), percent) <= upper


@pytest.mark.parametrize(("percent", "least"), [(50, 6), (90, 36), (95, 72), (99, 368)])
def test_bounds_are_absent_where_there_are_too_few_samples(percent, least):
    assert percentile_bounds(range(least - 1), percent) is None
    assert percentile_bounds(range(least), percent) is not None


def test_bounds_of_a_million_samples():
    # By the normal approximation: 990000.5 +- 1.96 sqrt(9900).
    lower, upper = percentile_bounds(range(1, 10**6 + 1), 99)
    assert (lower, upper) == pytest.approx((989805.5, 990195.5), abs=2)


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_bounds_contain_the_percentile_of_a_skewed_distribution(percent):
    generator = np.random.default_rng(percent)
    samples = np.sort(generator.exponential(size=(2000, 400)), axis=1)
    true = -np.log(1 - percent / 100)
    bounds = np.array([percentile_bounds(row, percent) for row in samples.tolist()])
    # Whole ranks make it a little more than 95 %.
    assert 0.945 <= np.mean((bounds[:, 0] <= true) & (true <= bounds[:, 1])) <= 0.98


@pytest.mark.parametrize(("percent", "least"), [(90, 64), (95, 130), (97, 219), (99, 662), (99.9, 6636)])
def test_least_samples_by_the_rule_of_mlperf(percent, least):
    assert least_samples(percent) == least


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_with_one_sample_less_two_overshoots_are_not_sure(percent):
    least = least_samples(percent)
    above = Fraction(100 - percent, 100)

    def fewer_than_two(n):
        return (1 - above) ** n + n * above * (1 - above) ** (n - 1)

    assert fewer_than_two(least) <= Fraction(1, 100) < fewer_than_two(least - 1)


def test_less_confidence_needs_fewer_samples():
    assert least_samples(99, 0.95) == 473
    assert least_samples(99, 0.5) == 168


@pytest.mark.parametrize(("percent", "confidence"), [(0, 0.9), (100, 0.9), (90, 0), (90, 1), (float("nan"), 0.9)])
def test_least_samples_of_nothing(percent, confidence):
    with pytest.raises(ValueError, match="ends excluded"):
        least_samples(percent, confidence)


def test_doubts_name_the_percentiles_that_rest_on_too_little():
    told = "too few samples, n=50: p90 needs 64, p95 needs 130, p99 needs 662; raise --rounds or --iterations"
    assert percentile_doubts(50) == [told]
    assert percentile_doubts(661) == ["too few samples, n=661: p99 needs 662; raise --rounds or --iterations"]
    assert percentile_doubts(662) == []
    assert percentile_doubts(10, percents=(50,)) == [
        "too few samples, n=10: p50 needs 11; raise --rounds or --iterations"
    ]
