#include "half.hpp"

#include <cstring>

namespace espnet {

namespace {

// In units of float32's exponent: what the exponents of the two formats differ by.
constexpr std::uint32_t exponents_apart = (127U - 15U) << 23;
constexpr std::uint32_t lowest_exponent = exponents_apart + (1U << 23);  // of the smallest normal half, 2^-14

ESPNET_INLINE float as_float(std::uint32_t bits) noexcept {
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

ESPNET_INLINE std::uint32_t as_bits(float value) noexcept {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

/// Without branches, for vectors; no step has a float32 that is denormal, which a program may have switched off.
ESPNET_INLINE float value_of(std::uint16_t half) noexcept {
    const std::uint32_t magnitude = (half & 0x7FFFU) << 13;
    const std::uint32_t sign = (half & 0x8000U) << 16;
    const std::uint32_t normal = magnitude + exponents_apart;
    // Infinities and NaN: the highest exponent becomes the highest one.
    const std::uint32_t endless = normal + exponents_apart;
    // A fraction without its leading one: given one, and freed of it.
    const std::uint32_t denormal = as_bits(as_float(magnitude + lowest_exponent) - as_float(lowest_exponent));
    const std::uint32_t finite = magnitude < (0x400U << 13) ? denormal : normal;
    return as_float(sign | (magnitude >= (0x7C00U << 13) ? endless : finite));
}

ESPNET_INLINE void body(const std::uint16_t* from, std::size_t count, float* to) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        to[i] = value_of(from[i]);
    }
}

ESPNET_FOR_AVX2 void for_avx2(const std::uint16_t* from, std::size_t count, float* to) noexcept {
    body(from, count, to);
}

void for_any(const std::uint16_t* from, std::size_t count, float* to) noexcept {
    body(from, count, to);
}

}  // namespace

void from_half(const std::uint16_t* from, std::size_t count, float* to, bool avx2) noexcept {
    (avx2 ? for_avx2 : for_any)(from, count, to);
}

}  // namespace espnet
