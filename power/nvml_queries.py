"""What NVML says of a GPU besides its power: facts that stay, and conditions that change while it works."""

import os
from collections.abc import Callable
from typing import Any

from ..errors import one_line
from .meter import Fact
from .nvml_facts import architecture_name
from .nvml_library import Gpu, NvmlLibrary

# nvml.h: nvmlClockType_t, nvmlTemperatureSensors_t, nvmlPstates_t, nvmlDeviceArchitecture_t
_CLOCK_SM, _CLOCK_MEMORY = 1, 2
_TEMPERATURE_GPU = 0
_PERFORMANCE_STATE_UNKNOWN = 32
_GENERATIONS = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
}

CONDITION_NAMES = (
    "temperature_c",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "throttle_reasons",
    "performance_state",
    "utilisation_percent",
)


def read_conditions(library: NvmlLibrary, handle: Any) -> tuple[float | None, ...]:
    """One number for each of `CONDITION_NAMES`; None where NVML has none."""
    ask = library.ask_or_none
    state, utilisation = ask("nvmlDeviceGetPerformanceState", handle), ask("nvmlDeviceGetUtilizationRates", handle)
    return (
        ask("nvmlDeviceGetTemperature", handle, _TEMPERATURE_GPU),
        ask("nvmlDeviceGetClockInfo", handle, _CLOCK_SM),
        ask("nvmlDeviceGetClockInfo", handle, _CLOCK_MEMORY),
        _clock_reasons(library, handle),
        None if state == _PERFORMANCE_STATE_UNKNOWN else state,
        None if utilisation is None else utilisation.gpu,
    )


def gpu_facts(library: NvmlLibrary, gpu: Gpu) -> dict[str, Fact]:
    """What identifies the GPU and decides how fast it runs and what it draws; None for what NVML does not say."""

    def ask(function: str, *arguments: Any) -> Any:
        return library.ask_or_none(function, gpu.handle, *arguments)

    capability = compute_capability(library, gpu)
    return {
        "name": gpu.name,
        "uuid": gpu.uuid,
        "index": gpu.index,
        "architecture": architecture_name(capability) or _GENERATIONS.get(ask("nvmlDeviceGetArchitecture")),
        "compute_capability": capability and "{}.{}".format(*capability),
        "vbios": _text(ask("nvmlDeviceGetVbiosVersion")),
        "driver": driver_version(library),
        "cuda_driver": _cuda_version(library.ask_or_none("nvmlSystemGetCudaDriverVersion")),
        "power_limit_mw": ask("nvmlDeviceGetPowerManagementLimit"),
        "default_power_limit_mw": ask("nvmlDeviceGetPowerManagementDefaultLimit"),
        "enforced_power_limit_mw": ask("nvmlDeviceGetEnforcedPowerLimit"),
        "persistence_mode": _switch(ask("nvmlDeviceGetPersistenceMode")),
        "application_sm_clock_mhz": ask("nvmlDeviceGetApplicationsClock", _CLOCK_SM),
        "application_memory_clock_mhz": ask("nvmlDeviceGetApplicationsClock", _CLOCK_MEMORY),
        "max_sm_clock_mhz": ask("nvmlDeviceGetMaxClockInfo", _CLOCK_SM),
        "max_memory_clock_mhz": ask("nvmlDeviceGetMaxClockInfo", _CLOCK_MEMORY),
        "ecc": _current(ask("nvmlDeviceGetEccMode")),
        "mig": _current(ask("nvmlDeviceGetMigMode")),
        "pcie_generation": ask("nvmlDeviceGetCurrPcieLinkGeneration"),
        "pcie_width": ask("nvmlDeviceGetCurrPcieLinkWidth"),
        "other_processes": _other_processes(ask),
    }


def compute_capability(library: NvmlLibrary, gpu: Gpu) -> tuple[int, int] | None:
    """(8, 6) for sm_86; None where NVML does not say."""
    capability = library.ask_or_none("nvmlDeviceGetCudaComputeCapability", gpu.handle)
    return None if capability is None else (capability[0], capability[1])


def driver_version(library: NvmlLibrary) -> str | None:
    """The driver's version, "550.54.15"."""
    return _text(library.ask_or_none("nvmlSystemGetDriverVersion"))


def _clock_reasons(library: NvmlLibrary, handle: Any) -> int | None:
    """The bitmask under the name that it has since driver 535, or under its old one."""
    reasons = library.ask_or_none("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if reasons is None:
        reasons = library.ask_or_none("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    return None if reasons is None else int(reasons)


def _other_processes(ask: Callable[..., Any]) -> int | None:
    """How many processes besides this one use the GPU. In a container, NVML may see none of those outside."""
    known = [pids for kind in ("Compute", "Graphics") if (pids := _process_ids(ask, kind)) is not None]
    return len(set().union(*known) - {os.getpid()}) if known else None


def _process_ids(ask: Callable[..., Any], kind: str) -> set[int] | None:
    # The name without a number is the newest version, which drivers before 510 do not have.
    for version in ("_v3", "_v2"):
        processes = ask(f"nvmlDeviceGet{kind}RunningProcesses{version}")
        if processes is not None:
            return {process.pid for process in processes}
    return None


def _cuda_version(number: int | None) -> str | None:
    """12.4 for 12040."""
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


def _text(text: str | None) -> str | None:
    return None if text is None else one_line(text)


def _switch(state: int | None) -> bool | None:
    return None if state is None else bool(state)


def _current(modes: list[int] | None) -> bool | None:
    """Of a mode now and after the next restart."""
    return None if modes is None else bool(modes[0])
