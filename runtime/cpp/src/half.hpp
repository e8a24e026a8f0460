#pragma once

#include <cstddef>
#include <cstdint>

#include "simd.hpp"

namespace espnet {

/// Half precision (IEEE 754 binary16) to float32, exactly.
void from_half(const std::uint16_t* from, std::size_t count, float* to, bool avx2 = has_avx2()) noexcept;

}  // namespace espnet
