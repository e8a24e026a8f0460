#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <espnet/image.hpp>
#include <espnet/tensor.hpp>

#include "manifest.hpp"

namespace espnet {

/// Photos into the network's input, equal to runtime/images.py (Pillow's antialiased bilinear filter) to the last bit.
/// Keeps its tables and scratch memory from photo to photo of one size: then it allocates nothing.
class Preprocessor {
public:
    /// Args:
    ///     rule: the manifest's.
    ///     input: the tensor that it fills.
    ///
    /// Throws Error (check): the manifest contradicts itself (the text of runtime/images.py), or the input is laid out
    /// otherwise than NHWC uint8 (normalised in the graph) or NCHW float32.
    Preprocessor(const Preprocessing& rule, const TensorInfo& input);
    ~Preprocessor();
    Preprocessor(Preprocessor&&) noexcept;

    /// Fill one image of the batch.
    ///
    /// Args:
    ///     photo: one that `check_photo` lets pass.
    ///     destination: `bytes_per_image` bytes.
    ///
    /// Throws Error (input): a photo too narrow to be resized.
    void run(const ImageView& photo, void* destination);

    std::size_t bytes_per_image() const noexcept;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace espnet
