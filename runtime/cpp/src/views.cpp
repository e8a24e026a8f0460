#include "views.hpp"

#include <string>

#include <espnet/error.hpp>

#include "texts.hpp"

namespace espnet {

namespace {

void check_view(const void* data, int height, int width, const char* what) {
    if (height < 1 || width < 1 || height > max_side || width > max_side) {
        throw Error(ErrorCode::input, std::string("a ") + what + " of " + size_text(height, width) +
                                          " pixels; each side is 1 to " + std::to_string(max_side));
    }
    if (data == nullptr) {
        throw Error(ErrorCode::input, std::string("a ") + what + " of " + size_text(height, width) +
                                          " pixels at a null pointer; give its data");
    }
}

void check_row_stride(std::ptrdiff_t row_stride, std::ptrdiff_t row_bytes, const char* what) {
    // Not by std::abs: the lowest number has no positive counterpart.
    if (row_stride != 0 && row_stride < row_bytes && row_stride > -row_bytes) {
        throw Error(ErrorCode::input, std::string("a ") + what + " with a row stride of " + std::to_string(row_stride) +
                                          " bytes; a row has " + std::to_string(row_bytes) +
                                          ", give that or more, or 0");
    }
}

}  // namespace

void check_photo(const ImageView& photo) {
    check_view(photo.data, photo.height, photo.width, "photo");
    if (photo.pixel_stride != 3 && photo.pixel_stride != 4) {
        throw Error(ErrorCode::input, "a photo with a pixel stride of " + std::to_string(photo.pixel_stride) +
                                          " bytes; give 3 (RGB, BGR) or 4 (RGBA, BGRA)");
    }
    check_row_stride(photo.row_stride, static_cast<std::ptrdiff_t>(photo.width - 1) * photo.pixel_stride + rgb_channels,
                     "photo");
}

void check_labels(const LabelView& labels) {
    check_view(labels.data, labels.height, labels.width, "label map");
    check_row_stride(labels.row_stride, labels.width, "label map");
}

}  // namespace espnet
