#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <new>

#include <openvino/openvino.hpp>

#include "fixtures.hpp"

// Every operator new of this program, the library and OpenVINO comes here.
namespace {

std::atomic<long> allocations{0};

void* counted(std::size_t bytes) {
    ++allocations;
    if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) {
        return memory;
    }
    throw std::bad_alloc();
}

void* counted(std::size_t bytes, std::align_val_t alignment) {
    ++allocations;
    const auto step = static_cast<std::size_t>(alignment);
    if (void* memory = std::aligned_alloc(step, (bytes + step - 1) / step * step)) {
        return memory;
    }
    throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) {
    return counted(bytes);
}
void* operator new[](std::size_t bytes) {
    return counted(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, alignment);
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, alignment);
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
void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

namespace {

using espnet::ConstTensorView;
using espnet::DType;
using espnet::ImageView;
using espnet::LabelView;
using espnet::Network;
using espnet::Span;
using espnet::TensorView;

/// The fewest allocations of a call, after some to warm up: OpenVINO's own vary a little.
long allocations_of(const std::function<void()>& call) {
    for (int i = 0; i < 5; ++i) {
        call();
    }
    long fewest = -1;
    for (int i = 0; i < 20; ++i) {
        const long before = allocations;
        call();
        const long made = allocations - before;
        fewest = fewest < 0 ? made : std::min(fewest, made);
    }
    return fewest;
}

/// Those of OpenVINO alone for the same file.
long bare(const std::string& name) {
    ov::Core core;
    ov::CompiledModel compiled = core.compile_model(
        fixture(name), "CPU", ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY), ov::num_streams(1),
        ov::inference_num_threads(1), ov::hint::inference_precision(ov::element::f32));
    ov::InferRequest request = compiled.create_infer_request();
    bool has_free_size = false;
    for (const auto& port : compiled.inputs()) {
        ov::Shape sizes;
        for (const ov::Dimension& size : port.get_partial_shape()) {
            has_free_size = has_free_size || size.is_dynamic();
            sizes.push_back(size.is_dynamic() ? 1 : static_cast<std::size_t>(size.get_length()));
        }
        ov::Tensor tensor(port.get_element_type(), sizes);
        std::fill_n(static_cast<char*>(tensor.data()), tensor.get_byte_size(), '\0');
        request.set_tensor(port, tensor);
    }
    return allocations_of([&] {
        // As the backend does, with one thread.
        if (has_free_size) {
            request.start_async();
            request.wait();
        } else {
            request.infer();
        }
    });
}

Network opened(const std::string& name) {
    espnet::Options options;
    options.threads = 1;
    return Network::open(fixture(name), options);
}

}  // namespace

TEST_CASE("the counter counts") {
    CHECK(allocations_of([] { std::vector<int> some(3); }) == 1);
}

TEST_CASE("pictures cost no allocation of ours") {
    const PlainPhoto photo(green, 16, 30);
    const ImageView view = photo.view();
    std::vector<std::uint8_t> map(16 * 30);
    const LabelView labels{map.data(), 16, 30, 0};
    std::vector<espnet::ScoredClass> classes;
    std::vector<espnet::Box> boxes;
    for (const char* name : {"seg", "seg_free", "seg_logits"}) {
        CAPTURE(name);
        Network net = opened(name);
        CHECK(allocations_of([&] { net.segment(view, labels); }) <= bare(name));
    }
    Network classifier = opened("cls");
    CHECK(allocations_of([&] { classifier.classify({&view, 1}, {&classes, 1}); }) <= bare("cls"));
    CHECK(classes.size() == 5);
    Network detector = opened("det");
    CHECK(allocations_of([&] { detector.detect({&view, 1}, {&boxes, 1}); }) <= bare("det"));
    CHECK_FALSE(boxes.empty());
}

TEST_CASE("a long file name costs nothing") {
    const CopiedFile file("a_network_of_a_long_name_that_no_small_string_holds.onnx", read_file(fixture("seg")),
                          read_file(fixture("seg") + ".json"));
    espnet::Options options;
    options.threads = 1;
    Network net = Network::open(file.path(), options);
    const PlainPhoto photo(green);
    const ConstTensorView input{"image", DType::uint8, {1, 8, 12, 3}, photo.view().data};
    CHECK(allocations_of([&] { net.infer({&input, 1}); }) <= bare("seg"));
}

TEST_CASE("words cost no allocation of ours") {
    Network net = opened("lm");
    CHECK(allocations_of([&] { net.step(2); }) <= bare("lm"));
}

TEST_CASE("tensors cost no allocation of ours") {
    Network net = opened("seg");
    const PlainPhoto photo(green);
    std::vector<std::uint8_t> labels(96);
    const ConstTensorView input{"image", DType::uint8, {1, 8, 12, 3}, photo.view().data};
    const TensorView output{"labels", DType::uint8, {1, 8, 12}, labels.data()};
    CHECK(allocations_of([&] { net.infer({&input, 1}); }) <= bare("seg"));
    CHECK(allocations_of([&] { net.infer({&input, 1}, {&output, 1}); }) <= bare("seg"));
    CHECK(labels[0] == 1);
}
