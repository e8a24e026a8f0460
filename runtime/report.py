"""What was measured, for people and as JSON: tables, the definitions of their columns, and the doubts about them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ..errors import one_line
from ..files import write_text
from .bench import BenchResult, LatencySamples
from .environment import Environment, environment_doubts
from .power_report import (
    MeasuredPower,
    MissingPower,
    json_text,
    power_definitions,
    power_doubts,
    power_json,
    power_rows,
    power_sentences,
)
from .runner import RunnerInfo
from .stats import Ratio

SCHEMA_VERSION = 2
# Medians of a runner's rounds that lie further apart than this share tell of a machine that is not steady.
_STEADY_SHARE = 0.10
_TEXT_COLUMNS = {"engine", "measured", "runtime", "version", "device"}


@dataclass(frozen=True)
class MeasuredFile:
    """An artefact that was measured; `name` and `network` are the manifest's, None for a trusted file without one."""

    path: str
    sha256: str
    name: str | None
    network: str | None


@dataclass(frozen=True)
class MeasuredRunner:
    """What was measured: a runner's name and facts, what it was fed, and the artefact behind it."""

    name: str
    info: RunnerInfo
    inputs: tuple[str, ...]
    file: MeasuredFile


@dataclass(frozen=True)
class Skipped:
    """A runtime that could not be measured, and why."""

    engine: str
    runtime: str
    reason: str


@dataclass(frozen=True)
class Report:
    """A measurement with everything that is needed to judge it.

    `latency` and `power` are None where they were not asked for.
    """

    runners: tuple[MeasuredRunner, ...]
    latency: BenchResult | None
    power: MeasuredPower | MissingPower | None
    skipped: tuple[Skipped, ...]
    environment: Environment
    load_before: float | None
    load_after: float | None
    started: str

    @property
    def doubts(self) -> list[str]:
        """What speaks against the numbers, each with its remedy."""
        threads = max(runner.info.threads for runner in self.runners)
        return [
            *environment_doubts(self.environment, threads, self.load_before, self.load_after),
            *_graph_doubts(self.runners),
            *(sample_doubts(self.latency) if self.latency else ()),
            *(power_doubts(self.power, [runner.info for runner in self.runners]) if self.power else ()),
        ]


def sample_doubts(result: BenchResult) -> list[str]:
    """What the samples themselves say against the figures."""
    return [*_tail_doubts(result), *_drift_doubts(result), *_tie_doubts(result)]


def print_report(report: Report) -> None:
    """The report on standard output; drawn tables on a terminal that is wide enough, else aligned columns."""
    console = _console()
    tables = [table for table in (_rows(report), _power_rows(report)) if table]
    for i, rows in enumerate(tables):
        if i:
            console.print()
        _print_table(console, rows)
    energies = power_sentences(report.power) if report.power else []
    _print_lists(console, {"energy": energies, "definitions": definitions(report), "doubts": report.doubts})


def print_power(power: MeasuredPower) -> None:
    """The figures of power alone, on standard output."""
    console = _console()
    _print_table(console, [{"measured": one_line(name), **cells} for name, cells in power_rows(power).items()])
    lists = {
        "energy": power_sentences(power),
        "definitions": power_definitions(power),
        "doubts": power_doubts(power, []),
    }
    _print_lists(console, lists)


def _console() -> Console:
    console = Console(highlight=False)
    # Lines are wrapped for people; a program that reads them finds each in one piece.
    console.soft_wrap = not console.is_terminal
    return console


def _print_lists(console: Console, lists: Mapping[str, Sequence[str]]) -> None:
    for title, lines in lists.items():
        if lines:
            console.print(f"\n{title}:", markup=False)
        for line in lines:
            # Names may come from a file of somebody else's.
            console.print(f"  - {one_line(line)}", markup=False)


def _print_table(console: Console, rows: Sequence[Mapping[str, str]]) -> None:
    table = _drawn_table(rows)
    # A table that is too wide would be drawn with its numbers cut. Rich cuts what it measures as well, if let.
    width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    if console.is_terminal and width <= console.width:
        console.print(table)
    else:
        console.print("\n".join(plain_table(rows)), markup=False)


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


def definitions(report: Report) -> list[str]:
    """What each figure means, and how it was taken."""
    per_file = {runner.file.path: runner.inputs for runner in report.runners}
    fed = "; ".join(f"{path}: {', '.join(inputs)}" for path, inputs in per_file.items())
    return [
        f"input: {fed}, random",
        *(_latency_definitions(report.latency) if report.latency else ()),
        *(power_definitions(report.power) if report.power else ()),
        (
            f"machine: {report.environment.line}; load average {_load(report.load_before)} before, "
            f"{_load(report.load_after)} after"
        ),
    ]


def write_json(path: Path, report: Report) -> None:
    """The whole report with every sample, in one step: see `files.write_text`."""
    write_text(path, json_text(as_json(report)))


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON values; `samples_ns` has one list for each round."""
    measured = {"latency": report.latency, "power": report.power}
    return {
        "schema_version": SCHEMA_VERSION,
        "measure": [name for name, figures in measured.items() if figures is not None],
        "started": report.started,
        "environment": asdict(report.environment),
        "load_average": {"before": report.load_before, "after": report.load_after},
        "files": [asdict(file) for file in dict.fromkeys(runner.file for runner in report.runners)],
        "runners": [{**asdict(runner), "file": runner.file.path} for runner in report.runners],
        "skipped": [asdict(skipped) for skipped in report.skipped],
        **({"latency": _latency_json(report.latency)} if report.latency else {}),
        **({"power": power_json(report.power)} if report.power else {}),
        "definitions": definitions(report),
        "doubts": report.doubts,
    }


def _latency_definitions(latency: BenchResult) -> list[str]:
    settings, first = latency.settings, latency.runners[0]
    return [
        (
            "latency: one call of infer, from the input arrays ready in memory to the output arrays ready in memory, "
            f"copies to and from a device included; no file is read, no picture decoded; seed {settings.seed}"
        ),
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
    ]


def _latency_json(latency: BenchResult) -> dict[str, Any]:
    return {
        "settings": asdict(latency.settings),
        "order": latency.order,
        "runners": [_samples_json(latency, samples) for samples in latency.runners],
    }


def _samples_json(latency: BenchResult, samples: LatencySamples) -> dict[str, Any]:
    kept = {name: value for name, value in asdict(samples).items() if name not in {"info", "inputs"}}
    return {
        **kept,
        "summary": asdict(samples.summary),
        "round_medians_ns": samples.round_medians_ns,
        "ratio": asdict(latency.ratio(samples)),
    }


def _rows(report: Report) -> list[dict[str, str]]:
    """One row for each runner's latency."""
    if report.latency is None:
        return []
    rows: list[dict[str, str]] = []
    for runner, samples in zip(report.runners, report.latency.runners, strict=True):
        summary = samples.summary
        rows.append(
            {
                **_engine_column(report, runner),
                "runtime": runner.info.runtime,
                "version": runner.info.version,
                "device": runner.info.device,
                "threads": str(runner.info.threads),
                "n": str(summary.n),
                "p50 ms": f"{summary.p50_ms:.3f}",
                "p90 ms": f"{summary.p90_ms:.3f}",
                "p99 ms": f"{summary.p99_ms:.3f}",
                "ratio": _ratio_text(report.latency.ratio(samples)) if rows else "1.00",
            }
        )
    return rows


def _power_rows(report: Report) -> list[dict[str, str]]:
    """One row for each runner's energy."""
    if not isinstance(report.power, MeasuredPower):
        return []
    by_name = power_rows(report.power)
    return [
        {**_engine_column(report, runner), "runtime": runner.info.runtime, **by_name[runner.name]}
        for runner in report.runners
    ]


def _engine_column(report: Report, runner: MeasuredRunner) -> dict[str, str]:
    """Which file it is, where there are several."""
    several = len({runner.file for runner in report.runners}) > 1
    return {"engine": runner.file.path} if several else {}


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


def _graph_doubts(runners: Sequence[MeasuredRunner]) -> Iterator[str]:
    for runner in runners:
        if runner.info.graph_fallback_reason is not None:
            yield (
                f"{runner.name} ran without a CUDA graph ({runner.info.graph_fallback_reason}): the time to launch "
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
