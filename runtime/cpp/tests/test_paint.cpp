#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <espnet/error.hpp>
#include <espnet/image.hpp>

namespace {

using Bytes = std::vector<std::uint8_t>;

}  // namespace

TEST_CASE("labels are mixed with the photo, and a darker line parts two classes") {
    const Bytes photo{100, 100, 100, 100, 100, 100};
    Bytes labels{0, 1};
    const std::vector<espnet::Colour> colours{{200, 0, 100}, {90, 150, 255}};
    Bytes rgb(6);
    espnet::paint_labels({photo.data(), 1, 2}, {labels.data(), 1, 2}, colours, 0.5, rgb.data());
    CHECK(rgb == Bytes{150, 50, 100, 65, 75, 92});
}

TEST_CASE("an opacity beyond 1, labels of another size and a null painting are refused") {
    const Bytes photo(6);
    Bytes labels(2);
    Bytes rgb(6);
    CHECK_THROWS_AS(espnet::paint_labels({photo.data(), 1, 2}, {labels.data(), 1, 2}, {}, 1.5, rgb.data()),
                    espnet::Error);
    CHECK_THROWS_AS(espnet::paint_labels({photo.data(), 1, 2}, {labels.data(), 1, 2}, {}, 1, nullptr), espnet::Error);
    CHECK_THROWS_WITH_AS(espnet::paint_labels({photo.data(), 1, 2}, {labels.data(), 2, 1}, {}, 1, rgb.data()),
                         "a photo of 1x2 and labels of 2x1; give labels of the photo's size", espnet::Error);
}

TEST_CASE("boxes of any edges and classes stay inside of the picture") {
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    constexpr double endless = std::numeric_limits<double>::infinity();
    const std::vector<espnet::Box> boxes{{-1, 1, none, -endless, endless, none}, {-7, 1, -1e300, 3, 1e300, 2}};
    Bytes rgb(3 * 4 * 4);
    espnet::paint_boxes(boxes, {}, 4, 4, rgb.data());
    CHECK(rgb != Bytes(3 * 4 * 4));
}
