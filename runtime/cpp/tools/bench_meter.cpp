#include "bench_meter.hpp"

#include <algorithm>
#include <cmath>

#include "bench_json.hpp"
#include "bench_sysfs.hpp"

namespace espnet::bench {

namespace {

constexpr const char* sources = "auto|ina3221|tegrastats";

std::string nothing_found(const std::string& spec, const std::vector<Probe>& probes) {
    std::string asked;
    for (const Probe& probe : probes) {
        asked += (asked.empty() ? "" : "; ") + probe.source + ": " + probe.answer + " (" + probe.way_out + ")";
    }
    return "--power-source " + spec + ": nothing here gives a plausible reading of power. " + asked;
}

template <typename T>
void take_greatest(std::optional<T>& greatest, const std::optional<T>& value) {
    greatest = greatest && value ? std::make_optional(std::max(*greatest, *value)) : std::nullopt;
}

}  // namespace

void check_power_source(const std::string& spec) {
    if (spec != "auto" && spec != "ina3221" && spec != "tegrastats") {
        throw Error(ErrorCode::input, "power source '" + spec + "' is unknown; there are " + sources);
    }
}

std::unique_ptr<Meter> open_meter(const std::string& spec, const std::string& root) {
    check_power_source(spec);
    std::vector<Probe> probes;
    for (const std::string source : {"ina3221", "tegrastats"}) {
        if (spec != "auto" && spec != source) {
            continue;
        }
        try {
            return source == "ina3221" ? open_ina3221(root)
                                       : open_tegrastats(sysfs_text(root + "/proc/device-tree/model"));
        } catch (const NoMeter& none) {
            probes.push_back({source, none.answer, none.way_out});
        }
    }
    const char* unasked = spec == "auto" ? "; NVML and RAPL were not asked: espnet-bench reads them" : "";
    throw NoPowerError(nothing_found(spec, probes) + unasked, probes);
}

SensorFacts declared_sensor(const MeterInfo& meter, const std::vector<std::string>& names) {
    std::vector<const SensorFacts*> sensors;
    for (const Channel& channel : meter.channels) {
        if (std::find(names.begin(), names.end(), channel.name) != names.end()) {
            sensors.push_back(&channel.sensor);
        }
    }
    SensorFacts sum = *sensors.front();
    for (std::size_t i = 1; i < sensors.size(); ++i) {
        const SensorFacts& its = *sensors[i];
        take_greatest(sum.update_period_ns, its.update_period_ns);
        take_greatest(sum.averaging_window_ns, its.averaging_window_ns);
        take_greatest(sum.gain_error, its.gain_error);
        // Rails step independently of each other; their constant errors may all be of one sign.
        sum.step_mw =
            sum.step_mw && its.step_mw ? std::make_optional(std::hypot(*sum.step_mw, *its.step_mw)) : std::nullopt;
        sum.offset_mw =
            sum.offset_mw && its.offset_mw ? std::make_optional(*sum.offset_mw + *its.offset_mw) : std::nullopt;
        if (sum.source.find(its.source) == std::string::npos) {
            sum.source += "; " + its.source;
        }
    }
    return sum;
}

std::string sensor_json(const SensorFacts& facts) {
    return json::object({{"update_period_ns", json::of(facts.update_period_ns)},
                         {"averaging_window_ns", json::of(facts.averaging_window_ns)},
                         {"step_mw", json::of(facts.step_mw)},
                         {"gain_error", json::of(facts.gain_error)},
                         {"offset_mw", json::of(facts.offset_mw)},
                         {"source", json::of(facts.source)}});
}

std::string meter_json(const MeterInfo& info) {
    std::vector<std::string> channels;
    for (const Channel& channel : info.channels) {
        channels.push_back(json::object({{"name", json::of(channel.name)},
                                         {"quantity", json::text("power_mw")},
                                         {"sensor", sensor_json(channel.sensor)},
                                         {"wrap_uj", "null"}}));
    }
    return json::object({{"source", json::of(info.source)},
                         {"device", json::of(info.device)},
                         {"sees", json::text("machine")},
                         {"scope", json::of(info.scope)},
                         {"channels", json::array(channels)},
                         {"power_total", json::of(info.power_total)},
                         {"energy_total", "[]"},
                         {"no_total_reason", json::of(info.no_total_reason)},
                         {"condition_names", json::of(info.condition_names)},
                         {"facts", json::object(info.facts)}});
}

}  // namespace espnet::bench
