#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace espnet::bench {

// What a line of tegrastats says of power and heat, in every form that Jetson Linux has printed: the grammar of
// power/tegrastats.py.

/// The longest recorded line has 850 characters.
constexpr std::size_t max_tegrastats_line = 4096;

/// Power of one rail: now, on average since tegrastats started, and the highest since then. Units: mW.
struct RailPower {
    std::int64_t current_mw = 0;
    std::int64_t average_mw = 0;
    std::optional<std::int64_t> peak_mw;
};

/// Rails in the order of the line; names that it has twice are ambiguous, and only in `repeated`. Nothing is set of a
/// line that is not of tegrastats: then `is_tegrastats` is false.
struct TegrastatsLine {
    bool is_tegrastats = false;
    std::vector<std::pair<std::string, RailPower>> rails;
    std::set<std::string> repeated;
    std::optional<double> hottest_c;  ///< of the junction where the line has it, else of the hottest sensor

    const RailPower* find(const std::string& rail) const;
};

/// What a whole line says. A field that is cut off, garbled or of a form that is not known is left out. Never throws.
TegrastatsLine parse_tegrastats(const std::string& line);

/// The rails of a line as JSON: {"VDD_IN": [now, average, highest], ...}.
std::string rails_json(const TegrastatsLine& line);

}  // namespace espnet::bench
