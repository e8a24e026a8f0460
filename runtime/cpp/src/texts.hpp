#pragma once

#include <string>
#include <vector>

namespace espnet {

/// "a, b, c".
std::string joined(const std::vector<std::string>& parts, const std::string& between = ", ");

/// "480x640": height first.
std::string size_text(int height, int width);

}  // namespace espnet
