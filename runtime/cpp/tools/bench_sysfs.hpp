#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace espnet::bench {

// Files of sysfs and procfs: small, made anew for each reading, and now and then unreadable.

/// A number in a file, or why there is none, without the path.
struct SysfsNumber {
    std::optional<std::int64_t> value;
    std::string problem;
    bool denied = false;  ///< the right to read it is what is missing
};

/// A file that stays open between readings; each starts at offset 0, which makes the kernel ask the driver again.
class Attribute {
public:
    explicit Attribute(std::string path) : path_(std::move(path)) {}
    Attribute(Attribute&& other) noexcept;
    Attribute& operator=(Attribute&&) = delete;
    Attribute(const Attribute&) = delete;
    ~Attribute();

    /// A whole number of at most 18 decimal digits.
    SysfsNumber number();

private:
    void close();

    std::string path_;
    int handle_ = -1;
};

/// The first line of a file of at most 4096 bytes, printable, without the zero byte of device trees; none where it
/// cannot be read, or is empty.
std::optional<std::string> sysfs_text(const std::string& path);

/// The number in a file that is read once.
std::optional<std::int64_t> sysfs_number(const std::string& path);

/// The first 64 KiB of a file, as they are; "" where it cannot be read.
std::string first_bytes(const std::string& path);

/// Names in a folder that begin with `prefix`, in the order of the numbers in them: hwmon2 before hwmon10.
std::vector<std::string> numbered(const std::string& folder, const std::string& prefix);

bool path_exists(const std::string& path);

/// The path of a file in a folder.
std::string path_in(const std::string& folder, const std::string& name);

}  // namespace espnet::bench
