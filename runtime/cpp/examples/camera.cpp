// camera seg.onnx photo.ppm 20: two threads take turns at the frames of a camera, here the same photo 20 times. Each
// has a network of its own, a clone on the same weights, and a buffer that it uses again for every frame.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>
#include <vector>

#include <espnet/espnet.hpp>

#include "ppm.hpp"

namespace {

/// Segment frames until there are none left. Gives the number of frames that this thread took.
long work(espnet::Network& net, const Photo& photo, std::atomic<long>& frames_left) {
    std::vector<std::uint8_t> labels(static_cast<std::size_t>(photo.height) * static_cast<std::size_t>(photo.width));
    long done = 0;
    while (frames_left.fetch_sub(1) > 0) {
        net.segment(photo.view(), espnet::LabelView{labels.data(), photo.height, photo.width});
        ++done;
    }
    return done;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 4) {
        std::fprintf(stderr, "usage: %s seg.onnx photo.ppm number_of_frames\n", arguments[0]);
        return 2;
    }
    try {
        espnet::Options options;
        options.threads = 1;  // the work is shared out by frames
        espnet::Network first = espnet::Network::open(arguments[1], options);
        espnet::Network second = first.clone();
        const Photo photo = read_ppm(arguments[2]);
        std::atomic<long> frames_left{std::strtol(arguments[3], nullptr, 10)};

        long of_second = 0;
        std::exception_ptr failure;  // an exception that leaves a thread ends the program
        std::thread other([&] {
            try {
                of_second = work(second, photo, frames_left);
            } catch (...) {
                failure = std::current_exception();
            }
        });
        long of_first = 0;
        try {
            of_first = work(first, photo, frames_left);
        } catch (...) {
            other.join();
            throw;
        }
        other.join();
        if (failure) {
            std::rethrow_exception(failure);
        }
        std::printf("%ld frames\n", of_first + of_second);
        return 0;
    } catch (const espnet::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
