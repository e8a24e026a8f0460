"""The state of a machine that decides about its power, to be recorded with every result, and what is wrong with it."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import one_line
from . import gauges, sysfs

# Between two snapshots: 5 degrees more leak visibly more current; the limit is ours.
MAX_TEMPERATURE_CHANGE_C = 5.0
_PROGRAM_LIMIT_S = 5.0
_MAX_OUTPUT = 64 << 10  # characters of a program's output that are looked at
_MAX_SHOWN = 200


@dataclass(frozen=True)
class ClockRange:
    """A clock that moves between two limits; None for what cannot be read.

    Attributes:
        name: policy0 of the CPU, or the GPU's folder in devfreq.
        governor: what sets it.
        min_mhz: lower limit. Units: MHz.
        max_mhz: upper limit. Units: MHz.
        current_mhz: now. Units: MHz.
    """

    name: str
    governor: str | None
    min_mhz: float | None
    max_mhz: float | None
    current_mhz: float | None

    @property
    def locked(self) -> bool | None:
        """Whether the limits leave it one value; None where they cannot be read."""
        return None if self.min_mhz is None or self.max_mhz is None else self.min_mhz == self.max_mhz


@dataclass(frozen=True)
class PowerMode:
    """What nvpmodel answers.

    Attributes:
        name: MAXN, 15W, ...; None where it is not told.
        number: the mode's number, for nvpmodel -m; None likewise.
        answer: why the name is not known; None where it is.
        way_out: what to do then.
    """

    name: str | None
    number: int | None = None
    answer: str | None = None
    way_out: str | None = None


@dataclass(frozen=True)
class MachineConditions:
    """A snapshot; None for what cannot be read.

    Attributes:
        board: the board or PC model.
        l4t: the release of Jetson Linux, as 36.4.3; None on other machines.
        power_mode: a Jetson's; None on other machines.
        cpu_clocks: one for all cores that share a clock.
        gpu_clocks: of a Jetson's GPU.
        emc_mhz: clock of a Jetson's memory. Units: MHz.
        jetson_clocks: what jetson_clocks --show says, which needs root; () where it says nothing.
        turbo: whether the CPU may clock above its base frequency.
        fan_pwm: how strongly the fan is driven, of 255.
        fan_rpm: how fast it turns. Units: 1/min.
        throttling: states of cooling devices that slow something down, 0 for "not at all".
        throttle_events: counters of how often something was slowed down.
        temperature_c: the hottest sensor of the board, or of the processor. Units: degrees Celsius.
    """

    board: str | None = None
    l4t: str | None = None
    power_mode: PowerMode | None = None
    cpu_clocks: tuple[ClockRange, ...] = ()
    gpu_clocks: tuple[ClockRange, ...] = ()
    emc_mhz: float | None = None
    jetson_clocks: tuple[str, ...] = ()
    turbo: bool | None = None
    fan_pwm: int | None = None
    fan_rpm: int | None = None
    throttling: Mapping[str, int | None] = field(default_factory=dict)
    throttle_events: Mapping[str, int | None] = field(default_factory=dict)
    temperature_c: float | None = None

    @property
    def clocks_locked(self) -> bool | None:
        """Whether CPU and GPU are held at one clock each, as jetson_clocks does; None where that cannot be read."""
        states = [clock.locked for clock in (*self.cpu_clocks, *self.gpu_clocks)]
        return False if False in states else None if None in states or not states else True


def read_conditions(root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> MachineConditions:
    """The machine's state now; reads files, and asks nvpmodel and jetson_clocks on a Jetson. Raises nothing.

    Args:
        root: of the file system.
        environ: where PATH is found; the process's own where it is None.
    """
    environ = os.environ if environ is None else environ
    l4t = l4t_release(root)
    # Boards have no thermometer of the kinds that a PC's processor has.
    sensors = gauges.processor_sensors(root) or gauges.board_zones(root)
    fan_pwm, fan_rpm = _fan(root)
    return MachineConditions(
        board=sysfs.text(root / "proc/device-tree/model") or sysfs.text(root / "sys/class/dmi/id/product_name"),
        l4t=l4t,
        power_mode=power_mode(root, environ) if l4t else None,
        cpu_clocks=tuple(_cpu_clock(policy) for policy in gauges.cpu_policies(root)),
        gpu_clocks=tuple(_gpu_clock(folder) for folder in gauges.gpu_devfreqs(root)),
        emc_mhz=_once(gauges.emc_clock(root)),
        jetson_clocks=_jetson_clocks(root, environ) if l4t else (),
        turbo=_turbo(root),
        fan_pwm=fan_pwm,
        fan_rpm=fan_rpm,
        throttling={kind: sysfs.number(state) for kind, state in gauges.throttle_states(root).items()},
        throttle_events=_throttle_events(root),
        temperature_c=_once(gauges.temperature(sensors)),
    )


def l4t_release(root: Path = Path("/")) -> str | None:
    """ "# R36 (release), REVISION: 4.3, ..." in /etc/nv_tegra_release is 36.4.3; None where there is no such file."""
    text = sysfs.text(root / "etc/nv_tegra_release")
    if text is None:
        return None
    found = re.match(r"#\s*R(\d{1,3})\s*\(release\),\s*REVISION:\s*(\d{1,3})(?:\.(\d{1,3}))?", text)
    return f"{found[1]}.{found[2]}.{found[3] or 0}" if found else text[:_MAX_SHOWN]


def power_mode(
    root: Path = Path("/"), environ: Mapping[str, str] | None = None, limit_s: float = _PROGRAM_LIMIT_S
) -> PowerMode:
    """What `nvpmodel -q` says: "NV Power Mode: MAXN" and the mode's number on a line of its own. Raises nothing."""
    program = _program("nvpmodel", root, os.environ if environ is None else environ)
    if program is None:
        return PowerMode(
            None,
            answer="nvpmodel is neither on PATH nor in /usr/sbin",
            way_out="sudo apt install nvidia-l4t-nvpmodel",
        )
    said, error = _asked([program, "-q"], limit_s)
    found = re.search(r"Power Mode:[ \t]*(\S+)[ \t]*(?:\n[ \t]*(\d{1,4})[ \t]*$)?", said, re.MULTILINE)
    if found is None:
        answer = error or said.strip().rpartition("\n")[2] or "no output"
        return PowerMode(None, answer=f"nvpmodel -q: {one_line(answer)[:_MAX_SHOWN]}", way_out="sudo nvpmodel -q")
    return PowerMode(one_line(found[1])[:_MAX_SHOWN], int(found[2]) if found[2] else None)


def condition_doubts(
    before: MachineConditions, after: MachineConditions, *, measures_cpu: bool = True, measures_gpu: bool = True
) -> list[str]:
    """What in the machine's state makes a measurement between two snapshots hard to repeat, each with the way out.

    Args:
        before: read before the measurement.
        after: read after it.
        measures_cpu: whether the processor's clocks matter for what was measured.
        measures_gpu: whether those of a Jetson's GPU do.
    """
    doubts = [*_mode_doubts(before, after), *_throttle_doubts(before, after), *_temperature_doubts(before, after)]
    if measures_cpu:
        doubts += [*_clock_doubts("CPU", before.cpu_clocks, after.cpu_clocks, before), *_turbo_doubts(before, after)]
    if measures_gpu:
        doubts += _clock_doubts("GPU", before.gpu_clocks, after.gpu_clocks, before)
    return doubts


def _mode_doubts(before: MachineConditions, after: MachineConditions) -> Iterator[str]:
    """Doubts about nvpmodel's mode."""
    first, last = before.power_mode, after.power_mode
    if first is None or last is None:
        return
    for mode in (first, last):
        if mode.name is None:
            yield f"the power mode is not known: {mode.answer}; {mode.way_out}"
            return
    if (first.name, first.number) != (last.name, last.number):
        yield f"the power mode went from {first.name} to {last.name}; choose one with sudo nvpmodel -m, measure again"


def _clock_doubts(
    what: str, before: Sequence[ClockRange], after: Sequence[ClockRange], machine: MachineConditions
) -> Iterator[str]:
    """Doubts about clocks that move, or whose limits were moved."""
    was, now = ({clock.name: clock for clock in clocks} for clocks in (before, after))
    names = [name for name in sorted({*was, *now}) if _limits(was.get(name)) != _limits(now.get(name))]
    if names:
        settings = f"{_shown(was.get(names[0]))} before, {_shown(now.get(names[0]))} after"
        yield f"the {what}'s clock settings changed ({names[0]}: {settings}); measure again"
    loose = [clock for clock in before if not clock.locked and clock.governor != "performance"]
    if loose and machine.l4t:
        yield f"the {what}'s clocks are not locked ({_shown(loose[0])}); sudo jetson_clocks, after nvpmodel"
    elif loose:
        yield (
            f"the {what}'s governor is {loose[0].governor or 'not known'} ({_shown(loose[0])}): its clocks follow the "
            "load; sudo cpupower frequency-set -g performance"
        )


def _turbo_doubts(before: MachineConditions, after: MachineConditions) -> Iterator[str]:
    if before.turbo or after.turbo:
        yield (
            "turbo is on: the clock depends on temperature and on what else runs; "
            "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo, or 0 into .../cpufreq/boost"
        )


def _throttle_doubts(before: MachineConditions, after: MachineConditions) -> Iterator[str]:
    """Doubts about a machine that was slowed down."""
    seen = {kind: state for machine in (before, after) for kind, state in machine.throttling.items() if state}
    positive = [f"{kind} at {state}" for kind, state in seen.items() if state > 0]
    if positive:
        yield f"it was throttled: {', '.join(positive)}; cool it better, or choose a lower power mode"
    for name, count in after.throttle_events.items():
        earlier = before.throttle_events.get(name)
        if count is not None and earlier is not None and count != earlier:
            yield (
                f"it was slowed down {count - earlier} times ({name} went from {earlier} to {count}); check supply and "
                "cooling, or choose a lower power mode"
            )


def _temperature_doubts(before: MachineConditions, after: MachineConditions) -> Iterator[str]:
    if before.temperature_c is None or after.temperature_c is None:
        return
    if abs(after.temperature_c - before.temperature_c) > MAX_TEMPERATURE_CHANGE_C:
        yield (
            f"the temperature went from {before.temperature_c:.1f} to {after.temperature_c:.1f} C, and power with it; "
            "warm up for longer"
        )


def _limits(clock: ClockRange | None) -> tuple[str | float | None, ...]:
    return () if clock is None else (clock.governor, clock.min_mhz, clock.max_mhz)


def _shown(clock: ClockRange | None) -> str:
    if clock is None:
        return "switched off"
    low, high = ("?" if limit is None else f"{limit:g}" for limit in (clock.min_mhz, clock.max_mhz))
    return f"{clock.governor or 'unknown governor'}, {low} to {high} MHz"


def _cpu_clock(policy: Path) -> ClockRange:
    limits = [_mhz(policy / f"scaling_{name}_freq", 1e3) for name in ("min", "max", "cur")]
    return ClockRange(policy.name, sysfs.text(policy / "scaling_governor"), *limits)


def _gpu_clock(folder: Path) -> ClockRange:
    limits = [_mhz(folder / f"{name}_freq", 1e6) for name in ("min", "max", "cur")]
    return ClockRange(folder.name, sysfs.text(folder / "governor"), *limits)


def _mhz(path: Path, per_mhz: float) -> float | None:
    clock = sysfs.number(path)
    return None if clock is None else clock / per_mhz


def _once(gauge: gauges.Gauge) -> float | None:
    try:
        return gauge.read()
    finally:
        gauge.close()


def _turbo(root: Path) -> bool | None:
    """Intel's driver has a switch that turns it off, the others one that turns it on."""
    no_turbo = sysfs.number(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = sysfs.number(root / "sys/devices/system/cpu/cpufreq/boost")
    return no_turbo == 0 if no_turbo is not None else boost == 1 if boost is not None else None


def _fan(root: Path) -> tuple[int | None, int | None]:
    """How strongly the first fan is driven, and how fast it turns: on a Jetson two folders tell that."""
    folders = sysfs.numbered(root / "sys/class/hwmon", "hwmon*")
    pwm = [sysfs.number(folder / "pwm1") for folder in folders]
    rpm = [sysfs.number(folder / name) for folder in folders for name in ("rpm", "fan1_input")]
    return next((value for value in pwm if value is not None), None), next((v for v in rpm if v is not None), None)


def _throttle_events(root: Path) -> dict[str, int | None]:
    counters = {path.name: sysfs.number(path) for path in gauges.overcurrent_counters(root)}
    heat = _once(gauges.Gauge("", gauges.throttle_counters(root), gauges.highest))
    return counters if heat is None else {**counters, "package_throttle_count": int(heat)}


def _jetson_clocks(root: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    program = _program("jetson_clocks", root, environ)
    said, error = _asked([program, "--show"], _PROGRAM_LIMIT_S) if program else ("", None)
    lines = tuple(one_line(line)[:_MAX_SHOWN] for line in said.splitlines() if line.strip())
    return lines if error is None and any("MinFreq" in line for line in lines) else ()


def _program(name: str, root: Path, environ: Mapping[str, str]) -> str | None:
    """Where it is: on PATH, else where Jetson Linux has it."""
    places = [environ.get("PATH", os.defpath), str(root / "usr/sbin"), str(root / "usr/bin")]
    return shutil.which(name, path=os.pathsep.join(places))


def _asked(command: Sequence[str], limit_s: float) -> tuple[str, str | None]:
    """What a program prints, and why that is not all."""
    # Into a file: of a program that hangs, others that it started may keep a pipe open.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "", f"it did not answer in {limit_s:g} s"
        except OSError as error:
            return "", error.strerror or str(error)
        output.seek(0)
        said = output.read(_MAX_OUTPUT).decode(errors="replace")
    return said, None if code == 0 else said.strip().rpartition("\n")[2] or f"exit code {code}"
