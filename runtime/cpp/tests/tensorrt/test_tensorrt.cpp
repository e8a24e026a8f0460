#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <espnet/error.hpp>
#include <espnet/network.hpp>

#include "backend.hpp"
#include "cuda_driver.hpp"
#include "shim.hpp"

using namespace espnet;
using nvinfer1::DataType;

// Clang's thread sanitizer has these operators itself, and allows no others: there nothing is counted.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ESPNET_TEST_COUNTS_NOTHING
#endif
#endif

#ifndef ESPNET_TEST_COUNTS_NOTHING
// What the backend allocates, without what the stand-in does. ---------------------------------------------------------

namespace {

thread_local bool counting = false;
thread_local int allocations = 0;

void* allocated(std::size_t bytes) {
    if (counting && !shim::inside()) {
        ++allocations;
    }
    if (void* const memory = std::malloc(bytes == 0 ? 1 : bytes)) {
        return memory;
    }
    throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) {
    return allocated(bytes);
}
void* operator new[](std::size_t bytes) {
    return allocated(bytes);
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

int allocations_in(const std::function<void()>& work) {
    allocations = 0;
    counting = true;
    work();
    counting = false;
    return allocations;
}

}  // namespace
#endif

namespace {

// Engines and their manifests. ----------------------------------------------------------------------------------------

#if ESPNET_SHIM_MAJOR == 8
constexpr char label_start[] = "tensorrt 8.5.3";
constexpr char builder[] = "tensorrt";
constexpr char built_version[] = "8.5.3.1";
#elif ESPNET_SHIM_MAJOR == 10
constexpr char label_start[] = "tensorrt 10.3.0";
constexpr char builder[] = "tensorrt";
constexpr char built_version[] = "10.3.0.1";
#elif ESPNET_SHIM_MAJOR == 11
constexpr char label_start[] = "tensorrt 11.1.0";
constexpr char builder[] = "tensorrt";
constexpr char built_version[] = "11.1.0.1";
#else
constexpr char label_start[] = "tensorrt_rtx 1.4.0";
constexpr char builder[] = "tensorrt-rtx";
constexpr char built_version[] = "1.4.0.1";
#endif

/// A tensor with a free batch of 1 to 4, best at 2.
shim::Tensor tensor(const char* name, bool is_input, DataType type, std::vector<std::int64_t> shape) {
    shim::Tensor made;
    made.name = name;
    made.is_input = is_input;
    made.type = type;
    made.shape = std::move(shape);
    made.batches = {1, 2, 4};
    return made;
}

std::vector<shim::Tensor> seg_tensors() {
    return {tensor("image", true, DataType::kUINT8, {-1, 2, 2, 3}),
            tensor("labels", false, DataType::kINT32, {-1, 2, 2})};
}

constexpr std::size_t image_bytes = 12;  // of one image of `seg_tensors`
constexpr std::size_t label_count = 4;

Manifest manifest_of(std::vector<TensorInfo> inputs, std::vector<TensorInfo> outputs) {
    Manifest manifest;
    manifest.inputs = std::move(inputs);
    manifest.outputs = std::move(outputs);
    EngineInfo engine;
    engine.builder = builder;
    engine.builder_version = built_version;
    engine.compute_capabilities = {"8.6"};
    engine.device = "Shim GPU 0";
    manifest.engine = engine;
    return manifest;
}

Manifest seg_manifest() {
    return manifest_of({{"image", DType::uint8, {-1, 2, 2, 3}, "NHWC", "pixels"}},
                       {{"labels", DType::int32, {-1, 2, 2}, "NHW", "classes"}});
}

std::unique_ptr<Backend> open(const std::vector<shim::Tensor>& tensors, std::optional<Manifest> manifest,
                              const Options& options = {}) {
    const std::vector<std::uint8_t> bytes = shim::plan(tensors);  // not needed after opening
    Artefact artefact;
    artefact.path = "models/net.trt";
    artefact.bytes = bytes;
    artefact.manifest = std::move(manifest);
    return open_tensorrt(artefact, options);
}

std::unique_ptr<Backend> open_seg(const Options& options = {}) {
    return open(seg_tensors(), seg_manifest(), options);
}

std::vector<std::uint8_t> pixels(std::size_t images, int first) {
    std::vector<std::uint8_t> values(images * image_bytes);
    std::iota(values.begin(), values.end(), static_cast<std::uint8_t>(first));
    return values;
}

/// What the stand-in computes of `pixels`.
std::vector<std::int32_t> labels_of(std::size_t images, int first) {
    std::vector<std::int32_t> values(images * label_count);
    std::iota(values.begin(), values.end(), first + 1);
    return values;
}

std::vector<std::int32_t> run_seg(Backend& backend, std::size_t images, int first) {
    const std::vector<std::uint8_t> values = pixels(images, first);
    std::memcpy(backend.host_input(0, {static_cast<std::int64_t>(images), 2, 2, 3}), values.data(), values.size());
    backend.run();
    const ConstTensorView labels = backend.output(0);
    CHECK(labels.memory == Memory::host);
    CHECK(labels.shape == Shape{static_cast<std::int64_t>(images), 2, 2});
    const auto* const first_label = labels.as<std::int32_t>();
    return {first_label, first_label + labels.shape.elements()};
}

/// A stream and device memory of the caller.
struct Caller {
    Caller() { cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking); }
    ~Caller() {
        cudaStreamDestroy(stream);
        for (void* pointer : memory) {
            cudaFree(pointer);
        }
    }

    void* allocate(std::size_t bytes) {
        void* pointer = nullptr;
        cudaMalloc(&pointer, bytes);
        memory.push_back(pointer);
        return pointer;
    }

    cudaStream_t stream = nullptr;
    std::vector<void*> memory;
};

/// Nothing is alive before and after a test, and nothing was done that a GPU would have punished.
struct Clean {
    Clean() { shim::reset(); }
    ~Clean() {
        CHECK(shim::alive() == "");
        const auto violations = shim::violations();
        CHECK_MESSAGE(violations.empty(), (violations.empty() ? "" : violations.front()));
    }
};

struct Said {
    ErrorCode code = ErrorCode::internal;
    std::string text = "nothing was thrown";
};

Said said(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return {error.code(), error.what()};
    }
    return {};
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// A variable of the environment for one test.
struct Environment {
    Environment(const char* variable, const char* value) : name(variable) { setenv(name, value, 1); }
    ~Environment() { unsetenv(name); }
    const char* name;
};

std::string library() {
    return label_start;
}

const std::string doctor = "; espnet-doctor says whether driver and CUDA fit each other";
const std::string rebuild = "; build it again on this machine with espnet-export";

}  // namespace

// What it computes. ---------------------------------------------------------------------------------------------------

TEST_CASE("An engine computes what was put into its host memory") {
    const Clean clean;
    const auto backend = open_seg();
    CHECK(run_seg(*backend, 2, 7) == labels_of(2, 7));
    CHECK(run_seg(*backend, 2, 90) == labels_of(2, 90));
}

TEST_CASE("It says what it is") {
    const Clean clean;
    const auto backend = open_seg();
    CHECK(backend->label() == library() + ", cuda (Shim GPU 0), CUDA graph");
    CHECK(tensorrt_version() == library());
    CHECK(backend->inputs().front().layout == "NHWC");
    CHECK(backend->outputs().front().meaning == "classes");
    CHECK(backend->smallest_batch() == 1);
    CHECK(backend->largest_batch() == 4);
}

TEST_CASE("Without a manifest the tensors are what the engine says") {
    const Clean clean;
    const auto backend = open(seg_tensors(), std::nullopt);
    CHECK(backend->inputs().front().name == "image");
    CHECK(backend->inputs().front().shape == Shape{-1, 2, 2, 3});
    CHECK(backend->inputs().front().layout == "unknown");
    CHECK(run_seg(*backend, 1, 3) == labels_of(1, 3));
}

TEST_CASE("Every batch of the profile runs, in any order; others are refused with what would fit") {
    const Clean clean;
    const auto backend = open_seg();
    for (const std::size_t images : {1, 4, 2, 2, 3, 3, 3, 1}) {
        CHECK(run_seg(*backend, images, static_cast<int>(images)) == labels_of(images, static_cast<int>(images)));
    }
    const Said error = said([&] { backend->host_input(0, {5, 2, 2, 3}); });
    CHECK(error.code == ErrorCode::input);
    CHECK(error.text ==
          "image: shape (5,2,2,3) given, net.trt was built for (1,2,2,3) to (4,2,2,3); export with --batch for other "
          "batch sizes");
    CHECK(run_seg(*backend, 1, 3) == labels_of(1, 3));
}

TEST_CASE("A fixed batch is the only one") {
    const Clean clean;
    auto tensors = seg_tensors();
    tensors[0].shape[0] = tensors[1].shape[0] = 3;
    Manifest manifest = seg_manifest();
    manifest.inputs[0].shape = {3, 2, 2, 3};
    manifest.outputs[0].shape = {3, 2, 2};
    const auto backend = open(tensors, manifest);
    CHECK(backend->smallest_batch() == 3);
    CHECK(backend->largest_batch() == 3);
    CHECK(run_seg(*backend, 3, 1) == labels_of(3, 1));
}

TEST_CASE("Tensors are found by name, whatever their order, and several inputs are used") {
    const Clean clean;
    const std::vector<shim::Tensor> tensors = {
        tensor("hidden_out", false, DataType::kFLOAT, {2, -1, 3}), tensor("hidden", true, DataType::kFLOAT, {2, -1, 3}),
        tensor("token", true, DataType::kINT32, {-1}), tensor("logits", false, DataType::kFLOAT, {-1, 5})};
    const Manifest manifest = manifest_of(
        {{"token", DType::int32, {-1}, "N", "a word"}, {"hidden", DType::float32, {2, -1, 3}, "LNC", "state"}},
        {{"logits", DType::float32, {-1, 5}, "NC", "logits"},
         {"hidden_out", DType::float32, {2, -1, 3}, "LNC", "state"}});
    const auto backend = open(tensors, manifest);
    CHECK(backend->largest_batch() == 4);
    *static_cast<std::int32_t*>(backend->host_input(0, {1})) = 10;
    auto* const hidden = static_cast<float*>(backend->host_input(1, {2, 1, 3}));
    for (int i = 0; i < 6; ++i) {
        hidden[i] = static_cast<float>(i) / 4;
    }
    backend->run();
    // hidden_out is the engine's first output, logits its second.
    CHECK(backend->output(0).as<float>()[4] == 2 + 10 + 1.0F);
    CHECK(backend->output(1).as<float>()[5] == 1 + 10 + 1.25F);
}

TEST_CASE("int64 of the manifest is converted where the engine has int32, and refused beyond it") {
    const Clean clean;
    const std::vector<shim::Tensor> tensors = {tensor("token", true, DataType::kINT32, {-1}),
                                               tensor("next", false, DataType::kINT32, {-1})};
    const auto backend = open(tensors, manifest_of({{"token", DType::int64, {-1}, "N", "a word"}},
                                                   {{"next", DType::int64, {-1}, "N", "a word"}}));
    auto* const tokens = static_cast<std::int64_t*>(backend->host_input(0, {2}));
    tokens[0] = -5;
    tokens[1] = 2147483646;
    backend->run();
    CHECK(backend->output(0).dtype == DType::int64);
    CHECK(backend->output(0).as<std::int64_t>()[0] == -4);
    CHECK(backend->output(0).as<std::int64_t>()[1] == 2147483647);

    std::int64_t given[2] = {3, -3000000000};
    backend->bind_input(0, {"token", DType::int64, {2}, given});
    const Said error = said([&] { backend->run(); });
    CHECK(error.code == ErrorCode::input);
    CHECK(error.text == "token: 3000000000 is beyond int32, which this engine takes; give numbers up to 2147483647");

    given[1] = 4;
    std::int64_t next[2] = {};
    const TensorView place{"next", DType::int64, {2}, next};
    backend->bind_output(0, &place);
    backend->run();
    CHECK(next[0] == 4);
    CHECK(next[1] == 5);

    Caller caller;
    const Said refused = said([&] {
        backend->bind_input(0, {"token", DType::int64, {2}, caller.allocate(16), Memory::device});
    });
    CHECK(refused.code == ErrorCode::input);
    CHECK(refused.text == "token: int64 in device memory, net.trt has int32 there; give it in memory of the host");
}

#if ESPNET_SHIM_MAJOR != 8
TEST_CASE("int64 stays int64 where the engine has it") {
    const Clean clean;
    const auto backend = open(
        {tensor("token", true, DataType::kINT64, {-1}), tensor("next", false, DataType::kINT64, {-1})},
        manifest_of({{"token", DType::int64, {-1}, "N", "a word"}}, {{"next", DType::int64, {-1}, "N", "a word"}}));
    static_cast<std::int64_t*>(backend->host_input(0, {1}))[0] = 3000000000;
    backend->run();
    CHECK(backend->output(0).as<std::int64_t>()[0] == 3000000001);
}
#endif

// Memory of the caller. -----------------------------------------------------------------------------------------------

TEST_CASE("Inputs are read from the caller's host memory, outputs written to it") {
    const Clean clean;
    const auto backend = open_seg();
    auto image = pixels(2, 5);
    std::vector<std::int32_t> labels(8);
    backend->bind_input(0, {"image", DType::uint8, {2, 2, 2, 3}, image.data()});
    const TensorView place{"labels", DType::int32, {2, 2, 2}, labels.data()};
    backend->bind_output(0, &place);
    backend->run();
    CHECK(labels == labels_of(2, 5));
    CHECK(image == pixels(2, 5));
    CHECK(backend->output(0).data == labels.data());
    const auto next = pixels(2, 40);
    std::copy(next.begin(), next.end(), image.begin());  // is read again in the next run
    backend->run();
    CHECK(labels == labels_of(2, 40));
    backend->bind_output(0, nullptr);
    CHECK(run_seg(*backend, 2, 60) == labels_of(2, 60));
    CHECK(labels == labels_of(2, 40));
}

TEST_CASE("Device memory of the caller is used in place") {
    const Clean clean;
    Caller caller;
    const auto backend = open_seg();
    void* const image = caller.allocate(2 * image_bytes);
    void* const labels = caller.allocate(8 * sizeof(std::int32_t));
    backend->bind_input(0, {"image", DType::uint8, {2, 2, 2, 3}, image, Memory::device});
    const TensorView place{"labels", DType::int32, {2, 2, 2}, labels, Memory::device};
    backend->bind_output(0, &place);
    const int copies = shim::calls("cudaMemcpyAsync");
    for (const int first : {3, 4, 5}) {
        shim::write_device(image, pixels(2, first).data(), 2 * image_bytes);
        backend->run();
        std::vector<std::int32_t> found(8);
        shim::read_device(found.data(), labels, 8 * sizeof(std::int32_t));
        CHECK(found == labels_of(2, first));
    }
    CHECK(shim::calls("cudaMemcpyAsync") == copies);
    CHECK(backend->output(0).data == labels);
    CHECK(backend->output(0).memory == Memory::device);
    // And half of it: the input in device memory, the output on the host.
    backend->bind_output(0, nullptr);
    backend->run();
    CHECK(backend->output(0).as<std::int32_t>()[0] == 6);
}

TEST_CASE("A device address that TensorRT cannot use is refused") {
    const Clean clean;
    Caller caller;
    const auto backend = open_seg();
    char* const memory = static_cast<char*>(caller.allocate(1024));
    const Said error = said([&] {
        backend->bind_input(0, {"image", DType::uint8, {1, 2, 2, 3}, memory + 16, Memory::device});
    });
    CHECK(error.code == ErrorCode::input);
    CHECK(contains(error.text, "image: "));
    CHECK(contains(error.text, "256 bytes"));
    const TensorView place{"labels", DType::int32, {1, 2, 2}, memory + 64, Memory::device};
    CHECK(said([&] { backend->bind_output(0, &place); }).code == ErrorCode::input);
}

// Streams. ------------------------------------------------------------------------------------------------------------

namespace {

/// A backend bound to device memory of the caller, for one image.
struct OnDevice {
    explicit OnDevice(Caller& caller, Backend& to)
        : backend(to),
          image(caller.allocate(image_bytes)),
          labels(caller.allocate(label_count * sizeof(std::int32_t))) {
        bind();
    }

    void bind() {
        backend.bind_input(0, {"image", DType::uint8, {1, 2, 2, 3}, image, Memory::device});
        const TensorView place{"labels", DType::int32, {1, 2, 2}, labels, Memory::device};
        backend.bind_output(0, &place);
    }

    void write(int first) { shim::write_device(image, pixels(1, first).data(), image_bytes); }

    std::vector<std::int32_t> read() const {
        std::vector<std::int32_t> found(label_count);
        shim::read_device(found.data(), labels, label_count * sizeof(std::int32_t));
        return found;
    }

    Backend& backend;
    void* image;
    void* labels;
};

}  // namespace

TEST_CASE("On the caller's stream an inference is queued, and nobody waits for it") {
    const Clean clean;
    Caller caller;
    const auto backend = open_seg();
    OnDevice device(caller, *backend);
    device.write(3);
    backend->enqueue({caller.stream});  // another shape than before: the old work is waited for
    cudaStreamSynchronize(caller.stream);
    CHECK(device.read() == labels_of(1, 3));
    const int stream_waits = shim::calls("cudaStreamSynchronize");
    const int event_waits = shim::calls("cudaEventSynchronize");
    for (const int first : {20, 30, 40}) {
        device.write(first);
        const auto before = device.read();
        backend->enqueue({caller.stream});
        CHECK(device.read() == before);  // the stand-in runs nothing that nobody has waited for
        CHECK(shim::calls("cudaStreamSynchronize") == stream_waits + (first - 20) / 10);
        cudaStreamSynchronize(caller.stream);
        CHECK(device.read() == labels_of(1, first));
    }
    CHECK(shim::calls("cudaEventSynchronize") == event_waits);
    CHECK(shim::calls("cudaGraphLaunch") >= 2);
}

TEST_CASE("The default stream is a stream of the caller too") {
    const Clean clean;
    Caller caller;
    const auto backend = open_seg();
    OnDevice device(caller, *backend);
    for (const int first : {1, 2, 3}) {
        device.write(first);
        backend->enqueue({nullptr});
        cudaStreamSynchronize(nullptr);
        CHECK(device.read() == labels_of(1, first));
    }
}

TEST_CASE("A run comes after what was queued on a stream of the caller, and streams of callers after each other") {
    const Clean clean;
    Caller caller;
    Caller other;
    const auto backend =
        open({tensor("a", true, DataType::kINT32, {-1, 64}), tensor("b", false, DataType::kINT32, {-1, 64})},
             manifest_of({{"a", DType::int32, {-1, 64}, "NC", "in"}}, {{"b", DType::int32, {-1, 64}, "NC", "out"}}));
    std::vector<void*> memory;
    for (int i = 0; i < 4; ++i) {
        memory.push_back(caller.allocate(256));
    }
    const std::vector<std::int32_t> start(64, 100);
    shim::write_device(memory[0], start.data(), 256);
    const auto bind = [&](int from, int to) {
        backend->bind_input(0, {"a", DType::int32, {1, 64}, memory[static_cast<std::size_t>(from)], Memory::device});
        const TensorView place{"b", DType::int32, {1, 64}, memory[static_cast<std::size_t>(to)], Memory::device};
        backend->bind_output(0, &place);
    };
    // Each takes what the one before it gives; all but the last are only queued.
    bind(0, 1);
    backend->enqueue({caller.stream});
    bind(1, 2);
    backend->enqueue({other.stream});
    bind(2, 3);
    backend->run();
    std::vector<std::int32_t> found(64);
    shim::read_device(found.data(), memory[3], 256);
    CHECK(found == std::vector<std::int32_t>(64, 103));
    const int waits = shim::calls("cudaStreamWaitEvent");
    backend->run();
    CHECK(shim::calls("cudaStreamWaitEvent") == waits);  // there is nothing left to wait for
}

TEST_CASE("Another shape waits for the inference of the old one on the caller's stream") {
    const Clean clean;
    Caller caller;
    const auto backend = open_seg();
    OnDevice device(caller, *backend);
    device.write(3);
    backend->enqueue({caller.stream});
    backend->bind_output(0, nullptr);
    CHECK(run_seg(*backend, 3, 50) == labels_of(3, 50));
    CHECK(device.read() == labels_of(1, 3));
}

TEST_CASE("A network that is destroyed waits for what it has queued") {
    const Clean clean;
    Caller caller;
    auto backend = open_seg();
    OnDevice device(caller, *backend);
    device.write(8);
    backend->enqueue({caller.stream});
    backend.reset();
    CHECK(device.read() == labels_of(1, 8));
}

TEST_CASE("A stream of the caller needs all tensors in device memory") {
    const Clean clean;
    Caller caller;
    const auto backend = open_seg();
    OnDevice device(caller, *backend);
    backend->bind_output(0, nullptr);
    Said error = said([&] { backend->enqueue({caller.stream}); });
    CHECK(error.code == ErrorCode::input);
    CHECK(error.text ==
          "labels: is not in device memory, which net.trt needs on a stream of the caller; give it there, or leave the "
          "stream out");
    device.bind();
    backend->host_input(0, {1, 2, 2, 3});
    error = said([&] { backend->enqueue({caller.stream}); });
    CHECK(contains(error.text, "image: is not in device memory"));
}

TEST_CASE("A stream that is being captured, or of another device, is refused and stays usable") {
    const Clean clean;
    Caller caller;
    const auto backend = open_seg();
    OnDevice device(caller, *backend);
    device.write(4);
    cudaStreamBeginCapture(caller.stream, cudaStreamCaptureModeThreadLocal);
    const Said error = said([&] { backend->enqueue({caller.stream}); });
    CHECK(error.code == ErrorCode::input);
    CHECK(
        error.text ==
        "net.trt: the stream is being captured; queue the inference outside of the capture, it runs from a CUDA graph "
        "of its own");
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(caller.stream, &graph) == cudaSuccess);
    cudaGraphDestroy(graph);
    backend->enqueue({caller.stream});
    cudaStreamSynchronize(caller.stream);
    CHECK(device.read() == labels_of(1, 4));

    cudaSetDevice(1);
    cudaStream_t elsewhere = nullptr;
    cudaStreamCreateWithFlags(&elsewhere, cudaStreamNonBlocking);
    cudaSetDevice(0);
    CHECK(said([&] { backend->enqueue({elsewhere}); }).code == ErrorCode::unavailable);
    cudaStreamDestroy(elsewhere);
    device.write(5);
    backend->enqueue({caller.stream});
    cudaStreamSynchronize(caller.stream);
    CHECK(device.read() == labels_of(1, 5));
}

// CUDA graphs. --------------------------------------------------------------------------------------------------------

TEST_CASE("A graph is captured by the second run and used from then on") {
    const Clean clean;
    const auto backend = open_seg();
    const int enqueued = shim::calls("enqueueV3");
    CHECK(enqueued == 2);  // one plainly, one captured
    CHECK(shim::calls("cudaGraphInstantiateWithFlags") == 1);
    for (int i = 0; i < 5; ++i) {
        CHECK(run_seg(*backend, 2, i) == labels_of(2, i));  // the batch that it was tried out with
    }
    CHECK(shim::calls("enqueueV3") == enqueued);
    CHECK(shim::calls("cudaGraphLaunch") == 1 + 5);
}

TEST_CASE("Another shape makes another graph, from its second run on") {
    const Clean clean;
    const auto backend = open_seg();
    for (int i = 0; i < 4; ++i) {
        CHECK(run_seg(*backend, 3, i) == labels_of(3, i));
    }
    CHECK(shim::calls("enqueueV3") == 4);
    CHECK(shim::calls("cudaGraphInstantiateWithFlags") == 2);
    CHECK(shim::calls("cudaGraphExecDestroy") == 1);
}

TEST_CASE("Other addresses make another graph; those of the caller's streams keep that of the runs") {
    const Clean clean;
    Caller caller;
    const auto backend = open(seg_tensors(), seg_manifest());
    run_seg(*backend, 1, 1);
    run_seg(*backend, 1, 1);
    const int graphs = shim::calls("cudaGraphInstantiateWithFlags");
    OnDevice device(caller, *backend);
    for (int i = 0; i < 3; ++i) {
        device.bind();
        backend->enqueue({caller.stream});
        backend->bind_output(0, nullptr);
        CHECK(run_seg(*backend, 1, i) == labels_of(1, i));
    }
    CHECK(shim::calls("cudaGraphInstantiateWithFlags") == graphs + 1);
    OnDevice elsewhere(caller, *backend);
    elsewhere.write(9);
    for (int i = 0; i < 2; ++i) {
        backend->enqueue({caller.stream});
    }
    CHECK(shim::calls("cudaGraphInstantiateWithFlags") == graphs + 2);
    cudaStreamSynchronize(caller.stream);
    CHECK(elsewhere.read() == labels_of(1, 9));
}

TEST_CASE("Without graphs every run is queued anew") {
    const Clean clean;
    Options options;
    options.cuda_graphs = false;
    const auto backend = open_seg(options);
    CHECK(backend->label() == library() + ", cuda (Shim GPU 0), no CUDA graph");
    run_seg(*backend, 2, 1);
    run_seg(*backend, 2, 2);
    CHECK(shim::calls("enqueueV3") == 4);
    CHECK(shim::calls("cudaStreamBeginCapture") == 0);
}

TEST_CASE("Where a capture fails the network runs without graphs, and says so") {
    for (const char* function : {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"}) {
        const Clean clean;
        CAPTURE(function);
        std::vector<std::string> warnings;
        Options options;
        options.on_warning = [&](std::string_view line) { warnings.emplace_back(line); };
        shim::fail(function, cudaErrorStreamCaptureUnsupported);
        const auto backend = open_seg(options);
        CHECK(backend->label() == library() + ", cuda (Shim GPU 0), no CUDA graph");
        REQUIRE(warnings.size() == 2);  // the first is the stand-in's own
        CHECK(warnings[1] == "net.trt: runs without a CUDA graph: the capture failed: " + std::string(function) +
                                 " failed: cudaErrorStreamCaptureUnsupported (as the shim says)");
        CHECK(run_seg(*backend, 2, 6) == labels_of(2, 6));
        CHECK(run_seg(*backend, 2, 7) == labels_of(2, 7));
        CHECK(shim::calls("cudaStreamBeginCapture") == 1);  // it is not tried again
    }
    const Clean clean;
    shim::refuse("enqueueV3", 2);  // the one that is captured
    const auto backend = open_seg();
    CHECK(contains(backend->label(), "no CUDA graph"));
    CHECK(run_seg(*backend, 2, 6) == labels_of(2, 6));
}

#if ESPNET_SHIM_MAJOR == 1
TEST_CASE("TensorRT-RTX is asked whether a network can be captured") {
    const Clean clean;
    std::string warning;
    Options options;
    options.on_warning = [&](std::string_view line) { warning = line; };
    shim::refuse("isStreamCapturable");
    const auto backend = open_seg(options);
    CHECK(warning == "net.trt: runs without a CUDA graph: tensorrt_rtx says that this network cannot be captured");
    CHECK(shim::calls("cudaStreamBeginCapture") == 0);
    CHECK(run_seg(*backend, 2, 6) == labels_of(2, 6));
}
#endif

// Lives, threads, devices. --------------------------------------------------------------------------------------------

TEST_CASE("A clone shares the engine and outlives the network that it came from") {
    const Clean clean;
    auto first = open_seg();
    auto second = first->clone();
    CHECK(shim::calls("deserializeCudaEngine") == 1);
    CHECK(contains(shim::alive(), "2 context"));
    CHECK(contains(shim::alive(), "1 engine"));
    CHECK(run_seg(*first, 1, 10) == labels_of(1, 10));
    CHECK(run_seg(*second, 3, 20) == labels_of(3, 20));
    CHECK(first->output(0).as<std::int32_t>()[0] == 11);  // not touched by the other
    first.reset();
    const auto third = second->clone();
    second.reset();
    CHECK(run_seg(*third, 2, 30) == labels_of(2, 30));
}

TEST_CASE("Clones are made, used and destroyed by several threads at once") {
    const Clean clean;
    const auto backend = open_seg();
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int again = 0; again < 3; ++again) {
                const auto own = backend->clone();
                for (int i = 0; i < 8; ++i) {
                    const std::size_t images = static_cast<std::size_t>(i / 2) % 4 + 1;
                    const auto values = pixels(images, t * 40 + i);
                    std::memcpy(own->host_input(0, {static_cast<std::int64_t>(images), 2, 2, 3}), values.data(),
                                values.size());
                    own->run();
                    const auto* const labels = own->output(0).as<std::int32_t>();
                    wrong += std::vector<std::int32_t>(labels, labels + images * label_count) !=
                             labels_of(images, t * 40 + i);
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(wrong == 0);
}

TEST_CASE("Another device is used where it is wanted, and the caller's stays the current one") {
    const Clean clean;
    Options options;
    options.device = 1;
    const auto current = [] {
        int device = -1;
        cudaGetDevice(&device);
        return device;
    };
    auto backend = open_seg(options);
    CHECK(current() == 0);
    CHECK(contains(backend->label(), "Shim GPU 1"));
    CHECK(run_seg(*backend, 3, 4) == labels_of(3, 4));
    CHECK(current() == 0);
    auto copy = backend->clone();
    backend.reset();
    CHECK(current() == 0);
    CHECK(run_seg(*copy, 1, 5) == labels_of(1, 5));
    shim::refuse("enqueueV3");
    CHECK(said([&] { run_seg(*copy, 2, 1); }).code == ErrorCode::unavailable);
    CHECK(current() == 0);
    copy.reset();
    // On the other side: the caller is on device 1, the network on 0.
    cudaSetDevice(1);
    backend = open_seg();
    CHECK(run_seg(*backend, 2, 5) == labels_of(2, 5));
    CHECK(current() == 1);
    backend.reset();
    CHECK(current() == 1);
    cudaSetDevice(0);
    options.device = 2;
    const Said error = said([&] { open_seg(options); });
    CHECK(error.code == ErrorCode::unavailable);
    CHECK(contains(error.text, "device 2 is not there, the CUDA driver counts 0 to 1"));
}

#ifndef ESPNET_TEST_COUNTS_NOTHING
TEST_CASE("After warm-up a run allocates nothing") {
    const Clean clean;
    Caller caller;
    const auto backend = open_seg();
    const auto values = pixels(2, 3);
    std::vector<std::int32_t> labels(8);
    const TensorView to_host{"labels", DType::int32, {2, 2, 2}, labels.data()};
    const auto host_run = [&] {
        std::memcpy(backend->host_input(0, {2, 2, 2, 3}), values.data(), values.size());
        backend->bind_output(0, nullptr);
        backend->run();
        (void)backend->output(0);
        backend->bind_input(0, {"image", DType::uint8, {2, 2, 2, 3}, values.data()});
        backend->bind_output(0, &to_host);
        backend->run();
    };
    host_run();
    CHECK(allocations_in(host_run) == 0);
    CHECK(labels == labels_of(2, 3));

    OnDevice device(caller, *backend);
    const auto device_run = [&] {
        device.bind();
        backend->enqueue({caller.stream});
        cudaStreamSynchronize(caller.stream);
        backend->run();
    };
    device_run();
    device_run();
    CHECK(allocations_in(device_run) == 0);
    // The counter counts.
    CHECK(allocations_in([] {
              int* volatile one = new int;  // which the compiler must not leave out
              delete one;
          }) == 1);
}
#endif

// Errors. -------------------------------------------------------------------------------------------------------------

TEST_CASE("Whatever fails while a network is opened: an error that says so, and nothing is left") {
    for (const char* function : {"cudaGetDevice", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMalloc",
                                 "cudaHostAlloc", "cudaMemcpyAsync", "cudaStreamSynchronize", "cudaGraphLaunch"}) {
        for (int nth = 1;; ++nth) {
            const Clean clean;
            CAPTURE(function);
            CAPTURE(nth);
            shim::fail(function, cudaErrorInvalidValue, nth);
            const Said error = said([] { open_seg(); });
            if (error.code == ErrorCode::internal) {
                CHECK(nth > 1);  // it was called at least once, and each of its calls has failed once
                break;
            }
            // A copy that fails while it is captured is only the end of the graph.
            CHECK(error.code == ErrorCode::unavailable);
            CHECK(error.text == std::string(function) + " failed: cudaErrorInvalidValue (as the shim says)" + doctor);
            REQUIRE(nth < 50);
        }
    }
}

TEST_CASE("Whatever TensorRT refuses while a network is opened: an error with its words, and nothing is left") {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"createInferRuntime",
         library() +
             " does not start: CUDA initialization failure with error: 35; espnet-doctor says what this machine lacks"},
        {"createExecutionContext",
         "net.trt: " + library() +
             " made no execution context (the shim was told to); 1073741824 of 1073741824 "
             "bytes of GPU memory are free; lower the batch, or end other programs that use the GPU"},
        {"setInputShape",
         "net.trt: " + library() + " refuses the shape (4,2,2,3) of image: the shim was told to" + rebuild},
        {"setTensorAddress", "net.trt: " + library() + " refuses the address of image: the shim was told to" + rebuild},
        {"enqueueV3", "net.trt: " + library() + " refuses the inference: the shim was told to" + rebuild},
    };
    for (const auto& [member, text] : cases) {
        const Clean clean;
        shim::refuse(member);
        const Said error = said([] { open_seg(); });
        CHECK(error.code == ErrorCode::unavailable);
        CHECK(error.text == text);
    }
    const Clean clean;
    shim::refuse("deserializeCudaEngine");
    const Said error = said([] { open_seg(); });
    CHECK(error.code == ErrorCode::input);
    CHECK(error.text == "models/net.trt: " + library() +
                            " on Shim GPU 0 cannot load it (the shim was told to); it was built by " + builder + " " +
                            built_version +
                            " for Shim GPU 0; engines fit only the version and the kind of GPU that they were built "
                            "for: build it again here with espnet-export");
}

TEST_CASE("Memory that is not there is asked for in the message") {
    Clean clean;
    shim::fail("cudaMalloc", cudaErrorMemoryAllocation);
    const Said error = said([] { open_seg(); });
    CHECK(error.code == ErrorCode::unavailable);
    CHECK(error.text ==
          "GPU memory: 48 bytes (0.0 MiB) asked on Shim GPU 0, 1073741824 bytes of the GPU (1024.0 of 1024.0 MiB) are "
          "free; lower the batch, or end other programs that use the GPU");
    shim::fail("cudaHostAlloc", cudaErrorMemoryAllocation);
    CHECK(contains(said([] { open_seg(); }).text, "pinned host memory: 48 bytes"));
    // A network that is too large for the GPU.
    const Said large = said([] {
        open({tensor("a", true, DataType::kUINT8, {-1, 1 << 29}), tensor("b", false, DataType::kUINT8, {-1, 1})},
             std::nullopt);
    });
    CHECK(large.code == ErrorCode::unavailable);
    CHECK(contains(large.text, "GPU memory: 2147483648 bytes (2048.0 MiB) asked on Shim GPU 0, 1073741824 bytes"));
}

TEST_CASE("A clone that does not fit leaves the network as it was") {
    const Clean clean;
    const auto backend = open_seg();
    for (int nth = 1; nth <= 2; ++nth) {
        shim::fail("cudaMalloc", cudaErrorMemoryAllocation, nth);
        CHECK(said([&] { backend->clone(); }).code == ErrorCode::unavailable);
    }
    CHECK(run_seg(*backend, 2, 8) == labels_of(2, 8));
}

TEST_CASE("A run that fails leaves the network usable") {
    const Clean clean;
    const auto backend = open_seg();
    for (const char* member : {"setInputShape", "enqueueV3"}) {
        CAPTURE(member);
        shim::refuse(member);
        CHECK(said([&] { run_seg(*backend, 3, 1); }).code == ErrorCode::unavailable);
        CHECK(run_seg(*backend, 3, 1) == labels_of(3, 1));
        CHECK(run_seg(*backend, 1, 2) == labels_of(1, 2));
    }
    for (const char* function : {"cudaGraphLaunch", "cudaStreamSynchronize"}) {
        CAPTURE(function);
        run_seg(*backend, 2, 1);
        run_seg(*backend, 2, 1);
        shim::fail(function, cudaErrorInvalidValue);
        CHECK(said([&] { run_seg(*backend, 2, 3); }).code == ErrorCode::unavailable);
        CHECK(run_seg(*backend, 2, 4) == labels_of(2, 4));
    }
    shim::fail("cudaMemcpyAsync", cudaErrorInvalidValue, 2);  // the inference is queued, its result is not copied
    CHECK(said([&] { run_seg(*backend, 4, 3); }).code == ErrorCode::unavailable);
    CHECK(shim::at_work() == 0);
    CHECK(run_seg(*backend, 4, 5) == labels_of(4, 5));
    CHECK(run_seg(*backend, 4, 6) == labels_of(4, 6));
}

TEST_CASE("A queued inference that fails leaves the network usable") {
    const Clean clean;
    Caller caller;
    const auto backend = open_seg();
    OnDevice device(caller, *backend);
    shim::refuse("enqueueV3");
    CHECK(said([&] { backend->enqueue({caller.stream}); }).code == ErrorCode::unavailable);
    for (const char* function : {"cudaEventRecord", "cudaStreamWaitEvent"}) {
        backend->enqueue({caller.stream});
        shim::fail(function, cudaErrorInvalidValue);
        CHECK(said([&] { backend->enqueue({caller.stream}); }).code == ErrorCode::unavailable);
    }
    device.write(77);
    backend->enqueue({caller.stream});
    cudaStreamSynchronize(caller.stream);
    CHECK(device.read() == labels_of(1, 77));
    shim::fail("cudaEventRecord", cudaErrorInvalidValue);
    CHECK(said([&] { backend->enqueue({caller.stream}); }).code == ErrorCode::unavailable);
    CHECK(shim::at_work() == 0);  // nobody would know any more what is queued
}

TEST_CASE("An error of CUDA does not stay behind for whoever asks next") {
    const Clean clean;
    const auto backend = open_seg();
    shim::fail("cudaGetDevice", cudaErrorInvalidDevice);
    CHECK(said([&] { backend->run(); }).text ==
          "cudaGetDevice failed: cudaErrorInvalidDevice (as the shim says)" + doctor);
    CHECK(cudaGetLastError() == cudaSuccess);
    shim::fail("cudaGraphLaunch", cudaErrorInvalidValue);
    CHECK(said([&] { backend->run(); }).code == ErrorCode::unavailable);
    CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("When the GPU itself failed the message says that the program must be started again") {
    const Clean clean;
    const auto backend = open_seg();
    shim::break_gpu(cudaErrorIllegalAddress);
    const Said error = said([&] { run_seg(*backend, 2, 1); });
    CHECK(error.code == ErrorCode::unavailable);
    CHECK(error.text ==
          "cudaStreamSynchronize failed: cudaErrorIllegalAddress (as the shim says); the GPU itself failed, nothing "
          "works on it in this process any more: start the program again");
    CHECK(contains(said([&] { run_seg(*backend, 2, 1); }).text, "start the program again"));
    CHECK(contains(said([&] { backend->clone(); }).text, "start the program again"));
}

TEST_CASE("Tensors that cannot be fed are refused") {
    const Clean clean;
    const auto refused = [](const std::function<void(std::vector<shim::Tensor>&)>& change) {
        auto tensors = seg_tensors();
        change(tensors);
        const Said error = said([&] { open(tensors, std::nullopt); });
        CHECK(error.code == ErrorCode::input);
        return error.text;
    };
    CHECK(refused([](auto& tensors) { tensors[0].location = nvinfer1::TensorLocation::kHOST; }) ==
          "net.trt: image holds a shape and is read on the host, which this runner does not feed; build the engine "
          "without it");
    CHECK(refused([](auto& tensors) { tensors[1].format = nvinfer1::TensorFormat::kCHW4; }) ==
          "net.trt: labels has a vectorised layout (Four wide channel vectorized); build the engine with linear inputs "
          "and outputs");
    CHECK(refused([](auto& tensors) { tensors[1].type = DataType::kBOOL; }) ==
          "net.trt: labels has type BOOL, which this program does not feed or read; export it with espnet-export");
    CHECK(refused([](auto& tensors) { tensors[1].type = DataType::kINT8; }) ==
          "net.trt: labels has type INT8, which this program does not feed or read; export it with espnet-export");
    CHECK(refused([](auto& tensors) { tensors[1].shape[1] = -2; }) ==
          "net.trt: the shape of labels depends on the data, which no fixed buffer fits; export it without such an "
          "output");
}

TEST_CASE("Tensors that are not those of the manifest are refused") {
    const Clean clean;
    Manifest manifest = seg_manifest();
    manifest.outputs[0].dtype = DType::uint8;
    Said error = said([&] { open(seg_tensors(), manifest); });
    CHECK(error.code == ErrorCode::check);
    CHECK(contains(error.text, "net.trt: its manifest says labels uint8"));
    manifest = seg_manifest();
    manifest.inputs.pop_back();
    error = said([&] { open(seg_tensors(), manifest); });
    CHECK(error.text == "net.trt: it has image, which its manifest does not name; export it again");
}

TEST_CASE("What TensorRT warns of is handed on, one line at a time") {
    const Clean clean;
    std::vector<std::string> warnings;
    Options options;
    options.on_warning = [&](std::string_view line) { warnings.emplace_back(line); };
    const auto backend = open_seg(options);
    CHECK(warnings == std::vector<std::string>{"built for another model"});
}

TEST_CASE("What TensorRT says goes to the network that is used, also when the first one is gone") {
    const Clean clean;
    std::vector<std::string> heard_by[2];
    std::unique_ptr<Backend> backends[2];
    for (int i : {0, 1}) {
        Options options;
        options.on_warning = [&, i](std::string_view line) { heard_by[i].emplace_back(line); };
        backends[i] = open_seg(options);
    }
    CHECK(heard_by[0].size() == 1);
    CHECK(heard_by[1].size() == 1);
    backends[0].reset();
    for (int i = 0; i < 2; ++i) {  // each error is told once
        shim::refuse("enqueueV3");
        const Said error = said([&] { run_seg(*backends[1], 3, 1); });
        CHECK(error.text == "net.trt: " + library() + " refuses the inference: the shim was told to" + rebuild);
    }
}

TEST_CASE("A function for warnings that throws ends nothing") {
    const Clean clean;
    Options options;
    options.on_warning = [](std::string_view) { throw std::runtime_error("of the caller"); };
    CHECK(run_seg(*open_seg(options), 1, 3) == labels_of(1, 3));
}

// The machine. --------------------------------------------------------------------------------------------------------

TEST_CASE("What the driver answers stands in the message, and no object of TensorRT is made") {
    const auto reason = [](const char* variable, const char* value) {
        const Clean clean;
        const Environment environment(variable, value);
        const Said error = said([] { open_seg(); });
        CHECK(error.code == ErrorCode::unavailable);
        CHECK(shim::calls("createInferRuntime") == 0);
        return error.text;
    };
    const std::string start = "models/net.trt: an engine runs on a GPU (probed: ";
    const std::string end = std::string("; ") + library().substr(0, library().find(' ')) +
                            " is built in); run the ONNX file that it was built from, espnet-export writes both";
    CHECK(reason("SHIM_CUINIT", "100") == start + "the CUDA driver answers cuInit with error 100" + end);
    CHECK(reason("SHIM_DEVICES", "0") == start + "the CUDA driver has 0 devices (status 0)" + end);
    CHECK(reason("SHIM_COUNT_STATUS", "3") == start + "the CUDA driver has 2 devices (status 3)" + end);
    CHECK(reason("SHIM_NAME_STATUS", "7") == start + "the CUDA driver answers cuDeviceGetName with error 7" + end);
}

TEST_CASE("The probe says name and compute capability") {
    CHECK(probe_cuda(1).device == std::optional<std::string>("Shim GPU 1"));
    CHECK(probe_cuda().compute_capability == std::optional<std::string>("8.6"));
    const Environment environment("SHIM_ATTRIBUTE_STATUS", "1");
    CHECK(probe_cuda().device);
    CHECK_FALSE(probe_cuda().compute_capability);
}

TEST_CASE("An engine for another GPU, version or library is refused before TensorRT sees it") {
    const Clean clean;
    const auto refused = [](const std::function<void(EngineInfo&)>& change) {
        Manifest manifest = seg_manifest();
        change(*manifest.engine);
        std::vector<std::uint8_t> bytes = shim::plan(seg_tensors());
        bytes.erase(bytes.begin(), bytes.begin() + 36);  // no header: the manifest alone tells
        Artefact artefact;
        artefact.path = "models/net.trt";
        artefact.bytes = bytes;
        artefact.manifest = manifest;
        const Said error = said([&] { open_tensorrt(artefact, {}); });
        CHECK(error.code == ErrorCode::unavailable);
        CHECK(shim::calls("createInferRuntime") == 0);
        return error.text;
    };
    CHECK(contains(refused([](EngineInfo& engine) { engine.compute_capabilities = {"7.2"}; }), "it is not for sm 8.6"));
    CHECK(contains(refused([](EngineInfo& engine) { engine.builder_version = "9.9.9.9"; }), "runs only engines of"));
    const bool is_rtx = std::string(builder) == "tensorrt-rtx";
    CHECK(contains(refused([&](EngineInfo& engine) {
                       engine.builder = is_rtx ? "tensorrt" : "tensorrt-rtx";
                       engine.builder_version = is_rtx ? "10.3.0" : "1.4.0";
                   }),
                   std::string(is_rtx ? "TensorRT" : "TensorRT-RTX") + " is not here (this program is built with " +
                       library() + ")"));
}

// Through the public interface. ---------------------------------------------------------------------------------------

TEST_CASE("An engine inside of the program runs as a Network") {
    const Clean clean;
    const std::vector<std::uint8_t> bytes = shim::plan(seg_tensors());
    const EmbeddedFile file{"seg.trt", bytes, ""};
    Options options;
    options.trust = true;
    Network net = Network::open(file, options);
    CHECK(net.info().backend == library() + ", cuda (Shim GPU 0), CUDA graph");
    CHECK(net.info().largest_batch == 4);
    CHECK(std::string(backends()) == library());
    const auto image = pixels(1, 9);
    const ConstTensorView input{"image", DType::uint8, {1, 2, 2, 3}, image.data()};
    const Span<const ConstTensorView> found = net.infer({&input, 1});
    REQUIRE(found.size() == 1);
    CHECK(found[0].as<std::int32_t>()[3] == 13);

    Caller caller;
    void* const from = caller.allocate(image_bytes);
    void* const to = caller.allocate(16);
    shim::write_device(from, image.data(), image_bytes);
    const ConstTensorView on_device{"image", DType::uint8, {1, 2, 2, 3}, from, Memory::device};
    const TensorView place{"labels", DType::int32, {1, 2, 2}, to, Memory::device};
    net.infer({&on_device, 1}, {&place, 1}, CudaStream{caller.stream});
    cudaStreamSynchronize(caller.stream);
    std::int32_t labels[4] = {};
    shim::read_device(labels, to, sizeof labels);
    CHECK(labels[3] == 13);
}

namespace {

/// A network inside of the program, with a manifest that is read and a checksum that is compared.
struct Embedded {
    std::string manifest;
    std::vector<std::uint8_t> bytes;

    Network open() const { return Network::open(EmbeddedFile{"net.trt", bytes, manifest}); }
};

constexpr char photo_rule[] = R"({"resize": "stretch", "height": 2, "width": 2, "scale": 0.00392156862745098,
    "mean": [1, 1, 1], "std": [1, 1, 1], "normalise_in_graph": )";

std::string json_tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                        const std::string& layout) {
    return R"({"name": ")" + name + R"(", "dtype": ")" + dtype + R"(", "shape": [)" + shape + R"(], "layout": ")" +
           layout + R"(", "meaning": ""})";
}

/// `fields`: the rest of the manifest.
Embedded embedded(const std::vector<shim::Tensor>& tensors, const std::string& fields) {
    Embedded made;
    made.bytes = shim::plan(tensors);
    made.manifest = R"({"name": "net", "network": "espnetv2", "width_mult": 1, "dataset": "d", "classes": [],
        "io": "deploy", "precision": "fp16", "macs": {"conv": 1, "linear": 0}, "params": 3,
        "weights": {"source": "none", "sha256": null, "random": false},
        "onnx": {"sha256": "", "opset": 17, "ir_version": 8},
        "file": {"name": "net.trt", "bytes": 0, "sha256": ")" +
                    sha256_of(made.bytes) + R"("}, "engine": {"builder": ")" + builder + R"(", "builder_version": ")" +
                    built_version + R"(", "precision": "fp16", "compute_capabilities": ["8.6"],
        "device": "Shim GPU 0", "profile": {"minimum": 1, "optimum": 2, "maximum": 4}}, )" +
                    fields + "}";
    return made;
}

const shim::Tensor photo_input = tensor("image", true, DataType::kUINT8, {-1, 2, 2, 3});
const std::string json_photo = json_tensor("image", "uint8", R"("batch", 2, 2, 3)", "NHWC");

}  // namespace

TEST_CASE("Photos are segmented by an engine inside of the program") {
    const Clean clean;
    const Embedded seg = embedded({photo_input, tensor("labels", false, DataType::kUINT8, {-1, 2, 2})},
                                  R"("task": "segmentation", "num_classes": 20, "inputs": [)" + json_photo +
                                      R"(], "outputs": [)" + json_tensor("labels", "uint8", R"("batch", 2, 2)", "NHW") +
                                      R"(], "preprocessing": )" + photo_rule + R"(true}, "postprocessing":
                                      {"kind": "labels"})");
    Network net = seg.open();
    CHECK(net.info().largest_batch == 4);
    for (const int first : {0, 5, 8}) {
        const auto photo = pixels(1, first);
        const Segmentation answer = net.segment({photo.data(), 2, 2});
        const auto labels = labels_of(1, first);
        CHECK(answer.labels == std::vector<std::uint8_t>(labels.begin(), labels.end()));
    }
    const auto photos = pixels(2, 0);
    const ImageView views[] = {{photos.data(), 2, 2}, {photos.data(), 2, 2}};
    std::uint8_t labels[2][4] = {};
    const LabelView maps[] = {{labels[0], 2, 2}, {labels[1], 2, 2}};
    net.segment(views, maps);
    CHECK(labels[0][3] == 4);
    CHECK(labels[1][3] == 8);

    Embedded changed = seg;
    changed.bytes.push_back(0);
    CHECK(contains(said([&] { changed.open(); }).text, "net.trt: sha256 "));
}

TEST_CASE("Photos are classified by an engine") {
    const Clean clean;
    Network net = embedded({photo_input, tensor("logits", false, DataType::kFLOAT, {-1, 6})},
                           R"("task": "classification", "num_classes": 6, "inputs": [)" + json_photo +
                               R"(], "outputs": [)" + json_tensor("logits", "float32", R"("batch", 6)", "NC") +
                               R"(], "preprocessing": )" + photo_rule + R"(true}, "postprocessing":
                               {"kind": "softmax_top5"})")
                      .open();
    const auto photo = pixels(1, 0);
    const std::vector<ScoredClass> classes = net.classify({photo.data(), 2, 2});
    REQUIRE(classes.size() == 5);
    CHECK(classes[0].class_index == 5);
    CHECK(classes[0].score == doctest::Approx(0.63369));  // softmax of 1 to 6
    CHECK(classes[4].class_index == 1);
}

TEST_CASE("Boxes are found by an engine") {
    const Clean clean;
    Network net = embedded({tensor("image", true, DataType::kFLOAT, {-1, 3, 2, 2}),
                            tensor("boxes", false, DataType::kFLOAT, {-1, 1, 4}),
                            tensor("scores", false, DataType::kFLOAT, {-1, 1, 3})},
                           R"("task": "detection", "num_classes": 3, "inputs": [)" +
                               json_tensor("image", "float32", R"("batch", 3, 2, 2)", "NCHW") + R"(], "outputs": [)" +
                               json_tensor("boxes", "float32", R"("batch", 1, 4)", "NPC") + ", " +
                               json_tensor("scores", "float32", R"("batch", 1, 3)", "NPC") + R"(], "preprocessing": )" +
                               photo_rule + R"(false}, "postprocessing":
                     {"kind": "nms", "score_threshold": 1.0, "iou_threshold": 0.45, "max_per_class": 10})")
                      .open();
    // The red of the pixels, as the mean of 1 is taken off: the edges are 0.2 to 0.8, the scores 1.2, 1.4 and 1.6.
    const std::uint8_t photo[] = {51, 0, 0, 102, 0, 0, 153, 0, 0, 204, 0, 0};
    const std::vector<Box> boxes = net.detect({photo, 2, 2});
    REQUIRE(!boxes.empty());
    CHECK(boxes[0].class_index == 2);
    CHECK(boxes[0].score == doctest::Approx(1.6));
    CHECK(boxes[0].left == doctest::Approx(0.2));
    CHECK(boxes[0].bottom == doctest::Approx(0.8));
}

TEST_CASE("Words are read by an engine, which feeds its states back") {
    const Clean clean;
    Network net =
        embedded({tensor("token", true, DataType::kINT32, {-1}), tensor("hidden", true, DataType::kFLOAT, {1, -1, 5}),
                  tensor("logits", false, DataType::kFLOAT, {-1, 5}),
                  tensor("hidden_out", false, DataType::kFLOAT, {1, -1, 5})},
                 R"("task": "language_modelling", "num_classes": 5, "inputs": [)" +
                     json_tensor("token", "int64", R"("batch")", "N") + ", " +
                     json_tensor("hidden", "float32", R"(1, "batch", 5)", "LNC") + R"(], "outputs": [)" +
                     json_tensor("logits", "float32", R"("batch", 5)", "NC") + ", " +
                     json_tensor("hidden_out", "float32", R"(1, "batch", 5)", "LNC") + R"(], "preprocessing": null,
                     "postprocessing": {"kind": "next_word"},
                     "states": [{"input": "hidden", "output": "hidden_out"}])")
            .open();
    CHECK(net.step(3)[4] == 1 + 3);
    CHECK(net.step(1)[4] == 1 + 1 + (2 + 3));  // the state is what the first step gave
    CHECK(net.step(0)[0] == 1 + 0 + (2 + 1 + 5));
    net.reset();
    CHECK(net.step(3)[4] == 1 + 3);
}
