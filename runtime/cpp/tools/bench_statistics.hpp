#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace espnet::bench {

// The figures of runtime/stats.py, order_statistics.py, steady.py and paired.py: the same numbers to the last digit,
// but for the ends of a ratio's interval, which agree to rounding.

constexpr const char* percentile_rule =
    "rank p/100 * (n - 1) in the sorted samples counted from 0, interpolated linearly (NumPy's 'linear')";

/// Figures of samples. Units: ms. `stddev_ms` is missing of one sample, a percentile's 95 % interval in `bounds_ms`
/// where there are too few for it.
struct Summary {
    std::size_t n = 0;
    double p50_ms = 0;
    double p90_ms = 0;
    double p95_ms = 0;
    double p99_ms = 0;
    double mean_ms = 0;
    double min_ms = 0;
    double max_ms = 0;
    std::optional<double> stddev_ms;
    std::vector<std::pair<std::string, std::pair<double, double>>> bounds_ms;
};

/// Time of one line over that of another, formed within rounds. `low` and `high` are the 95 % interval of the median,
/// missing where there are too few rounds for one.
struct Ratio {
    double median = 0;
    double minimum = 0;
    double maximum = 0;
    std::size_t rounds = 0;
    std::optional<double> low;
    std::optional<double> high;
};

/// The figures of at least one sample. Units: ns.
Summary summarise(const std::vector<std::int64_t>& samples_ns);

/// The value below which `percent` of the values lie, of at least one: see `percentile_rule`.
double percentile(std::vector<double> values, double percent);

double median(std::vector<double> values);
double median(const std::vector<std::int64_t>& values);

/// The sum, rounded once (Shewchuk 1997, "Adaptive precision floating-point arithmetic"), as Python's `math.fsum`.
double exact_sum(const std::vector<double>& values);

/// Ranks, counted from 1, between which a percentile lies with probability 95 %; none where one is not there.
std::optional<std::pair<std::size_t, std::size_t>> percentile_ranks(std::size_t n, double percent);

/// How many samples a percentile needs for two of them to lie above it with that probability.
std::int64_t least_samples(double percent, double confidence = 0.99);

/// Which percentiles rest on too few samples: at most one line.
std::vector<std::string> percentile_doubts(std::size_t n);

// A window of the warm-up, and when its medians have come to rest.
constexpr std::int64_t steady_window_ns = 100'000'000;
constexpr std::size_t steady_window_inferences = 3;

/// Whether the medians of the last three windows lie within 5 % of the smallest.
bool is_steady(const std::vector<std::vector<std::int64_t>>& windows);

/// Rounds below which a ratio has no interval.
constexpr std::size_t least_rounds = 5;

/// Ratio of two lines measured in the same rounds, with the bootstrap-t interval of paired.py.
///
/// Args:
///     numerators, denominators: one for each round, positive.
Ratio paired_ratio(const std::vector<double>& numerators, const std::vector<double>& denominators);

}  // namespace espnet::bench
