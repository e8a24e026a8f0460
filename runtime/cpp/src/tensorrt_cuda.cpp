#include "tensorrt_cuda.hpp"

#include <cstdio>

#include <espnet/error.hpp>

namespace espnet {

namespace {

constexpr double bytes_per_mib = 1 << 20;

std::string mib(std::size_t bytes) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", static_cast<double>(bytes) / bytes_per_mib);
    return text;
}

/// Throws if an allocation did not work.
void check_allocated(cudaError_t status, const char* call, const std::string& what, std::size_t bytes,
                     const std::string& device_name) {
    if (status != cudaErrorMemoryAllocation) {
        check_cuda(status, call);
        return;
    }
    cudaGetLastError();
    const auto [free, total] = memory_info();
    throw Error(ErrorCode::unavailable, what + ": " + std::to_string(bytes) + " bytes (" + mib(bytes) +
                                            " MiB) asked on " + device_name + ", " + std::to_string(free) +
                                            " bytes of the GPU (" + mib(free) + " of " + mib(total) +
                                            " MiB) are free; lower the batch, or end other programs that use the GPU");
}

}  // namespace

bool is_sticky(cudaError_t status) noexcept {
    switch (status) {
        case cudaErrorECCUncorrectable:
        case cudaErrorNvlinkUncorrectable:
        case cudaErrorIllegalAddress:
        case cudaErrorLaunchTimeout:
        case cudaErrorAssert:
        case cudaErrorHardwareStackError:
        case cudaErrorIllegalInstruction:
        case cudaErrorMisalignedAddress:
        case cudaErrorInvalidAddressSpace:
        case cudaErrorInvalidPc:
        case cudaErrorLaunchFailure:
        case cudaErrorUnknown:
            return true;
        default:
            return false;
    }
}

void check_cuda(cudaError_t status, const char* call) {
    if (status == cudaSuccess) {
        return;
    }
    // The runtime remembers the error, and a library that asks later would take it for its own.
    cudaGetLastError();
    std::string text =
        std::string(call) + " failed: " + cudaGetErrorName(status) + " (" + cudaGetErrorString(status) + ")";
    text += is_sticky(status)
                ? "; the GPU itself failed, nothing works on it in this process any more: start the program again"
                : "; espnet-doctor says whether driver and CUDA fit each other";
    throw Error(ErrorCode::unavailable, text);
}

DeviceGuard::DeviceGuard(int device) {
    int current = 0;
    check_cuda(cudaGetDevice(&current), "cudaGetDevice");
    if (current != device) {
        check_cuda(cudaSetDevice(device), "cudaSetDevice");
        before_ = current;
    }
}

DeviceGuard::DeviceGuard(int device, std::nothrow_t) noexcept {
    int current = 0;
    if (cudaGetDevice(&current) == cudaSuccess && current != device && cudaSetDevice(device) == cudaSuccess) {
        before_ = current;
    }
}

DeviceGuard::~DeviceGuard() {
    if (before_ >= 0) {
        cudaSetDevice(before_);
    }
}

Stream make_stream() {
    cudaStream_t stream = nullptr;
    check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    return Stream(stream);
}

Event make_event() {
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    return Event(event);
}

DeviceMemory allocate_device(std::size_t bytes, const std::string& device_name) {
    void* pointer = nullptr;
    check_allocated(cudaMalloc(&pointer, bytes), "cudaMalloc", "GPU memory", bytes, device_name);
    return DeviceMemory(pointer);
}

PinnedMemory allocate_pinned(std::size_t bytes, const std::string& device_name) {
    void* pointer = nullptr;
    check_allocated(cudaHostAlloc(&pointer, bytes, cudaHostAllocDefault), "cudaHostAlloc", "pinned host memory", bytes,
                    device_name);
    return PinnedMemory(pointer);
}

std::pair<std::size_t, std::size_t> memory_info() noexcept {
    std::size_t free = 0;
    std::size_t total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) {
        return {0, 0};
    }
    return {free, total};
}

Capture::Capture(cudaStream_t stream) : stream_(stream) {
    // Thread-local: what other threads allocate meanwhile does not make the capture invalid.
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
}

Capture::~Capture() {
    if (!open_) {
        return;
    }
    // Ends with an error of its own where the capture became invalid; the first error is the one that tells why.
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream_, &graph);
    if (graph != nullptr) {
        cudaGraphDestroy(graph);
    }
    cudaGetLastError();
}

GraphExec Capture::finish() {
    open_ = false;
    cudaGraph_t made = nullptr;
    check_cuda(cudaStreamEndCapture(stream_, &made), "cudaStreamEndCapture");
    const CudaOwner<cudaGraph_t> graph(made);
    cudaGraphExec_t executable = nullptr;
    // Not cudaGraphInstantiate, whose arguments differ between CUDA 11 and 12.
    check_cuda(cudaGraphInstantiateWithFlags(&executable, graph.get(), 0), "cudaGraphInstantiateWithFlags");
    return GraphExec(executable);
}

}  // namespace espnet
