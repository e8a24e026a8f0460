#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <espnet/espnet.hpp>

// What the tests of networks share: the files that fixtures/make_fixtures.py writes, and photos for them.

inline std::string fixture(const std::string& name) {
    return std::string(ESPNET_FIXTURES) + "/" + name + ".onnx";
}

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// A file and its manifest beside it, for the time of a test; in the folder that the test runs in.
class CopiedFile {
public:
    CopiedFile(const std::string& name, const std::string& bytes, const std::string& manifest) : path_(name) {
        std::ofstream(path_, std::ios::binary) << bytes;
        std::ofstream(path_ + ".json", std::ios::binary) << manifest;
    }
    CopiedFile(const CopiedFile&) = delete;
    CopiedFile& operator=(const CopiedFile&) = delete;
    ~CopiedFile() {
        std::remove(path_.c_str());
        std::remove((path_ + ".json").c_str());
    }

    const std::string& path() const { return path_; }

private:
    std::string path_;
};

/// A photo of one colour, of the size that the fixtures compute with unless told otherwise.
class PlainPhoto {
public:
    explicit PlainPhoto(std::array<std::uint8_t, 3> colour, int height = 8, int width = 12)
        : height_(height), width_(width) {
        for (int i = 0; i < height * width; ++i) {
            pixels_.insert(pixels_.end(), colour.begin(), colour.end());
        }
    }

    void set(int row, int column, std::array<std::uint8_t, 3> colour) {
        const auto place =
            (static_cast<std::size_t>(row) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(column)) * 3;
        std::copy(colour.begin(), colour.end(), pixels_.begin() + static_cast<std::ptrdiff_t>(place));
    }

    espnet::ImageView view() const { return {pixels_.data(), height_, width_, 0, 3, espnet::PixelOrder::rgb}; }

private:
    int height_;
    int width_;
    std::vector<std::uint8_t> pixels_;
};

constexpr std::array<std::uint8_t, 3> red{200, 10, 30};
constexpr std::array<std::uint8_t, 3> green{10, 200, 30};
constexpr std::array<std::uint8_t, 3> blue{10, 30, 200};

/// The text and the code of the Error that `work` throws; empty if it throws none.
struct Thrown {
    int code = 0;
    std::string text;
};

template <typename Work>
Thrown thrown_by(Work work) {
    try {
        work();
    } catch (const espnet::Error& error) {
        return {static_cast<int>(error.code()), error.what()};
    }
    return {};
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}
