#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace espnet {

/// Whether the values of a Container with data() and size() are T, or T but for const.
template <typename Container, typename T, typename = void>
struct HoldsValues : std::false_type {};

template <typename Container, typename T>
struct HoldsValues<
    Container, T, std::void_t<decltype(std::declval<Container&>().data()), decltype(std::declval<Container&>().size())>>
    : std::is_convertible<std::remove_pointer_t<decltype(std::declval<Container&>().data())> (*)[], T (*)[]> {};

/// A view of `size` values in a row that somebody else owns; C++20's std::span, as far as it is needed here.
template <typename T>
class Span {
public:
    constexpr Span() noexcept = default;
    constexpr Span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}

    template <std::size_t N>
    constexpr Span(T (&array)[N]) noexcept : data_(array), size_(N) {}

    /// Of a container with data() and size(), such as std::vector, std::array or another Span. It must outlive the
    /// view.
    template <typename Container, typename = std::enable_if_t<HoldsValues<Container, T>::value>>
    constexpr Span(Container& container) noexcept : data_(container.data()), size_(container.size()) {}

    /// Of a temporary one, such as an argument of a call: for reading, until the end of the statement.
    template <typename Container,
              typename = std::enable_if_t<std::is_const_v<T> && HoldsValues<const Container, T>::value>,
              typename = void>
    constexpr Span(const Container& container) noexcept : data_(container.data()), size_(container.size()) {}

    constexpr T* data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T* begin() const noexcept { return data_; }
    constexpr T* end() const noexcept { return data_ + size_; }
    constexpr T& operator[](std::size_t index) const noexcept { return data_[index]; }
    constexpr T& front() const noexcept { return data_[0]; }
    constexpr T& back() const noexcept { return data_[size_ - 1]; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace espnet
