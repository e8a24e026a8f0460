#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench_environment.hpp"
#include "bench_latency.hpp"
#include "bench_meter.hpp"
#include "bench_plan.hpp"

namespace espnet::bench {

/// Keeps what a meter reads: its channels with every call of `sample`, the conditions once a second. `sample` is called
/// by one thread, the rest by another.
class Sampler {
public:
    Sampler(Meter& meter, std::function<std::int64_t()> clock);

    /// Read once; a reading that fails is counted.
    void sample();

    const MeterInfo& meter() const noexcept { return meter_.info(); }
    std::int64_t last_ns() const;

    /// Mean of the sum of the total's rails (or of all, where there is no total) in a stretch of time. Units: mW.
    std::optional<double> mean_mw(std::int64_t start_ns, std::int64_t end_ns) const;

    /// The same of one channel.
    std::optional<double> mean_mw(std::size_t channel, std::int64_t start_ns, std::int64_t end_ns) const;

    std::string readings_json() const;
    std::string conditions_json() const;
    std::string cost_json() const;
    std::string last_failure() const;

    /// Processor time of the thread that samples. Units: ns.
    void set_cpu_ns(std::int64_t cpu_ns);

private:
    using Rows = std::vector<std::pair<std::int64_t, std::vector<std::optional<double>>>>;

    static std::string samples_json(const Rows& rows, const std::vector<std::string>& names);
    std::optional<double> mean_of(const std::vector<std::size_t>& channels, std::int64_t start_ns,
                                  std::int64_t end_ns) const;

    Meter& meter_;
    std::function<std::int64_t()> clock_;
    mutable std::mutex mutex_;
    Rows readings_;
    Rows conditions_;
    std::int64_t next_conditions_ns_ = 0;
    std::int64_t started_ns_;
    std::int64_t count_ = 0;
    std::int64_t failures_ = 0;
    std::string last_failure_;
    std::int64_t cpu_ns_ = 0;
};

struct Mark {
    std::int64_t time_ns = 0;
    std::int64_t inferences = 0;
};

/// A stretch of time in which one thing happened: Stretch in power/recording.py.
struct Stretch {
    std::string kind;  ///< "warmup", "idle", "load"
    std::optional<std::string> name;
    std::optional<std::int64_t> round;
    std::int64_t start_ns = 0;
    std::int64_t end_ns = 0;
    std::int64_t window_start_ns = 0;
    std::int64_t window_end_ns = 0;
    std::vector<Mark> marks;
    std::vector<std::pair<std::int64_t, std::int64_t>> pauses;

    /// How many inferences were done in the window, the one under way at each end counted by its share.
    double inferences_in_window() const;
    std::int64_t paused_ns_in_window() const;
};

struct PowerSettings {
    std::optional<std::int64_t> rounds;
    std::optional<double> window_s;
    std::int64_t seed = 0;
};

/// A measurement of power as it was recorded: Recording in power/recording.py.
struct Recording {
    std::vector<Stretch> stretches;
    SensorFacts sensor;
    std::vector<std::string> sensor_notes;
    bool steady = false;
    std::vector<std::pair<std::string, Plan>> plans;
    std::int64_t seed = 0;
    std::optional<std::string> partial;
    std::pair<Conditions, Conditions> machine;
};

/// What surrounds the measurement; not the system's own where a test makes time. `sleep_ns` ends early when
/// interrupted.
struct PowerSurroundings {
    std::function<std::int64_t()> clock;
    std::function<void(std::int64_t)> sleep_ns;
    std::function<bool()> interrupted;
    std::function<Conditions()> conditions;
    std::function<void(std::int64_t)> set_sample_period_ns;
};

/// Who computes when, while a sampler reads the meter: idle, rounds of all loads in random order, idle again, as in
/// power/campaign.py. The sensor is taken as its driver declares it.
///
/// Throws Error. input: a window that was asked for is too short for the sensor; unavailable: the meter has stopped to
/// answer. Throws NothingKept: interrupted before three rounds were complete.
Recording record_power(const std::vector<Work>& works, const Sampler& sampler, const PowerSettings& settings,
                       const PowerSurroundings& surroundings);

/// What a result and the printed report say of a measurement.
struct PowerMeasurement {
    std::string part_json;  ///< the part `power` of a result
    std::string table;
    std::vector<std::string> sentences;
    std::vector<std::string> definitions;
    std::vector<std::string> doubts;
    std::optional<std::string> partial;
};

/// The part of a result and the plain means of a recording.
PowerMeasurement described_power(const Recording& recording, const Sampler& sampler);

/// `record_power` with the real clock and a thread that samples, described.
PowerMeasurement measure_power(const std::vector<Work>& works, Meter& meter, const PowerSettings& settings,
                               const std::function<bool()>& interrupted, const std::string& root);

/// The part `power` of a result where there is none.
std::string missing_power_json(const std::string& reason, const std::vector<Probe>& probes);

}  // namespace espnet::bench
