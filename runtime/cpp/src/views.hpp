#pragma once

#include <cmath>
#include <cstddef>

#include <espnet/image.hpp>

namespace espnet {

constexpr int rgb_channels = 3;

/// Pixels of a side of a photo or a label map, at most.
constexpr int max_side = 65'536;

/// Classes that a label map of bytes can tell.
constexpr int max_label_classes = 256;

/// Throws Error (input): a null or empty photo, more than `max_side` pixels a side, or strides that make no sense.
void check_photo(const ImageView& photo);

/// Throws Error (input): as `check_photo`, of a label map.
void check_labels(const LabelView& labels);

/// Bytes from one row to the next.
inline std::ptrdiff_t stride_of(const ImageView& photo) {
    return photo.row_stride != 0 ? photo.row_stride : static_cast<std::ptrdiff_t>(photo.width) * photo.pixel_stride;
}

inline std::ptrdiff_t stride_of(const LabelView& labels) {
    return labels.row_stride != 0 ? labels.row_stride : labels.width;
}

/// Where red is in a pixel of the photo; blue is at 2 less that.
inline int red_of(const ImageView& photo) {
    return photo.order == PixelOrder::bgr ? 2 : 0;
}

/// Python's round(): to the nearest, half to even.
inline int round_half_even(double value) {
    return static_cast<int>(std::nearbyint(value));
}

}  // namespace espnet
