"""Tables and charts of latency, energy and memory."""

from collections.abc import Sequence
from typing import Literal

from ..result import EnergyFigures, Figure, LineLatency, Result, Unknown
from ..stats import Ratio, Summary, median, percentile
from .charts import Chart, Missing, Panel, Point, Series
from .tables import Cell, Column, Table, text_cells
from .words import NOT_KNOWN, brief_reason, figure_words, number, size_words, with_uncertainty

_NS_PER_MS = 1e6
_PERCENTILES = ("p50", "p90", "p95", "p99")
# Percent of the samples at which a distribution of many is drawn.
_SHARES = (*range(100), 99.5, 99.9, 100)
# Lines whose medians lie this far apart are drawn on a logarithmic axis.
_WIDE_RATIO = 8
# More curves than this cover each other.
_MAX_CURVES = 8


def line_table(result: Result) -> Table:
    """What was measured: each line's file, runtime and settings."""
    columns = [Column(label, numeric=False) for label in ("line", "file", "runtime", "device", "inputs")]
    columns[4:4] = [Column("threads"), Column("batch"), Column("streams")]
    rows = []
    for line in result.lines:
        graph = {True: ", CUDA graph", False: ", no CUDA graph", None: ""}[line.graph]
        device = f"{line.device_name or line.device.upper()}{graph}"
        counts = [Cell(str(n), n) for n in (line.threads, line.batch, line.streams)]
        name, file, runtime, shown = text_cells(line.name, line.file, f"{line.runtime} {line.version}", device)
        note = line.graph_fallback_reason or ""
        rows.append([name, file, runtime, Cell(shown.text, note=note), *counts, *text_cells("; ".join(line.inputs))])
    return Table("lines", "What was measured", columns, rows)


def latency_table(result: Result) -> Table | None:
    """Percentiles with their intervals, throughput and the ratio to the first line."""
    if result.latency is None:
        return None
    columns = [
        Column("line", numeric=False),
        Column("batch"),
        *(Column(f"{name} ms", intervals=True) for name in _PERCENTILES),
        Column("n"),
        Column("images/s"),
        Column("ratio", intervals=True),
    ]
    batches = {line.name: line.batch for line in result.lines}
    rows = [
        [
            Cell(line.name, note="" if line.steady else "the warm-up did not come to rest"),
            Cell(str(batches[line.name]), batches[line.name]),
            *_percentile_cells(line.summary),
            Cell(f"{line.summary.n:,}", line.summary.n),
            Cell(number(line.throughput_per_s), line.throughput_per_s),
            _ratio_cell(line.ratio),
        ]
        for line in result.latency.lines
    ]
    return Table(
        "latency", "Latency of one inference, with 95 % intervals where there are samples enough", columns, rows
    )


def stage_table(result: Result) -> Table | None:
    """Medians of the parts of an inference; None where no line has parts."""
    stages = list(dict.fromkeys(stage for line in _latencies(result) for stage in line.stages))
    if not stages:
        return None
    columns = [Column("line", numeric=False), *(Column(f"{stage} ms") for stage in stages)]
    rows = [
        [Cell(line.name), *(_median_cell(line.stages.get(stage)) for stage in stages)]
        for line in _latencies(result)
        if line.stages
    ]
    return Table("stages", "Medians of the stages", columns, rows)


def service_table(result: Result) -> Table | None:
    """Latency from the due instant beside the time from the call on; None in a closed loop."""
    lines = [line for line in _latencies(result) if line.service_summary]
    if not lines:
        return None
    columns = [
        Column("line", numeric=False),
        *(Column(f"{what} {name} ms", intervals=True) for what in ("latency", "service") for name in ("p50", "p99")),
    ]
    rows = []
    for line in lines:
        cells = [_percentile_cells(summary) for summary in (line.summary, line.service_summary) if summary]
        rows.append([Cell(line.name), *(each for four in cells for each in (four[0], four[3]))])
    return Table(
        "service", "At a fixed rate: latency from the instant that was due, and from the call on", columns, rows
    )


def energy_table(result: Result) -> Table | None:
    """Gross and net energy of an inference, power, and images for a joule."""
    loads = result.power.result.loads if result.power and result.power.result else ()
    if not loads:
        return None
    columns = [
        Column("line", numeric=False),
        Column("gross mJ", intervals=True),
        Column("net mJ", intervals=True),
        Column("power W", intervals=True),
        Column("images/J gross"),
        Column("images/J net"),
        Column("meter", numeric=False),
        Column("ratio", intervals=True),
    ]
    batches = {line.name: line.batch for line in result.lines}
    rows = []
    for load in loads:
        figures, batch = load.total, batches[load.name]
        rows.append(
            [
                Cell(load.name),
                _figure_cell(figures.gross_mj),
                _figure_cell(figures.net_mj),
                _figure_cell(figures.power_mw, 1e-3),
                _images_per_j(figures.gross_mj, batch),
                _images_per_j(figures.net_mj, batch),
                Cell(figures.label, note=_gain_note(figures)),
                _energy_ratio_cell(load.ratio, first=load is loads[0]),
            ]
        )
    return Table("energy", "Energy of one inference and power, with 95 % intervals", columns, rows)


def memory_table(result: Result) -> Table | None:
    """Resident and GPU memory of each line in a process of its own."""
    if result.memory is None:
        return None
    columns = [
        Column("line", numeric=False),
        *(Column(label) for label in ("process before MiB", "network open MiB", "peak MiB", "GPU MiB")),
    ]
    rows = []
    for line in result.memory:
        sizes = (line.before_rss_bytes, line.loaded_rss_bytes, line.peak_rss_bytes, line.gpu_bytes)
        cells = [Cell("–") if size is None else Cell(size_words(size)[:-4], size / (1 << 20)) for size in sizes]
        rows.append([Cell(line.name, note=line.unavailable or line.gpu_note or ""), *cells])
    return Table("memory", "Memory, each line in a process of its own", columns, rows)


def latency_panels(result: Result) -> list[Panel]:
    """At a glance, the distribution, its drift over the rounds, and what the settings add: stages, a fixed rate."""
    lines = _latencies(result)
    if not lines:
        return []
    left_out = f" The first {_MAX_CURVES} of {len(lines)} lines." if len(lines) > _MAX_CURVES else ""
    return [
        _glance(lines),
        _distribution(lines[:_MAX_CURVES], left_out),
        *([_drift(lines[:_MAX_CURVES], left_out)] if max(len(line.samples_ns) for line in lines) > 1 else []),
        *([_stages(lines)] if any(line.stages for line in lines) else []),
        *([_service(lines[:_MAX_CURVES], left_out)] if any(line.service_ns for line in lines) else []),
    ]


def energy_panels(result: Result) -> list[Panel]:
    """Energy of each line, or why there is none; [] where it was not asked for."""
    if result.power is None:
        return []
    loads = result.power.result.loads if result.power.result else ()
    both = (("gross", [load.total.gross_mj for load in loads]), ("net of idle", [load.total.net_mj for load in loads]))
    series = []
    for style, (name, figures) in enumerate(both):
        points = [
            Point(
                figure.value, row, f"{load.name}, {name}: {with_uncertainty(figure.value, figure.half_width, 'mJ')}",
                figure.value - figure.half_width, figure.value + figure.half_width,
            )
            for row, (load, figure) in enumerate(zip(loads, figures, strict=True))
            if isinstance(figure, Figure)
        ]  # fmt: skip
        series.append(Series(name, points, style, form="points", dashed=style == 1))
    title = "Energy of one inference"
    if not any(one.points for one in series):
        return [Missing("energy-chart", title, brief_reason(result, result.power.unavailable or "no figure is known"))]
    reading = (
        "Filled marks are all that was drawn, hollow ones what is left without idle power. Bars are 95 % intervals."
    )
    names = tuple(load.name for load in loads)
    shown = [one for one in series if one.points]
    return [Chart("energy-chart", title, reading, "energy of one inference, mJ", "", shown, categories=names)]


def _latencies(result: Result) -> Sequence[LineLatency]:
    return result.latency.lines if result.latency else ()


def _glance(lines: Sequence[LineLatency]) -> Chart:
    middle, tail = [], []
    for row, line in enumerate(lines):
        bounds = line.summary.bounds_ms.get("p50", (None, None))
        middle.append(_dot(line, "p50", line.summary.p50_ms, row, *bounds))
        tail.append(_dot(line, "p99", line.summary.p99_ms, row))
    reading = "Half of the inferences took no longer than the filled mark, 99 % no longer than the hollow one."
    series = [Series("p50", middle, 0, form="points"), Series("p99", tail, 3, form="points", dashed=True)]
    names = tuple(line.name for line in lines)
    return Chart(
        "latency-glance", "At a glance", reading, "latency, ms", "", series, categories=names, log_x=_axis_of(lines)
    )


def _dot(
    line: LineLatency, name: str, value: float, row: int, low: float | None = None, high: float | None = None
) -> Point:
    interval = "" if low is None or high is None else f", 95 % interval {number(low)} to {number(high)}"
    return Point(value, row, f"{line.name}, {name}: {number(value)} ms{interval}", low, high)


def _distribution(lines: Sequence[LineLatency], left_out: str) -> Chart:
    series = [Series(line.name, _shares(line.name, _all(line.samples_ns)), i, "steps") for i, line in enumerate(lines)]
    reading = (
        "How many of the inferences took at most so long. Steep is steady; a long foot to the right is a slow tail."
    )
    return Chart(
        "latency-distribution", "Distribution", reading + left_out, "latency, ms",
        "inferences that took at most so long, %", series,
        log_x=_axis_of(lines),
    )  # fmt: skip


def _shares(name: str, samples_ns: Sequence[int]) -> list[Point]:
    ordered = sorted(sample / _NS_PER_MS for sample in samples_ns)
    n = len(ordered)
    if n <= len(_SHARES):
        pairs = [(100 * (i + 1) / n, ms) for i, ms in enumerate(ordered)]
    else:
        pairs = [(float(share), percentile(ordered, share)) for share in _SHARES]
    return [Point(ms, share, f"{name}: {number(share, 3)} % took at most {number(ms)} ms") for share, ms in pairs]


def _drift(lines: Sequence[LineLatency], left_out: str) -> Chart:
    series = []
    for style, line in enumerate(lines):
        medians = [median(block) / _NS_PER_MS for block in line.samples_ns if block]
        middle = line.summary.p50_ms
        points = [
            Point(i, 100 * (ms / middle - 1), f"{line.name}, round {i}: median {number(ms)} ms, {ms / middle - 1:+.1%}")
            for i, ms in enumerate(medians, 1)
            if middle > 0
        ]
        series.append(Series(line.name, points, style))
    reading = (
        "The median of each round against that of all samples, in the order of time. Level lines: a steady machine."
    )
    y_label = "median against the line's, %"
    return Chart(
        "latency-rounds",
        "Round by round",
        reading + left_out,
        "round",
        y_label,
        series,
        from_zero=False,
        at_least=(-1, 1),
    )


def _stages(lines: Sequence[LineLatency]) -> Chart:
    staged = [line for line in lines if line.stages]
    names = list(dict.fromkeys(stage for line in staged for stage in line.stages))
    series = []
    for style, stage in enumerate(names):
        points = [
            Point(line.stages[stage].p50_ms, row, f"{line.name}, {stage}: {number(line.stages[stage].p50_ms)} ms")
            for row, line in enumerate(staged)
            if stage in line.stages
        ]
        series.append(Series(stage, points, style))
    reading = "Medians of the stages, side by side. Timed in blocks of their own, they need not add up to the latency."
    return Chart(
        "latency-stages", "Stages", reading, "median, ms", "", series,
        categories=tuple(line.name for line in staged), stacked=True,
    )  # fmt: skip


def _service(lines: Sequence[LineLatency], left_out: str) -> Chart:
    series = []
    for style, line in enumerate(lines):
        if line.service_ns:
            due, called = f"{line.name}, from due", f"{line.name}, from call"
            series.append(Series(due, _shares(due, _all(line.samples_ns)), style, "steps"))
            series.append(Series(called, _shares(called, _all(line.service_ns)), style, "steps", dashed=True))
    reading = "Where the two curves of a line part, inferences waited for the one before them."
    return Chart(
        "latency-service", "At a fixed rate: waiting and service", reading + left_out, "time, ms",
        "took at most so long, %", series, log_x=_axis_of(lines),
    )  # fmt: skip


def _axis_of(lines: Sequence[LineLatency]) -> Literal[10] | None:
    """Logarithmic where the times lie far apart."""
    values = [value for line in lines for value in (line.summary.p50_ms, line.summary.p99_ms)]
    return 10 if min(values) > 0 and max(values) > _WIDE_RATIO * min(values) else None


def _all(rounds: Sequence[Sequence[int]]) -> list[int]:
    return [sample for block in rounds for sample in block]


def _percentile_cells(summary: Summary) -> list[Cell]:
    cells = []
    for name in _PERCENTILES:
        value = float(getattr(summary, f"{name}_ms"))
        low, high = summary.bounds_ms.get(name, (None, None))
        note = "no interval" if low is None or high is None else f"{number(low)} to {number(high)}"
        cells.append(Cell(number(value), value, low, high, note))
    return cells


def _ratio_cell(ratio: Ratio | None) -> Cell:
    if ratio is None:
        return Cell("1", 1.0, note="reference")
    if ratio.low is None or ratio.high is None:
        return Cell(number(ratio.median, 3), ratio.median, note="too few rounds for an interval")
    note = f"{number(ratio.low, 3)} to {number(ratio.high, 3)}"
    return Cell(number(ratio.median, 3), ratio.median, ratio.low, ratio.high, note)


def _median_cell(summary: Summary | None) -> Cell:
    return Cell("–") if summary is None else Cell(number(summary.p50_ms), summary.p50_ms)


def _figure_cell(figure: Figure | Unknown, factor: float = 1.0) -> Cell:
    if isinstance(figure, Unknown):
        return Cell(NOT_KNOWN, note=figure.reason)
    value, half = figure.value * factor, figure.half_width * factor
    return Cell(figure_words(figure, factor), value, value - half, value + half, note="; ".join(figure.flags))


def _energy_ratio_cell(ratio: Figure | Unknown | None, *, first: bool) -> Cell:
    if first:
        return Cell("1", 1.0, note="reference")
    return Cell("–") if ratio is None else _figure_cell(ratio)


def _images_per_j(figure: Figure | Unknown, batch: int) -> Cell:
    if isinstance(figure, Unknown) or figure.value <= 0:
        return Cell(NOT_KNOWN)
    per_joule = 1e3 * batch / figure.value
    return Cell(number(per_joule, 3), per_joule)


def _gain_note(figures: EnergyFigures) -> str:
    return "" if figures.gain_error is None else f"its gain may be wrong by {figures.gain_error:.0%}"
