"""Measuring the power of loads with a meter, from the first reading to the figures."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..power.analysis import analyse
from ..power.campaign import Load, Progress, Settings, measure
from ..power.meter import Meter
from ..power.recording_file import read_recording
from ..power.samples import Sampler, running
from .power_report import MeasuredPower, result_json
from .result import Power, Result, read_result


def measure_power(loads: Mapping[str, Load], meter: Meter, settings: Settings, console: Console) -> MeasuredPower:
    """What the loads draw, by `meter`, with a live line on `console` where that is a terminal.

    Args:
        loads: one inference of each, by name, loaded and ready.
        meter: open; the caller closes it.
        settings: rounds, window, seed.
        console: for the live line.

    Raises:
        InputError: a window that was asked for is too short for the sensor.
    """
    sampler = Sampler(meter)
    try:
        with running(sampler), live_line(console, sampler) as progress:
            recording = measure(loads, sampler, settings, progress=progress)
    finally:
        sampler.close()
    return MeasuredPower(recording, analyse(recording))


def reanalysed(path: Path) -> tuple[MeasuredPower, Result]:
    """The figures again, from the recording in a result file; and that result with them in it.

    Raises:
        InputError: the file is no result with a recording of power.
    """
    recording = read_recording(path)
    power = MeasuredPower(recording, analyse(recording))
    result = read_result(path)
    assert result.power is not None
    # The recording stays as it is in the file.
    figures = Power.model_validate({"schema_version": result.power.schema_version, "result": result_json(power)})
    part = result.power.model_copy(update={"result": figures.result})
    return power, result.model_copy(update={"power": part})


@contextmanager
def live_line(console: Console, sampler: Sampler) -> Iterator[Progress | None]:
    """A line that shows what is measured and the power now, written again once a second; none without a terminal.

    It is written from the sampler's thread, as plain text: drawing would take processor time from what is measured.
    """
    if not console.is_terminal:
        yield None
        return
    begun_ns, shown = sampler.clock(), _Shown()

    def write() -> None:
        parts = (shown.text, _power_text(sampler), _time_text(sampler.clock() - begun_ns, shown.planned_ns))
        line = "  ".join(part for part in parts if part)
        console.file.write(f"\r\x1b[K{line[: console.width - 1]}")
        console.file.flush()

    def progress(text: str, planned_ns: int) -> None:
        shown.text, shown.planned_ns = text, planned_ns
        write()

    sampler.on_conditions = write
    try:
        yield progress
    finally:
        sampler.on_conditions = None
        console.file.write("\r\x1b[K")
        console.file.flush()


@dataclass
class _Shown:
    """What the measurement told last."""

    text: str = ""
    planned_ns: int = 0


def _power_text(sampler: Sampler) -> str:
    """The total now, in W; empty where there is none."""
    info = sampler.meter.info
    values = dict(zip((channel.name for channel in info.channels), sampler.last_values, strict=True))
    parts = [values[name] for name in info.power_total]
    known = [part for part in parts if part is not None]
    return f"{sum(known) / 1e3:.2f} W" if known and len(known) == len(parts) else ""


def _time_text(done_ns: int, planned_ns: int) -> str:
    return f"{done_ns / 1e9:.0f} s of about {planned_ns / 1e9:.0f} s" if planned_ns else f"{done_ns / 1e9:.0f} s"
