// Power of a Jetson's rails from its own chips through hwmon: power/ina3221.py. NVIDIA's older driver (iio, Jetson
// Linux 24 to 32) does not say how often it measures; tegrastats reads it there.
#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <map>
#include <stdexcept>

#include "bench_boards.hpp"
#include "bench_environment.hpp"
#include "bench_json.hpp"
#include "bench_latency.hpp"
#include "bench_meter.hpp"
#include "bench_sysfs.hpp"
#include "text.hpp"

namespace espnet::bench {

namespace {

constexpr std::int64_t max_plausible_mw = 1'000'000;
// One step of the voltage over the shunt (Texas Instruments' INA3221 datasheet, SBOS576).
constexpr double shunt_step_uv = 40;
constexpr std::int64_t ns_per_ms = 1'000'000;
constexpr std::size_t max_label = 40;
constexpr std::size_t max_listed = 4;

struct Chip {
    std::string folder;
    std::string kind;     ///< ina3221 or ina238
    std::string address;  ///< such as 1-0040
};

/// A channel of a chip: the product of its files over 1000 is its power in mW.
struct Rail {
    Chip chip;
    int channel = 1;
    std::optional<std::string> label;
    std::vector<Attribute> files;
    std::optional<std::int64_t> shunt_uohm;
    SensorFacts sensor;

    std::string place() const { return chip.address + " channel " + std::to_string(channel); }

    /// To the nearest mW.
    SysfsNumber power_mw() {
        std::int64_t product = 1;
        for (Attribute& file : files) {
            const SysfsNumber number = file.number();
            if (!number.value) {
                return number;
            }
            if (__builtin_mul_overflow(product, *number.value, &product)) {
                return {std::nullopt, "its numbers are more than any Jetson's"};
            }
        }
        const auto power = static_cast<std::int64_t>(std::floor((static_cast<double>(product) + 500) / 1000));
        if (std::abs(power) > max_plausible_mw) {
            return {std::nullopt, std::to_string(power) + " mW is more than any Jetson draws"};
        }
        return {power, ""};
    }
};

std::optional<std::string> label_in(const std::string& path) {
    const auto label = sysfs_text(path);
    return label ? std::make_optional(tools::first_characters(*label, max_label)) : std::nullopt;
}

/// Every chip once: hwmon numbers change from boot to boot, addresses on the bus do not.
std::vector<Chip> chips_in(const std::string& root) {
    std::map<std::string, Chip> by_address;
    const std::string hwmons = root + "/sys/class/hwmon";
    for (const std::string& name : numbered(hwmons, "hwmon")) {
        const std::string folder = path_in(hwmons, name);
        const std::string kind = sysfs_text(folder + "/name").value_or("");
        char real[PATH_MAX];
        if ((kind == "ina3221" || kind == "ina238") && realpath(folder.c_str(), real) != nullptr) {
            // .../1-0040/hwmon/hwmon3
            std::string device = real;
            for (int up = 0; up < 2; ++up) {
                device.resize(std::min(device.find_last_of('/'), device.size()));
            }
            const std::string address = device.substr(device.find_last_of('/') + 1);
            by_address.insert({address, {folder, kind, address}});
        }
    }
    std::vector<Chip> chips;
    for (const auto& entry : by_address) {
        chips.push_back(entry.second);
    }
    return chips;
}

/// in1_input in mV and curr1_input in mA: their product is in uW. in4 to in7 and curr4 are sums and no rails.
void add_ina3221_rails(const Chip& chip, std::vector<Rail>& rails) {
    for (int channel = 1; channel <= 3; ++channel) {
        const std::string number = std::to_string(channel);
        const std::string voltage = chip.folder + "/in" + number + "_input";
        const auto label = label_in(chip.folder + "/in" + number + "_label");
        const auto enabled = sysfs_number(chip.folder + "/in" + number + "_enable");
        if (path_exists(voltage) && enabled != std::make_optional<std::int64_t>(0) && label != not_connected) {
            Rail rail;
            rail.chip = chip;
            rail.channel = channel;
            rail.label = label;
            rail.files.emplace_back(voltage);
            rail.files.emplace_back(chip.folder + "/curr" + number + "_input");
            rail.shunt_uohm = sysfs_number(chip.folder + "/shunt" + number + "_resistor");
            rails.push_back(std::move(rail));
        }
    }
}

/// power1_input, in uW.
void add_ina238_rail(const Chip& chip, const std::optional<std::string>& model, std::vector<Rail>& rails) {
    Rail rail;
    rail.chip = chip;
    for (const char* name : {"/in1_label", "/power1_label", "/label"}) {
        rail.label = rail.label ? rail.label : label_in(chip.folder + name);
    }
    // Linux' driver has no label of its own. The one INA238 of Thor measures VIN (NVIDIA forum 366461).
    if (!rail.label && model &&
        (model->find("Thor") != std::string::npos || model->find("thor") != std::string::npos)) {
        rail.label = "VIN";
    }
    rail.files.emplace_back(chip.folder + "/power1_input");
    rails.push_back(std::move(rail));
}

/// How long the stretch is that a reading is the mean of: see `_window_ns` in power/ina3221.py.
std::optional<std::int64_t> window_ns(const Chip& chip, std::int64_t period_ns, std::int64_t samples) {
    if (samples > 1) {
        return (2 * samples - 1) * period_ns;
    }
    std::int64_t on = 0;
    for (int channel = 1; channel <= 3; ++channel) {
        const auto state = sysfs_number(chip.folder + "/in" + std::to_string(channel) + "_enable");
        if (!state) {
            return std::nullopt;
        }
        on += *state == 1 ? 1 : 0;
    }
    return on > 0 ? std::make_optional(period_ns / (2 * on)) : std::nullopt;
}

/// What driver and datasheet say of a rail's readings.
SensorFacts sensor_of(Rail& rail, const std::optional<std::string>& board) {
    const bool is_ina3221 = rail.chip.kind == "ina3221";
    SensorFacts facts;
    facts.step_mw = step_mw(rail.label.value_or(""), board);
    facts.source = is_ina3221 ? ina3221_source
                              : "INA238, which computes power itself; its shunt is not told; smallest step as recorded "
                                "on such a board";
    const auto interval_ms = sysfs_number(rail.chip.folder + "/update_interval");
    const auto samples = sysfs_number(rail.chip.folder + "/samples");
    if (interval_ms.value_or(0) > 0) {
        const std::string source = facts.source + "; update_interval " + std::to_string(*interval_ms) + " ms";
        if (!is_ina3221) {
            facts.update_period_ns = *interval_ms * ns_per_ms;
            facts.source = source;
        } else if (samples.value_or(0) > 0) {
            // The interval is channels x samples x (two conversions); the chip averages as it goes.
            const std::int64_t period_ns = *interval_ms * ns_per_ms / *samples;
            facts.update_period_ns = period_ns;
            facts.averaging_window_ns = window_ns(rail.chip, period_ns, *samples);
            facts.source =
                source + ", samples " + std::to_string(*samples) + " (kernel Documentation/hwmon/ina3221.rst)";
        }
    }
    const auto voltage_mv = rail.shunt_uohm.value_or(0) > 0 ? rail.files.front().number().value : std::nullopt;
    if (voltage_mv.value_or(0) != 0) {
        // uV over uOhm is A; A at mV is mW.
        facts.step_mw = shunt_step_uv * static_cast<double>(*voltage_mv) / static_cast<double>(*rail.shunt_uohm);
        facts.source +=
            "; shunt of " + std::to_string(*rail.shunt_uohm) + " uOhm at " + std::to_string(*voltage_mv) + " mV";
    }
    return is_ina3221 ? of_ina3221(facts, facts.source) : facts;
}

std::optional<std::string> listed(const std::vector<std::string>& said) {
    if (said.empty()) {
        return std::nullopt;
    }
    const std::vector<std::string> shown(said.begin(),
                                         said.begin() + static_cast<std::ptrdiff_t>(std::min(said.size(), max_listed)));
    return tools::joined(shown, "; ") +
           (said.size() > max_listed ? " and " + std::to_string(said.size() - max_listed) + " more" : "");
}

/// Keeps the rails that give a number, and gives what the others say.
///
/// Throws NoMeter: none does, or all say 0 mW.
std::optional<std::string> keep_readable(std::vector<Rail>& rails) {
    std::vector<Rail> readable;
    std::vector<std::string> said;
    std::string denied;
    bool draws = false;
    for (Rail& rail : rails) {
        const SysfsNumber power = rail.power_mw();
        if (power.value) {
            draws = draws || *power.value > 0;
            readable.push_back(std::move(rail));
            continue;
        }
        said.push_back(rail.label.value_or("no label") + " (" + rail.place() + "): " + power.problem);
        denied = power.denied && denied.empty() ? rail.chip.folder : denied;
    }
    rails = std::move(readable);
    const std::optional<std::string> answer = listed(said);
    if (rails.empty()) {
        const std::string none = "no rail can be read: " + answer.value_or("all channels are switched off");
        throw NoMeter{none, denied.empty()
                                ? "look for the reason in dmesg, or use a meter at the power adapter"
                                : "run as root, or sudo chmod a+r " + denied + "/*_input, until the next start"};
    }
    if (!draws) {
        throw NoMeter{
            "the " + std::to_string(rails.size()) + " rails that can be read draw 0 mW or less, which no board does",
            "the chips measure nothing here: compare with sudo tegrastats, or use a meter at the power "
            "adapter"};
    }
    return answer;
}

/// Labels; where there is none, or it is there twice, the place on the bus tells them apart.
std::string name_of(const Rail& rail, const std::vector<Rail>& rails) {
    const auto times =
        std::count_if(rails.begin(), rails.end(), [&](const Rail& other) { return other.label == rail.label; });
    if (rail.label && times == 1) {
        return *rail.label;
    }
    return (rail.label ? *rail.label + " " : "") + "(" + rail.place() + ")";
}

class Ina3221Meter : public Meter {
public:
    Ina3221Meter(MeterInfo info, std::vector<Rail> rails, std::string root)
        : info_(std::move(info)), rails_(std::move(rails)), root_(std::move(root)) {}

    const MeterInfo& info() const noexcept override { return info_; }

    /// Every rail now; the instant is the middle of the reading.
    std::optional<Reading> read() override {
        const std::int64_t before_ns = now_ns();
        Reading reading;
        bool any = false;
        for (Rail& rail : rails_) {
            const auto power_mw = rail.power_mw().value;
            any = any || power_mw;
            reading.values_mw.push_back(power_mw ? std::make_optional(static_cast<double>(*power_mw)) : std::nullopt);
        }
        if (!any) {
            throw std::runtime_error(info_.device + ": no rail can be read any more; look for the reason in dmesg");
        }
        reading.time_ns = before_ns + (now_ns() - before_ns) / 2;
        return reading;
    }

    std::vector<std::optional<double>> read_conditions() override { return {hottest_c(root_)}; }

private:
    MeterInfo info_;
    std::vector<Rail> rails_;
    std::string root_;
};

MeterInfo info_of(std::vector<Rail>& rails, const std::optional<std::string>& model,
                  const std::optional<std::string>& left_out) {
    std::vector<std::string> labels;
    std::vector<std::string> chips;
    for (const Rail& rail : rails) {
        if (rail.label) {
            labels.push_back(*rail.label);
        }
        const std::string chip = rail.chip.kind + " at " + rail.chip.address;
        if (chips.empty() || chips.back() != chip) {
            chips.push_back(chip);
        }
    }
    const Total total = total_of(labels, model);
    MeterInfo info;
    info.source = "ina3221";
    info.device = model.value_or("unknown board") + ", " + tools::joined(chips, ", ");
    info.scope = total.scope;
    info.power_total = total.rails;
    info.no_total_reason = total.reason;
    if (total.reason && left_out) {
        info.no_total_reason = *total.reason + " (not read: " + *left_out + ")";
    }
    info.condition_names = {"temperature_c"};
    info.facts = {{"model", json::of(model)}, {"board", json::of(total.board)}, {"not_read", json::of(left_out)}};
    for (Rail& rail : rails) {
        info.channels.push_back({name_of(rail, rails), sensor_of(rail, total.board)});
        info.facts.emplace_back(rail.place() + " shunt_uohm", json::of(rail.shunt_uohm));
    }
    return info;
}

}  // namespace

std::unique_ptr<Meter> open_ina3221(const std::string& root) {
    const auto model = sysfs_text(root + "/proc/device-tree/model");
    const std::vector<Chip> chips = chips_in(root);
    if (chips.empty()) {
        if (!numbered(root + "/sys/bus/i2c/drivers/ina3221x", "").empty()) {
            throw NoMeter{"NVIDIA's older driver ina3221x does not say how often it measures",
                          "take --power-source tegrastats"};
        }
        throw NoMeter{"no INA3221 or INA238 in " + root + "/sys/class/hwmon",
                      "most Jetson boards have one; elsewhere use another meter"};
    }
    std::vector<Rail> rails;
    for (const Chip& chip : chips) {
        if (chip.kind == "ina3221") {
            add_ina3221_rails(chip, rails);
        } else {
            add_ina238_rail(chip, model, rails);
        }
    }
    const std::optional<std::string> left_out = keep_readable(rails);
    MeterInfo info = info_of(rails, model, left_out);
    const std::vector<std::string> names =
        info.power_total.empty() ? std::vector<std::string>{info.channels[0].name} : info.power_total;
    if (!declared_sensor(info, names).update_period_ns) {
        throw NoMeter{"its driver does not say how often it measures: no update_interval in " + chips.front().folder,
                      "take --power-source tegrastats"};
    }
    return std::make_unique<Ina3221Meter>(std::move(info), std::move(rails), root);
}

}  // namespace espnet::bench
