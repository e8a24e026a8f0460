#include "bench_plan.hpp"

#include <algorithm>
#include <cmath>

#include "bench_json.hpp"
#include "bench_text.hpp"

namespace espnet::bench {

namespace {

// The numbers of power/plan.py, with their reasons there.
constexpr double max_edge_error = 0.005;
constexpr double max_edge_error_of_check = 0.01;
constexpr std::int64_t min_window_ns = 5'000'000'000;
constexpr std::int64_t min_window_with_pauses_ns = 12'000'000'000;
constexpr std::int64_t max_window_ns = 3'600'000'000'000;
constexpr std::int64_t min_inferences = 10;
constexpr std::int64_t min_updates = 4;
constexpr std::int64_t min_rounds = 3;
constexpr std::int64_t default_rounds = 9;
constexpr std::int64_t default_rise_ns = 300'000'000;
constexpr std::int64_t min_phases = 8;
constexpr std::int64_t periods_per_group = 5;
constexpr double max_locked_error = 0.02;
constexpr std::int64_t min_idle_ns = 30'000'000'000;
constexpr std::int64_t polls_per_update = 5;
constexpr std::int64_t min_sample_ns = 10'000'000;
constexpr std::int64_t max_sample_ns = 100'000'000;
constexpr std::int64_t longest_window_ns = 1'000'000'000;
constexpr double smallest_share = 0.25;

double real(std::int64_t value) {
    return static_cast<double>(value);
}

std::int64_t shortest_ns(std::int64_t period_ns, double error) {
    return static_cast<std::int64_t>(std::ceil(real(period_ns) / (std::sqrt(6.0) * error)));
}

/// Whether a sensor that keeps step with the load could read it wrong.
bool locks(std::int64_t seen_ns, std::int64_t period_ns, std::int64_t inference_ns) {
    return std::min(real(inference_ns) / (2 * real(seen_ns)), real(period_ns - seen_ns) / real(seen_ns)) >
           max_locked_error;
}

std::int64_t asked_window_ns(double window_s, std::int64_t period_ns, std::int64_t averaged_ns) {
    const std::int64_t least_ns = std::max(min_updates * period_ns, averaged_ns);
    if (!(real(least_ns) <= window_s * 1e9 && window_s * 1e9 <= real(max_window_ns))) {
        throw Error(ErrorCode::input,
                    "a window of " + general(window_s) + " s does not fit a sensor that renews its reading every " +
                        general(real(period_ns) / 1e9, 3) + " s and averages over " +
                        general(real(averaged_ns) / 1e9, 3) + " s: take " + general(real(least_ns) / 1e9, 3) + " to " +
                        general(real(max_window_ns) / 1e9) + " s");
    }
    return std::llrint(window_s * 1e9);
}

/// Equally spaced, and so many that together the sensor sees the whole period; each for one inference at least.
std::vector<std::int64_t> phases_of(std::int64_t seen_ns, std::int64_t period_ns, std::int64_t inference_ns,
                                    std::int64_t window_ns) {
    const std::int64_t wanted = std::min<std::int64_t>(
        std::llrint(real(window_ns) / real(periods_per_group * period_ns)), window_ns / inference_ns);
    const auto covering = static_cast<std::int64_t>(std::ceil(real(period_ns) / real(seen_ns)));
    const std::int64_t count = std::max({min_phases, covering, wanted});
    std::vector<std::int64_t> phases;
    for (std::int64_t number = 0; number < count; ++number) {
        phases.push_back(std::llrint(real(number * period_ns) / real(count)));
    }
    return phases;
}

std::string reason_of(const Plan& plan, const SensorFacts& facts, std::int64_t seen_ns) {
    const double edge_error = real(plan.period_ns) / (std::sqrt(6.0) * real(plan.window_ns));
    std::string reason = "windows of " + general(real(plan.window_ns) / 1e9, 3) + " s or " +
                         fixed(real(plan.window_ns) / real(plan.period_ns), 0) + " readings, whose edges are off by " +
                         percent(edge_error, 2) + "; the first " + general(real(plan.settle_ns) / 1e9, 2) +
                         " s of load do not count";
    if (!facts.averaging_window_ns) {
        reason += "; the averaging window is not known and taken as the worst of NVML's, for each purpose";
    }
    if (!plan.phases_ns.empty()) {
        reason += "; " + std::to_string(plan.phases_ns.size()) + " groups of " + std::to_string(plan.group_inferences) +
                  " inferences with pauses, as the sensor may see no more than " + fixed(real(seen_ns) / 1e6, 0) +
                  " ms of every " + fixed(real(plan.period_ns) / 1e6, 0) + " ms";
    }
    return reason;
}

}  // namespace

Plan plan_for(const SensorFacts& facts, std::int64_t inference_ns, std::optional<double> window_s,
              std::optional<std::int64_t> rounds) {
    if (rounds && *rounds < min_rounds) {
        throw Error(ErrorCode::input, std::to_string(*rounds) + " rounds: at least " + std::to_string(min_rounds) +
                                          " are needed for an interval, " + std::to_string(default_rounds) +
                                          " are usual");
    }
    const std::int64_t update_ns = facts.update_period_ns.value();
    Plan plan;
    plan.sample_period_ns = std::min(std::max(update_ns / polls_per_update, min_sample_ns), max_sample_ns);
    // What is polled more slowly than it is renewed is renewed by each poll.
    plan.period_ns = std::max(update_ns, plan.sample_period_ns);
    const std::int64_t averaged_ns = facts.averaging_window_ns.value_or(longest_window_ns);
    const std::int64_t seen_ns = std::max<std::int64_t>(
        1, facts.averaging_window_ns.value_or(std::llrint(smallest_share * real(plan.period_ns))));
    const bool slides = locks(seen_ns, plan.period_ns, inference_ns);
    plan.window_ns =
        window_s
            ? asked_window_ns(*window_s, plan.period_ns, averaged_ns)
            : std::max({shortest_ns(plan.period_ns, max_edge_error), min_window_ns, min_inferences * inference_ns});
    if (slides && !window_s) {
        plan.window_ns = std::max(plan.window_ns, min_window_with_pauses_ns);
    }
    plan.rise_ns = default_rise_ns;
    // A poll shows a window that began up to half of window and period before the instant that it is moved back to.
    plan.settle_ns = plan.rise_ns + std::max(averaged_ns, (averaged_ns + plan.period_ns) / 2);
    plan.tail_ns = averaged_ns + plan.period_ns;
    plan.rounds = rounds.value_or(default_rounds);
    plan.idle_ns = plan.settle_ns + std::max(min_idle_ns, shortest_ns(plan.period_ns, max_edge_error_of_check));
    if (slides) {
        plan.phases_ns = phases_of(seen_ns, plan.period_ns, inference_ns, plan.window_ns);
        plan.group_inferences = static_cast<std::int64_t>(
            std::ceil(real(plan.window_ns) / real(inference_ns) / static_cast<double>(plan.phases_ns.size())));
    }
    plan.reason = reason_of(plan, facts, seen_ns);
    return plan;
}

std::string plan_json(const Plan& plan) {
    return json::object({{"sample_period_ns", json::of(plan.sample_period_ns)},
                         {"window_ns", json::of(plan.window_ns)},
                         {"settle_ns", json::of(plan.settle_ns)},
                         {"tail_ns", json::of(plan.tail_ns)},
                         {"rise_ns", json::of(plan.rise_ns)},
                         {"rounds", json::of(plan.rounds)},
                         {"idle_ns", json::of(plan.idle_ns)},
                         {"phases_ns", json::of(plan.phases_ns)},
                         {"group_inferences", json::of(plan.group_inferences)},
                         {"period_ns", json::of(plan.period_ns)},
                         {"reason", json::of(plan.reason)}});
}

}  // namespace espnet::bench
