"""The ratio of two lines and its interval, held to its 95 % by simulated campaigns."""

import numpy as np
import pytest

from espnet_edge.runtime.paired import LEAST_ROUNDS, paired_ratio


def campaigns(rounds, number, true, seed):
    """Block medians of two lines: log-normal noise of each sample, and a drift over the rounds that both have."""
    generator = np.random.default_rng(seed)
    shape = (number, rounds, 10)
    drift = np.exp(np.cumsum(generator.normal(0.02, 0.1, (number, rounds)), axis=1))
    first = np.median(10e6 * np.exp(generator.normal(0, 0.2, shape)), axis=2) * drift
    mine = np.median(true * 10e6 * np.exp(generator.normal(0, 0.2, shape)), axis=2) * drift
    return zip(mine.tolist(), first.tolist(), strict=True)


@pytest.mark.parametrize("rounds", [5, 10, 20])
def test_intervals_cover_the_true_ratio(rounds):
    ratios = [paired_ratio(mine, first) for mine, first in campaigns(rounds, 2000, 1.7, seed=rounds)]
    covering = sum(ratio.low <= 1.7 <= ratio.high for ratio in ratios)
    assert 0.93 <= covering / len(ratios) <= 0.97
    assert all(ratio.minimum <= ratio.median <= ratio.maximum for ratio in ratios)
    assert all(ratio.low <= ratio.median <= ratio.high for ratio in ratios)


def test_pairing_takes_the_drift_out():
    ((mine, first),) = campaigns(10, 1, 1.7, seed=1)
    paired = paired_ratio(mine, first)
    shuffled = paired_ratio(mine, first[5:] + first[:5])
    assert shuffled.high / shuffled.low > (paired.high / paired.low) ** 2


def test_the_same_rounds_give_the_same_interval():
    ((mine, first),) = campaigns(10, 1, 1.7, seed=1)
    assert paired_ratio(mine, first) == paired_ratio(mine, first)
    scaled = paired_ratio([3 * m for m in mine], first)
    ratio = paired_ratio(mine, first)
    assert (scaled.low, scaled.high) == pytest.approx((3 * ratio.low, 3 * ratio.high))


def test_the_inverse_ratio_has_the_inverse_interval():
    # All resamples are taken of five rounds, so this holds but for rounding.
    ((mine, first),) = campaigns(5, 1, 1.7, seed=1)
    ratio, inverse = paired_ratio(mine, first), paired_ratio(first, mine)
    assert (inverse.low, inverse.high) == pytest.approx((1 / ratio.high, 1 / ratio.low))


def test_few_rounds_have_no_interval():
    for rounds in range(1, LEAST_ROUNDS):
        ratio = paired_ratio([2.0, 3.0, 4.0, 5.0][:rounds], [1.0] * rounds)
        assert (ratio.rounds, ratio.low, ratio.high) == (rounds, None, None)
    assert paired_ratio([2.0, 3.0, 4.0, 5.0, 6.0], [1.0] * 5).low is not None


def test_rounds_that_agree_have_an_interval_of_no_width():
    ratio = paired_ratio([3.0] * 5, [2.0] * 5)
    assert (ratio.low, ratio.median, ratio.high) == (1.5, 1.5, 1.5)


def test_many_rounds_narrow_the_interval():
    ((mine, first),) = campaigns(2000, 1, 1.7, seed=1)
    ratio = paired_ratio(mine, first)
    # 1.25 x 0.2 / sqrt(10) for a median of ten, sqrt(2) for two of them, +- 1.96 / sqrt(2000).
    assert np.log(ratio.high / ratio.low) == pytest.approx(2 * 1.96 * 1.2 * 0.2 / 10**0.5 * (2 / 2000) ** 0.5, rel=0.1)


def test_an_interval_beyond_all_numbers_is_none():
    ratio = paired_ratio([1e-300, 1.0, 1.0, 1.0, 1e300], [1.0] * 5)
    assert (ratio.median, ratio.low, ratio.high) == (1.0, None, None)


def test_durations_that_are_no_durations_are_refused():
    with pytest.raises(ValueError, match="0 is among them"):
        paired_ratio([0, 1], [1, 1])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        paired_ratio([1, 2, 3], [1, 1])
