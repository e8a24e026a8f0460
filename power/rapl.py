"""Energy counters of a PC's processor: RAPL, as the kernel's powercap shows it, of Intel and of AMD.

Kernel Documentation/power/powercap/powercap.rst: energy_uj counts up and starts again at 0 after max_energy_range_uj.
A zone intel-rapl:0 is a package or the whole platform (psys), intel-rapl:0:1 a part of it.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import sysfs
from .gauges import Gauge, processor_gauges
from .meter import Channel, Fact, MeterError, MeterInfo, NoMeterError, Reading
from .sysfs import Attribute, UnreadableError
from .trace import SensorFacts

SOURCE = "rapl"
_POWERCAP = "sys/class/powercap"
# The second shows the same packages through other registers: it counts only where the first is not there.
_CONTROL_TYPES = ("intel-rapl", "intel-rapl-mmio")
_SENSOR = SensorFacts(
    update_period_ns=1_000_000,
    source="Intel's Software Developer's Manual, volume 3B, on the energy counters of RAPL: updated every ~1 msec",
)
# A counter that stands still for so long while a core is busy counts nothing: it is a hundred of its periods.
_PROOF_NS = 100_000_000
_RANGE_COUNTS = 2**32 - 1  # of the counters' registers (kernel drivers/powercap/intel_rapl_common.c)


@dataclass
class _Zone:
    """A counter: of a package, of the platform, or of a part of a package."""

    name: str
    is_package: bool
    energy: Attribute
    range_uj: int | None

    @property
    def step_uj(self) -> float | None:
        """What the counter counts in."""
        return self.range_uj / _RANGE_COUNTS if self.range_uj else None


class RaplMeter:
    """All counters that can be read, one after the other."""

    def __init__(
        self, info: MeterInfo, zones: Sequence[_Zone], gauges: Sequence[Gauge], clock: Callable[[], int]
    ) -> None:
        self._info, self._zones, self._gauges, self._clock = info, tuple(zones), tuple(gauges), clock

    @property
    def info(self) -> MeterInfo:
        """What it reads."""
        return self._info

    def read(self) -> Reading:
        """Every counter now; the instant is the middle of the reading.

        Always a reading, also where no counter has moved: that it stands still says when its tick was not.

        Raises:
            MeterError: no counter can be read.
        """
        before_ns = self._clock()
        values = tuple(zone.energy.number_or_none() for zone in self._zones)
        if all(value is None for value in values):
            raise MeterError(f"{self._info.device}: no counter can be read any more; {_WAY_IN}")
        return Reading((before_ns + self._clock()) // 2, values)

    def read_conditions(self) -> tuple[float | None, ...]:
        """One number for each of `info.condition_names`."""
        return tuple(gauge.read() for gauge in self._gauges)

    def close(self) -> None:
        """Give all files back; may be called twice."""
        _close(self._zones)
        for gauge in self._gauges:
            gauge.close()


def open_rapl(root: Path = Path("/"), *, clock: Callable[[], int] = time.monotonic_ns) -> RaplMeter:
    """The energy counters of a PC's processor.

    Watches them for up to 100 ms, which keeps a core busy, to see that they count.

    Args:
        root: of the file system.
        clock: monotonic, in ns.

    Raises:
        NoMeterError: there is no counter of a package, none may be read, or one of them stands still.
    """
    zones = _zones(root)
    packages = [zone for zone in zones if zone.is_package]
    if not packages:
        raise NoMeterError(
            f"no counter of a processor package in {root / _POWERCAP}",
            "PCs with Linux 3.13 (AMD: 5.11) have it, virtual machines and containers mostly not: "
            "measure outside of them, or with a meter at the plug",
        )
    try:
        _check_counting(packages, clock)
    except NoMeterError:
        _close(zones)
        raise
    counting, left_out = _counting(zones)
    gauges = processor_gauges(root)
    return RaplMeter(_info(root, counting, gauges, left_out), counting, gauges, clock)


def _zones(root: Path) -> list[_Zone]:
    for control_type in _CONTROL_TYPES:
        folders = sysfs.numbered(root / _POWERCAP, f"{control_type}:*")
        if zones := [_zone(folder) for folder in folders if sysfs.text(folder / "name")]:
            return _named_apart(zones)
    return []


def _zone(folder: Path) -> _Zone:
    name = sysfs.text(folder / "name") or ""
    parent = folder.name.rpartition(":")[0]
    is_part = ":" in parent
    if is_part:
        name = f"{sysfs.text(folder.parent / parent / 'name') or parent} {name}"
    is_package = not is_part and name.startswith("package")
    return _Zone(name, is_package, Attribute(folder / "energy_uj"), sysfs.number(folder / "max_energy_range_uj"))


def _named_apart(zones: list[_Zone]) -> list[_Zone]:
    """Zones of one name get their folder's with it."""
    times = Counter(zone.name for zone in zones)
    for zone in zones:
        if times[zone.name] > 1:
            zone.name = f"{zone.name} ({zone.energy.path.parent.name})"
    return zones


def _check_counting(packages: Sequence[_Zone], clock: Callable[[], int]) -> None:
    """Wait until every package has moved.

    Raises:
        NoMeterError: one cannot be read, or does not move.
    """
    first = {zone.name: _energy_uj(zone) for zone in packages}
    started_ns = clock()
    while standing := [zone for zone in packages if _energy_uj(zone) == first[zone.name]]:
        if clock() - started_ns > _PROOF_NS:
            raise NoMeterError(
                f"{standing[0].name} stands at {first[standing[0].name]} uJ for {_PROOF_NS // 10**6} ms of work",
                "the counter counts nothing here, as in some virtual machines: measure outside of them, or with a "
                "meter at the plug",
            )


def _energy_uj(zone: _Zone) -> int:
    try:
        return zone.energy.number()
    except UnreadableError as error:
        raise NoMeterError(
            f"{zone.name} cannot be read: {error}", _WAY_IN if error.denied else "look for the reason in dmesg"
        ) from error


_WAY_IN = (
    "run as root, or sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj, until the next start (a udev rule "
    "makes it last); only root may read it since CVE-2020-8694, because other users' work can be guessed from it"
)


def _counting(zones: Sequence[_Zone]) -> tuple[list[_Zone], str | None]:
    """Those that give a number above 0, and what the others say. A part that never counted is not there."""
    counting, left_out = [], []
    for zone in zones:
        try:
            if zone.energy.number() > 0 or zone.is_package:
                counting.append(zone)
                continue
            said = "it has not counted since the start"
        except UnreadableError as error:
            said = str(error)
        zone.energy.close()
        left_out.append(f"{zone.name}: {said}")
    return counting, "; ".join(left_out) or None


def _info(root: Path, zones: Sequence[_Zone], gauges: Sequence[Gauge], left_out: str | None) -> MeterInfo:
    packages = [zone.name for zone in zones if zone.is_package]
    found = re.search(r"^model name\s*:\s*(.+)$", sysfs.first_page(root / "proc/cpuinfo"), re.MULTILINE)
    facts: dict[str, Fact] = {f"{zone.name} step_uj": zone.step_uj for zone in zones}
    return MeterInfo(
        source=SOURCE,
        device=f"{found[1].strip() if found else 'processor'}, {', '.join(packages)}",
        sees="cpu",
        scope=_scope(zones),
        channels=tuple(Channel(zone.name, "energy_uj", _SENSOR, zone.range_uj) for zone in zones),
        energy_total=tuple(packages),
        condition_names=tuple(gauge.name for gauge in gauges),
        facts={**facts, "not_read": left_out},
    )


def _scope(zones: Sequence[_Zone]) -> str:
    packages = [zone.name for zone in zones if zone.is_package]
    others = [zone.name for zone in zones if not zone.is_package and zone.name.rpartition(" ")[2] in ("dram", "psys")]
    beside = f" ({', '.join(others)} beside it)" if others else ""
    return f"the processor: {' + '.join(packages)}; without memory, board, GPU cards and fans{beside}"


def _close(zones: Sequence[_Zone]) -> None:
    for zone in zones:
        zone.energy.close()
