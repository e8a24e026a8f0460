#include "bench_boards.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <utility>

#include "arguments.hpp"
#include "text.hpp"

namespace espnet::bench {

namespace {

using Names = std::vector<std::string>;

constexpr double ina3221_gain_error = 0.015;
constexpr double ina3221_offset_steps = 2;
constexpr std::size_t max_name = 80;
constexpr std::size_t max_listed = 12;
constexpr const char* unknown_scope = "single rails, whose total is not known";
constexpr const char* as_root = "run tegrastats as root, or read the chips in /sys/bus/i2c/drivers";
constexpr const char* at_the_adapter = "measure at the power adapter";
constexpr const char* module_input =
    "the module: all that enters it; without the carrier board, the fan and what is plugged in";
constexpr const char* module_sum =
    "the module: all of its inputs, measured where they branch; without the carrier board, the fan and what is "
    "plugged in";

/// A row of the table: `models` in small letters with blanks; `parts` are in the total already, `outside` are of the
/// carrier board; `without`: what to do where a rail of the total is missing.
struct Board {
    std::string name;
    Names models;
    Names total;
    Names parts;
    std::string scope;
    std::string without;
    Names outside;
    std::vector<std::pair<std::string, double>> steps_mw;
};

bool contains(const Names& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

const std::vector<Board>& boards() {
    static const Names tx_carrier{"VDD_MUX",    "VDD_5V0_IO_SYS", "VDD_5V_IO_SYS",  "VDD_3V3_SYS", "VDD_3V3_IO_SLP",
                                  "VDD_3V3_IO", "VDD_1V8_IO",     "VDD_3V3_SYS_M2", "VDD_M2_IN"};
    // Specific before general: the first row whose model is contained in the device tree's counts.
    static const std::vector<Board> table{
        {"Jetson AGX Thor",
         {"thor"},
         {"VIN"},
         {"VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"},
         "the whole board: module, carrier board, and all that they supply, behind the power adapter",
         "its carrier board has no INA238, or the driver ina238 is not loaded; that the other rails add up to the "
         "module is not documented, so compare them one by one, or measure at the power adapter",
         {},
         {{"VDD_GPU", 379}, {"VDD_CPU_SOC_MSS", 379}, {"VIN_SYS_5V0", 101}}},
        {"Jetson AGX Orin",
         {"agx orin"},
         {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"},
         {"VDDQ_VDD2_1V8AO"},
         module_sum,
         as_root,
         {},
         {{"VDD_GPU_SOC", 400}, {"VDD_CPU_CV", 400}, {"VIN_SYS_5V0", 100}, {"VDDQ_VDD2_1V8AO", 100}}},
        {"Jetson Orin NX or Orin Nano",
         {"orin nx", "orin nano"},
         {"VDD_IN"},
         {"VDD_CPU_GPU_CV", "VDD_SOC"},
         module_input,
         as_root,
         {},
         {{"VDD_IN", 40}, {"VDD_CPU_GPU_CV", 40}, {"VDD_SOC", 40}}},
        {"Jetson AGX Xavier",
         {"agx xavier", "jetson agx"},
         {"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"},
         {},
         module_sum,
         as_root,
         {},
         {{"GPU", 155}, {"CPU", 155}, {"SOC", 155}, {"CV", 155}, {"VDDRQ", 155}, {"SYS5V", 40}}},
        {"Jetson Xavier NX",
         {"xavier nx"},
         {"VDD_IN"},
         {"VDD_CPU_GPU_CV", "VDD_SOC"},
         module_input,
         as_root,
         {},
         {{"VDD_IN", 41}, {"VDD_CPU_GPU_CV", 41}, {"VDD_SOC", 41}}},
        {"Jetson TX2 NX",
         {"tx2 nx", "lanai"},
         {"VDD_IN"},
         {"VDD_CPU_GPU", "VDD_SOC"},
         module_input,
         "its tegrastats prints no rails; read the chip in /sys/bus/i2c/drivers/ina3221x",
         {},
         {}},
        {"Jetson TX2",
         {"tx2", "quill"},
         {"VDD_IN"},
         {"VDD_CPU", "VDD_GPU", "VDD_SOC", "VDD_WIFI", "VDD_DDR", "VDD_SYS_CPU", "VDD_SYS_GPU", "VDD_SYS_SOC",
          "VDD_4V0_WIFI", "VDD_SYS_DDR", "VDD_3V8_WIFI", "VDD_5V0_DDR"},
         module_input,
         as_root,
         tx_carrier,
         {{"VDD_IN", 38},
          {"VDD_CPU", 77},
          {"VDD_GPU", 77},
          {"VDD_SOC", 77},
          {"VDD_SYS_CPU", 77},
          {"VDD_SYS_GPU", 77},
          {"VDD_SYS_SOC", 77},
          {"VDD_WIFI", 19},
          {"VDD_DDR", 19},
          {"VDD_4V0_WIFI", 19},
          {"VDD_SYS_DDR", 19}}},
        {"Jetson TX1", {"tx1", "jetson cv"}, {"VDD_IN"}, {"VDD_CPU", "VDD_GPU"}, module_input, as_root, tx_carrier, {}},
        {"Jetson Nano",
         {"jetson nano"},
         {"POM_5V_IN"},
         {"POM_5V_GPU", "POM_5V_CPU"},
         module_input,
         "the Nano with 2 GB has no sensor; measure at its power adapter",
         {},
         {{"POM_5V_IN", 41}, {"POM_5V_GPU", 41}, {"POM_5V_CPU", 41}}},
    };
    return table;
}

bool knows(const Board& board, const std::set<std::string>& rails) {
    return std::all_of(rails.begin(), rails.end(), [&](const std::string& rail) {
        return contains(board.total, rail) || contains(board.parts, rail) || contains(board.outside, rail);
    });
}

bool has_total(const Board& board, const std::set<std::string>& rails) {
    return std::all_of(board.total.begin(), board.total.end(),
                       [&](const std::string& rail) { return rails.count(rail) != 0; });
}

/// Small letters, hyphens and underscores as blanks.
std::string comparable(const std::string& model) {
    std::string text = model;
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return c == '-' || c == '_' ? ' ' : static_cast<char>(std::tolower(c)); });
    return tools::joined(tools::words_of(text), " ");
}

const Board* board_of(const std::optional<std::string>& model) {
    const std::string text = comparable(model.value_or(""));
    for (const Board& board : boards()) {
        for (const std::string& name : board.models) {
            if (text.find(name) != std::string::npos) {
                return &board;
            }
        }
    }
    return nullptr;
}

/// Those that have no other rails than these, where there are such; else all.
std::vector<const Board*> best(const std::vector<const Board*>& candidates, const std::set<std::string>& present) {
    std::vector<const Board*> exact;
    for (const Board* board : candidates) {
        std::set<std::string> own(board->total.begin(), board->total.end());
        own.insert(board->parts.begin(), board->parts.end());
        std::set<std::string> inside = present;
        for (const std::string& rail : board->outside) {
            inside.erase(rail);
        }
        if (own == inside) {
            exact.push_back(board);
        }
    }
    return exact.empty() ? candidates : exact;
}

/// Names as a message repeats them: of bounded length, harmless to a terminal.
std::string listed(Names names) {
    std::sort(names.begin(), names.end());
    Names shown;
    for (std::size_t i = 0; i < names.size() && i < max_listed; ++i) {
        shown.push_back(tools::first_characters(tools::one_line(names[i]), max_name));
    }
    const std::string more =
        names.size() > max_listed ? " and " + std::to_string(names.size() - max_listed) + " more" : "";
    return tools::joined(shown, ", ") + more;
}

std::string listed(const std::set<std::string>& names) {
    return listed(Names(names.begin(), names.end()));
}

std::string one_by_one() {
    return std::string("compare rails one by one, or ") + at_the_adapter;
}

Total no_total(const Board* board, const std::string& reason) {
    return {board != nullptr ? std::make_optional(board->name) : std::nullopt, {}, unknown_scope, reason};
}

std::string why_unknown(const std::set<std::string>& present, const Board* named) {
    if (named == nullptr) {
        return "no board in the table has the rails " + listed(present) + ": " + one_by_one();
    }
    Names strange;
    for (const std::string& rail : present) {
        if (!knows(*named, {rail})) {
            strange.push_back(rail);
        }
    }
    return listed(strange) + " is no rail of the " + named->name + " in the table of boards: " + one_by_one();
}

std::string why_missing(const std::vector<const Board*>& candidates, const std::set<std::string>& present) {
    if (candidates.size() > 1) {
        Names names;
        for (const Board* board : candidates) {
            names.push_back(board->name);
        }
        return listed(present) + " may be of several boards (" + tools::joined(names, ", ") +
               "), and is the total of none: " + one_by_one();
    }
    const Board& board = *candidates.front();
    Names missing;
    for (const std::string& rail : board.total) {
        if (present.count(rail) == 0) {
            missing.push_back(rail);
        }
    }
    return "the total of the " + board.name + " is " + tools::joined(board.total, " + ") + ", and " + listed(missing) +
           " is not there: " + board.without;
}

}  // namespace

Total total_of(const std::vector<std::string>& rails, const std::optional<std::string>& model) {
    const Board* named = board_of(model);
    std::set<std::string> present(rails.begin(), rails.end());
    present.erase(not_connected);
    if (present.empty()) {
        return no_total(named, "there is no rail of any power: " +
                                   (named != nullptr ? named->without : std::string(at_the_adapter)));
    }
    if (model && named == nullptr) {
        return no_total(nullptr,
                        "the board " + listed(Names{*model}) + " is not in the table of boards: " + one_by_one());
    }
    std::vector<const Board*> candidates;
    for (const Board& board : boards()) {
        if ((named == nullptr || named == &board) && knows(board, present)) {
            candidates.push_back(&board);
        }
    }
    if (candidates.empty()) {
        return no_total(named, why_unknown(present, named));
    }
    std::vector<const Board*> whole;
    for (const Board* board : candidates) {
        if (has_total(*board, present)) {
            whole.push_back(board);
        }
    }
    whole = best(whole, present);
    const bool agree = std::all_of(whole.begin(), whole.end(),
                                   [&](const Board* board) { return board->total == whole.front()->total; });
    if (whole.empty() || !agree) {
        return no_total(candidates.size() == 1 ? candidates.front() : nullptr, why_missing(candidates, present));
    }
    const Board& board = *whole.front();
    Names twice;
    for (const std::string& rail : board.total) {
        if (std::count(rails.begin(), rails.end(), rail) > 1) {
            twice.push_back(rail);
        }
    }
    if (!twice.empty()) {
        return no_total(named, listed(twice) + " is there twice, and which one counts is not known: " + one_by_one());
    }
    return {whole.size() == 1 ? std::make_optional(board.name) : std::nullopt, board.total, board.scope, std::nullopt};
}

std::optional<double> step_mw(const std::string& rail, const std::optional<std::string>& board) {
    for (const Board& row : boards()) {
        if (board && row.name == *board) {
            for (const auto& [name, step] : row.steps_mw) {
                if (name == rail) {
                    return step;
                }
            }
        }
    }
    return std::nullopt;
}

SensorFacts of_ina3221(SensorFacts sensor, const std::string& source) {
    sensor.gain_error = ina3221_gain_error;
    if (sensor.step_mw) {
        sensor.offset_mw = ina3221_offset_steps * *sensor.step_mw;
    }
    sensor.source = source;
    return sensor;
}

}  // namespace espnet::bench
