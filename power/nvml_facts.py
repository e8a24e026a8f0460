"""What is known of NVIDIA's power sensors by architecture and driver, and what the bits of clock reasons mean."""

from typing import Literal, NamedTuple

from .trace import SensorFacts

PowerSensor = Literal["instant", "average", "usage"]

_MS = 1_000_000
_STUDY = "Yang et al., arXiv 2312.02741"
# nvml.h says +-5 % of Fermi and Kepler, and nothing of what is newer. The error is a factor that differs from card to
# card: in the workbook of the study most are 0.3 to 11 % off, a Quadro K620 is 41 %.
_GAIN_ERROR = 0.05
_GAIN_SOURCE = f"gain: nvml.h's 5 % for Fermi and Kepler, single cards in {_STUDY} are 0.3 to 41 % off"


class _Sampling(NamedTuple):
    """The stretch that a reading is the mean of, and the time from one to the next. Units: ms."""

    window_ms: int
    period_ms: int


_WHOLE, _QUARTER, _HALF, _SECOND = _Sampling(100, 100), _Sampling(25, 100), _Sampling(10, 20), _Sampling(1000, 100)

# "Result Matrix" of Overall_Results.xlsx in github.com/JimZeyuYang/GPU_Power_Benchmark, the study's data. Kepler and
# Maxwell follow the power with a lag, which is no mean over a window; Blackwell is newer than the study.
_INSTANT = {
    "Hopper": _QUARTER,
    "Ada": _WHOLE,
    "Ampere GA10x": _WHOLE,
    "Ampere GA100": _QUARTER,
    "Turing": _WHOLE,
    "Volta": _HALF,
    "Pascal": _HALF,
}
# Those of which nvml.h says that an average is over one second.
_AVERAGED = ("Ampere GA10x", "Ada", "Hopper")

# CUDA C++ Programming Guide, "Compute Capabilities". GA100 is apart from the other chips of Ampere.
_ARCHITECTURES = {
    (3, 0): "Kepler",
    (3, 2): "Kepler",
    (3, 5): "Kepler",
    (3, 7): "Kepler",
    (5, 0): "Maxwell",
    (5, 2): "Maxwell",
    (5, 3): "Maxwell",
    (6, 0): "Pascal",
    (6, 1): "Pascal",
    (6, 2): "Pascal",
    (7, 0): "Volta",
    (7, 2): "Volta",
    (7, 5): "Turing",
    (8, 0): "Ampere GA100",
    (8, 6): "Ampere GA10x",
    (8, 7): "Ampere GA10x",
    (8, 9): "Ada",
    (9, 0): "Hopper",
    (10, 0): "Blackwell",
    (10, 3): "Blackwell",
    (11, 0): "Blackwell",
    (12, 0): "Blackwell",
    (12, 1): "Blackwell",
}

# nvml.h, nvmlClocksEventReasons and, for the last two, nvmlClocksThrottleReasons.
_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
# An idle GPU lowers its clocks because nothing is asked of it, and a setting is what the user asked for.
NO_THROTTLING = 0x001 | 0x002 | 0x100


def architecture_name(capability: tuple[int, int] | None) -> str | None:
    """The architecture of a GPU of this compute capability; None where that is not known."""
    return None if capability is None else _ARCHITECTURES.get(capability)


def power_sensor_facts(sensor: PowerSensor, architecture: str | None, driver: str | None) -> SensorFacts:
    """What is known of a reading of power.

    Args:
        sensor: "instant" is NVML_FI_DEV_POWER_INSTANT, "average" NVML_FI_DEV_POWER_AVERAGE, "usage"
            nvmlDeviceGetPowerUsage, whose meaning changed with architectures and drivers.
        architecture: as `architecture_name` gives it.
        driver: its version, "550.54.15"; None where that is not known.
    """
    sampling = _sampling(sensor, architecture, _branch(driver))
    if sampling is None:
        where = architecture or "a GPU of unknown architecture"
        return SensorFacts(
            gain_error=_GAIN_ERROR,
            source=f"window and period are not known for {sensor} power of {where}, driver {driver}; {_GAIN_SOURCE}",
        )
    return SensorFacts(
        update_period_ns=sampling.period_ms * _MS,
        averaging_window_ns=sampling.window_ms * _MS,
        gain_error=_GAIN_ERROR,
        source=f"{_STUDY}: {architecture}, driver {driver}, {sensor} power; {_GAIN_SOURCE}",
    )


def energy_sensor_facts() -> SensorFacts:
    """What is known of the energy counter.

    Its tick is not documented: about 100 ms (ml.energy/blog/energy/measurement), 10 to 20 ms on older cards
    (github.com/gpuopenanalytics/pynvml, issue 18).
    """
    return SensorFacts(
        gain_error=_GAIN_ERROR, source=f"the tick is not documented, between 10 and 100 ms were seen; {_GAIN_SOURCE}"
    )


def throttle_reason_names(bitmask: int) -> list[str]:
    """The reasons for the clocks as they are, from the lowest bit on; a bit that is not known is called bit_N."""
    bits = [1 << i for i in range(bitmask.bit_length()) if bitmask >> i & 1]
    return [_REASONS.get(bit, f"bit_{bit.bit_length() - 1}") for bit in bits]


def throttling_names(bitmask: int) -> list[str]:
    """Those of `throttle_reason_names` that mean that the GPU ran slower than it was asked to.

    A bit that is not known is among them: it is one reason more, and all but three known ones slow the GPU down.
    """
    return throttle_reason_names(bitmask & ~NO_THROTTLING)


def _branch(driver: str | None) -> int | None:
    """The driver's branch, 550 of "550.54.15"."""
    first = (driver or "").split(".")[0]
    return int(first) if first.isdecimal() and len(first) <= 6 else None


def _sampling(sensor: PowerSensor, architecture: str | None, branch: int | None) -> _Sampling | None:
    if architecture is None:
        return None
    if sensor == "instant":
        return _INSTANT.get(architecture)
    if architecture not in _AVERAGED:
        # GA100 and what is older have no average: usage is the instant power there.
        return _INSTANT.get(architecture) if sensor == "usage" else None
    return _SECOND if sensor == "average" else _usage_sampling(architecture, branch)


def _usage_sampling(architecture: str, branch: int | None) -> _Sampling | None:
    if branch is None or (architecture == "Hopper" and branch <= 530):
        return None
    # Driver 530 alone gave the instant power under this name.
    return _INSTANT[architecture] if branch == 530 else _SECOND
