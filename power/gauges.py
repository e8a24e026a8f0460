"""What heats, clocks and slows a machine, read beside its power: temperature, clocks, throttling."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from . import sysfs
from .sysfs import Attribute

# A Jetson's GPU in /sys/class/devfreq: 57000000.gpu (TX1, Nano), 17000000.gp10b (TX2), gv11b (Xavier), ga10b or gpu
# (Orin), gpu-gpc-0 (Thor).
GPU_DEVFREQ = re.compile(r"[0-9a-f]+\.(gpu|gm20b|gp10b|gv11b|ga10b)|gpu-gpc-\d+")
# The memory's clock, where root or a driver tells it; all in Hz. The first that has a number is taken.
_EMC_CLOCKS = (
    "sys/class/devfreq/bwmgr/cur_freq",
    "sys/kernel/debug/bpmp/debug/clk/emc/rate",
    "sys/kernel/debug/tegra_bwmgr/emc_rate",
    "sys/kernel/debug/clk/override.emc/clk_rate",
    "sys/kernel/debug/clk/emc/clk_rate",
)
# Cooling devices that take clocks away: Jetson's alerts and its older steps (Linux' binding nvidia,tegra124-soctherm),
# the kernel's limits of cpufreq and devfreq, ACPI's Processor. Not fans; not hot-surface-alert, which only warns.
_SLOWS_DOWN = re.compile(r".*throttle-alert|(.*-)?(light|heavy|balanced)|(thermal-)?(cpufreq|devfreq)-.*|Processor")
# A sensor whose power is off says -256 C; the PMIC of older boards always says 100 C.
_SANE_MILLIDEGREES = (-40_000, 150_000)
_CONSTANT_ZONE = re.compile(r"pmic", re.IGNORECASE)
_PROCESSOR_ZONES = ("x86_pkg_temp",)
_PROCESSOR_HWMONS = ("coretemp", "k10temp", "zenpower")

Numbers = Sequence[int | None]


class Gauge:
    """One number that is made of one or more files.

    Attributes:
        name: with its unit.
        files: what it is made of; () where the machine has none.
    """

    def __init__(self, name: str, files: Iterable[Path], combine: Callable[[Numbers], float | None]) -> None:
        self.name = name
        self.files = tuple(Attribute(path) for path in files)
        self._combine = combine

    def read(self) -> float | None:
        """The number now; None where it cannot be read."""
        return self._combine([file.number_or_none() for file in self.files])

    def close(self) -> None:
        """Give its files back; may be called twice."""
        for file in self.files:
            file.close()


def jetson_gauges(root: Path, alarms: Iterable[Path] = ()) -> tuple[Gauge, ...]:
    """What can be read of a Jetson: those of which there is a file. `alarms`: flags that count as throttling."""
    return _there(
        temperature(board_zones(root)),
        gpu_clock(root),
        emc_clock(root),
        cpu_clock(root),
        Gauge("throttled", [*throttle_states(root).values(), *alarms], _sum_of_all),
        Gauge("overcurrent_events", overcurrent_counters(root), _sum_of_all),
    )


def processor_gauges(root: Path) -> tuple[Gauge, ...]:
    """What can be read of a PC's processor: those of which there is a file."""
    return _there(
        temperature(processor_sensors(root)),
        cpu_clock(root),
        Gauge("throttled", throttle_states(root).values(), _sum_of_all),
        Gauge("thermal_throttle_events", throttle_counters(root), highest),
    )


def temperature(sensors: Iterable[Path]) -> Gauge:
    """The hottest of the sensors whose reading can be true. Units: degrees Celsius."""
    return Gauge("temperature_c", sensors, _hottest_c)


def gpu_clock(root: Path) -> Gauge:
    """The clock of a Jetson's GPU; None while its power is off. Units: MHz."""
    return Gauge("gpu_clock_mhz", [folder / "cur_freq" for folder in gpu_devfreqs(root)], _highest_running(1e6))


def emc_clock(root: Path) -> Gauge:
    """The clock of a Jetson's memory, which mostly only root can read. Units: MHz."""
    readable = [root / place for place in _EMC_CLOCKS if sysfs.number(root / place) is not None]
    return Gauge("emc_clock_mhz", readable[:1], _highest_running(1e6))


def cpu_clock(root: Path) -> Gauge:
    """The clock of the fastest core that is switched on. Units: MHz."""
    return Gauge("cpu_clock_mhz", [p / "scaling_cur_freq" for p in cpu_policies(root)], _highest_running(1e3))


def board_zones(root: Path) -> list[Path]:
    """The thermal zones of a board, without those that always say the same."""
    zones = sysfs.numbered(root / "sys/class/thermal", "thermal_zone*")
    return [zone / "temp" for zone in zones if not _CONSTANT_ZONE.search(sysfs.text(zone / "type") or "")]


def processor_sensors(root: Path) -> list[Path]:
    """The thermometers of a PC's processor: others of the machine (disk, radio) are no matter here."""
    zones = sysfs.numbered(root / "sys/class/thermal", "thermal_zone*")
    found = [zone / "temp" for zone in zones if sysfs.text(zone / "type") in _PROCESSOR_ZONES]
    for folder in sysfs.numbered(root / "sys/class/hwmon", "hwmon*"):
        if sysfs.text(folder / "name") in _PROCESSOR_HWMONS:
            found += sysfs.numbered(folder, "temp*_input")
    return found


def gpu_devfreqs(root: Path) -> list[Path]:
    """Folders of a Jetson's GPU in devfreq."""
    return [f for f in sorted((root / "sys/class/devfreq").glob("*")) if GPU_DEVFREQ.fullmatch(f.name)]


def cpu_policies(root: Path) -> list[Path]:
    """Folders of cpufreq, one for all cores that share a clock."""
    return sysfs.numbered(root / "sys/devices/system/cpu/cpufreq", "policy*")


def throttle_states(root: Path) -> dict[str, Path]:
    """Cooling devices that slow something down, by kind: the files of their states, of which 0 is "not at all"."""
    states: dict[str, Path] = {}
    for device in sysfs.numbered(root / "sys/class/thermal", "cooling_device*"):
        kind, state = sysfs.text(device / "type") or "", device / "cur_state"
        if _SLOWS_DOWN.fullmatch(kind) and sysfs.number(state) is not None:
            # Of kinds that are there several times (Processor), each has its folder's name with it.
            states[f"{kind} ({device.name})" if kind in states else kind] = state
    return states


def overcurrent_counters(root: Path) -> list[Path]:
    """Counters of how often too low a voltage or too high a current slowed an Orin or Thor down.

    Source: Jetson Linux's driver soctherm_oc. oc1 is under-voltage, oc2 average and oc3 instantaneous over-current.
    """
    folders = sysfs.numbered(root / "sys/class/hwmon", "hwmon*")
    counters = [
        c for f in folders if sysfs.text(f / "name") == "soctherm_oc" for c in sysfs.numbered(f, "oc*_event_cnt")
    ]
    return [counter for counter in counters if sysfs.number(counter) is not None]


def throttle_counters(root: Path) -> list[Path]:
    """Counters of how often heat slowed the package down, which each core of an Intel processor shows."""
    cores = sysfs.numbered(root / "sys/devices/system/cpu", "cpu[0-9]*")
    counters = [core / "thermal_throttle/package_throttle_count" for core in cores]
    return [counter for counter in counters if sysfs.number(counter) is not None]


def _there(*gauges: Gauge) -> tuple[Gauge, ...]:
    return tuple(gauge for gauge in gauges if gauge.files)


def _hottest_c(millidegrees: Numbers) -> float | None:
    coldest, hottest = _SANE_MILLIDEGREES
    sane = [value for value in millidegrees if value is not None and coldest < value < hottest]
    return max(sane) / 1e3 if sane else None


def _highest_running(per_mhz: float) -> Callable[[Numbers], float | None]:
    """The highest clock; 0 is the clock of what is switched off."""

    def fastest(clocks: Numbers) -> float | None:
        running = [clock for clock in clocks if clock]
        return max(running) / per_mhz if running else None

    return fastest


def highest(values: Numbers) -> float | None:
    """The highest of those that could be read; None where none could."""
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _sum_of_all(values: Numbers) -> float | None:
    """None where one is missing: it may be the one that is not 0. Some drivers say -1 for "never set"."""
    known = [max(value, 0) for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
