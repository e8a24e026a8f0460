#pragma once

#include <nlohmann/json.hpp>

namespace espnet::tools {

/// JSON whose members stay in the order in which they were given. The library's versions before 3.9, such as that of
/// Ubuntu 20.04, can only sort them by name.
#if NLOHMANN_JSON_VERSION_MAJOR == 3 && NLOHMANN_JSON_VERSION_MINOR < 9
using OrderedJson = nlohmann::json;
#else
using OrderedJson = nlohmann::ordered_json;
#endif

}  // namespace espnet::tools
