"""Gates: limits on what may change, as text: "energy>+3%", "openvino:p99>2ms", "throughput<-5%"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import InputError
from .compare import Comparison, LineComparison
from .compare_changes import UNITS, Change

GRAMMAR = "[LINE:]METRIC>VALUE or METRIC<-VALUE, VALUE with % or a unit"
# Factors into the unit of a metric, by that unit.
_FACTORS = {
    "ms": {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3},
    "/s": {"/s": 1.0},
    "mJ": {"uJ": 1e-3, "mJ": 1.0, "J": 1e3},
    "mW": {"mW": 1.0, "W": 1e3},
    "B": {"B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
}
_MAX_LENGTH = 1000
_NUMBER = re.compile(r"[+-]?(?:\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})")


@dataclass(frozen=True)
class Gate:
    """A limit on the change of one metric.

    Attributes:
        text: as it was given.
        metric: one of `UNITS`.
        operator: ">" trips on what grew by more than the limit, "<" on what fell below it.
        limit: in percent of the value before, or in the metric's unit.
        percent: which of them.
        line: name of a line, its runtime or its network; None for all lines.
    """

    text: str
    metric: str
    operator: Literal[">", "<"]
    limit: float
    percent: bool
    line: str | None = None


@dataclass(frozen=True)
class GateOutcome:
    """What a gate found on one line."""

    gate: Gate
    line: str
    change: Change
    tripped: bool


def parse_gate(text: str) -> Gate:
    """The gate that a text states.

    Raises:
        InputError: it states none; the message has the column at which it goes wrong, counted from 1.
    """
    if len(text) > _MAX_LENGTH:
        raise InputError(f"--fail-if has {len(text)} characters: give at most {_MAX_LENGTH}")
    line, colon, _ = text.rpartition(":")
    at = len(line) + len(colon)
    if colon and not line.strip():
        raise _wrong(text, 0, "no line is named before the colon")
    found = re.compile(r"\s*([^<>\s]*)\s*").match(text, at)
    assert found is not None  # it matches nothing, too
    metric = found[1]
    if metric not in UNITS:
        raise _wrong(text, found.start(1), f"metric {metric!r} is unknown; there are {', '.join(UNITS)}")
    if text[found.end() : found.end() + 1] not in {">", "<"}:
        raise _wrong(text, found.end(), "> or < is missing")
    operator: Literal[">", "<"] = ">" if text[found.end()] == ">" else "<"
    limit, percent = _limit(text, found.end() + 1, metric, operator)
    return Gate(text, metric, operator, limit, percent, line.strip() if colon else None)


def apply_gates(gates: Sequence[Gate], comparison: Comparison, *, strict: bool = False) -> tuple[GateOutcome, ...]:
    """What each gate finds on each line that it is for.

    A gate trips where the change passes its limit and its 95 % interval excludes that nothing changed. With `strict`
    passing the limit is enough.

    Raises:
        InputError: a gate's line is not among those that are compared, its metric is not in both results, or there is
            no interval and not `strict`: such a gate could never trip. Likewise where a gate is for all lines, and the
            second result lacks one.
    """
    return tuple(_outcome(gate, line, strict=strict) for gate in gates for line in _lines_of(gate, comparison))


def _limit(text: str, at: int, metric: str, operator: str) -> tuple[float, bool]:
    """The limit, in percent or in the unit of the metric."""
    at += len(text[at:]) - len(text[at:].lstrip())
    number = _NUMBER.match(text, at)
    if number is None:
        raise _wrong(text, at, "a number is missing, such as +3%")
    value = float(number[0])
    # A limit on the other side of 0 would demand a change; that nothing changed could not be told from meeting it.
    if (value < 0 and operator == ">") or (value > 0 and operator == "<"):
        least = "0 or more" if operator == ">" else "0 or less"
        raise _wrong(text, at, f"{operator} takes a limit of {least}: it trips on what moves further from 0 than that")
    unit = text[number.end() :].strip()
    if unit == "%":
        return value, True
    factors = _FACTORS[UNITS[metric]]
    if unit not in factors:
        units = ", ".join(["%", *factors])
        raise _wrong(text, number.end(), f"{unit!r} is no unit of {metric}" if unit else "a unit is missing", units)
    return value * factors[unit], False


def _wrong(text: str, column: int, what: str, units: str | None = None) -> InputError:
    way_out = f"give one of {units}" if units else f"the form is {GRAMMAR}"
    return InputError(f"--fail-if {text!r}, column {column + 1}: {what}; {way_out}")


def _lines_of(gate: Gate, comparison: Comparison) -> list[LineComparison]:
    if gate.line is None and comparison.only_before:
        raise InputError(
            f"--fail-if {gate.text!r} is for all lines, and {', '.join(comparison.only_before)} is not in the second "
            f"result: measure it there, too, or name the lines that the gate is for (LINE:{gate.metric}...)"
        )
    lines = [line for line in comparison.lines if gate.line is None or gate.line in _names(line)]
    if not lines:
        known = dict.fromkeys(name for line in comparison.lines for name in _names(line))
        raise InputError(f"--fail-if {gate.text!r}: no line is called {gate.line!r}; there are {', '.join(known)}")
    return lines


def _names(line: LineComparison) -> list[str]:
    """What a gate may call it."""
    names = [line.after.name, line.before.name, line.after.runtime, line.network]
    return list(dict.fromkeys(name for name in names if name))


def _outcome(gate: Gate, line: LineComparison, *, strict: bool) -> GateOutcome:
    change = line.change(gate.metric)
    if change is None:
        reason = line.missing.get(gate.metric, "not measured")
        raise InputError(
            f"--fail-if {gate.text!r}: {gate.metric} of {line.name} cannot be compared ({reason}); measure it in both, "
            "or leave the gate out"
        )
    value = change.percent if gate.percent else change.difference
    if value is None:
        raise InputError(
            f"--fail-if {gate.text!r}: {gate.metric} of {line.name} has no change in percent: {change.before:g} "
            f"{change.unit} before cannot be told from 0, or is beyond all numbers; give a limit in {change.unit}"
        )
    if change.interval is None and not strict:
        raise InputError(
            f"--fail-if {gate.text!r}: {gate.metric} of {line.name} has no interval ({change.no_interval_reason}), so "
            "the gate could not trip; or judge by the number alone with --strict"
        )
    passed = value > gate.limit if gate.operator == ">" else value < gate.limit
    return GateOutcome(gate, line.name, change, passed and (strict or change.significant))
