"""What was measured, for people: tables, the definitions of their columns, and the doubts about them."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console

from ..errors import one_line
from .environment import environment_doubts
from .latency_report import latency_cells, latency_definitions, latency_doubts, stage_rows
from .operator_profile import breakdown_lines, breakdown_rows
from .power_report import (
    MeasuredPower,
    MissingPower,
    power_definitions,
    power_doubts,
    power_rows,
    power_sentences,
)
from .result import Line, Result
from .tables import Row, output_console, print_table

_MIB = 1 << 20
# Arrivals that come later than this share of their period have fallen behind.
_LATE_SHARE = 1.02

PowerFound = MeasuredPower | MissingPower | None


def print_report(result: Result, power: PowerFound) -> None:
    """A measurement on standard output; `power` has the figures of the result's power with all their digits."""
    console = output_console()
    if result.partial is not None:
        console.print(f"partial: {one_line(result.partial)}\n", markup=False)
    tables = (_latency_rows(result), _stage_rows(result), _power_rows(result, power), _memory_rows(result))
    for i, rows in enumerate(table for table in (*tables, *_operator_tables(result)) if table):
        if i:
            console.print()
        print_table(console, rows)
    lists = {
        "energy": power_sentences(power) if power else [],
        "memory": _memory_sentences(result),
        "operators": _operator_sentences(result),
        "definitions": result.definitions,
        "doubts": result.doubts,
    }
    _print_lists(console, lists)


def print_power(result: Result, power: MeasuredPower) -> None:
    """The figures of a result's power alone, on standard output."""
    console = output_console()
    print_table(console, [{"measured": one_line(name), **cells} for name, cells in power_rows(power).items()])
    lists = {
        "energy": power_sentences(power),
        "definitions": power_definitions(power),
        "doubts": power_doubts(power, result.lines),
    }
    _print_lists(console, lists)


def definitions(result: Result, power: PowerFound) -> list[str]:
    """What each figure means, and how it was taken."""
    per_file: dict[str, dict[str, None]] = {}
    for line in result.lines:
        per_file.setdefault(line.file, {}).update(dict.fromkeys(line.inputs))
    fed = "; ".join(f"{path}: {', '.join(inputs)}" for path, inputs in per_file.items())
    random = "" if any("photo" in text for text in fed.split(": ")[-1:]) else ", random"
    return [
        f"input: {fed}{random}",
        *latency_definitions(result),
        *(power_definitions(power) if power else ()),
        *_paced_power_definitions(result),
        *_memory_definitions(result),
        (
            f"machine: {result.environment.line}; load average {_load(result.before.load_average)} before, "
            f"{_load(result.after.load_average)} after"
        ),
    ]


def doubts(result: Result, power: PowerFound) -> list[str]:
    """What speaks against the numbers, each with its remedy."""
    threads = max(line.threads * line.streams for line in result.lines)
    loads = (result.before.load_average, result.after.load_average)
    partial = [] if result.partial is None else [f"{result.partial}: what was to follow is missing; measure again"]
    return [
        *partial,
        *environment_doubts(result.environment, threads, *loads),
        *_graph_doubts(result.lines),
        *latency_doubts(result),
        *(power_doubts(power, result.lines) if power else ()),
        *_paced_power_doubts(result),
    ]


def _paced_power_definitions(result: Result) -> Iterator[str]:
    rate_hz = result.lines[0].rate_hz
    if result.power is not None and rate_hz is not None:
        yield f"energy at a rate: of one arrival of {rate_hz:g} per second; what is drawn while it waits belongs to it"


def _paced_power_doubts(result: Result) -> Iterator[str]:
    """Lines that power was measured of, and that could not keep up with their rate."""
    for line in result.lines:
        energy = result.energy_of(line.name)
        if line.rate_hz is None or energy is None or energy.inference_ms <= _LATE_SHARE * 1e3 / line.rate_hz:
            continue
        yield (
            f"{line.name} does not keep up while power is measured: {1e3 / energy.inference_ms:.4g} of "
            f"{line.rate_hz:g} per second; lower --rate"
        )


def _latency_rows(result: Result) -> list[Row]:
    """One row for each line's latency."""
    if result.latency is None:
        return []
    return [
        {**_line_columns(result, line), **latency_cells(latency)}
        for line in result.lines
        if (latency := result.latency_of(line.name)) is not None
    ]


def _stage_rows(result: Result) -> list[Row]:
    return [*stage_rows(result.latency)] if result.latency else []


def _power_rows(result: Result, power: PowerFound) -> list[Row]:
    """One row for each line's energy."""
    if not isinstance(power, MeasuredPower):
        return []
    by_name = power_rows(power)
    return [
        {**_engine_column(result, line), "runtime": line.runtime, **_batch_column(result, line), **by_name[line.name]}
        for line in result.lines
    ]


def _memory_rows(result: Result) -> list[Row]:
    on_gpu = any(line.device == "cuda" for line in result.lines)
    return [
        {
            **_engine_column(result, line),
            "runtime": line.runtime,
            **_batch_column(result, line),
            "RSS before MiB": _mib(memory.before_rss_bytes),
            "loaded MiB": _mib(memory.loaded_rss_bytes),
            "peak MiB": _mib(memory.peak_rss_bytes),
            **({"GPU MiB": _mib(memory.gpu_bytes)} if on_gpu else {}),
        }
        for line in result.lines
        if (memory := result.memory_of(line.name)) is not None
    ]


def _operator_tables(result: Result) -> Iterator[list[Row]]:
    for part in result.breakdowns:
        if part.shares:
            yield [{"measured": part.line, **row} for row in breakdown_rows(part)]


def _operator_sentences(result: Result) -> list[str]:
    sentences = []
    for part in result.breakdowns:
        line = next(line for line in result.lines if line.name == part.line)
        if (macs := result.file_of(line).macs) is not None:
            sentences.append(f"{part.line}: {macs * line.batch / 1e6:.1f} M multiply-accumulates")
        sentences += breakdown_lines(part)
    return sentences


def _memory_sentences(result: Result) -> list[str]:
    missing = [f"{part.name}: not measured: {part.unavailable}" for part in result.memory or () if part.unavailable]
    return [*missing, *(f"{part.name}: GPU memory by {part.gpu_note}" for part in result.memory or () if part.gpu_note)]


def _memory_definitions(result: Result) -> Iterator[str]:
    if result.memory is not None:
        yield (
            "memory: of a process of its own for each line; RSS before the library is imported, with the network "
            "loaded, and the highest of its whole life, inferences included"
        )


def _line_columns(result: Result, line: Line) -> Row:
    return {
        **_engine_column(result, line),
        "runtime": line.runtime,
        "version": line.version,
        "device": line.device,
        "threads": str(line.threads),
        **_batch_column(result, line),
    }


def _engine_column(result: Result, line: Line) -> Row:
    """Which file it is, where there are several."""
    return {"engine": line.file} if len(result.files) > 1 else {}


def _batch_column(result: Result, line: Line) -> Row:
    """Batch and streams, where they say something."""
    batch = {"batch": str(line.batch)} if any(one.batch > 1 for one in result.lines) else {}
    return {**batch, **({"streams": str(line.streams)} if any(one.streams > 1 for one in result.lines) else {})}


def _graph_doubts(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if line.graph_fallback_reason is not None:
            yield (
                f"{line.name} ran without a CUDA graph ({line.graph_fallback_reason}): the time to launch each kernel "
                "counts"
            )


def _print_lists(console: Console, lists: Mapping[str, Sequence[str]]) -> None:
    for title, lines in lists.items():
        if lines:
            console.print(f"\n{title}:", markup=False)
        for line in lines:
            # Names may come from a file of somebody else's.
            console.print(f"  - {one_line(line)}", markup=False)


def _mib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / _MIB:.1f}"


def _load(load: float | None) -> str:
    return "unknown" if load is None else f"{load:.1f}"
