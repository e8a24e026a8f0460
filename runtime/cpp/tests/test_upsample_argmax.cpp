#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include <espnet/espnet.hpp>

#include "argmax.hpp"
#include "half.hpp"
#include "resize.hpp"
#include "simd.hpp"
#include "upsample.hpp"

namespace {

/// Where an output lies between two inputs, as image.hpp defines it.
struct Place {
    int behind;
    int before;
    float share;
};

Place place(int output, int from, int to) {
    const double position = to == 1 ? 0.0 : static_cast<double>(output) * (from - 1) / (to - 1);
    const int behind = std::min(static_cast<int>(std::floor(position)), from - 1);
    return {behind, std::min(behind + 1, from - 1), static_cast<float>(position - behind)};
}

/// The definition, pixel by pixel.
std::uint8_t best_class(const std::vector<float>& logits, int classes, int height, int width, const Place& down,
                        const Place& across) {
    const auto blended = [&](int label, int column) {
        const auto at = [&](int row) {
            return logits[(static_cast<std::size_t>(label) * height + row) * width + column];
        };
        return at(down.behind) + down.share * (at(down.before) - at(down.behind));
    };
    int best = 0;
    float highest = 0;
    for (int label = 0; label < classes; ++label) {
        const float left = blended(label, across.behind);
        const float value = left + across.share * (blended(label, across.before) - left);
        if (label == 0 || value > highest) {
            best = label;
            highest = value;
        }
    }
    return static_cast<std::uint8_t>(best);
}

/// With `ties` small whole numbers, so that classes are often equal.
std::vector<float> random_logits(std::size_t count, bool ties, std::mt19937& random) {
    std::vector<float> logits(count);
    for (float& logit : logits) {
        logit = ties ? static_cast<float>(random() % 3) : static_cast<float>(random() % 100'000) / 1000.0F;
    }
    return logits;
}

void check_against_definition(int classes, int height, int width, int to_height, int to_width, bool ties, bool avx2) {
    CAPTURE(classes);
    CAPTURE(height);
    CAPTURE(width);
    CAPTURE(to_height);
    CAPTURE(to_width);
    std::mt19937 random(7);
    const auto logits = random_logits(static_cast<std::size_t>(classes) * height * width, ties, random);
    constexpr int gap = 3;
    constexpr std::uint8_t untouched = 255;
    const int stride = to_width + gap;
    std::vector<std::uint8_t> labels(static_cast<std::size_t>(to_height) * stride, untouched);
    espnet::Upsampler(avx2).run(logits.data(), classes, height, width, {labels.data(), to_height, to_width, stride});
    int wrong = 0;
    for (int row = 0; row < to_height; ++row) {
        for (int column = 0; column < stride; ++column) {
            const auto expected = column >= to_width
                                      ? untouched
                                      : best_class(logits, classes, height, width, place(row, height, to_height),
                                                   place(column, width, to_width));
            wrong += labels[static_cast<std::size_t>(row) * stride + column] != expected ? 1 : 0;
        }
    }
    CHECK(wrong == 0);
}

void check_sizes(bool avx2) {
    for (const bool ties : {false, true}) {
        check_against_definition(20, 16, 32, 32, 64, ties, avx2);
        check_against_definition(5, 7, 9, 23, 50, ties, avx2);
        check_against_definition(3, 1, 1, 4, 37, ties, avx2);
        check_against_definition(1, 2, 3, 5, 7, ties, avx2);
        check_against_definition(4, 6, 35, 6, 35, ties, avx2);
        check_against_definition(21, 5, 33, 9, 65, ties, avx2);
    }
}

}  // namespace

TEST_CASE("labels are those of the definition, with and without AVX2") {
    check_sizes(false);
    check_sizes(espnet::has_avx2());
}

TEST_CASE("the best class of logits of the full size is that of the definition, with and without AVX2") {
    std::mt19937 random(8);
    constexpr int classes = 21;
    constexpr int pixels = 2051;
    for (const bool ties : {false, true}) {
        const auto logits = random_logits(static_cast<std::size_t>(classes) * pixels, ties, random);
        std::vector<std::uint8_t> expected;
        for (int i = 0; i < pixels; ++i) {
            expected.push_back(best_class(logits, classes, 1, pixels, place(0, 1, 1), place(i, pixels, pixels)));
        }
        for (const bool avx2 : {false, espnet::has_avx2()}) {
            std::vector<std::uint8_t> labels(pixels, 255);
            espnet::argmax(logits.data(), classes, pixels, labels.data(), avx2);
            CHECK(labels == expected);
        }
    }
}

TEST_CASE("every half float is read exactly, with and without AVX2") {
    std::vector<std::uint16_t> halves(65536);
    std::iota(halves.begin(), halves.end(), std::uint16_t{0});
    for (const bool avx2 : {false, espnet::has_avx2()}) {
        std::vector<float> floats(halves.size());
        espnet::from_half(halves.data(), halves.size(), floats.data(), avx2);
        int wrong = 0;
        for (const std::uint16_t half : halves) {
            const int exponent = half >> 10 & 31;
            const int fraction = half & 1023;
            const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                                  : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
            const float found = floats[half];
            const bool right = exponent < 31   ? std::fabs(found) == magnitude
                               : fraction == 0 ? std::isinf(found)
                                               : std::isnan(found);
            wrong += right && std::signbit(found) == (half >= 0x8000) ? 0 : 1;
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("photos are resized the same with and without AVX2, sizes in turn too") {
    std::mt19937 random(9);
    std::vector<std::uint8_t> photo(3 * 67 * 93);
    std::generate(photo.begin(), photo.end(), [&] { return static_cast<std::uint8_t>(random()); });
    espnet::Resizer with(espnet::has_avx2());
    espnet::Resizer without(false);
    for (const auto& [height, width] : {std::pair{67, 93}, {20, 31}, {93, 67}, {20, 31}}) {
        const espnet::ImageView view{photo.data(), height, width};
        std::vector<std::uint8_t> one(3 * 41 * 57);
        std::vector<std::uint8_t> other(one.size());
        with.run(view, 41, 57, one.data());
        without.run(view, 41, 57, other.data());
        CHECK(one == other);
    }
}

TEST_CASE("sizes that do not fit are refused") {
    const std::vector<float> logits(2 * 4 * 4);
    std::vector<std::uint8_t> labels(64);
    CHECK_THROWS_AS(espnet::upsample_argmax(logits.data(), 2, 4, 4, {labels.data(), 3, 8}), espnet::Error);
    CHECK_THROWS_AS(espnet::upsample_argmax(logits.data(), 2, 4, 4, {labels.data(), 8, 3}), espnet::Error);
    CHECK_THROWS_AS(espnet::upsample_argmax(logits.data(), 257, 4, 4, {labels.data(), 8, 8}), espnet::Error);
    CHECK_THROWS_AS(espnet::upsample_argmax(logits.data(), 0, 4, 4, {labels.data(), 8, 8}), espnet::Error);
    CHECK_THROWS_AS(espnet::upsample_argmax(logits.data(), 2, 4, 4, {nullptr, 8, 8}), espnet::Error);
}
