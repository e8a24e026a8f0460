#include "bench_environment.hpp"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "bench_json.hpp"
#include "bench_sysfs.hpp"
#include "bench_text.hpp"

namespace espnet::bench {

namespace {

// Load beyond this share of the cores is more than a shell and a monitor.
constexpr double busy_share = 0.25;
// A sensor whose power is off says -256 C.
constexpr std::int64_t coldest_millidegrees = -40'000;
constexpr std::int64_t hottest_millidegrees = 150'000;
constexpr std::size_t max_l4t_chars = 200;

std::optional<std::string> cpu_model(const std::string& root) {
    std::istringstream lines(first_bytes(root + "/proc/cpuinfo"));
    for (std::string line; std::getline(lines, line);) {
        const std::size_t colon = line.find(':');
        if (line.compare(0, 10, "model name") == 0 && colon != std::string::npos && colon + 2 <= line.size()) {
            return line.substr(colon + 2);
        }
    }
    return std::nullopt;
}

std::int64_t usable_core_count() {
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                       : std::max<std::int64_t>(1, sysconf(_SC_NPROCESSORS_ONLN));
}

/// Quota over period, in cores; "max" and -1 stand for none.
std::optional<double> quota(const std::string& folder, bool second_version) {
    const std::string file = first_bytes(folder + (second_version ? "/cpu.max" : "/cpu.cfs_quota_us"));
    std::istringstream words(second_version ? file : file + " " + first_bytes(folder + "/cpu.cfs_period_us"));
    std::string allowed;
    double period = 0;
    if (!(words >> allowed >> period) || allowed == "max" || allowed == "-1" || period <= 0) {
        return std::nullopt;
    }
    return std::strtod(allowed.c_str(), nullptr) / period;
}

/// The tightest limit among this process's control groups and those above them, version 2 and version 1.
std::optional<double> cpu_limit(const std::string& root) {
    std::optional<double> tightest;
    std::istringstream lines(first_bytes(root + "/proc/self/cgroup"));
    for (std::string line; std::getline(lines, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) {
            continue;
        }
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const bool second_version = controllers == ",,";
        if (!second_version && controllers.find(",cpu,") == std::string::npos) {
            continue;
        }
        const std::string mount = root + "/sys/fs/cgroup" + (second_version ? "" : "/cpu");
        std::string group = line.substr(second + 1);
        while (true) {
            if (const auto limit = quota(mount + group, second_version)) {
                tightest = tightest ? std::min(*tightest, *limit) : *limit;
            }
            if (group.empty()) {
                break;
            }
            group.resize(group.find_last_of('/') == std::string::npos ? 0 : group.find_last_of('/'));
        }
    }
    return tightest;
}

std::optional<double> mhz(const std::string& path, double per_mhz) {
    const auto clock = sysfs_number(path);
    return clock ? std::make_optional(static_cast<double>(*clock) / per_mhz) : std::nullopt;
}

ClockRange clock_range(const std::string& folder, const std::string& name, const std::string& prefix, double per_mhz) {
    return {name, sysfs_text(folder + "/" + (prefix.empty() ? "governor" : "scaling_governor")),
            mhz(folder + "/" + prefix + "min_freq", per_mhz), mhz(folder + "/" + prefix + "max_freq", per_mhz),
            mhz(folder + "/" + prefix + "cur_freq", per_mhz)};
}

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// A Jetson's GPU: 57000000.gpu (TX1, Nano), 17000000.gp10b (TX2), gv11b (Xavier), ga10b or gpu (Orin), gpu-gpc-0
/// (Thor).
bool is_gpu(const std::string& name) {
    for (const char* end : {".gpu", ".gm20b", ".gp10b", ".gv11b", ".ga10b"}) {
        if (ends_with(name, end)) {
            return true;
        }
    }
    return name.compare(0, 8, "gpu-gpc-") == 0;
}

/// Cooling devices that take clocks away; not fans, and not hot-surface-alert, which only warns.
bool slows_down(const std::string& kind) {
    for (const char* end : {"throttle-alert", "-light", "-heavy", "-balanced"}) {
        if (ends_with(kind, end)) {
            return true;
        }
    }
    const std::string bare = kind.compare(0, 8, "thermal-") == 0 ? kind.substr(8) : kind;
    return bare.compare(0, 8, "cpufreq-") == 0 || bare.compare(0, 8, "devfreq-") == 0 || kind == "Processor" ||
           kind == "light" || kind == "heavy" || kind == "balanced";
}

bool is_constant(const std::string& zone) {
    std::string small = zone;
    std::transform(small.begin(), small.end(), small.begin(), [](unsigned char c) { return std::tolower(c); });
    return small.find("pmic") != std::string::npos;
}

/// Of kinds that are there several times, each has its folder's name with it.
std::string named(const std::string& kind, const std::string& device) {
    return kind + " (" + device + ")";
}

std::string clocks_json(const std::vector<ClockRange>& clocks) {
    std::vector<std::string> texts;
    for (const ClockRange& clock : clocks) {
        texts.push_back(json::object({{"name", json::of(clock.name)},
                                      {"governor", json::of(clock.governor)},
                                      {"min_mhz", json::of(clock.min_mhz)},
                                      {"max_mhz", json::of(clock.max_mhz)},
                                      {"current_mhz", json::of(clock.current_mhz)}}));
    }
    return json::array(texts);
}

}  // namespace

std::string Environment::line() const {
    std::string text = board ? *board + ", " : "";
    text += cpu.value_or(machine) + ", " + std::to_string(usable_cores) + " of " + std::to_string(cores) + " cores";
    if (cpu_limit) {
        text += ", limited to " + general(*cpu_limit) + " cores";
    }
    if (governor) {
        text += ", governor " + *governor;
    }
    return text + ", " + os;
}

Environment read_environment(const std::string& root) {
    utsname system{};
    uname(&system);
    Environment environment;
    environment.board = sysfs_text(root + "/proc/device-tree/model");
    environment.cpu = cpu_model(root);
    environment.machine = system.machine;
    environment.cores = std::max<std::int64_t>(1, sysconf(_SC_NPROCESSORS_ONLN));
    environment.usable_cores = usable_core_count();
    environment.cpu_limit = cpu_limit(root);
    environment.governor = sysfs_text(root + "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    environment.os = std::string(system.sysname) + " " + system.release;
    return environment;
}

Conditions read_conditions(const std::string& root) {
    Conditions conditions;
    conditions.board = sysfs_text(root + "/proc/device-tree/model");
    if (!conditions.board) {
        conditions.board = sysfs_text(root + "/sys/class/dmi/id/product_name");
    }
    if (const auto release = sysfs_text(root + "/etc/nv_tegra_release")) {
        conditions.l4t = l4t_release(*release);
    }
    const std::string policies = root + "/sys/devices/system/cpu/cpufreq";
    for (const std::string& name : numbered(policies, "policy")) {
        conditions.cpu_clocks.push_back(clock_range(path_in(policies, name), name, "scaling_", 1e3));
    }
    const std::string devfreq = root + "/sys/class/devfreq";
    for (const std::string& name : numbered(devfreq, "")) {
        if (is_gpu(name)) {
            conditions.gpu_clocks.push_back(clock_range(path_in(devfreq, name), name, "", 1e6));
        }
    }
    const std::string thermal = root + "/sys/class/thermal";
    for (const std::string& device : numbered(thermal, "cooling_device")) {
        const std::string kind = sysfs_text(path_in(thermal, path_in(device, "type"))).value_or("");
        const auto state = sysfs_number(path_in(thermal, path_in(device, "cur_state")));
        if (slows_down(kind) && state) {
            const bool taken = std::any_of(conditions.throttling.begin(), conditions.throttling.end(),
                                           [&](const auto& other) { return other.first == kind; });
            conditions.throttling.emplace_back(taken ? named(kind, device) : kind, *state);
        }
    }
    conditions.temperature_c = hottest_c(root);
    return conditions;
}

Snapshot take_snapshot(const std::string& root) {
    double load = 0;
    return {getloadavg(&load, 1) == 1 ? std::make_optional(load) : std::nullopt, read_conditions(root)};
}

std::optional<double> hottest_c(const std::string& root) {
    const std::string thermal = root + "/sys/class/thermal";
    std::vector<std::string> processor;
    std::vector<std::string> board;
    for (const std::string& zone : numbered(thermal, "thermal_zone")) {
        const std::string type = sysfs_text(path_in(thermal, path_in(zone, "type"))).value_or("");
        if (type == "x86_pkg_temp") {
            processor.push_back(path_in(thermal, path_in(zone, "temp")));
        }
        if (!is_constant(type)) {
            board.push_back(path_in(thermal, path_in(zone, "temp")));
        }
    }
    const std::string hwmons = root + "/sys/class/hwmon";
    for (const std::string& name : numbered(hwmons, "hwmon")) {
        const std::string folder = path_in(hwmons, name);
        const std::string chip = sysfs_text(folder + "/name").value_or("");
        if (chip == "coretemp" || chip == "k10temp" || chip == "zenpower") {
            for (const std::string& file : numbered(folder, "temp")) {
                if (ends_with(file, "_input")) {
                    processor.push_back(path_in(folder, file));
                }
            }
        }
    }
    std::optional<double> hottest;
    for (const std::string& path : processor.empty() ? board : processor) {
        const auto millidegrees = sysfs_number(path);
        if (millidegrees && *millidegrees > coldest_millidegrees && *millidegrees < hottest_millidegrees) {
            hottest = std::max(hottest.value_or(-1e3), static_cast<double>(*millidegrees) / 1e3);
        }
    }
    return hottest;
}

std::optional<std::string> l4t_release(const std::string& text) {
    unsigned major = 0;
    unsigned minor = 0;
    unsigned patch = 0;
    const int found = std::sscanf(text.c_str(), "# R%3u (release), REVISION: %3u.%3u", &major, &minor, &patch);
    if (found < 2) {
        return text.substr(0, max_l4t_chars);
    }
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

std::vector<std::string> environment_doubts(const Environment& environment, std::int64_t threads,
                                            std::optional<double> load_before, std::optional<double> load_after) {
    std::vector<std::string> doubts;
    const std::string cores = std::to_string(environment.cores);
    const std::string usable = std::to_string(environment.usable_cores);
    const double allowed = std::max(0.5, busy_share * static_cast<double>(environment.cores));
    if (load_before && *load_before > allowed) {
        doubts.push_back("load average " + fixed(*load_before, 1) + " on " + cores +
                         " cores before the start: other work is running, or has just ended; stop it, wait a minute "
                         "and measure again");
    } else if (load_after && *load_after > static_cast<double>(threads) + allowed) {
        doubts.push_back("load average " + fixed(*load_after, 1) + " on " + cores + " cores at the end, " +
                         std::to_string(threads) +
                         " threads were measured: other work has started; stop it and measure again");
    }
    if (threads > environment.usable_cores) {
        doubts.push_back(std::to_string(threads) + " threads on " + usable +
                         " usable cores wait for each other; use --threads " + usable);
    }
    if (environment.cpu_limit && static_cast<double>(threads) > *environment.cpu_limit) {
        doubts.push_back("the control group allows " + general(*environment.cpu_limit) + " cores and " +
                         std::to_string(threads) +
                         " threads were used: they are halted time and again; use --threads " +
                         std::to_string(std::max<std::int64_t>(1, static_cast<std::int64_t>(*environment.cpu_limit))) +
                         ", or lift the limit");
    }
    if (environment.governor && *environment.governor != "performance") {
        doubts.push_back("the CPU governor is " + *environment.governor +
                         ": clocks follow the load; set performance (sudo cpupower frequency-set -g performance; on a "
                         "Jetson sudo jetson_clocks) and measure again");
    }
    return doubts;
}

std::string environment_json(const Environment& environment, const std::string& version,
                             const std::vector<std::pair<std::string, std::string>>& libraries) {
    json::Members versions;
    for (const auto& [name, its_version] : libraries) {
        versions.emplace_back(name, json::of(its_version));
    }
    return json::object({{"board", json::of(environment.board)},
                         {"cpu", json::of(environment.cpu)},
                         {"machine", json::of(environment.machine)},
                         {"cores", json::of(environment.cores)},
                         {"usable_cores", json::of(environment.usable_cores)},
                         {"cpu_limit", json::of(environment.cpu_limit)},
                         {"governor", json::of(environment.governor)},
                         {"os", json::of(environment.os)},
                         {"python", json::text("none")},
                         {"espnet_edge", json::of(version)},
                         {"libraries", json::object(versions)}});
}

std::string conditions_json(const Conditions& conditions) {
    json::Members throttling;
    for (const auto& [kind, state] : conditions.throttling) {
        throttling.emplace_back(kind, json::of(state));
    }
    return json::object({{"board", json::of(conditions.board)},
                         {"l4t", json::of(conditions.l4t)},
                         {"cpu_clocks", clocks_json(conditions.cpu_clocks)},
                         {"gpu_clocks", clocks_json(conditions.gpu_clocks)},
                         {"throttling", json::object(throttling)},
                         {"temperature_c", json::of(conditions.temperature_c)}});
}

std::string snapshot_json(const Snapshot& snapshot) {
    return json::object(
        {{"load_average", json::of(snapshot.load_average)}, {"conditions", conditions_json(snapshot.conditions)}});
}

}  // namespace espnet::bench
