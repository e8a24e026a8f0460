// Reads height x width RGB pixels from the standard input, and writes their labels to the standard output.
#include <cstdint>
#include <cstdio>
#include <vector>

#include <espnet/espnet.hpp>
#include <espnet_embedded/network_onnx.hpp>

#include "vision.hpp"

int main() {
    try {
        const espnet::EmbeddedFile& file = espnet::embedded::network_onnx;
        if (reinterpret_cast<std::uintptr_t>(file.bytes.data()) % 64 != 0) {
            std::fprintf(stderr, "%s is not aligned to 64 bytes\n", file.name);
            return 1;
        }
        espnet::Network own = espnet::Network::open(file);
        espnet::Network of_library = open_vision_network();
        const int height = own.info().height;
        const int width = own.info().width;
        std::vector<std::uint8_t> pixels(static_cast<std::size_t>(height * width * 3));
        if (std::fread(pixels.data(), 1, pixels.size(), stdin) != pixels.size()) {
            std::fprintf(stderr, "fewer than %zu bytes\n", pixels.size());
            return 2;
        }
        const espnet::Segmentation answer = own.segment({pixels.data(), height, width});
        if (of_library.segment({pixels.data(), height, width}).labels != answer.labels) {
            std::fprintf(stderr, "the library's network answers otherwise\n");
            return 1;
        }
        return std::fwrite(answer.labels.data(), 1, answer.labels.size(), stdout) == answer.labels.size() ? 0 : 1;
    } catch (const espnet::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
