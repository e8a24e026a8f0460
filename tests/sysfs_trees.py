"""Synthetic sysfs of Jetson boards and of PCs, laid out as the kernel does, with links and all.

Channels and addresses of the boards are those of Linux' device trees and of recorded paths; readings are made up, on
the chips' grid, so that totals can be computed by hand.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_NOBODY = 65534


class VirtualClock:
    """A monotonic clock that moves by `step_ns` at each look, and tells `watcher` what time it is."""

    def __init__(self, step_ns: int = 1_000, watcher: Callable[[int], None] | None = None) -> None:
        self.now_ns, self.step_ns, self.watcher = 0, step_ns, watcher

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        if self.watcher:
            self.watcher(self.now_ns)
        return self.now_ns


@dataclass(frozen=True)
class Rail:
    """A channel of an INA3221: its label, voltage and current, and its shunt; without a label where that is None."""

    label: str | None
    voltage_mv: int = 0
    current_ma: int = 0
    shunt_uohm: int = 5000


@dataclass(frozen=True)
class Board:
    """What a board has: chips by address, and what its rails add up to.

    `hwmon`: rails of channels 1 to 3; `iio`: label and mW of channels 0 to 2; `ina238_uw`: at 2-0044.
    """

    model: str
    total: tuple[str, ...]
    total_mw: int
    hwmon: Mapping[str, Sequence[Rail]] | None = None
    iio: Mapping[str, Sequence[tuple[str, int]]] | None = None
    ina238_uw: int | None = None


_SUM_OF_SIX = ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")
_SUM_OF_THREE = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
_TX2_CARRIER = {
    "0-0042": [("VDD_MUX", 7600), ("VDD_5V0_IO_SYS", 1900), ("VDD_3V3_SYS", 380)],
    "0-0043": [("VDD_3V3_IO_SLP", 0), ("VDD_1V8_IO", 95), ("VDD_M2_IN", 0)],
}
BOARDS = {
    "TX1": Board(
        "NVIDIA Jetson TX1 Developer Kit",
        ("VDD_IN",),
        2532,
        iio={"1-0040": [("VDD_IN", 2532), ("VDD_GPU", 19), ("VDD_CPU", 76)]},
    ),
    "TX2 old": Board(
        "quill",
        ("VDD_IN",),
        1931,
        iio={
            "0-0040": [("VDD_GPU", 77), ("VDD_SOC", 386), ("VDD_WIFI", 19)],
            "0-0041": [("VDD_IN", 1931), ("VDD_CPU", 154), ("VDD_DDR", 288)],
        },
    ),
    "TX2": Board(
        "NVIDIA Jetson TX2 Developer Kit",
        ("VDD_IN",),
        3056,
        iio={
            "0-0040": [("VDD_SYS_GPU", 152), ("VDD_SYS_SOC", 687), ("VDD_4V0_WIFI", 0)],
            "0-0041": [("VDD_IN", 3056), ("VDD_SYS_CPU", 152), ("VDD_SYS_DDR", 883)],
            **_TX2_CARRIER,
        },
    ),
    "Nano": Board(
        "NVIDIA Jetson Nano Developer Kit",
        ("POM_5V_IN",),
        1022,
        iio={"6-0040": [("POM_5V_IN", 1022), ("POM_5V_GPU", 0), ("POM_5V_CPU", 204)]},
    ),
    "Xavier NX, iio": Board(
        "NVIDIA Jetson Xavier NX Developer Kit",
        ("VDD_IN",),
        3976,
        iio={"7-0040": [("VDD_IN", 3976), ("VDD_CPU_GPU_CV", 738), ("VDD_SOC", 1041)]},
    ),
    "AGX Xavier, iio": Board(
        "Jetson-AGX",
        _SUM_OF_SIX,
        4736,  # 152 + 456 + 1520 + 0 + 608 + 2000
        iio={
            "1-0040": [("GPU", 152), ("CPU", 456), ("SOC", 1520)],
            "1-0041": [("CV", 0), ("VDDRQ", 608), ("SYS5V", 2000)],
        },
    ),
    "Xavier NX": Board(
        "NVIDIA Jetson Xavier NX Developer Kit",
        ("VDD_IN",),
        4000,
        hwmon={"7-0040": [Rail("VDD_IN", 5000, 800), Rail("VDD_CPU_GPU_CV", 5000, 152), Rail("VDD_SOC", 5000, 208)]},
    ),
    "AGX Xavier": Board(
        "NVIDIA Jetson AGX Xavier Developer Kit",
        _SUM_OF_SIX,
        4736,  # 19 V x (8 + 24 + 80 + 0 + 32) mA + 5 V x 400 mA
        hwmon={
            "1-0040": [Rail("GPU", 19000, 8), Rail("CPU", 19000, 24), Rail("SOC", 19000, 80)],
            "1-0041": [Rail("CV", 19000, 0), Rail("VDDRQ", 19000, 32), Rail("SYS5V", 5000, 400)],
        },
    ),
    "Orin NX": Board(
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        ("VDD_IN",),
        6000,
        hwmon={"1-0040": [Rail("VDD_IN", 5000, 1200), Rail("VDD_CPU_GPU_CV", 5000, 304), Rail("VDD_SOC", 5000, 400)]},
    ),
    "Orin Nano": Board(
        "NVIDIA Jetson Orin Nano Developer Kit",
        ("VDD_IN",),
        4760,
        hwmon={"1-0040": [Rail("VDD_IN", 5000, 952), Rail("VDD_CPU_GPU_CV", 5000, 104), Rail("VDD_SOC", 5000, 288)]},
    ),
    "AGX Orin": Board(
        "NVIDIA Jetson AGX Orin Developer Kit",
        _SUM_OF_THREE,
        9160,  # 19 V x (180 + 60) mA + 5 V x 920 mA; VDDQ's 700 mW are in VIN_SYS_5V0
        hwmon={
            "1-0040": [
                Rail("VDD_GPU_SOC", 19000, 180, 2000),
                Rail("VDD_CPU_CV", 19000, 60, 2000),
                Rail("VIN_SYS_5V0", 5000, 920, 2000),
            ],
            "1-0041": [Rail("NC", 8, 0), Rail("VDDQ_VDD2_1V8AO", 5000, 140, 2000), Rail("NC", 8, 0)],
        },
    ),
    "Thor": Board(
        "NVIDIA Jetson AGX Thor Developer Kit",
        ("VIN",),
        21250,
        hwmon={
            "2-0040": [
                Rail("VDD_GPU", 19000, 240, 2000),
                Rail("VDD_CPU_SOC_MSS", 19000, 240, 2000),
                Rail("VIN_SYS_5V0", 5000, 1000, 2000),
            ]
        },
        ina238_uw=21_250_000,
    ),
}


class Tree:
    """A root folder with files as sysfs has them."""

    def __init__(self, root: Path, first_hwmon: int = 3) -> None:
        self.root = root
        self._next_hwmon = first_hwmon

    def put(self, place: str, content: object) -> Path:
        """Write a file, with the line's end that the kernel adds."""
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
        return path

    def model(self, name: str) -> None:
        """The device tree's name for the board, which ends with a zero byte."""
        self.put("proc/device-tree/model", "").write_bytes(name.encode() + b"\0")

    def link(self, place: str, target: Path) -> None:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(target, path.parent))

    def damage(self, path: Path) -> None:
        """Make reading fail with EIO: address 0 of no process's memory can be read."""
        path.unlink()
        path.symlink_to("/proc/self/mem")

    def hwmon(self, name: str, address: str | None = None) -> Path:
        """A new folder of hwmon, of a chip on a bus where it has an address."""
        device = self.root / "sys/devices/platform" / (f"bus/{address}" if address else name)
        folder = device / f"hwmon/hwmon{self._next_hwmon}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        self.link(f"sys/class/hwmon/{folder.name}", folder)
        if address:
            self.link(f"sys/bus/i2c/drivers/{name}/{address}", device)
        self._next_hwmon += 1
        return folder

    def ina3221(self, address: str, rails: Sequence[Rail], interval_ms: int = 7, samples: int = 1) -> Path:
        """A chip of Linux' driver, with the sums and shunt voltages that are no rails."""
        folder = self.hwmon("ina3221", address)
        files: dict[str, object] = {"update_interval": interval_ms, "samples": samples, "curr4_input": 1544}
        files.update({"in7_label": "sum of shunt voltages", "in7_input": 5000, "curr4_crit_alarm": 0})
        for channel, rail in enumerate(rails, start=1):
            files[f"in{channel + 3}_input"] = rail.current_ma * rail.shunt_uohm // 1000
            files.update(_channel_files(channel, rail))
        for name, content in files.items():
            (folder / name).write_text(f"{content}\n")
        return folder

    def iio(self, address: str, number: int, rails: Sequence[tuple[str, int]]) -> Path:
        """A chip of NVIDIA's older driver."""
        folder = self.root / f"sys/devices/platform/bus/{address}/iio:device{number}"
        folder.mkdir(parents=True)
        for channel, (label, power_mw) in enumerate(rails):
            voltage_mv = 5000
            values = {"power": power_mw, "voltage": voltage_mv, "current": power_mw * 1000 // voltage_mv}
            (folder / f"rail_name_{channel}").write_text(f"{label}\n")
            for what, value in values.items():
                (folder / f"in_{what}{channel}_input").write_text(f"{value}\n")
        self.link(f"sys/bus/i2c/drivers/ina3221x/{address}", folder.parent)
        return folder

    def ina238(self, power_uw: int, label: str | None = None, address: str = "2-0044") -> Path:
        folder = self.hwmon("ina238", address)
        files = {"in0_input": 4, "in1_input": 19800, "curr1_input": 1073, "power1_input": power_uw}
        for name, content in {**files, **({"in1_label": label} if label else {})}.items():
            (folder / name).write_text(f"{content}\n")
        return folder

    def chip(self, address: str) -> Path:
        """The folder with the files of the chip at that address."""
        return next((self.root / f"sys/devices/platform/bus/{address}").glob("**/*_input")).parent

    def cooling(self, number: int, kind: str, state: object) -> Path:
        self.put(f"sys/class/thermal/cooling_device{number}/type", kind)
        return self.put(f"sys/class/thermal/cooling_device{number}/cur_state", state)

    def zone(self, number: int, kind: str, millidegrees: object) -> Path:
        self.put(f"sys/class/thermal/thermal_zone{number}/type", kind)
        return self.put(f"sys/class/thermal/thermal_zone{number}/temp", millidegrees)

    def cpu_policy(self, number: int, khz: int, limits_khz: tuple[int, int], governor: str = "schedutil") -> Path:
        """A cpufreq policy; the file of its clock."""
        folder = f"sys/devices/system/cpu/cpufreq/policy{number}"
        self.put(f"{folder}/scaling_governor", governor)
        for name, value in zip(("min", "max"), limits_khz, strict=True):
            self.put(f"{folder}/scaling_{name}_freq", value)
        return self.put(f"{folder}/scaling_cur_freq", khz)

    def gpu_devfreq(self, name: str, hz: int, limits_hz: tuple[int, int], governor: str = "nvhost_podgov") -> Path:
        """The GPU in devfreq; the file of its clock."""
        self.put(f"sys/class/devfreq/{name}/governor", governor)
        for limit, value in zip(("min", "max"), limits_hz, strict=True):
            self.put(f"sys/class/devfreq/{name}/{limit}_freq", value)
        return self.put(f"sys/class/devfreq/{name}/cur_freq", hz)

    def program(self, name: str, script: str) -> Path:
        """A program on the PATH that `environ` gives."""
        path = self.put(f"bin/{name}", f"#!/bin/sh\n{script}")
        path.chmod(0o755)
        return path

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": f"{self.root / 'bin'}"}

    def rapl_zone(self, name: str, title: str, energy_uj: int, range_uj: int = 262_143_328_850) -> Path:
        """A counter of powercap; its file."""
        self.put(f"sys/class/powercap/{name}/name", title)
        self.put(f"sys/class/powercap/{name}/max_energy_range_uj", range_uj)
        return self.put(f"sys/class/powercap/{name}/energy_uj", energy_uj)


def jetson_tree(folder: Path, board: str, first_hwmon: int = 3) -> Tree:
    """The sensors of one of `BOARDS`."""
    tree, described = Tree(folder, first_hwmon), BOARDS[board]
    tree.model(described.model)
    for address, rails in (described.hwmon or {}).items():
        tree.ina3221(address, rails)
    for number, (address, powers) in enumerate((described.iio or {}).items()):
        tree.iio(address, number, powers)
    if described.ina238_uw is not None:
        tree.ina238(described.ina238_uw, "VIN")
    return tree


def rapl_pc(folder: Path, sockets: int = 1) -> Tree:
    """A PC by Intel: for each socket a package with core and DRAM."""
    tree = Tree(folder)
    for socket in range(sockets):
        tree.rapl_zone(f"intel-rapl:{socket}", f"package-{socket}", 1_000_000 + socket)
        tree.rapl_zone(f"intel-rapl:{socket}:0", "core", 500_000)
        tree.rapl_zone(f"intel-rapl:{socket}:1", "dram", 250_000, 65_712_999_613)
    tree.put("proc/cpuinfo", "processor\t: 0\nmodel name\t: Example CPU @ 2.50GHz\nflags\t\t: fpu")
    return tree


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the right of root to read every file; pytest's own folders are closed to such a user."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(_NOBODY)
    except OSError as error:
        pytest.skip(f"root cannot become another user here: {error}")
    try:
        yield
    finally:
        os.seteuid(0)


def _channel_files(channel: int, rail: Rail) -> dict[str, object]:
    files: dict[str, object] = {
        f"in{channel}_enable": 1,
        f"in{channel}_input": rail.voltage_mv,
        f"curr{channel}_input": rail.current_ma,
        f"curr{channel}_crit_alarm": 0,
        f"shunt{channel}_resistor": rail.shunt_uohm,
    }
    return files if rail.label is None else {**files, f"in{channel}_label": rail.label}
