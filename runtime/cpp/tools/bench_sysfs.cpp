#include "bench_sysfs.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <utility>

#include "arguments.hpp"

namespace espnet::bench {

namespace {

// An attribute is one page at most (kernel Documentation/filesystems/sysfs.rst).
constexpr std::size_t max_bytes = 4096;
constexpr std::size_t max_first_bytes = 1 << 16;
constexpr std::size_t max_digits = 18;
constexpr std::size_t max_shown = 40;

int open_for_reading(const std::string& path) {
    // Not blocking, so that a pipe in the place of a file stops nobody.
    return ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

std::string stripped(const std::string& text) {
    const char* blanks = " \t\n\r\v\f";
    const std::size_t first = text.find_first_not_of(blanks);
    return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::optional<std::int64_t> parsed(const std::string& text) {
    const std::size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    const std::size_t digits = text.size() - sign;
    if (digits < 1 || digits > max_digits || text.find_first_not_of("0123456789", sign) != std::string::npos) {
        return std::nullopt;
    }
    return std::stoll(text);
}

/// Numbers in a name, for sorting.
std::vector<std::uint64_t> numbers_in(const std::string& name) {
    std::vector<std::uint64_t> found;
    bool inside = false;
    for (const char c : name) {
        const bool digit = std::isdigit(static_cast<unsigned char>(c)) != 0;
        if (digit && !inside) {
            found.push_back(0);
        }
        if (digit) {
            found.back() = found.back() * 10 + static_cast<std::uint64_t>(c - '0');
        }
        inside = digit;
    }
    return found;
}

}  // namespace

Attribute::Attribute(Attribute&& other) noexcept
    : path_(std::move(other.path_)), handle_(std::exchange(other.handle_, -1)) {}

Attribute::~Attribute() {
    close();
}

SysfsNumber Attribute::number() {
    if (handle_ < 0) {
        handle_ = open_for_reading(path_);
    }
    std::array<char, max_bytes + 1> buffer{};
    const ssize_t size = handle_ < 0 ? -1 : ::pread(handle_, buffer.data(), buffer.size(), 0);
    if (size < 0) {
        const int number = errno;
        close();
        return {std::nullopt, std::strerror(number), number == EACCES || number == EPERM};
    }
    if (static_cast<std::size_t>(size) > max_bytes) {
        return {std::nullopt, "it is longer than " + std::to_string(max_bytes) + " bytes"};
    }
    const std::string text = stripped(std::string(buffer.data(), static_cast<std::size_t>(size)));
    if (const auto value = parsed(text)) {
        return {value, ""};
    }
    return {std::nullopt, "it holds '" + tools::one_line(text.substr(0, max_shown)) + "', not a number"};
}

void Attribute::close() {
    if (handle_ >= 0) {
        ::close(handle_);
        handle_ = -1;
    }
}

std::optional<std::string> sysfs_text(const std::string& path) {
    std::string text = first_bytes(path);
    if (text.size() > max_bytes) {
        return std::nullopt;
    }
    text.erase(std::find_if(text.rbegin(), text.rend(), [](char c) { return c != '\0'; }).base(), text.end());
    text = tools::one_line(text);
    return text.empty() ? std::nullopt : std::make_optional(text);
}

std::optional<std::int64_t> sysfs_number(const std::string& path) {
    return Attribute(path).number().value;
}

std::string first_bytes(const std::string& path) {
    const int handle = open_for_reading(path);
    if (handle < 0) {
        return "";
    }
    std::string text;
    std::array<char, max_bytes> buffer{};
    ssize_t size = 0;
    // Files of procfs give a page at a time.
    while (text.size() < max_first_bytes && (size = ::read(handle, buffer.data(), buffer.size())) > 0) {
        text.append(buffer.data(), static_cast<std::size_t>(size));
    }
    ::close(handle);
    return text;
}

std::vector<std::string> numbered(const std::string& folder, const std::string& prefix) {
    std::vector<std::string> names;
    if (DIR* opened = ::opendir(folder.c_str())) {
        while (const dirent* entry = ::readdir(opened)) {
            const std::string name = entry->d_name;
            if (name.compare(0, prefix.size(), prefix) == 0 && name[0] != '.') {
                names.push_back(name);
            }
        }
        ::closedir(opened);
    }
    std::sort(names.begin(), names.end(), [](const std::string& left, const std::string& right) {
        return std::make_pair(numbers_in(left), left) < std::make_pair(numbers_in(right), right);
    });
    return names;
}

bool path_exists(const std::string& path) {
    return ::access(path.c_str(), F_OK) == 0;
}

std::string path_in(const std::string& folder, const std::string& name) {
    return folder + "/" + name;
}

}  // namespace espnet::bench
