import numpy as np
import pytest

from espnet_edge.runtime.stats import mean, median, percentile, stddev, summarise


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7], 0, 7),
        ([7], 50, 7),
        ([7], 99, 7),
        ([20, 10], 0, 10),
        ([20, 10], 50, 15),
        ([20, 10], 90, 19),
        ([20, 10], 100, 20),
        ([4, 1, 3, 2], 50, 2.5),
        ([5, 1, 4, 2, 3], 75, 4),
        (list(range(1, 101)), 50, 50.5),
        (list(range(1, 101)), 90, 90.1),
        (list(range(1, 101)), 99, 99.01),
        (list(range(1, 201)), 99, 198.01),
    ],
)
def test_percentile_of_literal_lists(values, percent, expected):
    assert percentile(values, percent) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 59, 60, 99, 100, 101, 1000])
def test_percentile_is_numpys_linear_rule(n):
    values = np.random.default_rng(n).integers(1, 10**9, n).tolist()
    for percent in (0, 1, 12.5, 50, 90, 99, 100):
        assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), rel=1e-12)


def test_other_figures():
    values = [2, 4, 4, 4, 5, 5, 7, 9]
    assert mean(values) == 5
    assert median(values) == 4.5
    assert stddev(values) == pytest.approx((32 / 7) ** 0.5)


def test_one_value_has_no_spread():
    assert stddev([3]) is None


@pytest.mark.parametrize("figure", [mean, median, stddev])
def test_no_values(figure):
    with pytest.raises(ValueError, match="no values"):
        figure([])


@pytest.mark.parametrize("percent", [-1, 100.1])
def test_percent_out_of_range(percent):
    with pytest.raises(ValueError, match="0 to 100"):
        percentile([1, 2], percent)


def test_summary_is_in_milliseconds():
    summary = summarise([3_000_000, 1_000_000])
    assert (summary.n, summary.p50_ms, summary.mean_ms, summary.min_ms, summary.max_ms) == (2, 2, 2, 1, 3)
    assert summary.p90_ms == pytest.approx(2.8)
    assert summary.p99_ms == pytest.approx(2.98)
    assert summary.stddev_ms == pytest.approx(2**0.5)
    assert "linear" in summary.percentile_rule


def test_summary_of_one_sample():
    summary = summarise([1_500_000])
    assert (summary.n, summary.p50_ms, summary.p99_ms, summary.stddev_ms) == (1, 1.5, 1.5, None)


def test_summary_has_bounds_of_its_percentiles():
    samples_ms = np.random.default_rng(0).permutation(100) + 1
    summary = summarise([int(ms) * 1_000_000 for ms in samples_ms])
    # Ranks 40 and 61 of 100 enclose the median, 84 and 96 the 90th percentile; p99 needs 368 samples.
    assert summary.bounds_ms == {"p50": (40, 61), "p90": (84, 96), "p95": (90, 100)}
    assert summarise([1, 2, 3]).bounds_ms == {}
