"""Recordings in JSON files: written with a result, read again for another look at it or as a meter that replays."""

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..errors import InputError
from .recording import Recording, Samples

# A measurement of ten minutes at 100 Hz with four rails takes about 5 MB.
MAX_FILE_BYTES = 1 << 29


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
    if recording is None:
        reason = power.get("unavailable") if isinstance(power, dict) else None
        because = f": {reason}" if reason else ""
        raise InputError(
            f"{path} has no recording of power{because}; give a file that espnet-bench --measure power --json wrote"
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
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path} has {size} bytes, at most {MAX_FILE_BYTES} are read; is it the right file?")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({str(error)[:100]}); is it the right file?") from error


def _check(path: Path, recording: Recording) -> None:
    """Raise InputError where numbers that belong together do not fit."""
    names = [channel.name for channel in recording.meter.channels]
    _check_samples(path, "readings", recording.readings, names)
    _check_samples(path, "conditions", recording.conditions, list(recording.meter.condition_names))
    used = {*recording.meter.power_total, *recording.meter.energy_total}
    if unknown := used - set(names):
        raise InputError(f"{path}: the total names the channel {min(unknown)}, there are {', '.join(names)}")
    for i, stretch in enumerate(recording.stretches):
        times = [stretch.start_ns, *(mark.time_ns for mark in stretch.marks), stretch.end_ns]
        counts = [mark.inferences for mark in stretch.marks]
        if times != sorted(times) or counts != sorted(counts):
            raise InputError(f"{path}: the instants or counts of stretch {i} do not increase; the file was changed")


def _check_samples(path: Path, what: str, samples: Samples, names: list[str]) -> None:
    if sorted(samples.columns) != sorted(names):
        raise InputError(f"{path}: {what} of {sorted(samples.columns)}, the meter has {sorted(names)}")
    for name, column in samples.columns.items():
        if len(column) != len(samples.time_ns):
            raise InputError(f"{path}: {what} of {name} are {len(column)}, at {len(samples.time_ns)} instants")
    if any(later <= earlier for earlier, later in pairwise(samples.time_ns)):
        raise InputError(f"{path}: the instants of the {what} do not increase; the file was changed")
