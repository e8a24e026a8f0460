"""Is there a CUDA driver with a device? Asked of the driver itself, before any library that dies without one."""

import ctypes
from dataclasses import dataclass
from typing import Any

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute, cuda.h


@dataclass(frozen=True)
class CudaProbe:
    """`device`: name of device 0, or None, and then `reason` says what the driver answered.

    `compute_capability`: of device 0, such as "8.6". `cuda_version`: the newest CUDA that the driver serves, such as
    "12.6". Both None where the driver does not say.
    """

    device: str | None
    reason: str
    compute_capability: str | None = None
    cuda_version: str | None = None


def probe_cuda() -> CudaProbe:
    """Load the driver, initialise it, ask for the name and the compute capability of device 0."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return CudaProbe(None, "no CUDA driver: libcuda.so.1 is not there")
    if status := driver.cuInit(0):
        return CudaProbe(None, f"the CUDA driver answers cuInit with error {status}")
    count, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    if (status := driver.cuDeviceGetCount(ctypes.byref(count))) or count.value == 0:
        return CudaProbe(None, f"the CUDA driver has {count.value} devices (status {status})")
    if status := driver.cuDeviceGetName(name, len(name), 0):
        return CudaProbe(None, f"the CUDA driver answers cuDeviceGetName with error {status}")
    return CudaProbe(name.value.decode(errors="replace"), "found", _compute_capability(driver), _cuda_version(driver))


def _compute_capability(driver: Any) -> str | None:
    major, minor = ctypes.c_int(), ctypes.c_int()
    for number, attribute in ((major, _COMPUTE_CAPABILITY_MAJOR), (minor, _COMPUTE_CAPABILITY_MINOR)):
        if driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, 0):
            return None
    return f"{major.value}.{minor.value}"


def _cuda_version(driver: Any) -> str | None:
    """The driver gives 1000 x major + 10 x minor."""
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)):
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"
