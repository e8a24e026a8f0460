#include <espnet/tensor.hpp>

#include <algorithm>

#include <espnet/error.hpp>

namespace espnet {

std::size_t size_of(DType dtype) noexcept {
    switch (dtype) {
        case DType::uint8:
            return 1;
        case DType::float16:
            return 2;
        case DType::float32:
        case DType::int32:
            return 4;
        case DType::int64:
            return 8;
    }
    return 0;
}

const char* name_of(DType dtype) noexcept {
    switch (dtype) {
        case DType::float32:
            return "float32";
        case DType::float16:
            return "float16";
        case DType::uint8:
            return "uint8";
        case DType::int32:
            return "int32";
        case DType::int64:
            return "int64";
    }
    return "unknown";
}

Shape::Shape(std::initializer_list<std::int64_t> sizes) {
    for (const std::int64_t size : sizes) {
        push_back(size);
    }
}

void Shape::push_back(std::int64_t size) {
    if (rank_ == max_rank) {
        throw Error(ErrorCode::input,
                    "a shape of more than " + std::to_string(max_rank) + " sizes; tensors have fewer");
    }
    sizes_[static_cast<std::size_t>(rank_++)] = size;
}

std::size_t Shape::elements() const noexcept {
    std::size_t product = 1;
    for (const std::int64_t size : *this) {
        product *= static_cast<std::size_t>(size);
    }
    return product;
}

std::string Shape::text() const {
    std::string joined;
    for (const std::int64_t size : *this) {
        joined += (joined.empty() ? "" : ",") + std::to_string(size);
    }
    return "(" + joined + ")";
}

bool operator==(const Shape& left, const Shape& right) noexcept {
    return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

int TensorInfo::batch_axis() const noexcept {
    const std::size_t found = layout.find('N');
    return found == std::string::npos ? 0 : static_cast<int>(found);
}

}  // namespace espnet
