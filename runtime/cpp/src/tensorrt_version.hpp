#pragma once

// What differs between TensorRT 8.5 to 11 and TensorRT-RTX 1. No other file asks for a version. A member that a version
// lacks is asked of its class, as NVIDIA switches some of them within a version.

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <espnet/tensor.hpp>

#if !defined(TRT_MAJOR_RTX) && (NV_TENSORRT_MAJOR < 8 || (NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR < 5))
#error "TensorRT 8.5 or later is needed: older ones have no named tensors"
#endif

namespace espnet {

#ifdef TRT_MAJOR_RTX
constexpr char trt_builder[] = "tensorrt-rtx";  // as manifests say it
constexpr char trt_library[] = "tensorrt_rtx";  // the Python module, as messages say it
constexpr char trt_title[] = "TensorRT-RTX";
#else
constexpr char trt_builder[] = "tensorrt";
constexpr char trt_library[] = "tensorrt";
constexpr char trt_title[] = "TensorRT";
#endif

/// Of the library that is loaded, which may be a newer patch than the headers: such as "10.3.0".
inline std::string trt_library_version() {
    const int number = getInferLibVersion();
#if !defined(TRT_MAJOR_RTX) && NV_TENSORRT_MAJOR < 10
    constexpr int major_weight = 1000;
#else
    constexpr int major_weight = 10000;
#endif
    return std::to_string(number / major_weight) + "." + std::to_string(number % major_weight / 100) + "." +
           std::to_string(number % 100);
}

/// None for a type that artefacts do not have.
inline std::optional<DType> dtype_of(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT:
            return DType::float32;
        case nvinfer1::DataType::kHALF:
            return DType::float16;
        case nvinfer1::DataType::kUINT8:
            return DType::uint8;
        case nvinfer1::DataType::kINT32:
            return DType::int32;
#if defined(TRT_MAJOR_RTX) || NV_TENSORRT_MAJOR >= 10
        case nvinfer1::DataType::kINT64:
            return DType::int64;
#endif
        default:
            return std::nullopt;
    }
}

/// TensorRT's own word for a type that artefacts do not have; the numbers are the same in all versions.
inline std::string name_of(nvinfer1::DataType type) {
    switch (static_cast<int>(type)) {
        case 2:
            return "INT8";
        case 4:
            return "BOOL";
        case 6:
            return "FP8";
        case 7:
            return "BF16";
        case 9:
            return "INT4";
        case 10:
            return "FP4";
        case 11:
            return "E8M0";
        default:
            return "number " + std::to_string(static_cast<int>(type));
    }
}

/// Its sizes have 32 bits up to version 9, and 64 since.
inline nvinfer1::Dims dims_of(const Shape& shape) {
    nvinfer1::Dims dims{};
    dims.nbDims = shape.rank();
    for (int axis = 0; axis < shape.rank(); ++axis) {
        dims.d[axis] = static_cast<std::decay_t<decltype(dims.d[0])>>(shape[axis]);
    }
    return dims;
}

/// None where TensorRT does not know the rank.
inline std::optional<Shape> shape_of(const nvinfer1::Dims& dims) {
    if (dims.nbDims < 0 || dims.nbDims > Shape::max_rank) {
        return std::nullopt;
    }
    Shape shape;
    for (int axis = 0; axis < dims.nbDims; ++axis) {
        shape.push_back(static_cast<std::int64_t>(dims.d[axis]));
    }
    return shape;
}

namespace versions {

template <typename Runtime>
auto forbid_host_code(Runtime& runtime, int) -> decltype(runtime.setEngineHostCodeAllowed(false)) {
    runtime.setEngineHostCodeAllowed(false);
}

template <typename Runtime>
void forbid_host_code(Runtime&, long) {}

template <typename Context>
auto may_be_captured(Context& context, cudaStream_t stream, int) -> decltype(context.isStreamCapturable(stream)) {
    return context.isStreamCapturable(stream);
}

template <typename Context>
bool may_be_captured(Context&, cudaStream_t, long) {
    return true;
}

}  // namespace versions

/// An engine is native code for the GPU; code for the host is never let in. Version 8.5 knows none.
inline void forbid_host_code(nvinfer1::IRuntime& runtime) {
    versions::forbid_host_code(runtime, 0);
}

/// TensorRT-RTX knows beforehand whether a network can be captured; the others find out while they try.
inline bool may_be_captured(nvinfer1::IExecutionContext& context, cudaStream_t stream) {
    return versions::may_be_captured(context, stream, 0);
}

}  // namespace espnet
