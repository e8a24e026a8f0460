#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include <espnet/export.h>

namespace espnet {

enum class DType { float32, float16, uint8, int32, int64 };

/// Bytes of one value.
ESPNET_API std::size_t size_of(DType dtype) noexcept;

/// "float32" and so on, as manifests and NumPy say it.
ESPNET_API const char* name_of(DType dtype) noexcept;

/// Where the values of a tensor are. `device`: memory of the GPU that the network runs on.
enum class Memory { host, device };

/// The sizes of a tensor, the slowest dimension first; -1 where a size is free. Holds its sizes itself: no allocation.
class Shape {
public:
    static constexpr int max_rank = 8;

    constexpr Shape() noexcept = default;

    /// Throws Error (input): more than `max_rank` sizes.
    ESPNET_API Shape(std::initializer_list<std::int64_t> sizes);

    constexpr int rank() const noexcept { return rank_; }
    constexpr std::int64_t operator[](int axis) const noexcept { return sizes_[static_cast<std::size_t>(axis)]; }
    constexpr std::int64_t& operator[](int axis) noexcept { return sizes_[static_cast<std::size_t>(axis)]; }
    constexpr const std::int64_t* begin() const noexcept { return sizes_.data(); }
    constexpr const std::int64_t* end() const noexcept { return sizes_.data() + rank_; }

    /// Throws Error (input): the shape has `max_rank` sizes already.
    ESPNET_API void push_back(std::int64_t size);

    /// Number of values; 1 for a scalar. No size may be free.
    ESPNET_API std::size_t elements() const noexcept;

    /// "(1,3,512,1024)".
    ESPNET_API std::string text() const;

    ESPNET_API friend bool operator==(const Shape& left, const Shape& right) noexcept;
    friend bool operator!=(const Shape& left, const Shape& right) noexcept { return !(left == right); }

private:
    std::array<std::int64_t, max_rank> sizes_{};
    int rank_ = 0;
};

/// An input or output of a network, as its manifest describes it.
struct TensorInfo {
    std::string name;
    DType dtype = DType::float32;
    Shape shape;         ///< -1 where the size is free
    std::string layout;  ///< such as "NHWC"
    std::string meaning;

    /// The dimension that runs over the batch.
    ESPNET_API int batch_axis() const noexcept;
};

/// Values of an input that the caller owns: contiguous, in C order.
struct ConstTensorView {
    std::string_view name;
    DType dtype = DType::float32;
    Shape shape;
    const void* data = nullptr;
    Memory memory = Memory::host;

    template <typename T>
    const T* as() const noexcept {
        return static_cast<const T*>(data);
    }
};

/// Where the values of an output go: contiguous, in C order.
struct TensorView {
    std::string_view name;
    DType dtype = DType::float32;
    Shape shape;
    void* data = nullptr;
    Memory memory = Memory::host;

    template <typename T>
    T* as() const noexcept {
        return static_cast<T*>(data);
    }
};

}  // namespace espnet
