#include <doctest/doctest.h>

#include <espnet/espnet.hpp>

TEST_CASE("a shape counts its values and prints itself") {
    const espnet::Shape shape{1, 3, 512, 1024};
    CHECK(shape.elements() == 3u * 512 * 1024);
    CHECK(shape.text() == "(1,3,512,1024)");
    CHECK(shape == espnet::Shape{1, 3, 512, 1024});
    CHECK(shape != espnet::Shape{1, 3, 512});
    CHECK(espnet::Shape{}.elements() == 1);
}

TEST_CASE("a shape of too many sizes is refused") {
    CHECK_THROWS_AS((espnet::Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), espnet::Error);
}

TEST_CASE("the batch axis is where the layout says, else the first") {
    CHECK(espnet::TensorInfo{"hidden", espnet::DType::float32, {3, -1, 8}, "LNU", ""}.batch_axis() == 1);
    CHECK(espnet::TensorInfo{"x", espnet::DType::float32, {-1, 8}, "unknown", ""}.batch_axis() == 0);
}

TEST_CASE("the headers compile together, and spans take containers") {
    std::vector<std::int64_t> tokens{1, 2};
    const espnet::Span<const std::int64_t> span(tokens);
    CHECK(span.size() == 2);
    CHECK(span[1] == 2);
    CHECK(espnet::size_of(espnet::DType::float16) == 2);
}
