// segment seg.onnx photo.ppm labels.pgm: the class of every pixel, a byte each.
#include <cstdio>
#include <fstream>

#include <espnet/espnet.hpp>

#include "ppm.hpp"

int main(int count, char** arguments) {
    if (count != 4) {
        std::fprintf(stderr, "usage: %s seg.onnx photo.ppm labels.pgm\n", arguments[0]);
        return 2;
    }
    try {
        espnet::Network net = espnet::Network::open(arguments[1]);
        const espnet::Segmentation answer = net.segment(read_ppm(arguments[2]).view());
        std::ofstream file(arguments[3], std::ios::binary);
        file << "P5\n" << answer.width << " " << answer.height << "\n255\n";
        file.write(reinterpret_cast<const char*>(answer.labels.data()),
                   static_cast<std::streamsize>(answer.labels.size()));
        if (!file.flush()) {
            std::fprintf(stderr, "%s: cannot be written\n", arguments[3]);
            return 2;
        }
        return 0;
    } catch (const espnet::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
