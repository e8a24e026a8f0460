#include "argmax.hpp"

#include <algorithm>

namespace espnet {

namespace {

constexpr std::size_t piece = 1024;  // pixels whose best logits and classes stay in the first cache

/// Class by class, so that memory is read in order. Classes are kept as wide as logits, for vectors.
ESPNET_INLINE void body(const float* logits, std::size_t classes, std::size_t pixels, std::uint8_t* labels) noexcept {
    float best[piece];
    std::int32_t winners[piece];
    for (std::size_t begin = 0; begin < pixels; begin += piece) {
        const std::size_t count = std::min(piece, pixels - begin);
        std::copy_n(logits + begin, count, best);
        std::fill_n(winners, count, 0);
        for (std::size_t label = 1; label < classes; ++label) {
            const float* values = logits + label * pixels + begin;
            for (std::size_t i = 0; i < count; ++i) {
                const bool better = values[i] > best[i];
                best[i] = better ? values[i] : best[i];
                winners[i] = better ? static_cast<std::int32_t>(label) : winners[i];
            }
        }
        std::transform(winners, winners + count, labels + begin,
                       [](std::int32_t label) { return static_cast<std::uint8_t>(label); });
    }
}

ESPNET_FOR_AVX2 void for_avx2(const float* logits, std::size_t classes, std::size_t pixels,
                              std::uint8_t* labels) noexcept {
    body(logits, classes, pixels, labels);
}

void for_any(const float* logits, std::size_t classes, std::size_t pixels, std::uint8_t* labels) noexcept {
    body(logits, classes, pixels, labels);
}

}  // namespace

void argmax(const float* logits, std::size_t classes, std::size_t pixels, std::uint8_t* labels, bool avx2) noexcept {
    (avx2 ? for_avx2 : for_any)(logits, classes, pixels, labels);
}

}  // namespace espnet
