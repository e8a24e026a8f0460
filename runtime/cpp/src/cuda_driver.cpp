#include "cuda_driver.hpp"

#include <dlfcn.h>

namespace espnet {

namespace {

// CUdevice_attribute, cuda.h
constexpr int compute_capability_major = 75;
constexpr int compute_capability_minor = 76;

/// The driver's functions: loaded by hand, as a program that is linked with them does not start without a driver.
struct Driver {
    int (*init)(unsigned int flags);
    int (*device_count)(int* count);
    int (*device_name)(char* name, int size, int device);
    int (*device_attribute)(int* value, int attribute, int device);
};

CudaProbe nothing(const std::string& reason) {
    CudaProbe probe;
    probe.reason = reason;
    return probe;
}

template <typename Function>
bool find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    return function != nullptr;
}

bool find(void* library, Driver& driver) {
    return find(library, "cuInit", driver.init) && find(library, "cuDeviceGetCount", driver.device_count) &&
           find(library, "cuDeviceGetName", driver.device_name) &&
           find(library, "cuDeviceGetAttribute", driver.device_attribute);
}

std::optional<std::string> compute_capability(const Driver& driver, int device) {
    int major = 0;
    int minor = 0;
    if (driver.device_attribute(&major, compute_capability_major, device) != 0 ||
        driver.device_attribute(&minor, compute_capability_minor, device) != 0) {
        return std::nullopt;
    }
    return std::to_string(major) + "." + std::to_string(minor);
}

}  // namespace

CudaProbe probe_cuda(int device) {
    // Stays loaded: the CUDA runtime uses the same library until the process ends.
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == nullptr) {
        return nothing("no CUDA driver: libcuda.so.1 is not there");
    }
    Driver driver{};
    if (!find(library, driver)) {
        return nothing("no CUDA driver: libcuda.so.1 lacks its functions");
    }
    if (const int status = driver.init(0); status != 0) {
        return nothing("the CUDA driver answers cuInit with error " + std::to_string(status));
    }
    int count = 0;
    if (const int status = driver.device_count(&count); status != 0 || count == 0) {
        return nothing("the CUDA driver has " + std::to_string(count) + " devices (status " + std::to_string(status) +
                       ")");
    }
    CudaProbe probe = nothing("found");
    probe.devices = count;
    if (device < 0 || device >= count) {
        probe.reason = "device " + std::to_string(device) + " is not there, the CUDA driver counts 0 to " +
                       std::to_string(count - 1);
        return probe;
    }
    char name[256] = {};
    if (const int status = driver.device_name(name, static_cast<int>(sizeof name) - 1, device); status != 0) {
        return nothing("the CUDA driver answers cuDeviceGetName with error " + std::to_string(status));
    }
    probe.device = name;
    probe.compute_capability = compute_capability(driver, device);
    return probe;
}

}  // namespace espnet
