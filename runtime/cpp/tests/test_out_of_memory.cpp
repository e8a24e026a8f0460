#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <new>
#include <vector>

#include "fixtures.hpp"

// What happens when memory runs out: every allocation of a call, one after the other, is made to fail, those within
// OpenVINO in the same thread too, but while it reads a network. Each time there must come an Error with the way out,
// or the right answer, and the network must work afterwards.

namespace {

constexpr long never = -1;

/// How many allocations of this thread succeed before one fails.
thread_local long until_failure = never;

void* allocated(std::size_t size) {
    if (until_failure >= 0 && until_failure-- == 0) {
        throw std::bad_alloc();
    }
    void* const memory = std::malloc(size == 0 ? 1 : size);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

}  // namespace

void* operator new(std::size_t size) {
    return allocated(size);
}
void* operator new[](std::size_t size) {
    return allocated(size);
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

namespace {

using espnet::ImageView;
using espnet::LabelView;
using espnet::Network;

Network opened(const std::string& name) {
    espnet::Options options;
    options.threads = 1;
    return Network::open(fixture(name), options);
}

/// Whether `call` went through with its allocation `n` failing; else it threw an Error that says what to do.
bool survives(long n, const std::function<void()>& call) {
    until_failure = n;
    try {
        call();
        until_failure = never;
        return true;
    } catch (const espnet::Error& error) {
        until_failure = never;
        const std::string text = error.what();
        CAPTURE(text);
        CHECK(text.find(';') != std::string::npos);
        CHECK(static_cast<int>(error.code()) == static_cast<int>(espnet::ErrorCode::unavailable));
    }
    return false;
}

std::vector<std::uint8_t> labels_of(Network& net, const PlainPhoto& photo) {
    return net.segment(photo.view()).labels;
}

}  // namespace

TEST_CASE("reading a file and its manifest") {
    const std::string path = fixture("seg");
    espnet::Options options;
    // Refused when all has been read: OpenVINO itself ends the process where it lacks memory while it reads a network.
    options.backend = "tensorrt";
    int failures = 0;
    for (long n = 0; n < 2000; ++n) {
        CAPTURE(n);
        const Thrown thrown = thrown_by([&] {
            until_failure = n;
            try {
                Network::open(path, options);
            } catch (...) {
                until_failure = never;
                throw;
            }
        });
        const bool failed = thrown.code == static_cast<int>(espnet::ErrorCode::unavailable);
        CHECK((failed || contains(thrown.text, "tensorrt runs engines")));
        failures += failed ? 1 : 0;
    }
    CHECK(failures > 100);
}

TEST_CASE("cloning") {
    const Network net = opened("seg");
    int failures = 0;
    for (long n = 0; n < 200; ++n) {
        CAPTURE(n);
        failures += survives(n, [&] { net.clone(); }) ? 0 : 1;
    }
    CHECK(failures > 50);
}

TEST_CASE("photos of another size") {
    const PlainPhoto small(green, 40, 30);
    const PlainPhoto large(red, 480, 640);
    Network net = opened("seg");
    const std::vector<std::uint8_t> expected = labels_of(net, small);
    std::vector<std::uint8_t> map(7 * 5);
    int failures = 0;
    for (long n = 0; n < 60; ++n) {
        CAPTURE(n);
        Network used = net.clone();
        labels_of(used, small);
        failures += survives(n, [&] { used.segment(large.view(), LabelView{map.data(), 7, 5}); }) ? 0 : 1;
        CHECK(labels_of(used, small) == expected);
    }
    CHECK(failures > 3);
}

TEST_CASE("a larger batch") {
    const PlainPhoto photo(blue);
    const std::vector<ImageView> photos(4, photo.view());
    std::vector<std::uint8_t> maps(4 * 96);
    std::vector<LabelView> labels;
    for (int i = 0; i < 4; ++i) {
        labels.push_back({maps.data() + 96 * i, 8, 12});
    }
    int failures = 0;
    for (long n = 0; n < 80; ++n) {
        CAPTURE(n);
        Network net = opened("seg_free");
        net.segment(photos[0], labels[0]);
        failures += survives(n, [&] { net.segment(photos, labels); }) ? 0 : 1;
        net.segment(photos, labels);
        CHECK(maps == std::vector<std::uint8_t>(4 * 96, 2));
        maps.assign(maps.size(), 9);
    }
    CHECK(failures > 3);
}

TEST_CASE("words") {
    const std::vector<float> expected = [] {
        Network net = opened("lm");
        const auto logits = net.step({1, 2});
        return std::vector<float>(logits.begin(), logits.end());
    }();
    int failures = 0;
    for (long n = 0; n < 80; ++n) {
        CAPTURE(n);
        Network net = opened("lm");
        if (survives(n, [&] { net.step(1); })) {
            net.reset();
        } else {
            ++failures;  // another number of texts may follow: nothing was read
        }
        const auto logits = net.step({1, 2});
        CHECK(std::vector<float>(logits.begin(), logits.end()) == expected);
    }
    CHECK(failures > 3);
}
