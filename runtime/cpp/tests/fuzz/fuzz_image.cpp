// Any bytes are either a photo, or give espnet::Error of one line.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <espnet/error.hpp>

#include "image_file.hpp"

namespace {

void require(bool kept) {
    if (!kept) {
        std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const espnet::tools::Photo photo = espnet::tools::photo_from({data, size}, "fuzz.png");
        require(photo.height > 0 && photo.width > 0);
        require(photo.rgb.size() == 3 * static_cast<std::size_t>(photo.height) * static_cast<std::size_t>(photo.width));
    } catch (const espnet::Error& error) {
        require(error.code() == espnet::ErrorCode::input);
        require(std::strncmp(error.what(), "fuzz.png: ", 10) == 0);
    }
    return 0;
}
