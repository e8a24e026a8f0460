# Finds TensorRT, or TensorRT for RTX, with the CUDA runtime that its interface needs.
#
# Looks into TensorRT_ROOT and CUDAToolkit_ROOT (variables of CMake or the environment), the places of NVIDIA's Debian
# packages and JetPack, and /usr/local/cuda. Written for CMake 3.16, which has no FindCUDAToolkit.
#
# Sets TensorRT_FOUND, TensorRT_VERSION, TensorRT_IS_RTX; makes the target TensorRT::TensorRT.

set(_cuda_places ${CUDAToolkit_ROOT} $ENV{CUDAToolkit_ROOT} $ENV{CUDA_PATH} $ENV{CUDA_HOME} /usr/local/cuda)
set(_cuda_targets targets/${CMAKE_SYSTEM_PROCESSOR}-linux targets/sbsa-linux)
set(_cuda_includes include)
set(_cuda_libraries lib64 lib)
foreach(_folder IN LISTS _cuda_targets)
    list(APPEND _cuda_includes ${_folder}/include)
    list(APPEND _cuda_libraries ${_folder}/lib)
endforeach()

find_path(TensorRT_INCLUDE_DIR NvInfer.h PATH_SUFFIXES include include/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)
find_library(TensorRT_LIBRARY NAMES nvinfer tensorrt_rtx
    PATH_SUFFIXES lib lib64 lib/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)
find_path(TensorRT_CUDA_INCLUDE_DIR cuda_runtime_api.h HINTS ${_cuda_places} PATH_SUFFIXES ${_cuda_includes})
find_library(TensorRT_CUDART_LIBRARY cudart HINTS ${_cuda_places} PATH_SUFFIXES ${_cuda_libraries})
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_LIBRARY TensorRT_CUDA_INCLUDE_DIR TensorRT_CUDART_LIBRARY)

# The number behind a macro of NvInferVersion.h: `#define NV_TENSORRT_MAJOR 10`, or since 10.13
# `#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE`, where that macro has the number.
function(_tensorrt_number macro text out)
    set(value ${macro})
    foreach(step RANGE 4)
        if(NOT "${text}" MATCHES "#define[ \t]+${value}[ \t]+([A-Za-z0-9_]+)")
            break()
        endif()
        set(value ${CMAKE_MATCH_1})
        if(value MATCHES "^[0-9]+$")
            set(${out} ${value} PARENT_SCOPE)
            return()
        endif()
    endforeach()
    set(${out} "" PARENT_SCOPE)
endfunction()

unset(TensorRT_VERSION)
set(TensorRT_IS_RTX OFF)
if(TensorRT_INCLUDE_DIR AND EXISTS ${TensorRT_INCLUDE_DIR}/NvInferVersion.h)
    file(READ ${TensorRT_INCLUDE_DIR}/NvInferVersion.h _text)
    foreach(_part MAJOR MINOR PATCH)
        _tensorrt_number(NV_TENSORRT_${_part} "${_text}" _number)
        if(NOT _number STREQUAL "")
            list(APPEND _numbers ${_number})
        endif()
    endforeach()
    string(REPLACE ";" "." TensorRT_VERSION "${_numbers}")
    unset(_numbers)
endif()
if(TensorRT_LIBRARY MATCHES "tensorrt_rtx")
    set(TensorRT_IS_RTX ON)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT
    REQUIRED_VARS TensorRT_LIBRARY TensorRT_INCLUDE_DIR TensorRT_CUDART_LIBRARY TensorRT_CUDA_INCLUDE_DIR
    VERSION_VAR TensorRT_VERSION)

if(TensorRT_FOUND AND NOT TARGET TensorRT::TensorRT)
    add_library(TensorRT::TensorRT UNKNOWN IMPORTED)
    # Their headers warn of themselves, so they are those of the system.
    set_target_properties(TensorRT::TensorRT PROPERTIES
        IMPORTED_LOCATION ${TensorRT_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES "${TensorRT_INCLUDE_DIR};${TensorRT_CUDA_INCLUDE_DIR}"
        INTERFACE_LINK_LIBRARIES "${TensorRT_CUDART_LIBRARY}")
endif()
