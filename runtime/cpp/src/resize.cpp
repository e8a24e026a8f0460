#include "resize.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "views.hpp"

namespace espnet {

namespace {

constexpr int precision_bits = 22;
constexpr int half = 1 << (precision_bits - 1);
constexpr int channels = rgb_channels;

using Quad = int __attribute__((vector_size(16), may_alias));
using Octet = int __attribute__((vector_size(32)));
using Bytes8 = std::uint8_t __attribute__((vector_size(8)));

double triangle(double x) {
    return std::max(0.0, 1.0 - std::abs(x));
}

ESPNET_INLINE std::uint8_t rounded(int sum) {
    return static_cast<std::uint8_t>(std::clamp(sum >> precision_bits, 0, 255));
}

/// A row of `photo`: a vector for each pixel, red first; its fourth number is not used.
void unpack(const ImageView& photo, int row, Quad* to) {
    const std::uint8_t* from = photo.data + row * stride_of(photo);
    const int red = red_of(photo);
    for (int column = 0; column < photo.width; ++column, from += photo.pixel_stride) {
        to[column] = Quad{from[red], from[1], from[2 - red], 0};
    }
}

/// A row of `photo` as packed RGB.
void pack(const ImageView& photo, int row, std::uint8_t* to) {
    const std::uint8_t* from = photo.data + row * stride_of(photo);
    if (photo.pixel_stride == channels && photo.order == PixelOrder::rgb) {
        std::memcpy(to, from, static_cast<std::size_t>(photo.width) * channels);
        return;
    }
    const int red = red_of(photo);
    for (int column = 0; column < photo.width; ++column, from += photo.pixel_stride, to += channels) {
        to[0] = from[red];
        to[1] = from[1];
        to[2] = from[2 - red];
    }
}

/// One row to another width: all channels of a pixel at once.
ESPNET_INLINE void row_body(const Quad* pixels, const int* first, const int* count, const int* weights, int taps,
                            int width, std::uint8_t* to) {
    for (int column = 0; column < width; ++column, to += channels, weights += taps) {
        const Quad* from = pixels + first[column];
        Quad sum = {half, half, half, half};
        for (int tap = 0; tap < count[column]; ++tap) {
            sum += from[tap] * weights[tap];
        }
        sum >>= precision_bits;
        // Weights are not negative, and add up to one but for rounding: only the upper end can be passed.
        const Quad most = {255, 255, 255, 255};
        sum = sum > most ? most : sum;
        to[0] = static_cast<std::uint8_t>(sum[0]);
        to[1] = static_cast<std::uint8_t>(sum[1]);
        to[2] = static_cast<std::uint8_t>(sum[2]);
    }
}

/// One row of the target from `count` rows below each other.
ESPNET_INLINE void columns_body(const std::uint8_t* from, std::ptrdiff_t stride, const int* weights, int count,
                                int length, std::uint8_t* to) {
    int i = 0;
    for (; i + 8 <= length; i += 8) {
        Octet sum = {half, half, half, half, half, half, half, half};
        for (int tap = 0; tap < count; ++tap) {
            Bytes8 values;
            std::memcpy(&values, from + tap * stride + i, sizeof values);
            sum += __builtin_convertvector(values, Octet) * weights[tap];
        }
        sum >>= precision_bits;
        const Octet most = {255, 255, 255, 255, 255, 255, 255, 255};
        sum = sum > most ? most : sum;
        const Bytes8 bytes = __builtin_convertvector(sum, Bytes8);
        std::memcpy(to + i, &bytes, sizeof bytes);
    }
    for (; i < length; ++i) {
        int sum = half;
        for (int tap = 0; tap < count; ++tap) {
            sum += from[tap * stride + i] * weights[tap];
        }
        to[i] = rounded(sum);
    }
}

ESPNET_FOR_AVX2 void row_avx2(const Quad* pixels, const int* first, const int* count, const int* weights, int taps,
                              int width, std::uint8_t* to) {
    row_body(pixels, first, count, weights, taps, width, to);
}

void row_any(const Quad* pixels, const int* first, const int* count, const int* weights, int taps, int width,
             std::uint8_t* to) {
    row_body(pixels, first, count, weights, taps, width, to);
}

ESPNET_FOR_AVX2 void columns_avx2(const std::uint8_t* from, std::ptrdiff_t stride, const int* weights, int count,
                                  int length, std::uint8_t* to) {
    columns_body(from, stride, weights, count, length, to);
}

void columns_any(const std::uint8_t* from, std::ptrdiff_t stride, const int* weights, int count, int length,
                 std::uint8_t* to) {
    columns_body(from, stride, weights, count, length, to);
}

}  // namespace

void Resizer::Axis::plan(int from_size, int to_size) {
    if (from == from_size && to == to_size) {
        return;
    }
    from = to = 0;  // no plan, should memory run out before there is a new one
    const double scale = static_cast<double>(from_size) / to_size;
    const double reach = std::max(scale, 1.0);
    taps = static_cast<int>(std::ceil(reach)) * 2 + 1;
    first.resize(static_cast<std::size_t>(to_size));
    count.resize(static_cast<std::size_t>(to_size));
    weights.assign(static_cast<std::size_t>(to_size) * static_cast<std::size_t>(taps), 0);
    shares.resize(static_cast<std::size_t>(taps));
    for (int i = 0; i < to_size; ++i) {
        const double centre = (i + 0.5) * scale;
        const int begin =
            std::max(0, static_cast<int>(centre - reach + 0.5));  // NOLINT(bugprone-incorrect-roundings): as Pillow
        const int end = std::min(
            from_size, static_cast<int>(centre + reach + 0.5));  // NOLINT(bugprone-incorrect-roundings): as Pillow
        double total = 0;
        for (int tap = 0; tap < end - begin; ++tap) {
            const double share = triangle((tap + begin - centre + 0.5) * (1.0 / reach));
            shares[static_cast<std::size_t>(tap)] = share;
            total += share;
        }
        first[static_cast<std::size_t>(i)] = begin;
        count[static_cast<std::size_t>(i)] = end - begin;
        // Times the inverse, as Pillow: a division would round some weights otherwise.
        const double inverse = total != 0.0 ? 1.0 / total : 1.0;
        for (int tap = 0; tap < end - begin; ++tap) {
            const double share = shares[static_cast<std::size_t>(tap)] * inverse;
            weights[static_cast<std::size_t>(i) * static_cast<std::size_t>(taps) + static_cast<std::size_t>(tap)] =
                // NOLINTNEXTLINE(bugprone-incorrect-roundings): as Pillow
                static_cast<int>(0.5 + share * (1 << precision_bits));
        }
    }
    from = from_size;
    to = to_size;
}

void Resizer::run(const ImageView& photo, int height, int width, std::uint8_t* rgb) {
    // Pillow makes very high images shorter first: columns of them are cheap, and rounding comes in that order.
    if (photo.height > 100LL * photo.width && height < photo.height && width != photo.width) {
        shortened_.resize(static_cast<std::size_t>(height) * static_cast<std::size_t>(photo.width) * channels);
        rows_first(photo, height, photo.width, shortened_.data());
        rows_first({shortened_.data(), height, photo.width}, height, width, rgb);
        return;
    }
    rows_first(photo, height, width, rgb);
}

void Resizer::rows_first(const ImageView& photo, int height, int width, std::uint8_t* rgb) {
    const bool across = photo.width != width;
    const bool down = photo.height != height;
    const std::size_t row_bytes = static_cast<std::size_t>(width) * channels;
    std::uint8_t* rows = rgb;
    if (down) {
        down_.plan(photo.height, height);
        narrowed_.resize(static_cast<std::size_t>(photo.height) * row_bytes);
        rows = narrowed_.data();
    }
    if (across) {
        across_.plan(photo.width, width);
        pixels_.resize(static_cast<std::size_t>(photo.width) * sizeof(Quad));
    }
    auto* const pixels = reinterpret_cast<Quad*>(pixels_.data());  // what operator new gives is aligned to 16 bytes
    const auto resize_row = avx2_ ? row_avx2 : row_any;
    for (int row = 0; row < photo.height; ++row) {
        std::uint8_t* to = rows + static_cast<std::size_t>(row) * row_bytes;
        if (across) {
            unpack(photo, row, pixels);
            resize_row(pixels, across_.first.data(), across_.count.data(), across_.weights.data(), across_.taps, width,
                       to);
        } else {
            pack(photo, row, to);
        }
    }
    if (!down) {
        return;
    }
    const auto resize_columns = avx2_ ? columns_avx2 : columns_any;
    for (int row = 0; row < height; ++row) {
        const auto index = static_cast<std::size_t>(row);
        resize_columns(rows + static_cast<std::size_t>(down_.first[index]) * row_bytes,
                       static_cast<std::ptrdiff_t>(row_bytes),
                       down_.weights.data() + index * static_cast<std::size_t>(down_.taps), down_.count[index],
                       static_cast<int>(row_bytes), rgb + index * row_bytes);
    }
}

}  // namespace espnet
