#pragma once

#include <cstddef>
#include <vector>

#include <espnet/span.hpp>

namespace espnet {

// Boxes from what a detection network gives: prior boxes, decoding, non-maximum suppression. runtime/boxes.py says
// where each rule comes from; all is computed in float32 in its order.

/// Left, top, right, bottom in pixels of the network's input.
struct Corners {
    float left = 0;
    float top = 0;
    float right = 0;
    float bottom = 0;
};

/// Centre x, centre y, width, height in pixels of the network's input.
struct PriorBox {
    float x = 0;
    float y = 0;
    float width = 0;
    float height = 0;
};

/// The prior boxes of an image, in the network's order.
///
/// Throws Error (check): no priors are defined for this size.
std::vector<PriorBox> prior_boxes_in_pixels(int height, int width);

/// The box of a prior and what the network gives for it: 4 numbers.
Corners decoded(const float* location, const PriorBox& prior);

/// Intersection over union; NaN where both are empty.
float intersection_over_union(const Corners& left, const Corners& right);

/// Greedy non-maximum suppression. Keeps its scratch memory.
class Suppressor {
public:
    /// Indices of the boxes that stay, the highest score first; of equal scores the earlier box first.
    ///
    /// Args:
    ///     candidates: indices into `boxes` in rising order.
    ///     score_of: the score of a box by its index.
    template <typename ScoreOf>
    const std::vector<std::size_t>& run(Span<const Corners> boxes, const std::vector<std::size_t>& candidates,
                                        ScoreOf score_of, float iou_threshold, std::size_t max_kept);

private:
    std::vector<std::size_t> order_;
    std::vector<std::size_t> kept_;
};

}  // namespace espnet

#include <algorithm>

namespace espnet {

template <typename ScoreOf>
const std::vector<std::size_t>& Suppressor::run(Span<const Corners> boxes, const std::vector<std::size_t>& candidates,
                                                ScoreOf score_of, float iou_threshold, std::size_t max_kept) {
    order_ = candidates;
    // Indices break ties, for std::stable_sort allocates.
    std::sort(order_.begin(), order_.end(), [&](std::size_t left, std::size_t right) {
        const float left_score = score_of(left);
        const float right_score = score_of(right);
        return left_score != right_score ? left_score > right_score : left < right;
    });
    kept_.clear();
    std::size_t left = order_.size();
    while (left > 0 && kept_.size() < max_kept) {
        const std::size_t best = order_.front();
        kept_.push_back(best);
        const auto end =
            std::remove_if(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(left), [&](std::size_t other) {
                return other == best || intersection_over_union(boxes[best], boxes[other]) > iou_threshold;
            });
        left = static_cast<std::size_t>(end - order_.begin());
    }
    return kept_;
}

}  // namespace espnet
