// classify cls.onnx photo.ppm: the five most probable classes.
#include <cstdio>

#include <espnet/espnet.hpp>

#include "ppm.hpp"

int main(int count, char** arguments) {
    if (count != 3) {
        std::fprintf(stderr, "usage: %s cls.onnx photo.ppm\n", arguments[0]);
        return 2;
    }
    try {
        espnet::Network net = espnet::Network::open(arguments[1]);
        const auto& names = net.info().classes;  // empty where the names are not known
        for (const espnet::ScoredClass& found : net.classify(read_ppm(arguments[2]).view())) {
            const auto index = static_cast<std::size_t>(found.class_index);
            std::printf("%6.2f %%  class %d %s\n", 100.0 * static_cast<double>(found.score), found.class_index,
                        index < names.size() ? names[index].name.c_str() : "");
        }
        return 0;
    } catch (const espnet::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
