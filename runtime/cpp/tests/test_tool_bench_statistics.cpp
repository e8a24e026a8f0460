// Statistics: figures that were computed by the Python package, to the last digit.
#include <doctest/doctest.h>

#include <numeric>

#include "bench_latency.hpp"
#include "bench_random.hpp"
#include "bench_statistics.hpp"

using namespace espnet::bench;

TEST_CASE("the sum is rounded once") {
    CHECK(exact_sum({1e100, 1.0, -1e100}) == 1.0);
    CHECK(exact_sum(std::vector<double>(10, 0.1)) == 1.0);
    CHECK(exact_sum({1e16, 1.0, 1e-16}) == 10000000000000002.0);
    CHECK(exact_sum({}) == 0.0);
}

TEST_CASE("one sample has no spread and no bounds") {
    const Summary summary = summarise({1'500'000});
    CHECK(summary.n == 1);
    CHECK(summary.p50_ms == 1.5);
    CHECK(summary.p99_ms == 1.5);
    CHECK_FALSE(summary.stddev_ms.has_value());
    CHECK(summary.bounds_ms.empty());
}

TEST_CASE("percentiles are interpolated between ranks") {
    CHECK(percentile({1, 2, 3, 4}, 50) == 2.5);
    CHECK(percentile({4, 3, 2, 1}, 100) == 4);
    CHECK(percentile({10, 20}, 90) == 19);
    CHECK(median(std::vector<std::int64_t>{5, 1, 9}) == 5);
}

TEST_CASE("a percentile has an interval from so many samples on") {
    const std::vector<std::pair<double, std::size_t>> least{{50, 6}, {90, 36}, {95, 72}, {99, 368}};
    for (const auto& [percent, n] : least) {
        CHECK_FALSE(percentile_ranks(n - 1, percent).has_value());
        CHECK(percentile_ranks(n, percent).has_value());
    }
    CHECK(*percentile_ranks(100, 50) == std::make_pair<std::size_t, std::size_t>(40, 61));
}

TEST_CASE("samples that a percentile needs") {
    CHECK(least_samples(90) == 64);
    CHECK(least_samples(95) == 130);
    CHECK(least_samples(99) == 662);
    CHECK(percentile_doubts(100).front() ==
          "too few samples, n=100: p95 needs 130, p99 needs 662; raise --rounds or --iterations");
    CHECK(percentile_doubts(662).empty());
}

TEST_CASE("three windows that agree within 5 % are steady") {
    CHECK_FALSE(is_steady({{100}, {100}}));
    CHECK(is_steady({{500}, {100}, {105}, {100}}));
    CHECK_FALSE(is_steady({{100}, {106}, {100}}));
}

TEST_CASE("random numbers are those of NumPy") {
    Random random(0);
    CHECK(random.permutation(7) == std::vector<std::size_t>{2, 4, 3, 6, 5, 0, 1});
    CHECK(random.permutation(7) == std::vector<std::size_t>{5, 2, 4, 6, 1, 0, 3});
    CHECK(random.permutation(7) == std::vector<std::size_t>{2, 1, 3, 6, 0, 4, 5});
    std::vector<std::uint32_t> drawn(8);
    for (std::uint32_t& number : drawn) {
        number = random.below(10);
    }
    CHECK(drawn == std::vector<std::uint32_t>{5, 0, 7, 7, 8, 1, 0, 8});
}

TEST_CASE("a ratio has an interval from five rounds on") {
    CHECK_FALSE(paired_ratio({2, 4, 6, 8}, {1, 2, 3, 4}).low.has_value());
    const Ratio same = paired_ratio({2, 4, 6, 8, 10}, {1, 2, 3, 4, 5});
    CHECK(same.median == 2);
    CHECK(*same.low == 2);
    CHECK(*same.high == 2);
    CHECK(same.rounds == 5);
}

namespace {

/// A machine on which time passes in inferences alone.
struct Machine {
    std::int64_t time_ns = 0;
    int left_until_interrupt = 1 << 30;

    Work work(const std::string& name, std::int64_t duration_ns) {
        return {name,
                [this, duration_ns] {
                    time_ns += duration_ns;
                    --left_until_interrupt;
                },
                1};
    }

    Surroundings surroundings() {
        return {[this] { return time_ns; }, [this] { return left_until_interrupt <= 0; }};
    }
};

}  // namespace

TEST_CASE("rounds are interleaved and every sample is kept") {
    Machine machine;
    BenchSettings settings;
    settings.rounds = 4;
    settings.iterations = 5;
    const LatencyResult result = measure_latency({machine.work("a", 10'000'000), machine.work("b", 20'000'000)},
                                                 settings, machine.surroundings());
    REQUIRE(result.lines.size() == 2);
    CHECK_FALSE(result.partial.has_value());
    for (const LatencySamples& line : result.lines) {
        CHECK(line.steady);
        CHECK(line.samples_ns.size() == 4);
        CHECK(line.discarded_ns.size() == 4);
        CHECK(line.all_ns().size() == 20);
        CHECK(std::accumulate(line.warmup_ns.begin(), line.warmup_ns.end(), std::int64_t{0}) >= 500'000'000);
    }
    CHECK(result.lines[0].throughput_per_s() == 100);
    CHECK(result.lines[1].round_medians_ns() == std::vector<double>(4, 2e7));
    CHECK(result.order.size() == 4);
    CHECK(result.order[0].size() == 2);
}

TEST_CASE("an interrupt keeps the complete rounds") {
    Machine machine;
    BenchSettings settings;
    settings.rounds = 10;
    settings.iterations = 3;
    settings.warmup_iterations = 0;
    settings.warmup_s = 0;
    settings.max_warmup_s = 0;
    machine.left_until_interrupt = 4 * 2 + 2;  // two rounds of one discarded and three timed inferences, and a half
    const LatencyResult result = measure_latency({machine.work("a", 1000)}, settings, machine.surroundings());
    CHECK(*result.partial == "interrupted in round 3 of 10");
    CHECK(result.lines[0].samples_ns.size() == 2);
    CHECK(result.order.size() == 2);
    machine.left_until_interrupt = 2;
    CHECK_THROWS_AS(measure_latency({machine.work("a", 1000)}, settings, machine.surroundings()), NothingKept);
}
