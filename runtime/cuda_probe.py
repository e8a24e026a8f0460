"""Is there a CUDA driver with a device? Asked of the driver itself, before any library that dies without one."""

import ctypes
from dataclasses import dataclass


@dataclass(frozen=True)
class CudaProbe:
    """`device`: name of device 0, or None, and then `reason` says what the driver answered."""

    device: str | None
    reason: str


def probe_cuda() -> CudaProbe:
    """Load the driver, initialise it, ask for the name of device 0."""
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
    return CudaProbe(name.value.decode(errors="replace"), "found")
