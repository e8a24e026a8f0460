"""A stored trace as a meter: what was read then is read again, at the same pace."""

import csv
import io
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from ..errors import InputError, one_line
from .boards import total_of
from .meter import Channel, MeterError, MeterInfo, Quantity, Reading
from .recording import Samples
from .recording_file import MAX_VALUE, read_bounded, read_recording

# Column names end in the unit: total_mw, VDD_IN_w, package_uj.
_UNITS: dict[str, tuple[Quantity, float]] = {"mw": ("power_mw", 1.0), "w": ("power_mw", 1e3), "uj": ("energy_uj", 1.0)}
_TIME_NS = {"time_ns": 1.0, "time_us": 1e3, "time_ms": 1e6, "time_s": 1e9}
_MAX_TIME_NS = float(1 << 62)
_MAX_SHOWN = 60  # characters of a file that a message repeats
_FORM = "a header with time_s (or time_ms, time_us, time_ns) first, then columns that end in _w, _mw or _uj"


class ReplayMeter:
    """A meter whose first reading is the trace's first one at the moment of opening; see `meter.Meter`."""

    def __init__(self, info: MeterInfo, readings: Samples, conditions: Samples, clock: Callable[[], int]) -> None:
        self.info = info
        self._readings, self._conditions = readings, conditions
        self._clock = clock
        self._late_ns = clock() - readings.time_ns[0]
        self._next = 0

    @property
    def length_ns(self) -> int:
        """From the first reading to the last. Units: ns."""
        return self._readings.time_ns[-1] - self._readings.time_ns[0]

    def read(self) -> Reading | None:
        """The newest row that its time has come for; None if that was given before."""
        now_ns = self._clock() - self._late_ns
        newest = bisect_right(self._readings.time_ns, now_ns) - 1
        if newest >= self._next:
            self._next = newest + 1
            columns = (self._readings.columns[channel.name] for channel in self.info.channels)
            values = tuple(column[newest] for column in columns)
            return Reading(self._readings.time_ns[newest] + self._late_ns, values)
        if newest == len(self._readings.time_ns) - 1:
            raise MeterError(f"the trace came to its end after {self.length_ns / 1e9:.1f} s; replay a longer one")
        return None

    def read_conditions(self) -> tuple[float | None, ...]:
        """Those of the newest row that its time has come for."""
        newest = bisect_right(self._conditions.time_ns, self._clock() - self._late_ns) - 1
        columns = (self._conditions.columns[name] for name in self.info.condition_names)
        return tuple(column[newest] if newest >= 0 else None for column in columns)

    def close(self) -> None:
        """Nothing is held."""


def open_replay(path: Path, *, clock: Callable[[], int] = time.monotonic_ns) -> ReplayMeter:
    """Open a stored trace: a result of `espnet-bench --measure power --json`, or a CSV file.

    A CSV file has a header: time_s (or time_ms, time_us, time_ns) first, then one column for each rail or counter whose
    name ends in its unit: total_mw, VDD_IN_mw, gpu_w, package_uj. An empty cell is a reading that failed.

    Raises:
        InputError: the file is neither, or its times do not increase.
    """
    if path.suffix.lower() == ".csv":
        info, readings = _from_csv(path)
        return ReplayMeter(info, readings, Samples((), {}), clock)
    recording = read_recording(path)
    if not recording.readings.time_ns:
        raise InputError(f"{path}: its recording has no readings; replay another one")
    info = replace(recording.meter, source="replay", device=f"{recording.meter.device}, replayed from {path.name}")
    return ReplayMeter(info, recording.readings, recording.conditions, clock)


def _from_csv(path: Path) -> tuple[MeterInfo, Samples]:
    header, rows = _rows(path)
    channels, factors = _channels(path, header[1:])
    times_ns = [_time_ns(path, row[0] * _TIME_NS[header[0]]) for row in rows if row[0] is not None]
    if len(times_ns) < len(rows) or any(later <= earlier for earlier, later in pairwise(times_ns)):
        raise InputError(f"{path}: times in {header[0]} do not increase, or are missing in a row; sort and fill them")
    columns = {
        channel.name: tuple(_scaled(row[i], factor) for row in rows)
        for i, (channel, factor) in enumerate(zip(channels, factors, strict=True), 1)
    }
    for channel in channels:
        _check_values(path, channel, columns[channel.name])
    return _csv_info(path, channels), Samples(tuple(times_ns), columns)


def _rows(path: Path) -> tuple[list[str], list[list[float | None]]]:
    try:
        reader = csv.reader(io.StringIO(read_bounded(path).decode("utf-8-sig"), newline=""))
        lines = [(reader.line_num, line) for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file ({error}); it needs {_FORM}") from error
    header = [one_line(name) for name in lines[0][1]] if lines else []
    if len(header) < 2 or header[0] not in _TIME_NS or len(set(header)) < len(header) or len(lines) < 2:
        raise InputError(f"{path}: its first line is {','.join(header)[:100]!r}; it needs {_FORM}, each name once")
    return header, [_numbers(path, number, line, len(header)) for number, line in lines[1:]]


def _numbers(path: Path, number: int, line: list[str], columns: int) -> list[float | None]:
    if len(line) != columns:
        raise InputError(f"{path}, line {number}: {len(line)} cells, the header has {columns}")
    try:
        cells = [float(cell) if cell.strip() else None for cell in line]
    except ValueError as error:
        raise InputError(
            f"{path}, line {number}: {str(error)[:_MAX_SHOWN]}; leave a cell empty where nothing was read"
        ) from error
    if any(cell is not None and not math.isfinite(cell) for cell in cells):
        raise InputError(f"{path}, line {number}: a cell is not finite; leave it empty where nothing was read")
    return cells


def _time_ns(path: Path, time_ns: float) -> int:
    if abs(time_ns) > _MAX_TIME_NS:
        raise InputError(f"{path}: an instant at {time_ns:.3g} ns is beyond {_MAX_TIME_NS:.3g} ns; check the unit")
    return round(time_ns)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _check_values(path: Path, channel: Channel, values: Sequence[float | None]) -> None:
    least = 0.0 if channel.quantity == "energy_uj" else -MAX_VALUE
    if strange := [value for value in values if value is not None and not least <= value <= MAX_VALUE]:
        unit = channel.quantity.rpartition("_")[2]
        raise InputError(
            f"{path}: {channel.name} of {strange[0]:g} {unit} is not between {least:g} and {MAX_VALUE:g}; "
            "check the column's unit"
        )


def _channels(path: Path, columns: Sequence[str]) -> tuple[tuple[Channel, ...], tuple[float, ...]]:
    """The channels, and the factor that brings each column to the channel's unit."""
    channels, factors = zip(*(_channel(path, name) for name in columns), strict=True)
    names = [channel.name for channel in channels]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: two columns are of {twice[0][:_MAX_SHOWN]}, in several units; rename or drop one")
    return channels, factors


def _channel(path: Path, column: str) -> tuple[Channel, float]:
    name, _, unit = column.rpartition("_")
    if unit not in _UNITS or not name:
        raise InputError(f"{path}: the column {column[:_MAX_SHOWN]!r} names no unit; it needs {_FORM}")
    quantity, factor = _UNITS[unit]
    return Channel(name, quantity), factor


def _csv_info(path: Path, channels: tuple[Channel, ...]) -> MeterInfo:
    rails = tuple(channel.name for channel in channels if channel.quantity == "power_mw")
    counters = tuple(channel.name for channel in channels if channel.quantity == "energy_uj")
    board = total_of(rails)
    power_total = rails if len(rails) == 1 else board.rails
    has_total = bool(power_total) or len(counters) == 1
    return MeterInfo(
        source="replay",
        device=path.name,
        sees="machine",
        scope=board.scope if board.rails else "as the file says",
        channels=channels,
        power_total=power_total,
        energy_total=counters if len(counters) == 1 else (),
        no_total_reason=None if has_total else f"{path.name}: {board.reason}",
    )
