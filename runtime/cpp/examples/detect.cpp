// detect det.onnx photo.ppm: what is where, in pixels of the photo.
#include <cstdio>

#include <espnet/espnet.hpp>

#include "ppm.hpp"

int main(int count, char** arguments) {
    if (count != 3) {
        std::fprintf(stderr, "usage: %s det.onnx photo.ppm\n", arguments[0]);
        return 2;
    }
    try {
        espnet::Network net = espnet::Network::open(arguments[1]);
        const auto& names = net.info().classes;
        for (const espnet::Box& box : net.detect(read_ppm(arguments[2]).view())) {
            const auto index = static_cast<std::size_t>(box.class_index);
            std::printf("%.2f  %.0f,%.0f to %.0f,%.0f  class %d %s\n", static_cast<double>(box.score), box.left,
                        box.top, box.right, box.bottom, box.class_index,
                        index < names.size() ? names[index].name.c_str() : "");
        }
        return 0;
    } catch (const espnet::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
