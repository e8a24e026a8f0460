"""A comparison for people, for programs and for GitHub: table, definitions, JSON, annotations, Markdown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..errors import one_line
from .compare import Comparison
from .compare_changes import RESAMPLES, UNITS, Change
from .gate import GateOutcome
from .tables import output_console, print_table

SCHEMA_VERSION = 1
_COLUMNS = ("line", "metric", "before", "after", "change", "95 % interval", "verdict")
_TEXT_COLUMNS = {"line", "metric", "verdict"}
_MIB = 2.0**20
# Shown in other units than stored: factor and unit.
_SHOWN = {"mW": (1e-3, "W"), "B": (1 / _MIB, "MiB")}


def print_comparison(comparison: Comparison, outcomes: Sequence[GateOutcome], *, strict: bool) -> None:
    """On standard output; a drawn table on a terminal that is wide enough, else aligned columns."""
    console = output_console()
    if rows := table_rows(comparison):
        print_table(console, rows, _TEXT_COLUMNS)
    else:
        console.print("the results have no metric in common", markup=False)
    lists = {
        "gates": [gate_text(outcome) for outcome in outcomes],
        "not compared": list(not_compared(comparison)),
        "definitions": definitions(strict=strict),
        "notes": comparison.notes,
        "doubts": all_doubts(comparison),
    }
    for title, lines in lists.items():
        if lines:
            console.print(f"\n{title}:", markup=False)
        for line in lines:
            console.print(f"  - {one_line(line)}", markup=False)


def table_rows(comparison: Comparison) -> list[dict[str, str]]:
    """One row for each metric of each line."""
    rows = []
    for line in comparison.lines:
        for change in line.changes:
            cells = (
                line.name,
                change.metric,
                value_text(change.before, change.unit),
                value_text(change.after, change.unit),
                change_text(change),
                interval_text(change),
                change.verdict,
            )
            rows.append(dict(zip(_COLUMNS, map(one_line, cells), strict=True)))
    return rows


def value_text(value: float, unit: str) -> str:
    """ "10.06 ms", with four significant digits."""
    factor, shown = _SHOWN.get(unit, (1.0, unit))
    number = value * factor
    return f"{number:.0f} {shown}" if abs(number) >= 1e4 else f"{_unsigned_zero(f'{number:.4g}')} {shown}"


def change_text(change: Change) -> str:
    """ "+4.7 %"; in the unit where percent mean nothing."""
    if change.percent is not None:
        return f"{_signed(change.percent)} %"
    sign = "+" if change.difference > 0 else ""
    return sign + value_text(change.difference, change.unit)


def interval_text(change: Change) -> str:
    """ "+3.9..+5.5 %"; "none" where there is none."""
    if (percent := change.interval_percent) is not None:
        return f"{_signed(percent[0])}..{_signed(percent[1])} %"
    if change.interval is None:
        return "none"
    return "..".join(value_text(bound, change.unit) for bound in change.interval)


def gate_text(outcome: GateOutcome) -> str:
    """What a gate found, in one line."""
    change = outcome.change
    return (
        f"{outcome.gate.text} {'tripped' if outcome.tripped else 'held'} on {outcome.line}: {change.metric} "
        f"{value_text(change.before, change.unit)} before, {value_text(change.after, change.unit)} after, "
        f"{change_text(change)} ({interval_text(change)})"
    )


def not_compared(comparison: Comparison) -> Iterator[str]:
    """Lines of one result alone, and metrics without an interval or of one result alone."""
    for where, names in (("first", comparison.only_before), ("second", comparison.only_after)):
        for name in names:
            yield f"{name} is in the {where} result only"
    for line in comparison.lines:
        for change in line.changes:
            if change.no_interval_reason is not None:
                yield f"{line.name}: {change.metric} has no interval ({change.no_interval_reason})"
        for metric, reason in line.missing.items():
            if reason != "in neither result":
                yield f"{line.name}: {metric} ({reason})"


def all_doubts(comparison: Comparison) -> list[str]:
    """Differences of the conditions, what decides first, and what else speaks against the figures."""
    return [
        *(f"not measured under equal conditions: {one.text}; measure again" for one in comparison.deciding),
        *(f"not the same: {one.text}" for one in comparison.differences if not one.decides),
        *comparison.doubts,
    ]


def definitions(*, strict: bool) -> list[str]:
    """What the columns and verdicts mean."""
    trips = "its change passes the limit"
    return [
        "before: the first result; after: the second; change: after against before",
        (
            "p50: geometric mean of the rounds' medians; mean and throughput likewise of the rounds' means and rates; "
            "interval: Welch's t on their logarithms, rounds taken as independent"
        ),
        (
            f"p90, p95, p99: of all samples; interval: standard error by {RESAMPLES} bootstraps over rounds, with "
            "Welch's t"
        ),
        (
            "energy: of one inference; net: without idle; interval: those of both results combined; the sensor's gain "
            "and offset cancel where both had the same one, and are added where not"
        ),
        (
            "memory: highest resident memory, gpu memory: held after the inferences; one number for each run, taken as "
            "exact"
        ),
        (
            "better, worse: the 95 % interval of the change excludes 0; where nothing changed, that happens to one "
            "metric in 20. What differs from one start to the next is in no interval: small changes need several runs"
        ),
        f"a gate trips where {trips}" + ("" if strict else ", and the interval excludes 0"),
    ]


def comparison_json(
    comparison: Comparison, outcomes: Sequence[GateOutcome], files: Mapping[str, str], *, strict: bool
) -> str:
    """The text of a JSON file: see docs/compare.md.

    Args:
        comparison: of the results.
        outcomes: of the gates.
        files: paths of the results, "before" and "after".
        strict: how gates were applied.
    """
    values = {
        "schema_version": SCHEMA_VERSION,
        "files": dict(files),
        "lines": [
            {
                "before": line.before.name,
                "after": line.after.name,
                "network": line.network,
                "changes": [_change_json(change) for change in line.changes],
                "missing": line.missing,
            }
            for line in comparison.lines
        ],
        "only_before": comparison.only_before,
        "only_after": comparison.only_after,
        "differences": [asdict(one) for one in comparison.differences],
        "strict": strict,
        "gates": [{**asdict(one.gate), "applied_to": one.line, "tripped": one.tripped} for one in outcomes],
        "definitions": definitions(strict=strict),
        "notes": comparison.notes,
        "doubts": all_doubts(comparison),
    }
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def annotations(comparison: Comparison, outcomes: Sequence[GateOutcome]) -> list[str]:
    """Workflow commands of GitHub Actions: an error for each gate that tripped, a warning for each doubt, a notice for
    each gate that held.
    """
    gates = [
        ("error" if one.tripped else "notice", one_line(one.gate.text), one_line(gate_text(one))) for one in outcomes
    ]
    doubts = [("warning", "espnet-compare", one_line(doubt)) for doubt in all_doubts(comparison)]
    return [annotation(*one) for one in sorted([*gates, *doubts], key=lambda one: one[0])]


def annotation(level: str, title: str, text: str) -> str:
    """One workflow command. What it must not contain as it is, GitHub decodes again."""
    data = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    name = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    name = name.replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={name}::{data}"


def markdown(comparison: Comparison, outcomes: Sequence[GateOutcome]) -> str:
    """The table, the gates and the doubts for GitHub's summary of a step."""
    rows = table_rows(comparison)
    lines = ["### espnet-compare", ""]
    if rows:
        lines += [_markdown_row(_COLUMNS), "|" + "|".join("---" for _ in _COLUMNS) + "|"]
        lines += [_markdown_row(list(row.values())) for row in rows]
    for title, texts in (("Gates", map(gate_text, outcomes)), ("Doubts", all_doubts(comparison))):
        items = [f"- {_markdown_text(text)}" for text in texts]
        lines += ["", f"**{title}**", "", *items] if items else []
    return "\n".join([*lines, "", ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_markdown_text, cells))} |"


def _markdown_text(text: str) -> str:
    """Text that Markdown and HTML take for nothing else."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]()#!|~" else c for c in one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _change_json(change: Change) -> dict[str, Any]:
    return {
        **asdict(change),
        "unit": UNITS[change.metric],
        "percent": change.percent,
        "interval_percent": change.interval_percent,
        "verdict": change.verdict,
    }


def _signed(percent: float) -> str:
    """One decimal, or two where that is little; 0 has no sign."""
    text = f"{percent:+.1f}" if abs(percent) >= 1 else f"{percent:+.2f}"
    return text if float(text) else text.lstrip("+-")


def _unsigned_zero(text: str) -> str:
    return text if float(text) else text.lstrip("-")
