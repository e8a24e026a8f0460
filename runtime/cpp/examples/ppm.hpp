#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include <espnet/espnet.hpp>

/// A photo in memory: packed RGB.
struct Photo {
    int height = 0;
    int width = 0;
    std::vector<std::uint8_t> rgb;

    espnet::ImageView view() const { return {rgb.data(), height, width}; }
};

/// Read a binary PPM without comments, as `convert photo.jpg photo.ppm` and `djpeg` write it.
inline Photo read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string magic;
    Photo photo;
    int levels = 0;
    file >> magic >> photo.width >> photo.height >> levels;
    file.get();  // the one white space before the pixels
    constexpr int largest_side = 65536;
    if (!file || magic != "P6" || levels != 255 || photo.width < 1 || photo.height < 1 || photo.width > largest_side ||
        photo.height > largest_side) {
        throw espnet::Error(espnet::ErrorCode::input, path + ": not a binary PPM of 8 bits; convert it to one");
    }
    photo.rgb.resize(std::size_t{3} * static_cast<std::size_t>(photo.width) * static_cast<std::size_t>(photo.height));
    if (!file.read(reinterpret_cast<char*>(photo.rgb.data()), static_cast<std::streamsize>(photo.rgb.size()))) {
        throw espnet::Error(espnet::ErrorCode::input, path + ": fewer pixels than its header says; make it again");
    }
    return photo;
}
