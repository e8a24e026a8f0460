"""What was measured, for people and as JSON: a table, the definitions of its columns, and the doubts about it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ..files import write_text
from .bench import BenchResult, LatencySamples, Ratio
from .environment import Environment, environment_doubts

SCHEMA_VERSION = 1
# Medians of a runner's rounds that lie further apart than this share tell of a machine that is not steady.
_STEADY_SHARE = 0.10
_TEXT_COLUMNS = {"engine", "runtime", "version", "device"}


@dataclass(frozen=True)
class MeasuredFile:
    """An artefact that was measured; `name` and `network` are the manifest's, None for a trusted file without one."""

    path: str
    sha256: str
    name: str | None
    network: str | None


@dataclass(frozen=True)
class Skipped:
    """A runtime that could not be measured, and why."""

    engine: str
    runtime: str
    reason: str


@dataclass(frozen=True)
class LatencyReport:
    """A measurement with everything that is needed to judge it; `files` has the artefact of each runner's name."""

    result: BenchResult
    files: Mapping[str, MeasuredFile]
    skipped: tuple[Skipped, ...]
    environment: Environment
    load_before: float | None
    load_after: float | None
    started: str

    @property
    def doubts(self) -> list[str]:
        """What speaks against the numbers, each with its remedy."""
        threads = max(samples.info.threads for samples in self.result.runners)
        return [
            *environment_doubts(self.environment, threads, self.load_before, self.load_after),
            *_graph_doubts(self.result),
            *sample_doubts(self.result),
        ]


def sample_doubts(result: BenchResult) -> list[str]:
    """What the samples themselves say against the figures."""
    return [*_tail_doubts(result), *_drift_doubts(result), *_tie_doubts(result)]


def print_report(report: LatencyReport) -> None:
    """The report on standard output; a drawn table on a terminal that is wide enough, else aligned columns."""
    console = Console(highlight=False)
    # Lines are wrapped for people; a program that reads them finds each in one piece.
    console.soft_wrap = not console.is_terminal
    rows = _rows(report)
    table = _drawn_table(rows)
    # A table that is too wide would be drawn with its numbers cut. Rich cuts what it measures as well, if let.
    width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    if console.is_terminal and width <= console.width:
        console.print(table)
    else:
        console.print("\n".join(plain_table(rows)), markup=False)
    for title, lines in (("definitions", definitions(report)), ("doubts", report.doubts)):
        if lines:
            console.print(f"\n{title}:", markup=False)
        for line in lines:
            console.print(f"  - {line}", markup=False)


def plain_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Lines with aligned columns: the column names, then the rows; text to the left, numbers to the right."""
    lines = []
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in rows[0]}
    for row in ({column: column for column in widths}, *rows):
        cells = [
            row[column].ljust(width) if column in _TEXT_COLUMNS else row[column].rjust(width)
            for column, width in widths.items()
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def definitions(report: LatencyReport) -> list[str]:
    """What each figure of the table means, and how it was taken."""
    settings, first = report.result.settings, report.result.runners[0]
    per_file = {file.path: samples.inputs for samples, file in _with_files(report)}
    fed = "; ".join(f"{path}: {', '.join(inputs)}" for path, inputs in per_file.items())
    return [
        (
            "latency: one call of infer, from the input arrays ready in memory to the output arrays ready in memory, "
            "copies to and from a device included; no file is read, no picture decoded or resized"
        ),
        f"input: {fed}, random (seed {settings.seed})",
        f"p50, p90, p99: percentiles over the n samples of all rounds, {first.summary.percentile_rule}",
        (
            f"ratio: time relative to {first.name} (2.00 takes twice as long); the medians of the two blocks of a "
            "round are divided, the median over the rounds is given, and in brackets the smallest and largest"
        ),
        (
            f"{settings.rounds} rounds of one block for each line, in random order; a block is 1 discarded iteration, "
            f"then {settings.iterations} timed ones; warm-up before the first round: "
            f"at least {settings.warmup_iterations} iterations and {settings.warmup_s:g} s each"
        ),
        (
            f"machine: {report.environment.line}; load average {_load(report.load_before)} before, "
            f"{_load(report.load_after)} after"
        ),
    ]


def write_json(path: Path, report: LatencyReport) -> None:
    """The whole report with every sample, in one step: see `files.write_text`."""
    write_text(path, json.dumps(as_json(report), indent=2, allow_nan=False) + "\n")


def as_json(report: LatencyReport) -> dict[str, Any]:
    """The report as JSON values; `samples_ns` has one list for each round."""
    return {
        "schema_version": SCHEMA_VERSION,
        "measure": "latency",
        "started": report.started,
        "settings": asdict(report.result.settings),
        "environment": asdict(report.environment),
        "load_average": {"before": report.load_before, "after": report.load_after},
        "files": [asdict(file) for file in dict.fromkeys(report.files.values())],
        "order": report.result.order,
        "runners": [{**_runner_json(report, samples), "file": file.path} for samples, file in _with_files(report)],
        "skipped": [asdict(skipped) for skipped in report.skipped],
        "definitions": definitions(report),
        "doubts": report.doubts,
    }


def _runner_json(report: LatencyReport, samples: LatencySamples) -> dict[str, Any]:
    return {
        **asdict(samples),
        "summary": asdict(samples.summary),
        "round_medians_ns": samples.round_medians_ns,
        "ratio": asdict(report.result.ratio(samples)),
    }


def _with_files(report: LatencyReport) -> Iterator[tuple[LatencySamples, MeasuredFile]]:
    return ((samples, report.files[samples.name]) for samples in report.result.runners)


def _rows(report: LatencyReport) -> list[dict[str, str]]:
    """One row for each runner; the column `engine` only where there are several."""
    several = len(set(report.files.values())) > 1
    rows: list[dict[str, str]] = []
    for samples, file in _with_files(report):
        summary = samples.summary
        rows.append(
            {
                **({"engine": file.path} if several else {}),
                "runtime": samples.info.runtime,
                "version": samples.info.version,
                "device": samples.info.device,
                "threads": str(samples.info.threads),
                "n": str(summary.n),
                "p50 ms": f"{summary.p50_ms:.3f}",
                "p90 ms": f"{summary.p90_ms:.3f}",
                "p99 ms": f"{summary.p99_ms:.3f}",
                "ratio": _ratio_text(report.result.ratio(samples)) if rows else "1.00",
            }
        )
    return rows


def _drawn_table(rows: Sequence[Mapping[str, str]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column in rows[0]:
        table.add_column(column, justify="left" if column in _TEXT_COLUMNS else "right", no_wrap=True)
    for row in rows:
        # Square brackets are markup to rich.
        table.add_row(*(cell.replace("[", r"\[") for cell in row.values()))
    return table


def _tail_doubts(result: BenchResult) -> Iterator[str]:
    n = result.runners[0].summary.n
    if n == 1:
        yield "one sample has no percentiles: p50, p90 and p99 are that sample; raise --rounds and --iterations"
    elif n < 100:
        yield (
            f"p99 of {n} samples is an interpolation between the two slowest; raise --rounds or --iterations "
            "until n is 100 or more"
        )


def _graph_doubts(result: BenchResult) -> Iterator[str]:
    for samples in result.runners:
        if samples.info.graph_fallback_reason is not None:
            yield (
                f"{samples.name} ran without a CUDA graph ({samples.info.graph_fallback_reason}): the time to launch "
                "each kernel counts"
            )


def _drift_doubts(result: BenchResult) -> Iterator[str]:
    ranges = {
        samples.name: (min(samples.round_medians_ns), max(samples.round_medians_ns)) for samples in result.runners
    }
    unsteady = [
        f"{name} {high / low - 1:.0%} ({low / 1e6:.3f} to {high / 1e6:.3f} ms)"
        for name, (low, high) in ranges.items()
        if high > low * (1 + _STEADY_SHARE)
    ]
    if unsteady:
        yield (
            f"medians of the rounds lie apart: {', '.join(unsteady)}; the machine is not steady: let it cool and come "
            "to rest, and raise --rounds"
        )


def _tie_doubts(result: BenchResult) -> Iterator[str]:
    first = result.runners[0]
    for samples in result.runners[1:]:
        ratio = result.ratio(samples)
        if ratio.minimum <= 1 <= ratio.maximum:
            yield (
                f"{samples.name} and {first.name} cannot be told apart: each was the faster one in some round; "
                "raise --rounds"
            )


def _ratio_text(ratio: Ratio) -> str:
    return f"{_figure(ratio.median)} [{_figure(ratio.minimum)}..{_figure(ratio.maximum)}]"


def _figure(ratio: float) -> str:
    """Two decimals, or two significant digits where that says more."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def _load(load: float | None) -> str:
    return "unknown" if load is None else f"{load:.1f}"
