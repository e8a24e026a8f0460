"""The comparison for people: figures for an image, why a network is slow, the paper's claims, definitions, doubts."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Console

from ...errors import one_line
from ..result import Breakdown, Claim, Result
from ..tables import Row, output_console, print_table
from .derived import Bounded, Efficiency, efficiencies
from .published import by_name

_TEXT_COLUMNS = frozenset({"network", "runtime", "most of the time"})
# Kinds of operators that are named of each network.
_SHOWN_OPERATORS = 3
_DEFINITIONS = (
    "ms/image: median latency of an inference over its batch",
    "J/image: all that was drawn while an image was inferred; net: without what idle would have drawn",
    "per MAC: multiply-accumulates of convolutions and linear layers, from the manifest",
    (
        "per KiB: bytes that are moved if nothing is fused: weights once for each inference, maps written once and "
        "read once by each reader"
    ),
    (
        "verdicts: by the 95 % interval of each ratio, formed within the rounds; each by itself, so that of 20 true "
        "statements one may look false"
    ),
    "for the same work, while it works: at the smallest batch; the paper's figure does not state its own",
)


def print_comparison(result: Result) -> None:
    """The comparison on standard output."""
    console = output_console()
    if result.partial is not None:
        console.print(f"partial: {one_line(result.partial)}\n", markup=False)
    print_table(console, _rows(result), _TEXT_COLUMNS)
    if slow := [_slow_row(result, part) for part in result.breakdowns]:
        console.print()
        print_table(console, slow, _TEXT_COLUMNS)
    _print_claims(console, result.paper.claims if result.paper else ())
    lists: Mapping[str, Sequence[str]] = {
        "not measured": [*_missing(result)],
        "definitions": [*_DEFINITIONS, *result.definitions],
        "doubts": result.doubts,
    }
    for title, lines in lists.items():
        if lines:
            console.print(f"\n{title}:", markup=False)
        for line in lines:
            # Names may come from a file of somebody else's.
            console.print(f"  - {one_line(line)}", markup=False)


def claim_lines(claims: Sequence[Claim]) -> list[str]:
    """Three lines of each claim: the verdict with the statement, the paper's figure, ours."""
    width = max((len(claim.verdict) for claim in claims), default=0)
    lines = []
    for claim in claims:
        # A kept result may have been changed by somebody else.
        statement, paper, ours = (one_line(text) for text in (claim.statement, claim.paper, claim.ours))
        indent, because = " " * (width + 2), f" ({one_line(claim.reason)})" if claim.reason else ""
        lines += [
            f"{claim.verdict.ljust(width)}  {statement}",
            f"{indent}paper: {paper} [{one_line(claim.source)}]",
            f"{indent}here: {ours}{because}",
        ]
    return lines


def _print_claims(console: Console, claims: Sequence[Claim]) -> None:
    if claims:
        console.print("\nwhat the paper says:", markup=False)
    for line in claim_lines(claims):
        console.print(f"  {line}", markup=False)


def _rows(result: Result) -> list[Row]:
    columns: dict[str, Callable[[Efficiency], str]] = {
        "ms/image": lambda one: _number(one.ms_per_image),
        "J/image": lambda one: _bounded(one.gross_j),
        "net J/image": lambda one: _bounded(one.net_j),
        "images/J": lambda one: _number(one.images_per_j),
        "power W": lambda one: _bounded(one.power_w),
        "ps/MAC": lambda one: _number(one.ps_per_mac),
        "pJ/MAC": lambda one: _number(one.pj_per_mac),
        "ns/KiB": lambda one: _number(one.ns_per_kib),
        "nJ/KiB": lambda one: _number(one.nj_per_kib),
    }
    found = efficiencies(result)
    # A column that nothing fills says nothing; the reason stands below.
    filled = {name: cell for name, cell in columns.items() if any(cell(one) != "-" for one in found)}
    return [
        {**_who(result, one), **{name: cell(one) for name, cell in filled.items()}, "top-1 %": _number(one.top1)}
        for one in found
    ]


def _who(result: Result, one: Efficiency) -> Row:
    line = next(line for line in result.lines if line.name == one.line)
    return {"network": _label(one.network), "runtime": line.runtime, "batch": str(one.batch)}


def _slow_row(result: Result, part: Breakdown) -> Row:
    line = next(line for line in result.lines if line.name == part.line)
    file = result.file_of(line)
    shares = ", ".join(f"{share.operator} {share.share:.0%}" for share in part.shares[:_SHOWN_OPERATORS])
    return {
        "network": _label(file.network),
        "runtime": line.runtime,
        "M MACs": "-" if file.macs is None else f"{file.macs / 1e6:.1f}",
        "MB of maps": _number(part.activations_bytes, 1e-6),
        "MB of weights": _number(part.weights_bytes, 1e-6),
        "nodes": str(sum(part.operators.values())) if part.operators else "-",
        "executed": "-" if part.kernels is None else str(part.kernels),
        "most of the time": shares or one_line(part.unavailable or "-"),
    }


def _missing(result: Result) -> Iterator[str]:
    for skipped in result.skipped:
        yield f"{skipped.file} in {skipped.runtime}: {skipped.reason}"
    power = result.power.unavailable if result.power else None
    over_time = result.paper.no_traces_reason if result.paper else None
    if power is not None:
        yield f"power: {power}"
    if over_time is not None:
        yield f"power over time: {'for the same reason' if over_time == power else over_time}"


def _label(network: str | None) -> str:
    known = by_name().get(network or "")
    return known.label if known else one_line(network or "unknown")


def _number(value: float | None, factor: float = 1.0) -> str:
    return "-" if value is None else f"{value * factor:.4g}"


def _bounded(value: Bounded | None) -> str:
    return "-" if value is None else f"{value.value:.4g} ± {value.half_width:.2g}"
