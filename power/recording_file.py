"""Recordings in JSON files: written with a result, read again for another look at it or as a meter that replays."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..errors import InputError
from .meter import MeterInfo
from .recording import Recording, Samples, Stretch
from .trace import SensorFacts

# A measurement of ten minutes at 100 Hz with four rails takes about 5 MB.
MAX_FILE_BYTES = 1 << 28
SCHEMA_VERSION = 1
# mW or uJ: counters are read into floats, which hold whole numbers up to this exactly.
MAX_VALUE = 2.0**53
_MAX_DIGITS = 300  # of a whole number: more do not fit into a float


def recording_json(recording: Recording) -> dict[str, Any]:
    """The recording as JSON values; instants are ns of the monotonic clock, powers mW, counters uJ."""
    return asdict(recording)


def read_recording(path: Path) -> Recording:
    """The recording in a result that `espnet-bench --measure power --json` wrote.

    Raises:
        InputError: the file is not there, too large, no such result, or its recording contradicts itself.
    """
    data = read_json(path)
    power = data.get("power") if isinstance(data, dict) else None
    recording = power.get("recording") if isinstance(power, dict) else None
    if power is None or recording is None:
        reason = power.get("unavailable") if isinstance(power, dict) else None
        because = f": {reason}" if reason else ""
        raise InputError(
            f"{path} has no recording of power{because}; give a file that espnet-bench --measure power --json wrote"
        )
    if (version := power.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION:
        raise InputError(
            f"{path}: power has schema version {version}, this program reads {SCHEMA_VERSION}; "
            "take the version of the program that wrote it"
        )
    try:
        checked = TypeAdapter(Recording).validate_python(recording)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: power.recording.{where}: {first['msg']}; the file was changed, or is of another version"
        ) from error
    _check(path, checked)
    return checked


def read_json(path: Path) -> Any:
    """The values in a JSON file of bounded size.

    Raises:
        InputError: it cannot be read, is larger than `MAX_FILE_BYTES`, or is no JSON.
    """
    try:
        return json.loads(read_bounded(path), parse_constant=_no_number, parse_float=_float, parse_int=_int)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({str(error)[:100]}); is it the right file?") from error


def read_bounded(path: Path) -> bytes:
    """All bytes of a regular file; devices and pipes have no end that one could wait for.

    Raises:
        InputError: it is no regular file, cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file that is there; check the path")
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path} has {size} bytes, at most {MAX_FILE_BYTES} are read; is it the right file?")
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; check the path") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too large")
    return value


def _int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number has {len(digits)} digits")
    return int(digits)


def _check(path: Path, recording: Recording) -> None:
    """Raise InputError where numbers that belong together do not fit."""
    # One after the other: later checks compute with what earlier ones have let pass.
    for problem in chain(
        _samples_problems("readings", recording.readings, [channel.name for channel in recording.meter.channels]),
        _samples_problems("conditions", recording.conditions, recording.meter.condition_names),
        _total_problems(recording.meter),
        _plan_problems(recording),
        *(_stretch_problems(recording, i, stretch) for i, stretch in enumerate(recording.stretches)),
        _sensor_problems(recording.sensor),
    ):
        raise InputError(f"{path}: {problem}; the file was changed, or is of another version")


def _samples_problems(what: str, samples: Samples, names: Sequence[str]) -> Iterator[str]:
    if sorted(samples.columns) != sorted(names):
        yield f"{what} of {sorted(samples.columns)}, the meter has {sorted(names)}"
    for name, column in samples.columns.items():
        if len(column) != len(samples.time_ns):
            yield f"{what} of {name} are {len(column)}, at {len(samples.time_ns)} instants"
        if not all(value is None or abs(value) <= MAX_VALUE for value in column):
            yield f"{what} of {name} have a value beyond {MAX_VALUE:g}"
    if any(later <= earlier for earlier, later in pairwise(samples.time_ns)) or not _are_instants(
        *samples.time_ns[-1:]
    ):
        yield f"the instants of the {what} do not increase"


def _total_problems(meter: MeterInfo) -> Iterator[str]:
    for quantity, names in (("power_mw", meter.power_total), ("energy_uj", meter.energy_total)):
        known = [channel.name for channel in meter.channels if channel.quantity == quantity]
        yield from (
            f"the total names the channel {name}, of {quantity} there are {known}"
            for name in names
            if name not in known
        )
    for channel in meter.channels:
        if channel.wrap_uj is not None and not 0 < channel.wrap_uj <= MAX_VALUE:
            yield f"the counter {channel.name} starts again at {channel.wrap_uj} uJ"
        yield from _sensor_problems(channel.sensor)


def _plan_problems(recording: Recording) -> Iterator[str]:
    if not recording.plans:
        yield "it measured nothing"
    for name, plan in recording.plans.items():
        if not recording.of("load", name):
            yield f"it has a plan of {name}, and no stretch in which that ran"
        lengths_ns = (plan.window_ns, plan.sample_period_ns, plan.period_ns)
        others_ns = (plan.settle_ns, plan.tail_ns, plan.idle_ns)
        if min(plan.rounds, *lengths_ns) < 1 or min(others_ns) < 0 or not _are_instants(*lengths_ns, *others_ns):
            yield f"the plan of {name} has lengths or rounds below 1"


def _stretch_problems(recording: Recording, number: int, stretch: Stretch) -> Iterator[str]:
    times = [stretch.start_ns, *(mark.time_ns for mark in stretch.marks), stretch.end_ns]
    window = [stretch.start_ns, stretch.window_start_ns, stretch.window_end_ns, stretch.end_ns]
    counts = [mark.inferences for mark in stretch.marks]
    if (
        times != sorted(times)
        or counts != sorted(counts)
        or window != sorted(window)
        or not _are_instants(*window, *counts)
    ):
        yield f"the instants or counts of stretch {number} do not increase"
    if (stretch.name is None) != (stretch.kind == "idle") or stretch.name not in {None, *recording.plans}:
        yield f"stretch {number} is of {stretch.name!r}, there are {', '.join(recording.plans)}"
    yield from _pause_problems(number, stretch)
    window_ns = (stretch.window_start_ns, stretch.window_end_ns)
    if stretch.kind == "load" and not (stretch.marks and stretch.inferences(*window_ns) > 0):
        yield f"stretch {number} has no inferences in its window"


def _pause_problems(number: int, stretch: Stretch) -> Iterator[str]:
    edges_ns = [edge for pause in stretch.pauses for edge in (pause.start_ns, pause.end_ns)]
    if (span := [stretch.start_ns, *edges_ns, stretch.end_ns]) != sorted(span):
        yield f"the pauses of stretch {number} overlap, or reach outside of it"
    window_ns = (stretch.window_start_ns, stretch.window_end_ns)
    if stretch.kind == "load" and stretch.paused_ns(*window_ns) >= window_ns[1] - window_ns[0]:
        yield f"stretch {number} has nothing but pauses in its window"


def _sensor_problems(sensor: SensorFacts | None) -> Iterator[str]:
    errors = (sensor.gain_error, sensor.offset_mw) if sensor else ()
    if not all(number is None or 0 <= number <= MAX_VALUE for number in errors):
        yield f"its sensor has errors of {errors}, of which none can be below 0 or beyond {MAX_VALUE:g}"
    numbers = (sensor.update_period_ns, sensor.averaging_window_ns, sensor.step_mw) if sensor else ()
    if not all(number is None or 0 < number <= MAX_VALUE for number in numbers):
        yield f"its sensor has {numbers}, of which none can be below 0 or beyond {MAX_VALUE:g}"


def _are_instants(*time_ns: int) -> bool:
    """Whether a clock can have shown these: half of what 64 bits hold, so that differences fit."""
    return all(abs(time) < 1 << 62 for time in time_ns)
