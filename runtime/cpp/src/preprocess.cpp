#include "preprocess.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <espnet/error.hpp>

#include "resize.hpp"
#include "texts.hpp"
#include "views.hpp"

namespace espnet {

namespace {

constexpr double max_pixels = 89'478'485;  // Pillow's limit against decompression bombs
constexpr int channels = rgb_channels;

/// Where the centre crop begins; negative where the crop is larger, as torchvision pads.
int corner(int size, int crop) {
    return size >= crop ? round_half_even((size - crop) / 2.0) : -((crop - size) / 2);
}

/// Height and width after the shorter side has become `shorter_side`; the longer is rounded down.
std::pair<int, int> resized_by_shorter_side(int height, int width, int shorter_side) {
    const double longer =
        std::floor(static_cast<double>(shorter_side) * std::max(height, width) / std::min(height, width));
    if (longer * shorter_side > max_pixels) {
        throw Error(ErrorCode::input, "a photo of " + size_text(height, width) +
                                          " is too narrow to be resized by its shorter side; crop it first");
    }
    const int longer_side = static_cast<int>(longer);
    return width > height ? std::pair{shorter_side, longer_side} : std::pair{longer_side, shorter_side};
}

}  // namespace

struct Preprocessor::Impl {
    Preprocessing rule;
    Resizer resizer;
    std::vector<std::uint8_t> resized;   // before the crop
    std::vector<std::uint8_t> prepared;  // before the normalisation

    /// (pixel * scale - mean) / std of each channel and each of the 256 values that a pixel may have.
    std::array<std::array<float, 256>, channels> normalised{};

    std::size_t pixels() const { return static_cast<std::size_t>(rule.height) * static_cast<std::size_t>(rule.width); }

    void fill_table() {
        for (std::size_t channel = 0; channel < channels; ++channel) {
            for (std::size_t value = 0; value < 256; ++value) {
                // Divided, not multiplied: pixel / 255 in float32 is what the networks were trained with, to the last
                // bit.
                const float pixel = static_cast<float>(value) / static_cast<float>(1 / rule.scale);
                normalised[channel][value] =
                    (pixel - static_cast<float>(rule.mean[channel])) / static_cast<float>(rule.std[channel]);
            }
        }
    }

    /// The photo at the network's size, packed RGB.
    void prepare(const ImageView& photo, std::uint8_t* rgb) {
        if (rule.resize == Resize::stretch) {
            resizer.run(photo, rule.height, rule.width, rgb);
            return;
        }
        const auto [height, width] = resized_by_shorter_side(photo.height, photo.width, *rule.shorter_side);
        if (height == rule.height && width == rule.width) {
            resizer.run(photo, height, width, rgb);
            return;
        }
        resized.resize(static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * channels);
        resizer.run(photo, height, width, resized.data());
        crop(height, width, rgb);
    }

    /// The centre of `resized`; what it lacks is black.
    void crop(int height, int width, std::uint8_t* rgb) const {
        const int left = corner(width, rule.width);
        const int top = corner(height, rule.height);
        const int begin = std::max(0, left);
        const int end = std::min(width, left + rule.width);
        for (int row = 0; row < rule.height; ++row, rgb += static_cast<std::ptrdiff_t>(rule.width) * channels) {
            const int from = top + row;
            if (from < 0 || from >= height || end <= begin) {
                std::memset(rgb, 0, static_cast<std::size_t>(rule.width) * channels);
                continue;
            }
            std::memset(rgb, 0, static_cast<std::size_t>(begin - left) * channels);
            std::memcpy(rgb + static_cast<std::ptrdiff_t>(begin - left) * channels,
                        resized.data() + (static_cast<std::ptrdiff_t>(from) * width + begin) * channels,
                        static_cast<std::size_t>(end - begin) * channels);
            std::memset(rgb + static_cast<std::ptrdiff_t>(end - left) * channels, 0,
                        static_cast<std::size_t>(left + rule.width - end) * channels);
        }
    }

    /// Packed RGB to float32 planes.
    void normalise(const std::uint8_t* rgb, float* planes) const {
        const std::size_t count = pixels();
        for (std::size_t i = 0; i < count; ++i, rgb += channels) {
            planes[i] = normalised[0][rgb[0]];
            planes[count + i] = normalised[1][rgb[1]];
            planes[2 * count + i] = normalised[2][rgb[2]];
        }
    }
};

Preprocessor::Preprocessor(const Preprocessing& rule, const TensorInfo& input) : impl_(std::make_unique<Impl>()) {
    if (rule.resize == Resize::shorter_side_crop && !rule.shorter_side) {
        throw Error(ErrorCode::check,
                    "the manifest says shorter_side_crop, but not the shorter side; export the network again");
    }
    const Shape image = rule.normalise_in_graph ? Shape{0, rule.height, rule.width, channels}
                                                : Shape{0, channels, rule.height, rule.width};
    Shape found = input.shape;
    if (found.rank() > 0) {
        found[0] = 0;  // the batch is not looked at here
    }
    const DType dtype = rule.normalise_in_graph ? DType::uint8 : DType::float32;
    if (input.dtype != dtype || found != image || input.batch_axis() != 0) {
        throw Error(ErrorCode::check, "preprocessing makes " + std::string(name_of(dtype)) + " " +
                                          size_text(rule.height, rule.width) + ", input " + input.name + " is " +
                                          name_of(input.dtype) + " " + input.shape.text() + "; export it again");
    }
    impl_->rule = rule;
    if (!rule.normalise_in_graph) {
        impl_->fill_table();
        impl_->prepared.resize(impl_->pixels() * channels);
    }
}

Preprocessor::~Preprocessor() = default;
Preprocessor::Preprocessor(Preprocessor&&) noexcept = default;

void Preprocessor::run(const ImageView& photo, void* destination) {
    if (impl_->rule.normalise_in_graph) {
        impl_->prepare(photo, static_cast<std::uint8_t*>(destination));
        return;
    }
    impl_->prepare(photo, impl_->prepared.data());
    impl_->normalise(impl_->prepared.data(), static_cast<float*>(destination));
}

std::size_t Preprocessor::bytes_per_image() const noexcept {
    return impl_->pixels() * channels * (impl_->rule.normalise_in_graph ? 1 : sizeof(float));
}

}  // namespace espnet
