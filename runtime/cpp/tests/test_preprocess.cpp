#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <espnet/error.hpp>

#include "preprocess.hpp"
#include "views.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

espnet::Preprocessing rule_of(int height, int width) {
    espnet::Preprocessing rule;
    rule.height = height;
    rule.width = width;
    rule.scale = 1.0 / 255;
    rule.normalise_in_graph = true;
    return rule;
}

espnet::TensorInfo pixels_of(int height, int width) {
    return {"image", espnet::DType::uint8, {-1, height, width, 3}, "NHWC", ""};
}

}  // namespace

TEST_CASE("a photo of the network's size is taken as it is, with its colours in order") {
    const Bytes bgra{3, 2, 1, 99, 6, 5, 4, 99};
    espnet::Preprocessor preprocessor(rule_of(1, 2), pixels_of(1, 2));
    Bytes rgb(preprocessor.bytes_per_image());
    preprocessor.run({bgra.data(), 1, 2, 0, 4, espnet::PixelOrder::bgr}, rgb.data());
    CHECK(rgb == Bytes{1, 2, 3, 4, 5, 6});
}

TEST_CASE("rows may run backwards in memory") {
    const Bytes photo{1, 1, 1, 2, 2, 2};
    Bytes rgb(6);
    espnet::Preprocessor(rule_of(2, 1), pixels_of(2, 1)).run({photo.data() + 3, 2, 1, -3}, rgb.data());
    CHECK(rgb == Bytes{2, 2, 2, 1, 1, 1});
}

TEST_CASE("what a crop lacks is black") {
    espnet::Preprocessing rule = rule_of(1, 3);
    rule.resize = espnet::Resize::shorter_side_crop;
    rule.shorter_side = 1;
    const Bytes photo{7, 8, 9};
    Bytes rgb(9, 255);
    espnet::Preprocessor(rule, pixels_of(1, 3)).run({photo.data(), 1, 1}, rgb.data());
    CHECK(rgb == Bytes{0, 0, 0, 7, 8, 9, 0, 0, 0});
}

TEST_CASE("pixels are normalised into planes") {
    espnet::Preprocessing rule = rule_of(1, 1);
    rule.normalise_in_graph = false;
    rule.mean = {0, 0.5, 1};
    rule.std = {1, 0.5, 2};
    const Bytes photo{255, 255, 0};
    std::vector<float> planes(3);
    espnet::Preprocessor(rule, {"image", espnet::DType::float32, {-1, 3, 1, 1}, "NCHW", ""})
        .run({photo.data(), 1, 1}, planes.data());
    CHECK(planes == std::vector<float>{1, 1, -0.5F});
}

TEST_CASE("views that make no sense are refused") {
    const Bytes photo(12);
    CHECK_THROWS_WITH_AS(espnet::check_photo({nullptr, 2, 2}), "a photo of 2x2 pixels at a null pointer; give its data",
                         espnet::Error);
    CHECK_THROWS_WITH_AS(espnet::check_photo({photo.data(), 0, 2}), "a photo of 0x2 pixels; each side is 1 to 65536",
                         espnet::Error);
    CHECK_THROWS_AS(espnet::check_photo({photo.data(), 1, 65537}), espnet::Error);
    CHECK_THROWS_AS(espnet::check_photo({photo.data(), 2, 2, -5}), espnet::Error);
    CHECK_NOTHROW(espnet::check_photo({photo.data(), 2, 2, std::numeric_limits<std::ptrdiff_t>::min()}));
    CHECK_THROWS_AS(espnet::check_photo({photo.data(), 2, 2, 0, 5}), espnet::Error);
}
