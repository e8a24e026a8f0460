"""What a line of tegrastats says, in every form that Jetson Linux has printed since release 21.

`docs.nvidia.com/jetson/archives/r36.3/DeveloperGuide/AT/JetsonLinuxDevelopmentTools/TegrastatsUtility.html` names the
fields; the forms themselves are from recorded lines:

    release 21 to 24  cpu [25%,7%,1%,1%]@2218 EMC 3%@924 GR3D 0%@252, no power
    release 28 to 32  VDD_IN 3056/3056: mW now and on average since tegrastats started, without a unit
    release 35, 36    VDD_IN 5299mW/5299mW
    release 39        VDD_IN 9761mW/9761mW/9761mW: now, average, highest; temperatures cpu@50C/50C: now, highest
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

# The longest recorded line has 850 characters.
MAX_LINE_CHARS = 4096
# A sensor without power: the highest negative number of its register.
_GATED_C = -256.0


class RailPower(NamedTuple):
    """Power of one rail. Units: mW.

    current_mw: when the line was printed; a chip with an offset shows less than nothing, too.
    average_mw: of all lines since tegrastats started.
    peak_mw: the highest since then; None in lines before release 39.
    """

    current_mw: int
    average_mw: int | None
    peak_mw: int | None


class Temperature(NamedTuple):
    """Now, and the highest since tegrastats started; None where the sensor is off or nothing is said. Units: C."""

    current_c: float | None
    peak_c: float | None


class Load(NamedTuple):
    """How busy a part is, in percent, and its clocks in MHz; None and () where the line does not say."""

    percent: int | None
    clocks_mhz: tuple[int, ...]


class Memory(NamedTuple):
    """RAM or swap. Units: MB; `largest_block_kb`: the largest free block of RAM, `cached_mb`: of swap."""

    used_mb: int
    total_mb: int
    largest_block_kb: int | None = None
    cached_mb: int | None = None


@dataclass(frozen=True, eq=False)
class Line(Mapping[str, RailPower]):
    """A line of tegrastats: the powers by the names of the rails, and what else it says.

    Attributes:
        rails: what the mapping has; names that a line has twice (NC on AGX Orin) are ambiguous and left out.
        repeated: those names.
        timestamp: MM-DD-YYYY HH:MM:SS as printed, of the board's own clock; None before release 35.
        ram: None where the line is not one of tegrastats; then nothing else is set either.
        swap: None where there is none.
        cpus: load of each core; None for one that is off.
        gpu: GR3D; None where the line has none (Thor, not as root).
        emc: the memory controller.
        engines: NVENC, NVDEC, VIC, APE and the like, without _FREQ; None for one that is off.
        temperatures_c: by the names of the sensors. PMIC is no measurement: it is always 50 or 100.
    """

    rails: Mapping[str, RailPower] = field(default_factory=dict)
    repeated: frozenset[str] = frozenset()
    timestamp: str | None = None
    ram: Memory | None = None
    swap: Memory | None = None
    cpus: tuple[Load | None, ...] = ()
    gpu: Load | None = None
    emc: Load | None = None
    engines: Mapping[str, Load | None] = field(default_factory=dict)
    temperatures_c: Mapping[str, Temperature] = field(default_factory=dict)

    def __getitem__(self, rail: str) -> RailPower:
        """The power of a rail; KeyError where the line does not have it."""
        return self.rails[rail]

    def __iter__(self) -> Iterator[str]:
        """The names of the rails, in the order of the line."""
        return iter(self.rails)

    def __len__(self) -> int:
        """How many rails there are."""
        return len(self.rails)

    @property
    def hottest_c(self) -> float | None:
        """Of the junction (tj) where the line has it, else of the hottest sensor. Units: degrees Celsius."""
        now = {name.lower(): sensor.current_c for name, sensor in self.temperatures_c.items()}
        measured = [value for name, value in now.items() if value is not None and name != "pmic"]
        junction = now.get("tj")
        return max(measured, default=None) if junction is None else junction


def parse_line(line: str) -> Line:
    """What a whole line says.

    A field that is cut off, garbled or of a form that is not known is left out; so is everything of a line that is not
    of tegrastats, or longer than 4096 characters. Nothing is raised. What stands before RAM, such as a date that
    somebody added, is passed over.

    A cut line gives no wrong number, with one exception: where the form has no units and the cut runs through the last
    number, that number, an average, is too small. Whoever reads a pipe waits for the end of the line.
    """
    start = _RAM.search(line) if len(line) <= MAX_LINE_CHARS else None
    if start is None:
        return Line()
    text = line[start.start() :]
    temperatures = _TEMPERATURE.findall(text)
    rails = _rails(text, has_peaks=any(peak for _, _, peak in temperatures))
    times = Counter(name for name, _ in rails)
    return Line(
        rails={name: power for name, power in rails if times[name] == 1},
        repeated=frozenset(name for name in times if times[name] > 1),
        timestamp=_first(_TIMESTAMP, line[: start.start()]),
        ram=_ram(start),
        swap=_swap(text),
        cpus=_cpus(text),
        gpu=_load(_GPU.search(text)),
        emc=_load(_EMC.search(text)),
        engines=dict(_engines(text)),
        temperatures_c={name: Temperature(_degrees(now), _degrees(peak)) for name, now, peak in temperatures},
    )


def lost_lines(powers: Sequence[RailPower], first: int = 1) -> int:
    """How many lines are missing between these, at least.

    The average is that of all lines since tegrastats started, so n times the n-th average less (n - 1) times the one
    before it is the n-th power; else lines lie between. Averages are whole mW, rounded or cut off, so up to n mW remain
    open: in long logs few losses are seen.

    Args:
        powers: of one rail, in lines that follow on each other as far as is known.
        first: which line of tegrastats the first of them is, counted from 1.
    """
    number, lost = first, 0
    for before, power in pairwise(powers):
        missing = lines_between(before, power, number)
        number, lost = number + 1 + missing, lost + missing
    return lost


def lines_between(before: RailPower, power: RailPower, number: int) -> int:
    """How many lines must lie between two readings of a rail, at least. `number`: which line the first of them is."""
    if before.average_mw is None or power.average_mw is None:
        return 0
    highest_mw = _MOST_MW if power.peak_mw is None else power.peak_mw
    for missing in range(_MAX_MISSING):
        n = number + 1 + missing
        unseen_mw = n * power.average_mw - number * before.average_mw - power.current_mw
        if missing * _LEAST_MW - n <= unseen_mw <= missing * highest_mw + n:
            return missing
    return 1  # no number of lines explains it


_MAX_MISSING = 1000
# What a line that is missing may have said: no board draws as much, no chip's offset is as large.
_MOST_MW, _LEAST_MW = 1_000_000, -1000
_NOT_RAILS = frozenset({"RAM", "SWAP", "IRAM"})  # a/b as well, once their unit is cut off

_RAM = re.compile(r"(?<!\S)RAM\s+(\d{1,9})/(\d{1,9})MB(?:\s+\(lfb\s+(\d{1,6})x(\d{1,6})(kB|MB)\))?(?!\S)", re.ASCII)
_SWAP = re.compile(r"(?<!\S)SWAP\s+(\d{1,9})/(\d{1,9})MB(?:\s+\(cached\s+(\d{1,9})MB\))?(?!\S)", re.ASCII)
_TIMESTAMP = re.compile(r"(?<!\S)\d{2}-\d{2}-\d{4}\s+\d{2}:\d{2}:\d{2}(?!\S)", re.ASCII)
_CPUS = re.compile(r"(?<!\S)(?:CPU|cpu)\s+\[([0-9a-z%@,]*)\](?:@(\d{1,5}))?(?!\S)", re.ASCII)
_CORE = re.compile(r"(\d{1,3})%(?:@(\d{1,5}))?", re.ASCII)
# A load, a clock, or a list of clocks, of which at least one is there: 0%@[305,305], @[0,0,0], 0%@76, 0%.
_LOAD = r"(?=[\d@])(?:(\d{1,3})%)?(?:@(?:(\d{1,5})|\[([\d,]{1,60})\]))?(?!\S)"
_GPU = re.compile(rf"(?<!\S)GR3D(?:_FREQ)?\s+{_LOAD}", re.ASCII)
_EMC = re.compile(rf"(?<!\S)EMC(?:_FREQ)?\s+{_LOAD}", re.ASCII)
_ENGINE = re.compile(rf"(?<!\S)([A-Z][A-Z0-9_]{{0,31}})\s+(?:(off)(?!\S)|(\d{{1,5}})(?!\S)|{_LOAD})", re.ASCII)
_TEMPERATURE = re.compile(
    r"(?<!\S)(\w{1,32})@(-?\d{1,3}(?:\.\d{1,4})?)C(?:/(-?\d{1,3}(?:\.\d{1,4})?)C)?(?!\S)", re.ASCII
)
_WITH_UNIT = re.compile(r"(?<!\S)([A-Za-z]\w{0,63})\s+(-?\d{1,7})mW/(-?\d{1,7})mW(?:/(-?\d{1,7})mW)?(?!\S)", re.ASCII)
# Followed by a number, its own is broken in two.
_WITHOUT_UNIT = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]{0,63})\s+(-?\d{1,7})/(-?\d{1,7})()(?!\S)(?!\s+\d)", re.ASCII)


def _rails(text: str, has_peaks: bool) -> list[tuple[str, RailPower]]:
    """Names and powers in order. A line is of one form: all with units or none, all with peaks or none.

    `has_peaks`: whether its temperatures have, which come before.
    """
    found = list(_WITH_UNIT.finditer(text)) or list(_WITHOUT_UNIT.finditer(text))
    rails = [(match[1], _power(match)) for match in found if match[1] not in _NOT_RAILS]
    if any(power.peak_mw is not None for _, power in rails):
        return [(name, power) for name, power in rails if power.peak_mw is not None]
    # A single one without, where the temperatures have peaks: its own was cut off.
    return [] if has_peaks and len(rails) == 1 else rails


def _power(match: re.Match[str]) -> RailPower:
    return RailPower(int(match[2]), int(match[3]), int(match[4]) if match[4] else None)


def _ram(match: re.Match[str]) -> Memory:
    block_kb = None
    if match[3]:
        block_kb = int(match[4]) * (1024 if match[5] == "MB" else 1)
    return Memory(int(match[1]), int(match[2]), largest_block_kb=block_kb)


def _swap(text: str) -> Memory | None:
    match = _SWAP.search(text)
    return match and Memory(int(match[1]), int(match[2]), cached_mb=int(match[3]) if match[3] else None)


def _cpus(text: str) -> tuple[Load | None, ...]:
    """Of each core; before release 28 one clock stands behind the list for all of them."""
    listed = _CPUS.search(text)
    if listed is None:
        return ()
    words = listed[1].split(",")
    cores = [_CORE.fullmatch(word) for word in words]
    if any(core is None and word != "off" for core, word in zip(cores, words, strict=True)):
        return ()
    return tuple(core and Load(int(core[1]), _clocks(core[2] or listed[2])) for core in cores)


def _engines(text: str) -> Iterator[tuple[str, Load | None]]:
    for match in _ENGINE.finditer(text):
        name = match[1].removesuffix("_FREQ")
        if name in {"GR3D", "EMC"}:
            continue
        if match[3]:
            yield name, Load(None, _clocks(match[3]))
        else:
            yield name, None if match[2] else _load(match, 4)


def _load(match: re.Match[str] | None, group: int = 1) -> Load | None:
    """From the groups of `_LOAD`, the first of which is `group`."""
    if match is None:
        return None
    percent, clock, clocks = match[group], match[group + 1], match[group + 2]
    return Load(int(percent) if percent else None, _clocks(clock or clocks))


def _clocks(text: str | None) -> tuple[int, ...]:
    return tuple(int(clock) for clock in (text or "").split(",") if clock)


def _degrees(text: str) -> float | None:
    value = float(text) if text else None
    return None if value == _GATED_C else value


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match[0] if match else None
