"""Choosing a meter: by the reading that it gives, not by a library that loads."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, UnavailableError
from . import plan, sysfs
from .ina3221 import open_ina3221
from .meter import SOURCE_NAMES, Meter, NoMeterError
from .nvml import open_nvml
from .rapl import open_rapl
from .replay import open_replay
from .tegrastats_meter import open_tegrastats

SPEC_HELP = "auto|nvml[:UUID]|ina3221|tegrastats|rapl|replay:FILE"
# The machine's own sensors first: on a Jetson they see the GPU and the processor, and NVML answers nothing there.
_BOARD = ("ina3221", "tegrastats")


@dataclass(frozen=True)
class Places:
    """Where meters are looked for: the root of the file system, the environment, and the clock of their readings."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    clock: Callable[[], int] = time.monotonic_ns


@dataclass(frozen=True)
class Probe:
    """A kind of meter that gives no reading here: what it answered, and the way out."""

    source: str
    answer: str
    way_out: str


class NoPowerError(UnavailableError):
    """No meter that was asked for gives a reading; `probes` says what each answered."""

    def __init__(self, message: str, probes: Sequence[Probe]) -> None:
        super().__init__(message)
        self.probes = tuple(probes)


def open_meter(spec: str = "auto", *, computes_on: Collection[str] = ("gpu",), places: Places | None = None) -> Meter:
    """Open the meter that `spec` names.

    Args:
        spec: "auto", "nvml", "nvml:UUID", "ina3221", "tegrastats", "rapl" or "replay:FILE". With auto, the first that
            gives a plausible reading of what computes: a board's own rails, else NVML for a GPU or RAPL for a
            processor.
        computes_on: "gpu", "cpu" or both: what auto must see.
        places: where to look.

    Raises:
        InputError: `spec` is no such text, names a GPU that is not there, leaves open which of several is meant, or
            names a trace that is shorter than any measurement.
        NoPowerError: no meter gives a reading; the message has what each was asked and answered.
    """
    places, (source, argument) = places or Places(), _parsed(spec)
    if source == "replay":
        return _replay(Path(argument), places)
    names = _candidates(computes_on) if source == "auto" else (source,)
    probes = []
    for name in names:
        found = _opened(name, argument or None, places)
        if not isinstance(found, Probe):
            return found
        probes.append(found)
    unasked = _unasked(names, computes_on) if source == "auto" else ""
    raise NoPowerError(_nothing_found(spec, probes) + unasked, probes)


def probe_meters(places: Places | None = None) -> Iterator[tuple[str, Meter | Probe | InputError]]:
    """Each kind of meter with the open meter, which the caller closes, or what it answered instead.

    An InputError lists the several devices that there are to choose from.
    """
    places = places or Places()
    for name in SOURCE_NAMES:
        try:
            yield name, _opened(name, None, places)
        except InputError as error:
            yield name, error


def _replay(path: Path, places: Places) -> Meter:
    """A stored trace that is long enough; one that is too short would end after a minute of measuring."""
    meter = open_replay(path, clock=places.clock)
    least_ns = 2 * plan.MIN_IDLE_NS
    if meter.length_ns < least_ns:
        raise InputError(
            f"{path} is a trace of {meter.length_ns / 1e9:.3g} s: idle before and after the loads alone takes "
            f"{least_ns / 1e9:.3g} s; replay a longer one"
        )
    return meter


def _candidates(computes_on: Collection[str]) -> tuple[str, ...]:
    """What sees all that computes. Off a board no meter sees a GPU and a processor together."""
    alone = {"gpu": "nvml", "cpu": "rapl"}
    return (*_BOARD, *(alone[what] for what in computes_on if len(computes_on) == 1))


def _unasked(asked: Collection[str], computes_on: Collection[str]) -> str:
    """Which meters auto left out, and why."""
    sees = {"nvml": "GPU", "rapl": "processor"}
    names = {"gpu": "GPU", "cpu": "processor"}
    computes = " and the ".join(names[what] for what in names if what in computes_on)
    return "".join(
        f"; {SOURCE_NAMES[name]} was not asked: it sees the {what} alone, and the {computes} "
        f"{'compute' if len(computes_on) > 1 else 'computes'} (--power-source {name} asks it)"
        for name, what in sees.items()
        if name not in asked
    )


def _parsed(spec: str) -> tuple[str, str]:
    source, colon, argument = spec.partition(":")
    takes_argument = {"nvml": True, "replay": True}.get(source, False)
    needs_argument = source == "replay"
    if source not in {*SOURCE_NAMES, "auto", "replay"} or (colon and not takes_argument):
        raise InputError(f"power source {spec!r} is unknown; there are {SPEC_HELP}")
    if (colon or needs_argument) and not argument:
        what = "a file" if needs_argument else "a GPU's UUID, or leave out the colon"
        raise InputError(f"power source {spec!r}: name {what}")
    return source, argument


def _opened(name: str, uuid: str | None, places: Places) -> Meter | Probe:
    try:
        if name == "nvml":
            return open_nvml(uuid, clock=places.clock)
        if name == "ina3221":
            return open_ina3221(places.root, clock=places.clock)
        if name == "rapl":
            return open_rapl(places.root, clock=places.clock)
        model = sysfs.text(places.root / "proc/device-tree/model")
        return open_tegrastats(environ=places.environ, model=model, clock=places.clock)
    except NoMeterError as error:
        return Probe(name, error.answer, error.way_out)


def _nothing_found(spec: str, probes: Sequence[Probe]) -> str:
    asked = "; ".join(f"{probe.source}: {probe.answer} ({probe.way_out})" for probe in probes)
    return f"--power-source {spec}: nothing here gives a plausible reading of power. {asked}"
