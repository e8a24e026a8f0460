#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace espnet::bench::json {

// JSON as text, with the members of objects in the order in which they are given: the recording of power needs that,
// and a sorting library cannot give it.

using Members = std::vector<std::pair<std::string, std::string>>;

/// A string; bytes that are no UTF-8 become U+FFFD.
std::string text(const std::string& value);

/// The shortest digits that read back as the same number. It must be finite.
std::string number(double value);
std::string number(std::int64_t value);
inline std::string number(int value) {
    return number(static_cast<std::int64_t>(value));
}
inline std::string number(std::size_t value) {
    return number(static_cast<std::int64_t>(value));
}

std::string boolean(bool value);
std::string array(const std::vector<std::string>& values);
std::string object(const Members& members);

inline std::string of(const std::string& value) {
    return text(value);
}
inline std::string of(double value) {
    return number(value);
}
inline std::string of(std::int64_t value) {
    return number(value);
}
inline std::string of(int value) {
    return number(value);
}
inline std::string of(bool value) {
    return boolean(value);
}

/// null where there is no value.
template <typename T>
std::string of(const std::optional<T>& value) {
    return value ? of(*value) : "null";
}

template <typename T>
std::string of(const std::vector<T>& values) {
    std::vector<std::string> texts;
    texts.reserve(values.size());
    for (const T& value : values) {
        texts.push_back(of(value));
    }
    return array(texts);
}

}  // namespace espnet::bench::json
