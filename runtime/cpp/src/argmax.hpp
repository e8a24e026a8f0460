#pragma once

#include <cstddef>
#include <cstdint>

#include "simd.hpp"

namespace espnet {

/// The class of every pixel, the lowest on a tie.
///
/// Args:
///     logits: classes x pixels; 1 to 256 classes.
void argmax(const float* logits, std::size_t classes, std::size_t pixels, std::uint8_t* labels,
            bool avx2 = has_avx2()) noexcept;

}  // namespace espnet
