#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <espnet/image.hpp>
#include <espnet/span.hpp>

namespace espnet::tools {

/// Packed RGB, row by row, 8 bits each.
struct Photo {
    int height = 0;
    int width = 0;
    std::vector<std::uint8_t> rgb;

    ImageView view() const { return {rgb.data(), height, width, 0, 3, PixelOrder::rgb}; }
};

/// Photos with more pixels are refused: Pillow's limit against files that unpack to far more than they are.
constexpr std::int64_t max_pixels = 89478485;

/// The photo in a PNG, JPEG, PGM (P5) or PPM (P6) file, upright as its EXIF orientation says: the pixels that
/// `load_photo` in runtime/images.py gives, to the last bit. Every kind becomes 8-bit RGB: alpha is dropped, 16 bits
/// keep their upper 8.
///
/// Throws Error (input): there is no such file, it is no picture of these kinds, it is cut off or damaged, or it has
/// more than `max_pixels` pixels.
Photo load_photo(const std::string& path);

/// The same of a file in memory; `path` is for messages.
Photo photo_from(Span<const std::uint8_t> file, const std::string& path);

/// A PNG file of packed pixels: grey (`channels` 1) or RGB (3), 8 bits each.
std::vector<std::uint8_t> png_bytes(const std::uint8_t* pixels, int height, int width, int channels);

}  // namespace espnet::tools
