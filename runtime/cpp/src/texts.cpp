#include "texts.hpp"

namespace espnet {

std::string joined(const std::vector<std::string>& parts, const std::string& between) {
    std::string result;
    for (const std::string& part : parts) {
        result += (&part == &parts.front() ? "" : between) + part;
    }
    return result;
}

std::string size_text(int height, int width) {
    return std::to_string(height) + "x" + std::to_string(width);
}

}  // namespace espnet
