"""The machine that numbers were taken on, and what about it speaks against them."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..version import __version__
from .runner import usable_cores

_LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "tensorrt", "tensorrt-rtx", "cuda-python")
# Load beyond this share of the cores is more than a shell and a monitor.
_BUSY_SHARE = 0.25


@dataclass(frozen=True)
class Environment:
    """What the machine says of itself; None where it does not say, or not to this user.

    `board` is the device tree's name of the board. `cores` are those of the machine, `usable_cores` those that this
    process may run on, `cpu_limit` the processor time per second that its control group allows. Units: cores.
    """

    board: str | None
    cpu: str | None
    machine: str
    cores: int | None
    usable_cores: int
    cpu_limit: float | None
    governor: str | None
    os: str
    python: str
    espnet_edge: str
    libraries: dict[str, str]

    @property
    def line(self) -> str:
        """One line for people."""
        parts = [self.board, self.cpu or self.machine, f"{self.usable_cores} of {self.cores} cores"]
        if self.cpu_limit is not None:
            parts.append(f"limited to {self.cpu_limit:g} cores")
        if self.governor is not None:
            parts.append(f"governor {self.governor}")
        return ", ".join([*(part for part in parts if part), self.os, f"Python {self.python}"])


def read_environment(root: Path = Path("/")) -> Environment:
    """What is known of this machine. `root` is where /proc and /sys are looked for."""
    return Environment(
        board=_text(root / "proc/device-tree/model"),
        cpu=_cpu_model(root),
        machine=platform.machine(),
        cores=os.cpu_count(),
        usable_cores=usable_cores(),
        cpu_limit=_cpu_limit(root),
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        espnet_edge=__version__,
        libraries={name: found for name in _LIBRARIES if (found := _version(name)) is not None},
    )


def load_average() -> float | None:
    """Processes that ran or waited, averaged over the last minute; None where the system does not count them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def environment_doubts(
    environment: Environment, threads: int, load_before: float | None, load_after: float | None
) -> list[str]:
    """What about the machine speaks against the numbers, each with its remedy.

    Args:
        environment: the machine.
        threads: the most that a measured runner used.
        load_before: load average right before the measurement.
        load_after: right after it, with the measurement's own threads in it.
    """
    return [
        *_load_doubts(environment, threads, load_before, load_after),
        *_core_doubts(environment, threads),
        *_clock_doubts(environment),
    ]


def _load_doubts(
    environment: Environment, threads: int, load_before: float | None, load_after: float | None
) -> Iterator[str]:
    cores = environment.cores or environment.usable_cores
    allowed = max(0.5, _BUSY_SHARE * cores)
    if load_before is not None and load_before > allowed:
        yield (
            f"load average {load_before:.1f} on {cores} cores before the start: other work is running, or has just "
            "ended; stop it, wait a minute and measure again"
        )
    elif load_after is not None and load_after > threads + allowed:
        yield (
            f"load average {load_after:.1f} on {cores} cores at the end, {threads} threads were measured: "
            "other work has started; stop it and measure again"
        )


def _core_doubts(environment: Environment, threads: int) -> Iterator[str]:
    if threads > environment.usable_cores:
        yield (
            f"{threads} threads on {environment.usable_cores} usable cores wait for each other; "
            f"use --threads {environment.usable_cores}"
        )
    if environment.cpu_limit is not None and threads > environment.cpu_limit:
        yield (
            f"the control group allows {environment.cpu_limit:g} cores and {threads} threads were used: they are "
            f"halted time and again; use --threads {max(1, int(environment.cpu_limit))}, or lift the limit"
        )


def _clock_doubts(environment: Environment) -> Iterator[str]:
    if environment.governor not in {None, "performance"}:
        yield (
            f"the CPU governor is {environment.governor}: clocks follow the load; set performance "
            "(sudo cpupower frequency-set -g performance; on a Jetson sudo jetson_clocks) and measure again"
        )


def _cpu_model(root: Path) -> str | None:
    for line in (_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return None


def _cpu_limit(root: Path) -> float | None:
    """The tightest limit among this process's control groups and those above them, version 2 and version 1."""
    limits = []
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", maxsplit=2)
        if not controllers:
            limits += [_quota(folder, "cpu.max") for folder in _upwards(root / "sys/fs/cgroup", path)]
        elif "cpu" in controllers.split(","):
            limits += [_quota(folder, "cpu.cfs_quota_us") for folder in _upwards(root / "sys/fs/cgroup/cpu", path)]
    return min((limit for limit in limits if limit is not None), default=None)


def _upwards(mount: Path, group: str) -> Iterator[Path]:
    folder = mount / group.lstrip("/")
    yield folder
    while folder != mount and mount in folder.parents:
        folder = folder.parent
        yield folder


def _quota(folder: Path, name: str) -> float | None:
    """Quota over period, in cores; "max" and -1 stand for none."""
    words = (_text(folder / name) or "").split()
    if name == "cpu.cfs_quota_us":
        words += (_text(folder / "cpu.cfs_period_us") or "").split()
    if len(words) != 2 or words[0] in {"max", "-1"}:
        return None
    return int(words[0]) / int(words[1])


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _text(path: Path) -> str | None:
    """The file's text without the NUL that device trees end it with; None where it is not there or not readable."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None
