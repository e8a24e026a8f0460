#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <espnet/image.hpp>
#include <espnet/span.hpp>
#include <espnet/tensor.hpp>

#include "manifest.hpp"

namespace espnet {

/// Outputs of one run into answers, equal to runtime/answers.py and runtime/boxes.py, with their texts. Keeps its
/// scratch memory: after the first call of its kind it allocates nothing but what the caller's vectors grow by.
class Postprocessor {
public:
    explicit Postprocessor(const Manifest& manifest);
    ~Postprocessor();
    Postprocessor(Postprocessor&&) noexcept;

    /// The label map of image `image` of the batch, resized to `labels` (nearest neighbour, as Pillow's).
    ///
    /// Throws Error (check): an output is missing, has another shape, is not finite, or names a class that the manifest
    /// does not have.
    void segmentation(Span<const ConstTensorView> outputs, std::size_t image, const LabelView& labels);

    /// The classes of image `image`, for classification and multi-label classification. Throws as above.
    void classification(Span<const ConstTensorView> outputs, std::size_t image, std::vector<ScoredClass>& classes);

    /// The boxes of image `image` in pixels of a photo of this size, the best first. Throws as above.
    void detection(Span<const ConstTensorView> outputs, std::size_t image, int photo_height, int photo_width,
                   std::vector<Box>& boxes);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace espnet
