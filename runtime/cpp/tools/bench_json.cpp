#include "bench_json.hpp"

#include <nlohmann/json.hpp>

namespace espnet::bench::json {

namespace {

std::string dumped(const nlohmann::json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string text(const std::string& value) {
    return dumped(value);
}

std::string number(double value) {
    return dumped(value);
}

std::string number(std::int64_t value) {
    return std::to_string(value);
}

std::string boolean(bool value) {
    return value ? "true" : "false";
}

std::string array(const std::vector<std::string>& values) {
    std::string joined;
    for (const std::string& value : values) {
        joined += (joined.empty() ? "" : ", ") + value;
    }
    return "[" + joined + "]";
}

std::string object(const Members& members) {
    std::string joined;
    for (const auto& [name, value] : members) {
        joined += (joined.empty() ? "\n" : ",\n") + text(name) + ": " + value;
    }
    return "{" + joined + "}";
}

}  // namespace espnet::bench::json
