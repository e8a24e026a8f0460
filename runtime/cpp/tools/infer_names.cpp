#include "infer_names.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <espnet/error.hpp>
#include <nlohmann/json.hpp>

#include "text.hpp"

namespace espnet::tools {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::size_t most_labels_bytes = std::size_t{1} << 20;

std::string formats() {
    return "one name per line, a JSON list, or a JSON object {\"0\": \"tench\", ...}";
}

Error wrong(const std::string& path, const std::string& problem) {
    return {ErrorCode::input, path + ": " + problem};
}

/// The lines of a text, however they end, without those at its end that are white space.
std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines(1);
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\n' && text[at] != '\r') {
            lines.back() += text[at];
        } else if (text[at] == '\n' || at + 1 == text.size() || text[at + 1] != '\n') {
            lines.emplace_back();
        }
    }
    while (!lines.empty() && words_of(lines.back()).empty()) {
        lines.pop_back();
    }
    return lines;
}

/// The values of {"0": ..., "1": ...} in order.
json in_order(const json& content, const std::string& path) {
    json names = json::array();
    for (std::size_t i = 0; i < content.size(); ++i) {
        const auto found = content.find(std::to_string(i));
        if (found == content.end()) {
            throw wrong(path, std::to_string(content.size()) + " names, but none for class " + std::to_string(i) +
                                  "; number them from 0 on");
        }
        names.push_back(*found);
    }
    return names;
}

std::vector<std::string> names_of(const json& content, const std::string& path) {
    std::vector<std::string> names;
    for (const json& name : content.is_object() ? in_order(content, path) : content) {
        if (!name.is_string()) {
            throw wrong(path, "a name that is not a text; --labels takes " + formats());
        }
        names.push_back(name.get<std::string>());
    }
    return names;
}

std::vector<std::string> parsed(const std::string& text, const std::string& path) {
    const std::vector<std::string> words = words_of(text);
    const bool is_json = !words.empty() && (words.front()[0] == '[' || words.front()[0] == '{');
    if (!is_json) {
        return lines_of(text);
    }
    json content;
    try {
        content = json::parse(text);
    } catch (const json::exception& error) {
        throw wrong(path, std::string("not valid JSON (") + error.what() + "); --labels takes " + formats());
    }
    return names_of(content, path);
}

}  // namespace

std::string utf8_file(const std::string& path, std::size_t most_bytes, const std::string& advice,
                      const std::string& too_large) {
    std::error_code problem;
    if (!fs::is_regular_file(path, problem)) {
        throw wrong(path, "no such file; " + advice);
    }
    const auto bytes = fs::file_size(path, problem);
    if (problem || bytes > most_bytes) {
        throw wrong(path, problem ? problem.message() + "; check the path and the disk"
                                  : std::to_string(bytes) + " bytes, " + too_large);
    }
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string text(static_cast<std::size_t>(bytes), '\0');
    if (!file.read(&text[0], static_cast<std::streamsize>(text.size()))) {
        throw wrong(path, std::string(std::strerror(errno != 0 ? errno : EIO)) +
                              "; check its permissions or choose another path");
    }
    if (text.compare(0, 3, "\xef\xbb\xbf") == 0) {
        text.erase(0, 3);
    }
    const std::size_t at = utf8_problem(text);
    if (at != std::string::npos) {
        throw wrong(path, "not UTF-8 text at byte " + std::to_string(at) + "; save it as UTF-8");
    }
    return text;
}

std::vector<std::string> class_names(const std::string& path, int num_classes) {
    const std::string text = utf8_file(path, most_labels_bytes, "--labels takes a file with " + formats(),
                                       "a file of class names has at most " + std::to_string(most_labels_bytes));
    std::vector<std::string> names = parsed(text, path);
    if (names.size() != static_cast<std::size_t>(num_classes)) {
        throw wrong(path, std::to_string(names.size()) + " names, the network has " + std::to_string(num_classes) +
                              " classes; give one name for each");
    }
    std::transform(names.begin(), names.end(), names.begin(), printable_name);
    const auto empty = std::find(names.begin(), names.end(), "");
    if (empty != names.end()) {
        throw wrong(path,
                    "the name of class " + std::to_string(empty - names.begin()) + " is empty; give one name for each");
    }
    return names;
}

}  // namespace espnet::tools
