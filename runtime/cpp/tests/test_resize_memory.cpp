#include <cstdlib>
#include <new>
#include <vector>

#include <doctest/doctest.h>

#include "resize.hpp"
#include "upsample.hpp"

// Every operator new of this program comes here.
namespace {

long allocations = 0;
long failing = -1;  // the allocation that fails, counted from 0; below 0 none

void* counted(std::size_t bytes) {
    void* memory = allocations++ == failing ? nullptr : std::malloc(bytes > 0 ? bytes : 1);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

/// How many allocations `work` makes; the one of number `fails` throws.
template <typename Work>
long allocations_of(Work work, long fails = -1) {
    allocations = 0;
    failing = fails;
    try {
        work();
    } catch (const std::bad_alloc&) {
    }
    failing = -1;
    return allocations;
}

using Bytes = std::vector<std::uint8_t>;

/// Whether `small` is computed as by a new object after `large` ran out of memory, wherever it did.
template <typename Tool, typename Small, typename Large>
void check_after_failures(Small small, Large large) {
    Tool fresh;
    const Bytes expected = small(fresh);
    Tool counting;
    small(counting);
    const long count = allocations_of([&] { large(counting); });
    REQUIRE(count > 3);
    for (long fails = 0; fails < count; ++fails) {
        CAPTURE(fails);
        Tool tool;
        small(tool);
        allocations_of([&] { large(tool); }, fails);
        CHECK(small(tool) == expected);
    }
}

Bytes ramp(std::size_t count) {
    Bytes bytes(count);
    for (std::size_t i = 0; i < count; ++i) {
        bytes[i] = static_cast<std::uint8_t>(i * 37);
    }
    return bytes;
}

const Bytes pixels = ramp(3 * 64 * 64);

Bytes resized(espnet::Resizer& resizer, int side, int to) {
    Bytes rgb(static_cast<std::size_t>(3 * to * to));
    resizer.run({pixels.data(), side, side}, to, to, rgb.data());
    return rgb;
}

Bytes upsampled(espnet::Upsampler& upsampler, int side, int to) {
    const std::vector<float> logits(pixels.begin(), pixels.begin() + 3 * side * side);
    Bytes labels(static_cast<std::size_t>(to * to));
    upsampler.run(logits.data(), 3, side, side, {labels.data(), to, to});
    return labels;
}

}  // namespace

void* operator new(std::size_t bytes) {
    return counted(bytes);
}
void* operator new[](std::size_t bytes) {
    return counted(bytes);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}

TEST_CASE("sizes are right again after memory ran out at another size") {
    check_after_failures<espnet::Resizer>([](auto& tool) { return resized(tool, 9, 5); },
                                          [](auto& tool) { return resized(tool, 64, 20); });
    check_after_failures<espnet::Upsampler>([](auto& tool) { return upsampled(tool, 5, 9); },
                                            [](auto& tool) { return upsampled(tool, 20, 64); });
}

TEST_CASE("photos of two sizes in turn allocate nothing") {
    espnet::Resizer resizer;
    Bytes rgb(3 * 10 * 10);
    const auto both = [&] {
        resizer.run({pixels.data(), 64, 50}, 10, 10, rgb.data());
        resizer.run({pixels.data(), 20, 30}, 10, 10, rgb.data());
    };
    both();
    CHECK(allocations_of(both) == 0);
}
