#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include <cuda_runtime_api.h>

namespace espnet {

// Owners of what the CUDA runtime gives, for engines. All of it belongs to the device that is current when it is made
// and must be current when it is given back: see `DeviceGuard`.

/// Throws Error (unavailable): `status` is an error. The text has the call, CUDA's name of the error, and the way
/// out: where the GPU itself failed nothing works on it any more until the program ends.
void check_cuda(cudaError_t status, const char* call);

/// An error after which every call of this process fails: the program has to be started anew.
bool is_sticky(cudaError_t status) noexcept;

/// Makes a device the current one of this thread, and afterwards the caller's again.
class DeviceGuard {
public:
    /// Throws Error (unavailable): it does not work.
    explicit DeviceGuard(int device);

    /// For destructors, where nothing can be done about an error.
    DeviceGuard(int device, std::nothrow_t) noexcept;
    ~DeviceGuard();

    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

private:
    int before_ = -1;  // -1: nothing to restore
};

/// Gives back what CUDA made; an error then is none that anybody could act upon.
struct CudaDeleter {
    void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
    void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
    void operator()(cudaGraph_t graph) const noexcept { cudaGraphDestroy(graph); }
    // A launch that is under way goes on; CUDA frees the graph after it.
    void operator()(cudaGraphExec_t graph) const noexcept { cudaGraphExecDestroy(graph); }
};

struct DeviceMemoryDeleter {
    void operator()(void* pointer) const noexcept { cudaFree(pointer); }
};

struct PinnedMemoryDeleter {
    void operator()(void* pointer) const noexcept { cudaFreeHost(pointer); }
};

template <typename Handle>
using CudaOwner = std::unique_ptr<std::remove_pointer_t<Handle>, CudaDeleter>;

using Stream = CudaOwner<cudaStream_t>;
using Event = CudaOwner<cudaEvent_t>;
using GraphExec = CudaOwner<cudaGraphExec_t>;
using DeviceMemory = std::unique_ptr<void, DeviceMemoryDeleter>;
using PinnedMemory = std::unique_ptr<void, PinnedMemoryDeleter>;

/// A stream that does not wait for the default stream, nor the default stream for it.
Stream make_stream();

/// An event that keeps no time.
Event make_event();

/// Aligned to 256 bytes, not initialised.
///
/// Throws Error (unavailable): there is not enough; the message has the bytes that were asked for and those that are
/// free.
DeviceMemory allocate_device(std::size_t bytes, const std::string& device_name);

/// Page-locked host memory, which copies reach without a detour.
PinnedMemory allocate_pinned(std::size_t bytes, const std::string& device_name);

/// Free and all memory of the device, in bytes; zeros where the driver does not say.
std::pair<std::size_t, std::size_t> memory_info() noexcept;

/// Ends the capture of a stream; `finish` gives its graph, the destructor throws it away.
class Capture {
public:
    explicit Capture(cudaStream_t stream);
    ~Capture();
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;

    GraphExec finish();

private:
    cudaStream_t stream_;
    bool open_ = true;
};

/// The graph of what `work` queues on `stream`. Whatever goes wrong, the stream is not left in capture.
///
/// Throws Error (unavailable): the work cannot be captured, and what `work` throws.
template <typename Work>
GraphExec captured(cudaStream_t stream, Work work) {
    Capture capture(stream);
    work();
    return capture.finish();
}

}  // namespace espnet
