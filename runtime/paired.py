"""The ratio of two lines that were measured in the same rounds, and how far it may be off."""

from collections.abc import Iterator, Sequence
from math import exp, isfinite, log

import numpy as np
from numpy.typing import NDArray

from .stats import Ratio, median

INTERVAL_RULE = "95 % bootstrap-t interval of the logarithms of the rounds' ratios"
# Of four rounds one interval in thirteen spans more than a factor of ten.
LEAST_ROUNDS = 5
# All resamples of so few rounds are taken, and this many drawn ones of more: 1,999 make the 2.5 % a whole rank.
_ALL_RESAMPLES_UP_TO = 5
_RESAMPLES = 1999
_TAILS = (0.025, 0.975)
# Numbers of one chunk of resamples: 8 MB of each array.
_CHUNK = 1_000_000
# A larger logarithm is no ratio of two durations, and its interval would not fit into a float.
_MAX_LOG = 300.0


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Ratio of two lines measured in the same rounds: what slows both down in a round cancels.

    The interval is the bootstrap-t (Efron and Tibshirani, "An Introduction to the Bootstrap", section 12.5) of the mean
    log ratio, widened to contain the median where that lies outside. Unlike percentiles of the resampled means it is
    wide enough for few rounds, since it resamples the standard error, too: simulated with log-normal noise it contains
    the true ratio in 94 to 96 % of the campaigns of 5, 10 and 20 rounds. What few rounds cost is width: half of the
    intervals are more than 1.7, 1.3, 1.03 and 1.01 times as wide as Student's, which would trust the noise to be
    log-normal. The same numbers give the same interval.

    Args:
        numerators: (n,) one for each round, positive.
        denominators: (n,) in the same rounds and unit, positive.

    Returns:
        `low` and `high` are None below `LEAST_ROUNDS` rounds, or where the interval is beyond all numbers.

    Raises:
        ValueError: there are no rounds, lengths differ, or a number is not positive.
    """
    if not min(*numerators, *denominators) > 0:
        raise ValueError(f"a ratio needs positive numbers: {min(*numerators, *denominators)} is among them")
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    middle = median(ratios)
    low, high = _interval(ratios) or (None, None)
    return Ratio(
        middle,
        min(ratios),
        max(ratios),
        len(ratios),
        low=None if low is None else min(low, middle),
        high=None if high is None else max(high, middle),
    )


def _interval(ratios: Sequence[float]) -> tuple[float, float] | None:
    if len(ratios) < LEAST_ROUNDS:
        return None
    if min(ratios) == max(ratios):
        return ratios[0], ratios[0]
    logs = np.array([log(ratio) for ratio in ratios])
    mean, deviation = float(logs.mean()), float(logs.std(ddof=1))
    # In standard deviations of a round: how far the mean of a resample lies from the mean that it was drawn from.
    distances = np.concatenate([_distances(logs[chosen], mean) for chosen in _resamples(logs.size)])
    least, most = np.quantile(distances, _TAILS)
    low, high = mean - float(most) * deviation, mean - float(least) * deviation
    if not all(isfinite(end) and abs(end) <= _MAX_LOG for end in (low, high)):
        return None
    return exp(low), exp(high)


def _distances(resamples: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """For each resample, the distance of its mean from `mean` in its own standard deviations."""
    # One that drew the same value every time has no standard deviation.
    spread = resamples[resamples.min(axis=1) < resamples.max(axis=1)]
    distances: NDArray[np.float64] = (spread.mean(axis=1) - mean) / spread.std(axis=1, ddof=1)
    return distances


def _resamples(rounds: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of the rounds in each resample, one resample in each row, in chunks."""
    if rounds <= _ALL_RESAMPLES_UP_TO:
        yield np.indices((rounds,) * rounds).reshape(rounds, -1).T
        return
    generator = np.random.default_rng(0)
    rows = max(_CHUNK // rounds, 1)
    for first in range(0, _RESAMPLES, rows):
        yield generator.integers(0, rounds, (min(rows, _RESAMPLES - first), rounds))
