#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench_meter.hpp"

namespace espnet::bench {

/// How to measure the power of one load: Plan in power/plan.py, where each field is explained. Units: ns.
struct Plan {
    std::int64_t sample_period_ns = 0;
    std::int64_t window_ns = 0;
    std::int64_t settle_ns = 0;
    std::int64_t tail_ns = 0;
    std::int64_t rise_ns = 0;
    std::int64_t rounds = 0;
    std::int64_t idle_ns = 0;
    std::vector<std::int64_t> phases_ns;
    std::int64_t group_inferences = 0;
    std::int64_t period_ns = 0;
    std::string reason;
};

/// Choose window, repetitions, settling time, sampling and phase shifts for a sensor that is taken as declared.
///
/// Args:
///     facts: its update period must be known.
///     inference_ns: how long one inference takes, at least 1.
///     window_s, rounds: the user's wishes.
///
/// Throws Error (input): the window is shorter than the sensor can tell, or there are fewer than three rounds.
Plan plan_for(const SensorFacts& facts, std::int64_t inference_ns, std::optional<double> window_s,
              std::optional<std::int64_t> rounds);

std::string plan_json(const Plan& plan);

}  // namespace espnet::bench
