#pragma once

// Part of a stand-in for TensorRT that this project's tests use; see README.md.

#if ESPNET_SHIM_MAJOR == 1
#define TRT_MAJOR_RTX 1
#define TRT_MINOR_RTX 4
#define NV_TENSORRT_MAJOR TRT_MAJOR_RTX
#define NV_TENSORRT_MINOR TRT_MINOR_RTX
#define NV_TENSORRT_PATCH 0
#elif ESPNET_SHIM_MAJOR == 8
#define NV_TENSORRT_MAJOR 8
#define NV_TENSORRT_MINOR 5
#define NV_TENSORRT_PATCH 3
#elif ESPNET_SHIM_MAJOR == 10
#define NV_TENSORRT_MAJOR 10
#define NV_TENSORRT_MINOR 3
#define NV_TENSORRT_PATCH 0
#elif ESPNET_SHIM_MAJOR == 11
#define NV_TENSORRT_MAJOR 11
#define NV_TENSORRT_MINOR 1
#define NV_TENSORRT_PATCH 0
#else
#error "ESPNET_SHIM_MAJOR is 1 (TensorRT-RTX), 8, 10 or 11"
#endif
