#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace espnet::bench {

// Numbers as Python's formats have them.

/// "%.{decimals}f".
inline std::string fixed(double value, int decimals) {
    char text[400];
    std::snprintf(text, sizeof text, "%.*f", decimals, value);
    return text;
}

/// The same; what rounds to nothing is not less than nothing.
inline std::string fixed_or_zero(double value, int decimals) {
    const std::string text = fixed(value, decimals);
    return text.find_first_of("123456789") == std::string::npos ? fixed(0, decimals) : text;
}

/// "{:.{digits}g}".
inline std::string general(double value, int digits = 6) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    return text;
}

/// The shortest text that reads back as the same number, with ".0" where it is whole.
inline std::string shortest(double value) {
    std::string text;
    for (int digits = 1; digits <= 17; ++digits) {
        text = general(value, digits);
        if (std::strtod(text.c_str(), nullptr) == value) {
            break;
        }
    }
    return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
}

/// "{:.{decimals}%}".
inline std::string percent(double share, int decimals) {
    return fixed(100 * share, decimals) + "%";
}

}  // namespace espnet::bench
