"""Why a network with few MACs is slow: counts of each network, and its runtime's own profile."""

from collections.abc import Sequence

from ..result import Breakdown, Result
from .charts import Chart, Missing, Panel, Point, Series
from .tables import Cell, Column, Table, text_cells
from .words import number

# Kinds of operators that have a colour of their own in the bars; the others together have one more.
_MAX_KINDS = 5
_OTHERS = "all others"


def breakdown_table(result: Result) -> Table | None:
    """MACs, bytes, operators and kernels of each network."""
    if not result.breakdowns:
        return None
    labels = ("M MACs", "weights MB", "activations MB", "operators", "kernels", "profiled ms")
    columns = [Column("line", numeric=False), *map(Column, labels), Column("profile", numeric=False)]
    rows = []
    for part in result.breakdowns:
        macs = _macs(result, part)
        operators = sum(part.operators.values()) or None
        sizes = [size / 1e6 if size else None for size in (part.weights_bytes, part.activations_bytes)]
        values = [macs and macs / 1e6, *sizes, operators, part.kernels, part.profiled_ms]
        cells = [_count_cell(value) for value in values]
        rows.append([Cell(part.line), *cells, Cell(part.source or "–", note=part.unavailable or "")])
    return Table("breakdown", "Counts of each network, and operators that its runtime executes", columns, rows)


def share_table(result: Result) -> Table | None:
    """Time of each kind of operator."""
    rows = [
        [
            *text_cells(part.line, share.operator),
            Cell(str(share.count), share.count),
            Cell(number(share.time_ms, 3), share.time_ms),
            Cell(f"{100 * share.share:.1f}", 100 * share.share),
        ]
        for part in result.breakdowns
        for share in part.shares
    ]
    columns = [Column("line", numeric=False), Column("operator", numeric=False)]
    columns += [Column(label) for label in ("count", "ms", "share %")]
    caption = "Time by kind of operator, from the runtime's own profile"
    return Table("shares", caption, columns, rows, folded=True) if rows else None


def share_panel(result: Result) -> Panel:
    """Bars of the shares of the kinds that take most time; the others together."""
    title = "Where the time goes"
    profiled = [part for part in result.breakdowns if part.shares]
    if not profiled:
        reasons = dict.fromkeys(part.unavailable for part in result.breakdowns if part.unavailable)
        return Missing("shares-chart", title, "; ".join(reasons) or "no profile was taken")
    kinds = _longest(profiled)
    series = [
        Series(kind, [p for row, part in enumerate(profiled) if (p := _share_point(part, row, kinds, kind))], style)
        for style, kind in enumerate([*kinds, _OTHERS])
    ]
    reading = "Share of each kind of operator in the time of all operators, from the runtime's own profile."
    return Chart(
        "shares-chart", title, reading, "share of the time, %", "", [one for one in series if one.points],
        categories=tuple(part.line for part in profiled), stacked=True,
    )  # fmt: skip


def _longest(parts: Sequence[Breakdown]) -> list[str]:
    """The kinds of operators with the largest shares, over all networks."""
    totals: dict[str, float] = {}
    for part in parts:
        for share in part.shares:
            totals[share.operator] = totals.get(share.operator, 0) + share.share
    return sorted(totals, key=lambda kind: -totals[kind])[:_MAX_KINDS]


def _share_point(part: Breakdown, row: int, kinds: Sequence[str], kind: str) -> Point | None:
    chosen = [s for s in part.shares if (s.operator not in kinds if kind == _OTHERS else s.operator == kind)]
    if not chosen:
        return None
    percent, count = 100 * sum(share.share for share in chosen), sum(share.count for share in chosen)
    return Point(percent, row, f"{part.line}, {kind}: {percent:.1f} % of the time, {count} operators")


def _macs(result: Result, part: Breakdown) -> int | None:
    line = next(line for line in result.lines if line.name == part.line)
    return result.file_of(line).macs


def _count_cell(value: float | None) -> Cell:
    if value is None:
        return Cell("–")
    return Cell(f"{value:,}" if isinstance(value, int) else number(value), value)
