#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace espnet::bench {

/// The machine, as far as it says: see Environment in runtime/environment.py. Units: cores.
struct Environment {
    std::optional<std::string> board;
    std::optional<std::string> cpu;
    std::string machine;
    std::int64_t cores = 0;
    std::int64_t usable_cores = 1;
    std::optional<double> cpu_limit;
    std::optional<std::string> governor;
    std::string os;

    /// One line for people.
    std::string line() const;
};

/// A clock that moves between two limits. Units: MHz.
struct ClockRange {
    std::string name;
    std::optional<std::string> governor;
    std::optional<double> min_mhz;
    std::optional<double> max_mhz;
    std::optional<double> current_mhz;
};

/// The state that decides about speed and power: MachineConditions in power/conditions.py, without what only programs
/// of the board tell (power mode, jetson_clocks).
struct Conditions {
    std::optional<std::string> board;
    std::optional<std::string> l4t;
    std::vector<ClockRange> cpu_clocks;
    std::vector<ClockRange> gpu_clocks;
    std::vector<std::pair<std::string, std::int64_t>> throttling;
    std::optional<double> temperature_c;
};

struct Snapshot {
    std::optional<double> load_average;
    Conditions conditions;
};

/// `root` is where /proc, /sys and /etc are looked for.
Environment read_environment(const std::string& root);
Conditions read_conditions(const std::string& root);
Snapshot take_snapshot(const std::string& root);

/// Of the hottest thermometer of a PC's processor, or of a board's hottest zone. Units: degrees Celsius.
std::optional<double> hottest_c(const std::string& root);

/// The release of Jetson Linux, as 35.4.1, of the text of /etc/nv_tegra_release.
std::optional<std::string> l4t_release(const std::string& text);

/// What about the machine speaks against the numbers, each with its remedy. `threads`: the most that were used.
std::vector<std::string> environment_doubts(const Environment& environment, std::int64_t threads,
                                            std::optional<double> load_before, std::optional<double> load_after);

std::string environment_json(const Environment& environment, const std::string& version,
                             const std::vector<std::pair<std::string, std::string>>& libraries);
std::string conditions_json(const Conditions& conditions);
std::string snapshot_json(const Snapshot& snapshot);

}  // namespace espnet::bench
