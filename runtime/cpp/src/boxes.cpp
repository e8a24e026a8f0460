#include "boxes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include <espnet/error.hpp>

namespace espnet {

namespace {

constexpr float centre_variance = 0.1F;
constexpr float size_variance = 0.2F;
constexpr double smallest = 0.1;  // sides of prior squares, as fractions of the image's side
constexpr double largest = 1.05;
constexpr std::array<int, 2> aspect_ratios{2, 3};
constexpr std::size_t num_maps = 6;

/// How many pixels one step is on each of the maps.
const std::array<int, num_maps>* strides_of(int height, int width) {
    static constexpr std::array<int, num_maps> of_300{8, 16, 32, 64, 100, 300};
    static constexpr std::array<int, num_maps> of_512{8, 16, 32, 64, 128, 512};
    if (height != width) {
        return nullptr;
    }
    return height == 300 ? &of_300 : height == 512 ? &of_512 : nullptr;
}

/// Fractions of the image, cut to 0..1 as float32, then pixels.
PriorBox in_pixels(double x, double y, double width, double height, int side) {
    const auto pixels = [side](double fraction) {
        return std::clamp(static_cast<float>(fraction), 0.0F, 1.0F) * static_cast<float>(side);
    };
    return {pixels(x), pixels(y), pixels(width), pixels(height)};
}

void add_priors_of_map(int side, int stride, int smaller, int larger, std::vector<PriorBox>& priors) {
    const int steps = (side + stride - 1) / stride;
    const double small = static_cast<double>(smaller) / side;
    const double between = std::sqrt(static_cast<double>(smaller) * larger) / side;
    for (int row = 0; row < steps; ++row) {
        for (int column = 0; column < steps; ++column) {
            const double x = (column + 0.5) * stride / side;
            const double y = (row + 0.5) * stride / side;
            priors.push_back(in_pixels(x, y, small, small, side));
            priors.push_back(in_pixels(x, y, between, between, side));
            for (const int ratio : aspect_ratios) {
                const double root = std::sqrt(static_cast<double>(ratio));
                priors.push_back(in_pixels(x, y, small * root, small / root, side));
                priors.push_back(in_pixels(x, y, small / root, small * root, side));
            }
        }
    }
}

}  // namespace

std::vector<PriorBox> prior_boxes_in_pixels(int height, int width) {
    const auto* strides = strides_of(height, width);
    if (strides == nullptr) {
        throw Error(ErrorCode::check, "no prior boxes are defined for " + std::to_string(height) + "x" +
                                          std::to_string(width) +
                                          "; there are those of 300x300, 512x512; export again");
    }
    const double first = std::ceil(smallest * height);
    const double last = std::ceil(largest * height);
    std::vector<PriorBox> priors;
    for (std::size_t i = 0; i < num_maps; ++i) {
        // The sizes are whole pixels, cut off after whole steps: 30, 77, 125, ... for 300.
        const double step = (last - first) / num_maps;
        const int smaller = static_cast<int>(first + static_cast<double>(i) * step);
        const int larger =
            i + 1 == num_maps ? static_cast<int>(last) : static_cast<int>(first + static_cast<double>(i + 1) * step);
        add_priors_of_map(height, (*strides)[i], smaller, larger, priors);
    }
    return priors;
}

Corners decoded(const float* location, const PriorBox& prior) {
    const float x = location[0] * centre_variance * prior.width + prior.x;
    const float y = location[1] * centre_variance * prior.height + prior.y;
    // Rounded once from float64: within half a unit of the last place, whoever computes it.
    const float width = static_cast<float>(std::exp(static_cast<double>(location[2] * size_variance))) * prior.width;
    const float height = static_cast<float>(std::exp(static_cast<double>(location[3] * size_variance))) * prior.height;
    return {x - width / 2, y - height / 2, x + width / 2, y + height / 2};
}

float intersection_over_union(const Corners& left, const Corners& right) {
    const float across = std::max(std::min(left.right, right.right) - std::max(left.left, right.left), 0.0F);
    const float down = std::max(std::min(left.bottom, right.bottom) - std::max(left.top, right.top), 0.0F);
    const float intersection = across * down;
    const float area = (left.right - left.left) * (left.bottom - left.top);
    const float other = (right.right - right.left) * (right.bottom - right.top);
    return intersection / (area + other - intersection);
}

}  // namespace espnet
