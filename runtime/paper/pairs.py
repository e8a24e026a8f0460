"""Two lines of a result against each other: ratios that are formed within the rounds, with their 95 % intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

from ...power.uncertainty import BETWEEN_WINDOWS, Component
from ...power.uncertainty import paired_ratio as paired_energy_ratio
from ..paired import LEAST_ROUNDS, paired_ratio
from ..result import EnergyFigures, Figure, LineLatency, Result, Unknown
from ..stats import median

# Of energies: fewer rounds give no scatter to speak of.
_LEAST_WINDOWS = 3


@dataclass(frozen=True)
class Interval:
    """A ratio with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Unmeasured:
    """A ratio that is not known, and why."""

    reason: str


Paired = Interval | Unmeasured


def time_ratio(result: Result, mine: str, other: str) -> Paired:
    """Time of an inference of line `mine` over that of `other`: see `paired.paired_ratio`."""
    found = [result.latency_of(name) for name in (mine, other)]
    if found[0] is None or found[1] is None:
        return Unmeasured("latency was not measured")
    # Where the run was interrupted, the last round lacks some lines.
    pairs = [(a, b) for a, b in zip(_medians_ns(found[0]), _medians_ns(found[1]), strict=False) if a and b]
    ratio = paired_ratio(*zip(*pairs, strict=True)) if pairs else None
    if len(pairs) >= LEAST_ROUNDS and ratio is not None and ratio.low is None:
        return Unmeasured("the rounds scatter so much that their ratio has no interval: raise --rounds")
    if ratio is None or ratio.low is None or ratio.high is None:
        return Unmeasured(f"{len(pairs)} rounds have both, {LEAST_ROUNDS} are needed for an interval: raise --rounds")
    return Interval(ratio.median, ratio.low, ratio.high)


def energy_ratio(result: Result, mine: str, other: str, figure: str = "gross_mj") -> Paired:
    """Energy of an inference of line `mine` over that of `other`.

    Args:
        result: with power.
        mine: name of a line.
        other: likewise.
        figure: gross_mj, net_mj, or power_mw for the mean power while they ran.
    """
    found = []
    for name in (mine, other):
        load = result.energy_of(name)
        if load is None:
            return Unmeasured(no_energy_reason(result, name))
        value = getattr(load.total, figure)
        if isinstance(value, Unknown):
            return Unmeasured(value.reason)
        found.append((load.total, value))
    totals = [total for total, _ in found]
    # Net energy has idle in it, which windows do not know.
    rounds = _rounds_of_both(totals[0], totals[1], figure) if figure != "net_mj" else []
    figures = [value for _, value in found]
    if len(rounds) >= _LEAST_WINDOWS:
        return _of_windows(rounds, _apart(figures))
    return _quotient(*figures)


def no_energy_reason(result: Result, name: str) -> str:
    """Why a line has no energy."""
    if result.power is None:
        return "power was not measured: --measure latency,power"
    if result.power.unavailable:
        # What each meter answered is told once, with the result.
        return result.power.unavailable.partition(". ")[0]
    return f"{name} was not measured: {result.partial or 'it is not in the result'}"


def _medians_ns(line: LineLatency) -> list[float]:
    return [median(block) if block else 0.0 for block in line.samples_ns]


def _rounds_of_both(mine: EnergyFigures, other: EnergyFigures, figure: str) -> list[tuple[float, float]]:
    theirs = {window["round"]: _of_window(window, figure) for window in other.windows}
    pairs = [(_of_window(window, figure), theirs.get(window["round"])) for window in mine.windows]
    return [(a, b) for a, b in pairs if a and b]


def _of_window(window: Mapping[str, Any], figure: str) -> float | None:
    """Energy of an inference, or mean power while it ran, in one round; None where the window was refused."""
    gross_mj: float | None = window["gross_mj"]
    if gross_mj is None or figure == "gross_mj":
        return gross_mj
    busy_ns = window["end_ns"] - window["start_ns"] - window["paused_ns"]
    power_mw: float = gross_mj * window["inferences"] / busy_ns * 1e9
    return power_mw


def _of_windows(pairs: Sequence[tuple[float, float]], shared: Sequence[Component]) -> Paired:
    numerators, denominators = zip(*pairs, strict=True)
    try:
        ratio = paired_energy_ratio(numerators, denominators, shared)
    except ValueError as error:
        return Unmeasured(str(error))
    # The interval is one of the logarithm: its lower part is the shorter one.
    return Interval(ratio.value, ratio.value**2 / ratio.high, ratio.high)


def _apart(figures: Sequence[Figure]) -> list[Component]:
    """What all rounds of one line have in common and the other has not: neither scatter nor division shows it."""
    shares = [
        component["standard_uncertainty"] / figure.value
        for figure in figures
        for component in figure.components
        if not component["contained"] and component["name"] != BETWEEN_WINDOWS
    ]
    return [Component("steps and pauses", hypot(*shares), "of both")] if shares else []


def _quotient(mine: Figure, other: Figure) -> Paired:
    """Without rounds to pair, of two figures with intervals of their own, as if they were independent.

    What both have in common then counts twice: the interval is rather too wide.
    """
    if any(figure.value <= figure.half_width for figure in (mine, other)):
        return Unmeasured("an energy's interval contains 0: raise --power-rounds or --power-window")
    ratio = mine.value / other.value
    share = hypot(mine.half_width / mine.value, other.half_width / other.value)
    return Interval(ratio, ratio / (1 + share), ratio * (1 + share))
