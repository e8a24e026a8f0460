#pragma once

// Part of a stand-in for TensorRT that this project's tests use; see README.md.

#include <cstddef>
#include <cstdint>

#include "NvInferVersion.h"
#include "cuda_runtime_api.h"

namespace nvinfer1 {

enum class DataType : int32_t {
    kFLOAT = 0,
    kHALF = 1,
    kINT8 = 2,
    kINT32 = 3,
    kBOOL = 4,
    kUINT8 = 5,
#if NV_TENSORRT_MAJOR != 8
    kFP8 = 6,
    kBF16 = 7,
    kINT64 = 8,
#endif
};

enum class TensorFormat : int32_t { kLINEAR = 0, kCHW4 = 3 };
enum class TensorLocation : int32_t { kDEVICE = 0, kHOST = 1 };
enum class TensorIOMode : int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };
enum class OptProfileSelector : int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };

struct Dims {
    int32_t nbDims;
#if NV_TENSORRT_MAJOR == 8
    int32_t d[8];
#else
    int64_t d[8];
#endif
};

class ILogger {
public:
    enum class Severity : int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };

    virtual void log(Severity severity, char const* message) noexcept = 0;
    virtual ~ILogger() = default;
};

class IExecutionContext {
public:
    virtual ~IExecutionContext() noexcept = default;
    virtual bool setInputShape(char const* name, Dims const& dims) noexcept = 0;
    virtual Dims getTensorShape(char const* name) const noexcept = 0;
    virtual bool setTensorAddress(char const* name, void* data) noexcept = 0;
    virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
#ifdef TRT_MAJOR_RTX
    virtual bool isStreamCapturable(cudaStream_t stream) const noexcept = 0;
#endif
};

#if NV_TENSORRT_MAJOR != 8
enum class ExecutionContextAllocationStrategy : int32_t { kSTATIC = 0 };
#endif

class ICudaEngine {
public:
    virtual ~ICudaEngine() noexcept = default;
    virtual int32_t getNbIOTensors() const noexcept = 0;
    virtual char const* getIOTensorName(int32_t index) const noexcept = 0;
    virtual TensorIOMode getTensorIOMode(char const* name) const noexcept = 0;
    virtual TensorLocation getTensorLocation(char const* name) const noexcept = 0;
    virtual TensorFormat getTensorFormat(char const* name) const noexcept = 0;
    virtual char const* getTensorFormatDesc(char const* name) const noexcept = 0;
    virtual DataType getTensorDataType(char const* name) const noexcept = 0;
    virtual Dims getTensorShape(char const* name) const noexcept = 0;
    virtual Dims getProfileShape(char const* name, int32_t profile, OptProfileSelector which) const noexcept = 0;
#if NV_TENSORRT_MAJOR == 8
    virtual IExecutionContext* createExecutionContext() noexcept = 0;
#else
    virtual IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy strategy = ExecutionContextAllocationStrategy::kSTATIC) noexcept = 0;
#endif
};

class IRuntime {
public:
    virtual ~IRuntime() noexcept = default;
    virtual ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept = 0;
#if NV_TENSORRT_MAJOR != 8
    virtual void setEngineHostCodeAllowed(bool allowed) noexcept = 0;
#endif
};

IRuntime* createInferRuntime(ILogger& logger) noexcept;

}  // namespace nvinfer1

extern "C" int32_t getInferLibVersion() noexcept;
