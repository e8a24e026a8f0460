#pragma once

// What tests tell the stand-in for TensorRT and CUDA, and what they ask it; see README.md.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "NvInfer.h"

namespace shim {

/// An input or output of an engine. -1 in `shape`: the batch; -2: depends on the data.
struct Tensor {
    std::string name;
    bool is_input = true;
    nvinfer1::DataType type = nvinfer1::DataType::kFLOAT;
    std::vector<std::int64_t> shape;
    std::vector<int> batches = {1, 1, 1};  // smallest, best, largest
    nvinfer1::TensorFormat format = nvinfer1::TensorFormat::kLINEAR;
    nvinfer1::TensorLocation location = nvinfer1::TensorLocation::kDEVICE;
};

/// The bytes of an engine of this version, which `deserializeCudaEngine` reads.
std::vector<std::uint8_t> plan(const std::vector<Tensor>& tensors);

/// The call number `nth` of a CUDA function from now on (1: the next) does nothing and gives `status`.
void fail(const std::string& function, cudaError_t status, int nth = 1);

/// The call number `nth` of a member of TensorRT from now on is refused, with "the shim was told to" in the log.
void refuse(const std::string& member, int nth = 1);

/// The next work that a stream does fails so that the GPU itself is lost.
void break_gpu(cudaError_t status);

/// How often a function was called since `reset`.
int calls(const std::string& function);

/// What is alive: "2 context, 1 engine"; empty if nothing is.
std::string alive();

/// How much is queued on all streams and has not been done.
int at_work();

/// What was done that a GPU would have punished, or not.
std::vector<std::string> violations();

/// No failures, no counts, no violations; nothing may be alive.
void reset();

/// Whether this thread is inside of the stand-in: what it allocates there is not the backend's.
bool inside();

/// Reads and writes of device memory, as a test does it on its own stream: a queued copy, and waiting for it.
void write_device(void* pointer, const void* from, std::size_t bytes);
void read_device(void* to, const void* pointer, std::size_t bytes);

// For the two halves of the stand-in itself. --------------------------------------------------------------------------

class Inside {
public:
    Inside();
    ~Inside();
};

bool refused(const std::string& member);
void count(const std::string& kind, int change);
void violation(const std::string& text);

/// The memory behind a device pointer, for work that runs on the device; null if it is not `bytes` of device memory.
void* on_device(const void* pointer, std::size_t bytes);

enum class Queued { done, wrong_device, capture_refused };

/// Queue work on a stream, or write it down where that is captured. `capturable` false: refused there.
Queued queue(cudaStream_t stream, bool capturable, std::function<cudaError_t()> work);

bool is_capturing(cudaStream_t stream);

}  // namespace shim
