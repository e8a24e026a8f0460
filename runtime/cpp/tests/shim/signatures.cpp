// The members of TensorRT and CUDA that the backend calls, with their types: compiled against tests/shim and, by
// check_real_headers.sh, against NVIDIA's own headers. Where this compiles with both, the imitation is true to them.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <NvInfer.h>
#include <cuda_runtime_api.h>

using namespace nvinfer1;

namespace {

/// Compiles only if one of the overloads of a member has exactly this type.
template <typename Function>
constexpr bool is(Function) {
    return true;
}

static_assert(is<IRuntime* (*)(ILogger&) noexcept>(&createInferRuntime));
static_assert(is<ICudaEngine* (IRuntime::*)(void const*, std::size_t) noexcept>(&IRuntime::deserializeCudaEngine));
static_assert(is<int32_t (ICudaEngine::*)() const noexcept>(&ICudaEngine::getNbIOTensors));
static_assert(is<char const* (ICudaEngine::*)(int32_t) const noexcept>(&ICudaEngine::getIOTensorName));
static_assert(is<TensorIOMode (ICudaEngine::*)(char const*) const noexcept>(&ICudaEngine::getTensorIOMode));
static_assert(is<TensorLocation (ICudaEngine::*)(char const*) const noexcept>(&ICudaEngine::getTensorLocation));
static_assert(is<TensorFormat (ICudaEngine::*)(char const*) const noexcept>(&ICudaEngine::getTensorFormat));
static_assert(is<char const* (ICudaEngine::*)(char const*) const noexcept>(&ICudaEngine::getTensorFormatDesc));
static_assert(is<DataType (ICudaEngine::*)(char const*) const noexcept>(&ICudaEngine::getTensorDataType));
static_assert(is<Dims (ICudaEngine::*)(char const*) const noexcept>(&ICudaEngine::getTensorShape));
static_assert(
    is<Dims (ICudaEngine::*)(char const*, int32_t, OptProfileSelector) const noexcept>(&ICudaEngine::getProfileShape));
static_assert(is<bool (IExecutionContext::*)(char const*, Dims const&) noexcept>(&IExecutionContext::setInputShape));
static_assert(is<Dims (IExecutionContext::*)(char const*) const noexcept>(&IExecutionContext::getTensorShape));
static_assert(is<bool (IExecutionContext::*)(char const*, void*) noexcept>(&IExecutionContext::setTensorAddress));
static_assert(is<bool (IExecutionContext::*)(cudaStream_t) noexcept>(&IExecutionContext::enqueueV3));
static_assert(is<void (ILogger::*)(ILogger::Severity, char const*) noexcept>(&ILogger::log));
static_assert(std::has_virtual_destructor_v<IRuntime> && std::has_virtual_destructor_v<ICudaEngine> &&
              std::has_virtual_destructor_v<IExecutionContext>);

#if !defined(TRT_MAJOR_RTX) && NV_TENSORRT_MAJOR < 10
static_assert(std::is_same_v<decltype(Dims::d), int32_t[8]>);
static_assert(is<IExecutionContext* (ICudaEngine::*)() noexcept>(&ICudaEngine::createExecutionContext));
#else
static_assert(std::is_same_v<decltype(Dims::d), int64_t[8]>);
static_assert(is<IExecutionContext* (ICudaEngine::*)(ExecutionContextAllocationStrategy) noexcept>(
    &ICudaEngine::createExecutionContext));
static_assert(static_cast<int>(DataType::kINT64) == 8);
#endif
#if defined(TRT_MAJOR_RTX) || NV_TENSORRT_MAJOR > 8 || NV_TENSORRT_MINOR >= 6
static_assert(is<void (IRuntime::*)(bool) noexcept>(&IRuntime::setEngineHostCodeAllowed));
#endif
#if defined(TRT_MAJOR_RTX) && defined(ESPNET_SHIM)
static_assert(is<bool (IExecutionContext::*)(cudaStream_t) const noexcept>(&IExecutionContext::isStreamCapturable));
#endif

static_assert(std::is_same_v<decltype(getInferLibVersion()), int32_t>);
static_assert(static_cast<int>(DataType::kFLOAT) == 0 && static_cast<int>(DataType::kHALF) == 1 &&
              static_cast<int>(DataType::kINT8) == 2 && static_cast<int>(DataType::kINT32) == 3 &&
              static_cast<int>(DataType::kBOOL) == 4 && static_cast<int>(DataType::kUINT8) == 5);
static_assert(static_cast<int>(ILogger::Severity::kINTERNAL_ERROR) == 0 &&
              static_cast<int>(ILogger::Severity::kERROR) == 1 && static_cast<int>(ILogger::Severity::kWARNING) == 2 &&
              static_cast<int>(ILogger::Severity::kINFO) == 3);

// CUDA. Functions that take a default stream in C++ are compared as pointers, which have no default arguments.
static_assert(is<cudaError_t (*)(int*)>(&cudaGetDevice));
static_assert(is<cudaError_t (*)(int)>(&cudaSetDevice));
static_assert(is<cudaError_t (*)()>(&cudaGetLastError));
static_assert(is<const char* (*)(cudaError_t)>(&cudaGetErrorName));
static_assert(is<const char* (*)(cudaError_t)>(&cudaGetErrorString));
static_assert(is<cudaError_t (*)(std::size_t*, std::size_t*)>(&cudaMemGetInfo));
static_assert(is<cudaError_t (*)(void**, std::size_t)>(&cudaMalloc));
static_assert(is<cudaError_t (*)(void*)>(&cudaFree));
static_assert(is<cudaError_t (*)(void**, std::size_t, unsigned int)>(&cudaHostAlloc));
static_assert(is<cudaError_t (*)(void*)>(&cudaFreeHost));
static_assert(is<cudaError_t (*)(void*, const void*, std::size_t, cudaMemcpyKind, cudaStream_t)>(&cudaMemcpyAsync));
static_assert(is<cudaError_t (*)(cudaStream_t*, unsigned int)>(&cudaStreamCreateWithFlags));
static_assert(is<cudaError_t (*)(cudaStream_t)>(&cudaStreamDestroy));
static_assert(is<cudaError_t (*)(cudaStream_t)>(&cudaStreamSynchronize));
static_assert(is<cudaError_t (*)(cudaStream_t, cudaEvent_t, unsigned int)>(&cudaStreamWaitEvent));
static_assert(is<cudaError_t (*)(cudaEvent_t*, unsigned int)>(&cudaEventCreateWithFlags));
static_assert(is<cudaError_t (*)(cudaEvent_t, cudaStream_t)>(&cudaEventRecord));
static_assert(is<cudaError_t (*)(cudaEvent_t)>(&cudaEventSynchronize));
static_assert(is<cudaError_t (*)(cudaEvent_t)>(&cudaEventDestroy));
static_assert(is<cudaError_t (*)(cudaStream_t, cudaStreamCaptureMode)>(&cudaStreamBeginCapture));
static_assert(is<cudaError_t (*)(cudaStream_t, cudaGraph_t*)>(&cudaStreamEndCapture));
static_assert(is<cudaError_t (*)(cudaStream_t, cudaStreamCaptureStatus*)>(&cudaStreamIsCapturing));
static_assert(is<cudaError_t (*)(cudaGraphExec_t*, cudaGraph_t, unsigned long long)>(&cudaGraphInstantiateWithFlags));
static_assert(is<cudaError_t (*)(cudaGraphExec_t, cudaStream_t)>(&cudaGraphLaunch));
static_assert(is<cudaError_t (*)(cudaGraphExec_t)>(&cudaGraphExecDestroy));
static_assert(is<cudaError_t (*)(cudaGraph_t)>(&cudaGraphDestroy));
static_assert(cudaErrorMemoryAllocation == 2 && cudaErrorIllegalAddress == 700 && cudaErrorECCUncorrectable == 214 &&
              cudaErrorNvlinkUncorrectable == 220 && cudaErrorLaunchTimeout == 702 && cudaErrorAssert == 710 &&
              cudaErrorHardwareStackError == 714 && cudaErrorIllegalInstruction == 715 &&
              cudaErrorMisalignedAddress == 716 && cudaErrorInvalidAddressSpace == 717 && cudaErrorInvalidPc == 718 &&
              cudaErrorLaunchFailure == 719 && cudaErrorUnknown == 999);

}  // namespace
