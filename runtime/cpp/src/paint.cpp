#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include <espnet/error.hpp>
#include <espnet/image.hpp>

#include "texts.hpp"
#include "views.hpp"

namespace espnet {

namespace {

constexpr int channels = rgb_channels;
constexpr double golden_ratio = 0.6180339887498949;
constexpr Colour light_line{255, 255, 255};
constexpr double dark_mean = 48;

Colour from_hsv(double hue, double saturation, double value) {
    const double sixth = hue * 6.0;
    const int sector = static_cast<int>(sixth);
    const double within = sixth - sector;
    const double p = value * (1.0 - saturation);
    const double q = value * (1.0 - saturation * within);
    const double t = value * (1.0 - saturation * (1.0 - within));
    const std::array<std::array<double, channels>, 6> sectors{
        {{value, t, p}, {q, value, p}, {p, value, t}, {p, q, value}, {t, p, value}, {value, p, q}}};
    const auto& rgb = sectors[static_cast<std::size_t>(sector % 6)];
    const auto level = [](double share) { return static_cast<std::uint8_t>(round_half_even(share * 255)); };
    return {level(rgb[0]), level(rgb[1]), level(rgb[2])};
}

using Palette = std::array<Colour, 256>;

Palette palette_of(Span<const Colour> colours) {
    Palette palette;
    for (std::size_t i = 0; i < palette.size(); ++i) {
        palette[i] = i < colours.size() ? colours[i] : own_colour(static_cast<int>(i));
    }
    return palette;
}

/// A label map with its stride worked out.
struct Labels {
    const std::uint8_t* data;
    std::ptrdiff_t stride;
    int height;
    int width;

    std::uint8_t at(int row, int column) const { return data[row * stride + column]; }

    /// Whether the pixel lies within `thickness` to the right of or below another class.
    bool is_outline(int row, int column, int thickness) const {
        const std::uint8_t own = at(row, column);
        for (int step = 1; step <= thickness; ++step) {
            if ((row >= step && at(row - step, column) != own) || (column >= step && at(row, column - step) != own)) {
                return true;
            }
        }
        return false;
    }
};

/// Whether the colours of all pixels are dark on average: then lines are light.
bool is_dark(const Labels& labels, const Palette& palette) {
    std::array<std::int64_t, 256> counts{};
    for (int row = 0; row < labels.height; ++row) {
        for (int column = 0; column < labels.width; ++column) {
            ++counts[labels.at(row, column)];
        }
    }
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < palette.size(); ++i) {
        sum += counts[i] * (palette[i].red + palette[i].green + palette[i].blue);
    }
    return static_cast<double>(sum) / (static_cast<double>(labels.height) * labels.width * channels) < dark_mean;
}

Colour darker(Colour colour) {
    const auto third = [](std::uint8_t level) { return static_cast<std::uint8_t>(level / 3); };
    return {third(colour.red), third(colour.green), third(colour.blue)};
}

/// Pillow's blend: in float32, cut off.
std::uint8_t mixed(int below, int above, float opacity) {
    return static_cast<std::uint8_t>(static_cast<float>(below) + opacity * static_cast<float>(above - below));
}

/// Black or white, whichever is easier to see on `colour`.
Colour ink_on(Colour colour) {
    const double light = 0.299 * colour.red + 0.587 * colour.green + 0.114 * colour.blue;
    return light > 128 ? Colour{0, 0, 0} : Colour{255, 255, 255};
}

/// The corners of a rectangle in whole pixels, the last ones included.
struct Frame {
    int left;
    int top;
    int right;
    int bottom;
};

/// A packed RGB picture to draw on.
struct Canvas {
    std::uint8_t* rgb;
    int height;
    int width;

    Frame frame_of(const Box& box) const {
        const auto inside = [](double edge, int size) {
            // An edge that is not a number fails the comparison: its conversion would be undefined.
            return edge > 0 ? static_cast<int>(std::min(std::nearbyint(edge), static_cast<double>(size - 1))) : 0;
        };
        // In braces, minmax gives values; else references to what is gone by the next line.
        const auto [left, right] = std::minmax({inside(box.left, width), inside(box.right, width)});
        const auto [top, bottom] = std::minmax({inside(box.top, height), inside(box.bottom, height)});
        return {left, top, right, bottom};
    }

    void outline(const Frame& frame, Colour colour, int thickness) const {
        for (int row = frame.top; row <= frame.bottom; ++row) {
            const bool whole = row < frame.top + thickness || row > frame.bottom - thickness;
            for (int column = frame.left; column <= frame.right; ++column) {
                if (whole || column < frame.left + thickness || column > frame.right - thickness) {
                    std::uint8_t* pixel = rgb + (static_cast<std::ptrdiff_t>(row) * width + column) * channels;
                    pixel[0] = colour.red;
                    pixel[1] = colour.green;
                    pixel[2] = colour.blue;
                }
            }
        }
    }
};

}  // namespace

Colour own_colour(int class_index) {
    // Steps of the golden ratio keep neighbouring class numbers far apart on the colour circle.
    // Remainders as Python's, never below 0: the hue picks a sector of the circle.
    const double turns = class_index * golden_ratio;
    const int of_two = (class_index % 2 + 2) % 2;
    const int of_three = (class_index % 3 + 3) % 3;
    return from_hsv(turns - std::floor(turns), 0.55 + 0.4 * of_two, 1 - 0.15 * of_three);
}

void paint_labels(const ImageView& photo, const LabelView& labels, Span<const Colour> colours, double opacity,
                  std::uint8_t* rgb) {
    check_photo(photo);
    check_labels(labels);
    if (photo.height != labels.height || photo.width != labels.width) {
        throw Error(ErrorCode::input, "a photo of " + size_text(photo.height, photo.width) + " and labels of " +
                                          size_text(labels.height, labels.width) + "; give labels of the photo's size");
    }
    if (!(opacity >= 0 && opacity <= 1)) {
        throw Error(ErrorCode::input, "opacity " + std::to_string(opacity) +
                                          ": give a number from 0 (the photo alone) to 1 (the colours alone)");
    }
    if (rgb == nullptr) {
        throw Error(ErrorCode::input, "a painting at a null pointer; give 3 x height x width bytes for it");
    }
    const Palette palette = palette_of(colours);
    const Labels map{labels.data, stride_of(labels), labels.height, labels.width};
    const bool dark = is_dark(map, palette);
    const int thickness = std::max(1, round_half_even(std::max(labels.height, labels.width) / 1000.0));
    const std::ptrdiff_t stride = stride_of(photo);
    const int red = red_of(photo);
    for (int row = 0; row < photo.height; ++row) {
        const std::uint8_t* pixel = photo.data + row * stride;
        for (int column = 0; column < photo.width; ++column, pixel += photo.pixel_stride, rgb += channels) {
            Colour colour = palette[map.at(row, column)];
            if (map.is_outline(row, column, thickness)) {
                // A darker line, except where it would be lost.
                colour = dark ? light_line : darker(colour);
            }
            const auto share = static_cast<float>(opacity);
            rgb[0] = mixed(pixel[red], colour.red, share);
            rgb[1] = mixed(pixel[1], colour.green, share);
            rgb[2] = mixed(pixel[2 - red], colour.blue, share);
        }
    }
}

// NOLINTNEXTLINE(readability-non-const-parameter): it is drawn on, through the canvas
void paint_boxes(Span<const Box> boxes, Span<const Colour> colours, int height, int width, std::uint8_t* rgb) {
    check_photo({rgb, height, width});
    const Canvas canvas{rgb, height, width};
    const double scale = std::sqrt(static_cast<double>(width) * height) / 45;
    const int thickness = std::max(2, round_half_even(std::max(13, round_half_even(scale)) / 7.0));
    // The best comes last, on top.
    for (std::size_t i = boxes.size(); i-- > 0;) {
        const auto index = static_cast<std::size_t>(boxes[i].class_index);
        const Colour colour = index < colours.size() ? colours[index] : own_colour(boxes[i].class_index);
        const Frame frame = canvas.frame_of(boxes[i]);
        // Between two thin lines that set it off from any photo.
        canvas.outline(frame, ink_on(colour), thickness + 2);
        if (frame.right - frame.left > 2 && frame.bottom - frame.top > 2) {
            canvas.outline({frame.left + 1, frame.top + 1, frame.right - 1, frame.bottom - 1}, colour, thickness);
        }
    }
}

}  // namespace espnet
