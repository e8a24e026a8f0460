// device_pointers seg.trt, an engine of batch 1 with deploy inputs and outputs: frames that are on the GPU already, on
// the caller's stream, answers left there. What a program does whose camera writes into GPU memory and whose next step
// is a CUDA kernel.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>
#include <espnet/espnet.hpp>

namespace {

void check(cudaError_t result, const char* what) {
    if (result != cudaSuccess) {
        throw espnet::Error(espnet::ErrorCode::unavailable, std::string(what) + ": " + cudaGetErrorString(result));
    }
}

struct CudaFree {
    void operator()(void* pointer) const { cudaFree(pointer); }
};
using DeviceMemory = std::unique_ptr<void, CudaFree>;

struct StreamDestroy {
    void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
};
using Stream = std::unique_ptr<CUstream_st, StreamDestroy>;

DeviceMemory allocate(std::size_t bytes) {
    void* pointer = nullptr;
    check(cudaMalloc(&pointer, bytes), "cudaMalloc");
    return DeviceMemory(pointer);
}

Stream make_stream() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    return Stream(stream);
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: %s seg.trt\n", arguments[0]);
        return 2;
    }
    try {
        espnet::Network net = espnet::Network::open(arguments[1]);
        const espnet::TensorInfo& image = net.inputs().front();
        const espnet::TensorInfo& labels = net.outputs().front();
        const std::size_t image_bytes = image.shape.elements() * espnet::size_of(image.dtype);
        const std::size_t labels_bytes = labels.shape.elements() * espnet::size_of(labels.dtype);
        const DeviceMemory pixels_memory = allocate(image_bytes);
        const DeviceMemory labels_memory = allocate(labels_bytes);
        const Stream stream = make_stream();

        // Here the camera or a kernel of yours would write the pixels, on the same stream.
        check(cudaMemsetAsync(pixels_memory.get(), 128, image_bytes, stream.get()), "cudaMemsetAsync");
        const espnet::ConstTensorView inputs[] = {
            {image.name, image.dtype, image.shape, pixels_memory.get(), espnet::Memory::device}};
        const espnet::TensorView outputs[] = {
            {labels.name, labels.dtype, labels.shape, labels_memory.get(), espnet::Memory::device}};
        net.infer(inputs, outputs, espnet::CudaStream{stream.get()});  // returns at once

        std::vector<std::uint8_t> host(labels_bytes);
        check(cudaMemcpyAsync(host.data(), labels_memory.get(), host.size(), cudaMemcpyDeviceToHost, stream.get()),
              "cudaMemcpyAsync");
        check(cudaStreamSynchronize(stream.get()), "cudaStreamSynchronize");
        const auto middle = static_cast<std::size_t>(labels.shape[1] / 2 * labels.shape[2] + labels.shape[2] / 2);
        std::printf("class %d in the middle\n", host[middle]);
        return 0;
    } catch (const espnet::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
