"""Power of a Jetson's rails from its own chips: INA3221 through hwmon or iio, INA238 through hwmon.

Two drivers read the INA3221. That of Linux (Jetson Linux 35 and newer; kernel Documentation/hwmon/ina3221.rst) gives
voltage and current of channels 1 to 3, from which power is computed here; in4 to in7 and curr4 are voltages over
shunts and sums, no rails. NVIDIA's own (Jetson Linux 24 to 32) is an iio device that gives power of channels 0 to 2.
The INA238 of Thor (Documentation/hwmon/ina238.rst) gives power itself, in uW.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import sysfs
from .boards import INA3221_SOURCE, NOT_CONNECTED, Total, of_ina3221, step_mw, total_of
from .gauges import Gauge, jetson_gauges
from .meter import Channel, Fact, MeterError, MeterInfo, NoMeterError, Reading
from .sysfs import Attribute, UnreadableError
from .trace import SensorFacts

SOURCE = "ina3221"
# No Jetson comes near it, so a rail that says more has not been read: Thor is held to 168 W (NVIDIA forum 366461).
MAX_PLAUSIBLE_MW = 1_000_000
# One step of the voltage over the shunt (Texas Instruments' INA3221 datasheet, SBOS576).
_SHUNT_STEP_UV = 40
_DRIVERS = "sys/bus/i2c/drivers"
_MAX_LABEL = 40
_MAX_LISTED = 4
_NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class _Chip:
    """A folder of a driver, and the chip's own name for it."""

    folder: Path
    kind: str
    address: str


@dataclass
class _Rail:
    """A channel of a chip: the product of its files over `divisor` is its power in mW."""

    chip: _Chip
    channel: int
    label: str | None
    files: tuple[Attribute, ...]
    divisor: int
    shunt_uohm: int | None = None
    sensor: SensorFacts = field(default_factory=SensorFacts)

    @property
    def place(self) -> str:
        return f"{self.chip.address} channel {self.channel}"

    def power_mw(self) -> int:
        """To the nearest mW. Below 0 where the current is, which noise around 0 does."""
        product = math.prod(file.number() for file in self.files)
        power_mw = (2 * product + self.divisor) // (2 * self.divisor)
        if abs(power_mw) > MAX_PLAUSIBLE_MW:
            raise UnreadableError(f"{power_mw} mW is more than any Jetson draws")
        return power_mw

    def power_mw_or_none(self) -> int | None:
        try:
            return self.power_mw()
        except UnreadableError:
            return None

    def close(self) -> None:
        for file in self.files:
            file.close()


class Ina3221Meter:
    """All rails that a Jetson's chips measure, read one after the other.

    Linux' driver waits for the chip's next conversion at each file, so a reading can take as long as two conversions
    for each rail (`read_us` of the facts); voltage and current of a rail are of conversions that follow on each other.
    """

    def __init__(
        self, info: MeterInfo, rails: Sequence[_Rail], gauges: Sequence[Gauge], clock: Callable[[], int]
    ) -> None:
        self._info, self._rails, self._gauges, self._clock = info, tuple(rails), tuple(gauges), clock

    @property
    def info(self) -> MeterInfo:
        """What it reads."""
        return self._info

    def read(self) -> Reading:
        """Every rail now, to the nearest mW; the instant is the middle of the reading.

        Always a reading: the chips do not say whether they have measured anew.

        Raises:
            MeterError: no rail can be read.
        """
        before_ns = self._clock()
        values = tuple(rail.power_mw_or_none() for rail in self._rails)
        if all(value is None for value in values):
            raise MeterError(f"{self._info.device}: no rail can be read any more; look for the reason in dmesg")
        return Reading((before_ns + self._clock()) // 2, values)

    def read_conditions(self) -> tuple[float | None, ...]:
        """One number for each of `info.condition_names`.

        Reading the rails can take back an alarm of the chip before it is seen here: 1 is certain, 0 is not.
        """
        return tuple(gauge.read() for gauge in self._gauges)

    def close(self) -> None:
        """Give all files back; may be called twice."""
        for rail in self._rails:
            rail.close()
        for gauge in self._gauges:
            gauge.close()


def open_ina3221(root: Path = Path("/"), *, clock: Callable[[], int] = time.monotonic_ns) -> Ina3221Meter:
    """The power sensors of a Jetson.

    Args:
        root: of the file system.
        clock: monotonic, in ns.

    Raises:
        NoMeterError: there is no chip, no rail of it can be read, or all of them say 0 mW.
    """
    model = sysfs.text(root / "proc/device-tree/model")
    chips = _chips(root)
    if not chips:
        raise NoMeterError(
            f"no INA3221 or INA238 in {root / _DRIVERS}", "most Jetson boards have one; elsewhere use another meter"
        )
    rails, left_out = _readable([rail for chip in chips for rail in _RAILS_OF[chip.kind](chip, model)])
    total = total_of([rail.label for rail in rails if rail.label], model)
    for rail in rails:
        rail.sensor = _sensor(rail, total.board)
    gauges = jetson_gauges(root, _alarms(rails))
    started_ns = clock()
    for rail in rails:
        rail.power_mw_or_none()
    facts = {**_facts(model, total, rails), "not_read": left_out, "read_us": (clock() - started_ns) // 1000}
    if total.reason and left_out:
        total = replace(total, reason=f"{total.reason} (not read: {left_out})")
    return Ina3221Meter(_info(model, total, rails, gauges, facts), rails, gauges, clock)


def _chips(root: Path) -> list[_Chip]:
    """Every chip once: hwmon numbers change from boot to boot, addresses on the bus do not."""
    found = [_Chip(folder, "iio", folder.parent.name) for folder in (root / _DRIVERS).glob("ina3221x/*/iio*device*")]
    # /sys/class/hwmon shows the same folders again, also for drivers of other names.
    folders = [*(root / _DRIVERS).glob("ina*/*/hwmon/hwmon*"), *(root / "sys/class/hwmon").glob("hwmon*")]
    for folder in folders:
        kind, device = sysfs.text(folder / "name"), folder.resolve().parents[1].name
        if kind in ("ina3221", "ina238"):
            found.append(_Chip(folder, kind, device))
    return [chip for _, chip in sorted({chip.address: chip for chip in reversed(found)}.items())]


def _hwmon_rails(chip: _Chip, _model: str | None) -> Iterator[_Rail]:
    """in1_input in mV and curr1_input in mA: their product is in uW."""
    for channel in (1, 2, 3):
        voltage, current = chip.folder / f"in{channel}_input", chip.folder / f"curr{channel}_input"
        label = _label(chip.folder / f"in{channel}_label")
        if voltage.exists() and sysfs.number(chip.folder / f"in{channel}_enable") != 0 and label != NOT_CONNECTED:
            shunt_uohm = sysfs.number(chip.folder / f"shunt{channel}_resistor")
            yield _Rail(chip, channel, label, (Attribute(voltage), Attribute(current)), 1000, shunt_uohm)


def _iio_rails(chip: _Chip, _model: str | None) -> Iterator[_Rail]:
    """in_power0_input, in mW."""
    for channel in (0, 1, 2):
        power, label = chip.folder / f"in_power{channel}_input", _label(chip.folder / f"rail_name_{channel}")
        if power.exists() and label != NOT_CONNECTED:
            yield _Rail(chip, channel, label, (Attribute(power),), 1)


def _ina238_rails(chip: _Chip, model: str | None) -> Iterator[_Rail]:
    """power1_input, in uW."""
    labels = [_label(chip.folder / name) for name in ("in1_label", "power1_label", "label")]
    # Linux' driver has no label of its own. The one INA238 of Thor measures VIN (NVIDIA forum 366461).
    label = next(filter(None, labels), "VIN" if "thor" in (model or "").lower() else None)
    yield _Rail(chip, 1, label, (Attribute(chip.folder / "power1_input"),), 1000)


_RAILS_OF: Mapping[str, Callable[[_Chip, str | None], Iterator[_Rail]]] = {
    "ina3221": _hwmon_rails,
    "iio": _iio_rails,
    "ina238": _ina238_rails,
}


def _label(path: Path) -> str | None:
    label = sysfs.text(path)
    return label[:_MAX_LABEL] if label else None


def _readable(rails: Sequence[_Rail]) -> tuple[list[_Rail], str | None]:
    """The rails that give a number, and what the others say.

    Raises:
        NoMeterError: none does, or all say 0 mW.
    """
    powers_mw: dict[int, int] = {}
    errors: dict[int, UnreadableError] = {}
    for at, rail in enumerate(rails):
        try:
            powers_mw[at] = rail.power_mw()
        except UnreadableError as error:
            errors[at] = error
            rail.close()
    answer = _listed([f"{rails[at].label or 'no label'} ({rails[at].place}): {error}" for at, error in errors.items()])
    if any(power_mw > 0 for power_mw in powers_mw.values()):
        return [rails[at] for at in powers_mw], answer
    for rail in rails:
        rail.close()
    if powers_mw:
        raise _all_zero(len(powers_mw))
    raise _none_readable(answer, [rails[at].chip.folder for at, error in errors.items() if error.denied])


def _listed(said: Sequence[str]) -> str | None:
    more = f" and {len(said) - _MAX_LISTED} more" if len(said) > _MAX_LISTED else ""
    return "; ".join(said[:_MAX_LISTED]) + more or None


def _all_zero(count: int) -> NoMeterError:
    return NoMeterError(
        f"the {count} rails that can be read draw 0 mW or less, which no board does",
        "the chips measure nothing here: compare with sudo tegrastats, or use a meter at the power adapter",
    )


def _none_readable(answer: str | None, denied: Sequence[Path]) -> NoMeterError:
    said = f"no rail can be read: {answer or 'all channels are switched off'}"
    if denied:
        return NoMeterError(said, f"run as root, or sudo chmod a+r {denied[0]}/*_input, until the next start")
    return NoMeterError(said, "look for the reason in dmesg, or use a meter at the power adapter")


def _sensor(rail: _Rail, board: str | None) -> SensorFacts:
    """What driver and datasheet say of a rail's readings."""
    facts = SensorFacts(step_mw=step_mw(rail.label or "", board), source=_SOURCES[rail.chip.kind])
    if rail.chip.kind != "iio":
        facts = _stepped(_timed(facts, rail.chip), rail)
    return facts if rail.chip.kind == "ina238" else of_ina3221(facts, facts.source)


_SOURCES = {
    "ina3221": INA3221_SOURCE,
    "iio": f"{INA3221_SOURCE}; NVIDIA's driver does not tell its settings; smallest step as recorded on such a board",
    "ina238": "INA238, which computes power itself; its shunt is not told; smallest step as recorded on such a board",
}


def _stepped(facts: SensorFacts, rail: _Rail) -> SensorFacts:
    """With the smallest step of power, where the shunt is told."""
    voltage_mv = rail.files[0].number_or_none() if rail.shunt_uohm else None
    if not rail.shunt_uohm or not voltage_mv:
        return facts
    # uV over uOhm is A; A at mV is mW.
    return facts.updated(
        step_mw=_SHUNT_STEP_UV * voltage_mv / rail.shunt_uohm,
        source=f"{facts.source}; shunt of {rail.shunt_uohm} uOhm at {voltage_mv} mV",
    )


def _timed(facts: SensorFacts, chip: _Chip) -> SensorFacts:
    """With the time from one measurement to the next, and what each is the mean of, as the driver is set."""
    interval_ms, samples = (sysfs.number(chip.folder / name) for name in ("update_interval", "samples"))
    if not interval_ms:
        return facts
    source = f"{facts.source}; update_interval {interval_ms} ms"
    if chip.kind == "ina238":
        return facts.updated(update_period_ns=interval_ms * _NS_PER_MS, source=source)
    if not samples:
        return facts
    # The interval is channels x samples x (two conversions). The chip averages as it goes: with each conversion the
    # register moves by 1/samples of the difference (datasheet SBOS576, 8.4.1), so it is new more often than that.
    period_ns = interval_ms * _NS_PER_MS // samples
    return facts.updated(
        update_period_ns=period_ns,
        averaging_window_ns=_window_ns(chip, period_ns, samples),
        source=f"{source}, samples {samples} (kernel Documentation/hwmon/ina3221.rst)",
    )


def _window_ns(chip: _Chip, period_ns: int, samples: int) -> int | None:
    """How long the stretch is that a reading is the mean of.

    Of one sample, the current's conversion alone: half of the time that one of the channels takes. Of more, the length
    whose plain mean is as old as the chip's, 2 samples - 1 periods.
    """
    if samples > 1:
        return (2 * samples - 1) * period_ns
    states = [sysfs.number(chip.folder / f"in{channel}_enable") for channel in (1, 2, 3)]
    return period_ns // (2 * states.count(1)) if None not in states and 1 in states else None


def _alarms(rails: Sequence[_Rail]) -> list[Path]:
    """Flags of the chips for too high a current in a rail."""
    flags = [rail.chip.folder / f"curr{rail.channel}_crit_alarm" for rail in rails if rail.chip.kind == "ina3221"]
    return [flag for flag in flags if sysfs.number(flag) is not None]


def _facts(model: str | None, total: Total, rails: Sequence[_Rail]) -> dict[str, Fact]:
    """What else to store with a result."""
    facts: dict[str, Fact] = {"model": model, "board": total.board}
    for chip in {rail.chip.address: rail.chip for rail in rails}.values():
        for name in ("update_interval", "samples"):
            facts[f"{chip.address} {name}"] = sysfs.number(chip.folder / name)
    facts.update({f"{rail.place} shunt_uohm": rail.shunt_uohm for rail in rails})
    return facts


def _info(
    model: str | None, total: Total, rails: Sequence[_Rail], gauges: Sequence[Gauge], facts: Mapping[str, Fact]
) -> MeterInfo:
    chips = ", ".join(dict.fromkeys(f"{rail.chip.kind} at {rail.chip.address}" for rail in rails))
    return MeterInfo(
        source=SOURCE,
        device=f"{model or 'unknown board'}, {chips}",
        sees="machine",
        scope=total.scope,
        channels=tuple(Channel(name, "power_mw", rail.sensor) for name, rail in zip(_names(rails), rails, strict=True)),
        power_total=total.rails,
        no_total_reason=total.reason,
        condition_names=tuple(gauge.name for gauge in gauges),
        facts=facts,
    )


def _names(rails: Sequence[_Rail]) -> list[str]:
    """Labels; where there is none, or it is there twice, the place on the bus tells them apart."""
    times = Counter(rail.label for rail in rails)
    return [
        rail.label if rail.label and times[rail.label] == 1 else " ".join(filter(None, (rail.label, f"({rail.place})")))
        for rail in rails
    ]
