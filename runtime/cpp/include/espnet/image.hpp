#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <espnet/export.h>
#include <espnet/span.hpp>

namespace espnet {

/// The order of the bytes of a pixel. OpenCV's pictures are `bgr`.
enum class PixelOrder { rgb, bgr };

/// A photo that the caller owns: 8 bits for each of red, green and blue, from the left upper corner.
///
/// Pixels may be 3 bytes apart, or 4 (RGBA, BGRA; the fourth is not read), rows any number of bytes, also negative:
/// then `data` is the first byte of the upper row, and the rows below it lie before it in memory. 0 stands for packed
/// rows.
struct ImageView {
    const std::uint8_t* data = nullptr;
    int height = 0;
    int width = 0;
    std::ptrdiff_t row_stride = 0;  ///< bytes from one row to the next
    int pixel_stride = 3;           ///< bytes from one pixel to the next
    PixelOrder order = PixelOrder::rgb;
};

/// Where a label map goes: a byte for each pixel. A stride of 0 stands for packed rows.
struct LabelView {
    std::uint8_t* data = nullptr;
    int height = 0;
    int width = 0;
    std::ptrdiff_t row_stride = 0;
};

/// The class of every pixel of a photo, row by row.
struct Segmentation {
    int height = 0;
    int width = 0;
    std::vector<std::uint8_t> labels;

    std::uint8_t at(int row, int column) const {
        return labels[static_cast<std::size_t>(row) * static_cast<std::size_t>(width) +
                      static_cast<std::size_t>(column)];
    }
};

/// A class of a photo; `score` is the probability that the network gives.
struct ScoredClass {
    int class_index = 0;
    float score = 0;
};

/// Something found in a photo: its class, the probability that the network gives, its edges in pixels from the left
/// upper corner. An edge may lie outside of the photo.
struct Box {
    int class_index = 0;
    float score = 0;
    double left = 0;
    double top = 0;
    double right = 0;
    double bottom = 0;
};

/// A colour, 0 to 255 each.
struct Colour {
    std::uint8_t red = 0;
    std::uint8_t green = 0;
    std::uint8_t blue = 0;
};

/// The colour of a class to which the data set gives none; the Python package takes the same.
ESPNET_API Colour own_colour(int class_index);

/// Paint a label map over a photo: each class in its colour, a line where two classes meet, mixed with the photo.
///
/// Args:
///     photo: of any strides and order.
///     labels: of the photo's size.
///     colours: by class; a class beyond them gets its `own_colour`.
///     opacity: 0 shows the photo alone, 1 the colours alone.
///     rgb: 3 x height x width bytes, packed RGB.
///
/// Throws Error (input): sizes differ, a pointer is null, or `opacity` is not 0 to 1.
ESPNET_API void paint_labels(const ImageView& photo, const LabelView& labels, Span<const Colour> colours,
                             double opacity, std::uint8_t* rgb);

/// Draw the outlines of boxes, each in the colour of its class, into packed RGB of height x width pixels.
ESPNET_API void paint_boxes(Span<const Box> boxes, Span<const Colour> colours, int height, int width,
                            std::uint8_t* rgb);

/// The class of every pixel from logits at a lower resolution: bilinear interpolation with aligned corners to the size
/// of `labels`, then the highest logit, the lowest class on a tie. Nothing of the full size but the labels is written.
///
/// Args:
///     logits: classes x height x width, float32.
///     labels: at least as large as the logits in each direction; at most 256 classes.
///
/// Throws Error (input): a size does not fit. Logits that are not finite give some class.
ESPNET_API void upsample_argmax(const float* logits, int classes, int height, int width, const LabelView& labels);

}  // namespace espnet
