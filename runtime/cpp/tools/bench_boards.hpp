#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench_meter.hpp"

namespace espnet::bench {

// Which rails of a Jetson add up to its total: the table of power/boards.py, where the sources of each row stand.

/// The label of a channel that no rail runs through.
constexpr const char* not_connected = "NC";
constexpr const char* ina3221_source =
    "INA3221, datasheet SBOS576; a shunt of 1 %, as NVIDIA's design guide of AGX Xavier has it";

/// Which rails add up to the total power; none, and why, where that is not known.
struct Total {
    std::optional<std::string> board;
    std::vector<std::string> rails;
    std::string scope;
    std::optional<std::string> reason;
};

/// Args:
///     rails: names in any order, as often as they are there.
///     model: what /proc/device-tree/model says, where it is known.
Total total_of(const std::vector<std::string>& rails, const std::optional<std::string>& model);

/// The smallest change of a rail's power that was seen on a board of the table. Units: mW.
std::optional<double> step_mw(const std::string& rail, const std::optional<std::string>& board);

/// The facts with the errors of the chip: gain, and the offset where the step is known.
SensorFacts of_ina3221(SensorFacts sensor, const std::string& source);

}  // namespace espnet::bench
