#include "bench_statistics.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "bench_random.hpp"

namespace espnet::bench {

namespace {

constexpr double coverage = 0.95;
// Beyond, probabilities of the binomial distribution are far below rounding.
constexpr double standard_deviations = 12;
constexpr std::size_t steady_windows = 3;
constexpr double steady_tolerance = 0.05;
// All resamples of so few rounds are taken, and this many drawn ones of more.
constexpr std::size_t all_resamples_up_to = 5;
constexpr std::size_t resample_count = 1999;
// A larger logarithm is no ratio of two durations.
constexpr double max_log = 300;

/// Of values that are sorted.
double sorted_percentile(const std::vector<double>& ordered, double percent) {
    const double rank = percent / 100 * static_cast<double>(ordered.size() - 1);
    const auto below = static_cast<std::size_t>(rank);
    const std::size_t above = std::min(below + 1, ordered.size() - 1);
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - static_cast<double>(below));
}

/// The square as Python's `x ** 2` has it: by pow, whose last digit may differ from that of x * x.
double squared(double x) {
    volatile double two = 2;  // a compiler that sees the 2 would multiply
    return std::pow(x, two);
}

double binomial(std::int64_t k, std::int64_t n, double probability) {
    const auto above = static_cast<double>(k);
    const auto rest = static_cast<double>(n - k);
    const double ways = std::lgamma(static_cast<double>(n) + 1) - std::lgamma(above + 1) - std::lgamma(rest + 1);
    return std::exp(ways + above * std::log(probability) + rest * std::log1p(-probability));
}

double mean_of(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double deviation_of(const std::vector<double>& values, double mean) {
    double sum = 0;
    for (const double value : values) {
        sum += (value - mean) * (value - mean);
    }
    return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

/// For each resample of the logarithms the distance of its mean from theirs, in its own standard deviations.
class Distances {
public:
    explicit Distances(const std::vector<double>& logs) : logs_(logs), mean_(mean_of(logs)), drawn_(logs.size()) {}

    std::vector<double> all() {
        const std::size_t rounds = logs_.size();
        if (rounds > all_resamples_up_to) {
            draw();
            return found_;
        }
        std::size_t count = 1;
        for (std::size_t i = 0; i < rounds; ++i) {
            count *= rounds;
        }
        for (std::size_t number = 0; number < count; ++number) {
            for (std::size_t i = 0, digits = number; i < rounds; ++i, digits /= rounds) {
                drawn_[i] = logs_[digits % rounds];
            }
            add();
        }
        return found_;
    }

private:
    void draw() {
        Random random(0);
        for (std::size_t i = 0; i < resample_count; ++i) {
            for (double& value : drawn_) {
                value = logs_[random.below(static_cast<std::uint32_t>(logs_.size()))];
            }
            add();
        }
    }

    void add() {
        // One that drew the same value every time has no standard deviation.
        const auto [least, most] = std::minmax_element(drawn_.begin(), drawn_.end());
        if (*least < *most) {
            const double mean = mean_of(drawn_);
            found_.push_back((mean - mean_) / deviation_of(drawn_, mean));
        }
    }

    const std::vector<double>& logs_;
    double mean_;
    std::vector<double> drawn_;
    std::vector<double> found_;
};

std::optional<std::pair<double, double>> ratio_interval(const std::vector<double>& ratios) {
    if (ratios.size() < least_rounds) {
        return std::nullopt;
    }
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    if (*least == *most) {
        return std::make_pair(*least, *least);
    }
    std::vector<double> logs;
    for (const double ratio : ratios) {
        logs.push_back(std::log(ratio));
    }
    const double mean = mean_of(logs);
    const double deviation = deviation_of(logs, mean);
    const std::vector<double> distances = Distances(logs).all();
    const double low = mean - percentile(distances, 100 * (1 - (1 - coverage) / 2)) * deviation;
    const double high = mean - percentile(distances, 100 * (1 - coverage) / 2) * deviation;
    for (const double end : {low, high}) {
        if (!std::isfinite(end) || std::abs(end) > max_log) {
            return std::nullopt;
        }
    }
    return std::make_pair(std::exp(low), std::exp(high));
}

}  // namespace

Summary summarise(const std::vector<std::int64_t>& samples_ns) {
    std::vector<double> samples_ms;
    samples_ms.reserve(samples_ns.size());
    for (const std::int64_t sample : samples_ns) {
        samples_ms.push_back(static_cast<double>(sample) / 1e6);
    }
    std::sort(samples_ms.begin(), samples_ms.end());
    Summary summary;
    summary.n = samples_ms.size();
    summary.p50_ms = sorted_percentile(samples_ms, 50);
    summary.p90_ms = sorted_percentile(samples_ms, 90);
    summary.p95_ms = sorted_percentile(samples_ms, 95);
    summary.p99_ms = sorted_percentile(samples_ms, 99);
    summary.mean_ms = exact_sum(samples_ms) / static_cast<double>(summary.n);
    summary.min_ms = samples_ms.front();
    summary.max_ms = samples_ms.back();
    if (summary.n > 1) {
        std::vector<double> squares;
        squares.reserve(summary.n);
        for (const double sample : samples_ms) {
            squares.push_back(squared(sample - summary.mean_ms));
        }
        summary.stddev_ms = std::sqrt(exact_sum(squares) / static_cast<double>(summary.n - 1));
    }
    for (const int percent : {50, 90, 95, 99}) {
        if (const auto ranks = percentile_ranks(summary.n, percent)) {
            summary.bounds_ms.emplace_back("p" + std::to_string(percent),
                                           std::make_pair(samples_ms[ranks->first - 1], samples_ms[ranks->second - 1]));
        }
    }
    return summary;
}

double percentile(std::vector<double> values, double percent) {
    std::sort(values.begin(), values.end());
    return sorted_percentile(values, percent);
}

double median(std::vector<double> values) {
    return percentile(std::move(values), 50);
}

double median(const std::vector<std::int64_t>& values) {
    return percentile(std::vector<double>(values.begin(), values.end()), 50);
}

double exact_sum(const std::vector<double>& values) {
    // Numbers of increasing size that do not overlap, and whose sum is that of the values so far.
    std::vector<double> partials;
    for (double value : values) {
        std::size_t kept = 0;
        for (double partial : partials) {
            if (std::abs(value) < std::abs(partial)) {
                std::swap(value, partial);
            }
            const double high = value + partial;
            const double low = partial - (high - value);
            if (low != 0) {
                partials[kept++] = low;
            }
            value = high;
        }
        partials.resize(kept);
        partials.push_back(value);
    }
    if (partials.empty()) {
        return 0;
    }
    double high = partials.back();
    partials.pop_back();
    double low = 0;
    while (!partials.empty() && low == 0) {
        const double before = high;
        const double partial = partials.back();
        partials.pop_back();
        high = before + partial;
        low = partial - (high - before);
    }
    // Midway between two numbers, what is left says to which side.
    if (!partials.empty() && ((low < 0 && partials.back() < 0) || (low > 0 && partials.back() > 0))) {
        const double twice = 2 * low;
        const double other = high + twice;
        if (twice == other - high) {
            high = other;
        }
    }
    return high;
}

std::optional<std::pair<std::size_t, std::size_t>> percentile_ranks(std::size_t n, double percent) {
    const double probability = percent / 100;
    const auto count = static_cast<double>(n);
    const double reach = standard_deviations * std::sqrt(count * probability * (1 - probability)) +
                         standard_deviations * standard_deviations;
    const auto first = std::max(static_cast<std::int64_t>(count * probability - reach), std::int64_t{0});
    const auto last = std::min(static_cast<std::int64_t>(count * probability + reach), static_cast<std::int64_t>(n));
    // Probability that at most k samples lie below the percentile, for each k from `first` on.
    std::vector<double> at_most;
    double sum = 0;
    for (std::int64_t k = first; k <= last; ++k) {
        sum += binomial(k, static_cast<std::int64_t>(n), probability);
        at_most.push_back(sum);
    }
    const double tail = (1 - coverage) / 2;
    // The largest lower rank with P(fewer below) <= 2.5 %, the smallest upper one with P(as many below) <= 2.5 %.
    const auto lower = first + (std::upper_bound(at_most.begin(), at_most.end(), tail) - at_most.begin());
    const auto upper = first + (std::lower_bound(at_most.begin(), at_most.end(), 1 - tail) - at_most.begin()) + 1;
    if (lower < 1 || upper > static_cast<std::int64_t>(n)) {
        return std::nullopt;
    }
    return std::make_pair(static_cast<std::size_t>(lower), static_cast<std::size_t>(upper));
}

std::int64_t least_samples(double percent, double confidence) {
    const double below = percent / 100;
    const auto suffices = [&](std::int64_t count) {
        const auto n = static_cast<double>(count);
        return std::pow(below, n) + n * (1 - below) * std::pow(below, n - 1) <= 1 - confidence;
    };
    std::int64_t many = 2;
    while (!suffices(many)) {
        many *= 2;
    }
    std::int64_t few = many / 2;
    while (many - few > 1) {
        const std::int64_t middle = (few + many) / 2;
        (suffices(middle) ? many : few) = middle;
    }
    return many;
}

std::vector<std::string> percentile_doubts(std::size_t n) {
    std::string needed;
    for (const int percent : {90, 95, 99}) {
        const std::int64_t least = least_samples(percent);
        if (static_cast<std::int64_t>(n) < least) {
            needed += (needed.empty() ? "p" : ", p") + std::to_string(percent) + " needs " + std::to_string(least);
        }
    }
    if (needed.empty()) {
        return {};
    }
    return {"too few samples, n=" + std::to_string(n) + ": " + needed + "; raise --rounds or --iterations"};
}

bool is_steady(const std::vector<std::vector<std::int64_t>>& windows) {
    if (windows.size() < steady_windows) {
        return false;
    }
    std::array<double, steady_windows> medians{};
    for (std::size_t i = 0; i < steady_windows; ++i) {
        medians[i] = median(windows[windows.size() - steady_windows + i]);
    }
    const auto [least, most] = std::minmax_element(medians.begin(), medians.end());
    return *most <= (1 + steady_tolerance) * *least;
}

Ratio paired_ratio(const std::vector<double>& numerators, const std::vector<double>& denominators) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < numerators.size(); ++i) {
        ratios.push_back(numerators[i] / denominators[i]);
    }
    Ratio ratio;
    ratio.median = median(ratios);
    ratio.minimum = *std::min_element(ratios.begin(), ratios.end());
    ratio.maximum = *std::max_element(ratios.begin(), ratios.end());
    ratio.rounds = ratios.size();
    if (const auto interval = ratio_interval(ratios)) {
        // Widened to contain the median where that lies outside.
        ratio.low = std::min(interval->first, ratio.median);
        ratio.high = std::max(interval->second, ratio.median);
    }
    return ratio;
}

}  // namespace espnet::bench
