#pragma once

#include <vector>

#include <espnet/image.hpp>

#include "simd.hpp"

namespace espnet {

/// The class of every pixel from logits of a lower resolution: see `upsample_argmax` in image.hpp.
///
/// Row by row: an output row is blended out of two rows of logits, for all classes, and its pixels out of that, with
/// the best class so far in registers. The definition is the one of the Python package, every operation rounded to
/// float32: position p = i (h - 1) / (H - 1) in float64, f = floor(p), t = p - f; down first, a + t (b - a), then
/// across alike.
///
/// Tables and scratch memory are kept: they grow with the largest sizes.
class Upsampler {
public:
    explicit Upsampler(bool avx2 = has_avx2()) : avx2_(avx2) {}

    /// Args as of `upsample_argmax`, whose sizes have been checked.
    void run(const float* logits, int classes, int height, int width, const LabelView& labels);

private:
    /// For each output position: which input it lies behind, which before, and how far on the way.
    struct Axis {
        int from = 0;
        int to = 0;
        bool doubles = false;  // outputs 2k+1 and 2k+2 both lie behind input k
        std::vector<int> behind;
        std::vector<int> before;
        std::vector<float> share;

        void plan(int from_size, int to_size);
    };

    bool avx2_;
    Axis down_;
    Axis across_;
    std::vector<float> row_;  // classes x (width + 1): one output row before it is made wider
};

}  // namespace espnet
