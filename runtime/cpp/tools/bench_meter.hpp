#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <espnet/error.hpp>

namespace espnet::bench {

/// How a sensor measures: SensorFacts in power/trace.py. Units as in the names.
struct SensorFacts {
    std::optional<std::int64_t> update_period_ns;
    std::optional<std::int64_t> averaging_window_ns;
    std::optional<double> step_mw;
    std::optional<double> gain_error;
    std::optional<double> offset_mw;
    std::string source = "unknown";
};

/// One rail.
struct Channel {
    std::string name;
    SensorFacts sensor;
};

/// What a meter reads, and of what: MeterInfo in power/meter.py. All channels are of power, in mW.
struct MeterInfo {
    std::string source;
    std::string device;
    std::string scope;
    std::vector<Channel> channels;
    std::vector<std::string> power_total;  ///< rails whose powers add up to the total; empty where there is none
    std::optional<std::string> no_total_reason;
    std::vector<std::string> condition_names;
    std::vector<std::pair<std::string, std::string>> facts;  ///< values are JSON
};

/// All channels at one instant of `now_ns`; none for one that could not be read. Units: mW.
struct Reading {
    std::int64_t time_ns = 0;
    std::vector<std::optional<double>> values_mw;
};

/// A kind of meter that gives no plausible reading on this machine.
struct NoMeter {
    std::string answer;
    std::string way_out;
};

/// An open meter; used from one thread.
class Meter {
public:
    virtual ~Meter() = default;
    virtual const MeterInfo& info() const noexcept = 0;

    /// The newest reading; none where nothing is new since the last call.
    ///
    /// Throws std::runtime_error: nothing can be read now.
    virtual std::optional<Reading> read() = 0;

    /// One number for each of `info().condition_names`.
    virtual std::vector<std::optional<double>> read_conditions() = 0;
};

/// What a meter answered that gives no reading here.
struct Probe {
    std::string source;
    std::string answer;
    std::string way_out;
};

/// No meter that was asked for gives a reading.
class NoPowerError : public Error {
public:
    NoPowerError(const std::string& message, std::vector<Probe> probes)
        : Error(ErrorCode::unavailable, message), probes(std::move(probes)) {}

    std::vector<Probe> probes;
};

/// Open the meter that `spec` names: "auto", "ina3221" or "tegrastats".
///
/// Args:
///     root: of the file system.
///
/// Throws Error (input): another `spec`; NoPowerError.
std::unique_ptr<Meter> open_meter(const std::string& spec, const std::string& root);

/// Throws NoMeter.
std::unique_ptr<Meter> open_ina3221(const std::string& root);
std::unique_ptr<Meter> open_tegrastats(const std::optional<std::string>& model);

/// Throws Error (input): it names no meter.
void check_power_source(const std::string& spec);

/// What the channels of the total measure as a sum: `declared_sensor` in power/ways.py.
SensorFacts declared_sensor(const MeterInfo& meter, const std::vector<std::string>& names);

std::string sensor_json(const SensorFacts& facts);
std::string meter_json(const MeterInfo& info);

}  // namespace espnet::bench
