#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <espnet/image.hpp>

#include "simd.hpp"

namespace espnet {

/// Pillow's `resize(..., BILINEAR)` of 8-bit RGB, equal to the last bit: a triangle filter that widens when an image is
/// made smaller, rows first and then columns, weights in fixed point, rounded to 8 bits in between.
///
/// Source: Pillow's documentation of its filters; its arithmetic as measured by comparing pictures.
///
/// Tables and scratch memory are kept from photo to photo: they grow with the largest, and sizes in turn allocate
/// nothing.
class Resizer {
public:
    explicit Resizer(bool avx2 = has_avx2()) : avx2_(avx2) {}

    /// Resize `photo` to height x width pixels, packed RGB.
    void run(const ImageView& photo, int height, int width, std::uint8_t* rgb);

private:
    /// Which pixels of the source make each pixel of the target, and how much of it.
    struct Axis {
        int from = 0;
        int to = 0;
        int taps = 0;                // weights of each target pixel, used or not
        std::vector<int> first;      // the first source pixel of each
        std::vector<int> count;      // how many
        std::vector<int> weights;    // in units of 2^-22
        std::vector<double> shares;  // scratch: the weights of one target pixel

        void plan(int from_size, int to_size);
    };

    void rows_first(const ImageView& photo, int height, int width, std::uint8_t* rgb);

    bool avx2_;
    Axis across_;
    Axis down_;
    std::vector<std::uint8_t> pixels_;     // one row of the photo, 4 bytes for each pixel
    std::vector<std::uint8_t> narrowed_;   // all rows at the target's width
    std::vector<std::uint8_t> shortened_;  // of a very high photo
};

}  // namespace espnet
