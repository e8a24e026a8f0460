#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench_statistics.hpp"

namespace espnet::bench {

/// One inference, ready to run: complete when the call returns. `images` are those of one inference.
struct Work {
    std::string name;
    std::function<void()> call;
    std::int64_t images = 1;
};

/// How often, for how long and in which order: see BenchSettings in runtime/bench.py.
struct BenchSettings {
    std::int64_t rounds = 10;
    std::int64_t iterations = 10;
    double block_s = 0;
    std::int64_t warmup_iterations = 3;
    double warmup_s = 0.5;
    double max_warmup_s = 10;
    std::int64_t seed = 0;

    /// Throws Error (input): a number makes no sense.
    void check() const;
};

/// All that was measured of one line. Units: ns. A block of `starts_ns` and `samples_ns` for each round.
struct LatencySamples {
    std::string name;
    std::int64_t images = 1;
    std::vector<std::int64_t> warmup_ns;
    bool steady = false;
    std::vector<std::int64_t> discarded_ns;
    std::vector<std::vector<std::int64_t>> starts_ns;
    std::vector<std::vector<std::int64_t>> samples_ns;
    std::vector<std::int64_t> elapsed_ns;

    std::vector<std::int64_t> all_ns() const;
    std::vector<double> round_medians_ns() const;
    double throughput_per_s() const;
};

/// What `measure_latency` found; `order` has the names of each round's blocks as they ran. `partial` says why there
/// are fewer rounds than asked for.
struct LatencyResult {
    BenchSettings settings;
    std::vector<LatencySamples> lines;
    std::vector<std::vector<std::string>> order;
    std::optional<std::string> partial;
};

/// The interrupt came before there was anything to keep.
struct NothingKept {};

/// What surrounds a measurement: its clock, and whether Ctrl-C was pressed.
struct Surroundings {
    std::function<std::int64_t()> clock;  ///< monotonic. Units: ns
    std::function<bool()> interrupted;
};

/// Now, on the clock of all instants of a result: std::chrono::steady_clock, on Linux CLOCK_MONOTONIC. Units: ns.
std::int64_t now_ns();

/// Latency of each work's inference, in a closed loop, by the rules of docs/latency.md: each is warmed up until it has
/// come to rest; then, round by round and in random order, each runs one block of one discarded inference and the
/// timed ones. After an interrupt the complete rounds are kept.
///
/// Throws: what `settings.check` and the works throw; NothingKept.
LatencyResult measure_latency(const std::vector<Work>& works, const BenchSettings& settings,
                              const Surroundings& surroundings);

}  // namespace espnet::bench
