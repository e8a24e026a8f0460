#pragma once

#include <optional>
#include <string>

namespace espnet {

/// What the CUDA driver says of a GPU; the fields and texts of runtime/cuda_probe.py.
struct CudaProbe {
    std::optional<std::string> device;  ///< name of the GPU; none, and then `reason` says what the driver answered
    std::string reason;
    std::optional<std::string> compute_capability;  ///< such as "8.6"; none where the driver does not say
    int devices = 0;
};

/// Load the driver, initialise it, ask for the name and the compute capability of GPU `device`. To be called before any
/// object of TensorRT is made: their constructors end the process where there is no driver.
CudaProbe probe_cuda(int device = 0);

}  // namespace espnet
