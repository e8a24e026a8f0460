"""The parts of the page in their order: each has a heading, doubts, tables and panels."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...power.conditions import ClockRange, MachineConditions
from ..result import Result, Snapshot
from . import explained, measured
from .charts import Chart, Panel
from .compared import Comparison, Traces
from .tables import Cell, Column, Table, text_cells
from .words import network_of, size_words


@dataclass(frozen=True)
class Section:
    """A part of the page. `short` is its name in the navigation; `intro` and `doubts` stand above the numbers."""

    id: str
    short: str
    heading: str
    intro: str = ""
    doubts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    panels: Sequence[Panel] = ()
    notes: Sequence[str] = ()


def sections_of(result: Result, published: Traces) -> list[Section]:
    """All parts that the result has."""
    return [
        *_paper(result, published),
        *_latency(result),
        *_energy(result),
        *_why(result),
        *_memory(result),
        Section("conditions", "Conditions", "Conditions", tables=[machine_table(result), condition_table(result)]),
        Section("subjects", "Files", "What was measured", tables=[measured.line_table(result), file_table(result)]),
        *_skipped(result),
    ]


def charts_of(sections: Sequence[Section]) -> list[Chart]:
    """The charts that can be drawn."""
    return [panel for section in sections for panel in section.panels if isinstance(panel, Chart)]


def tables_of(sections: Sequence[Section]) -> list[Table]:
    """All tables."""
    return [table for section in sections for table in section.tables]


def condition_table(result: Result) -> Table:
    """The state of the machine right before and right after."""
    before, after = _conditions(result.before), _conditions(result.after)
    columns = [Column(label, numeric=False) for label in ("", "before", "after")]
    names = dict.fromkeys([*before, *after])
    rows = [text_cells(name, before.get(name, "–"), after.get(name, "–")) for name in names]
    return Table("state", "The machine right before and right after", columns, rows)


def machine_table(result: Result) -> Table:
    """The machine and its software."""
    environment = result.environment
    facts = {
        "board": environment.board,
        "processor": environment.cpu,
        "architecture": environment.machine,
        "cores of the machine": environment.cores,
        "cores that may be used": environment.usable_cores,
        "limit of processor time": environment.cpu_limit and f"{environment.cpu_limit:g} cores",
        "governor": environment.governor,
        "system": environment.os,
        "Python": environment.python,
        "espnet-edge": environment.espnet_edge,
        **environment.libraries,
    }
    rows = [text_cells(name, value) for name, value in facts.items() if value is not None]
    columns = [Column(label, numeric=False) for label in ("", "value")]
    return Table("machine", "The machine and its software", columns, rows)


def file_table(result: Result) -> Table:
    """The artefacts, with their checksums and counts."""
    columns = [Column(label, numeric=False) for label in ("file", "network", "precision")]
    columns += [Column(label) for label in ("size", "M MACs", "M params")]
    columns += [Column(label, numeric=False) for label in ("weights", "SHA-256")]
    weights = {True: "random: its speed counts, its answers mean nothing", False: "trained", None: "not known"}
    rows = []
    for file in result.files:
        width = "" if file.width_mult is None else f", width {file.width_mult:g}"
        dataset = "" if file.dataset is None else f", {file.dataset}"
        counts = [
            Cell("–") if count is None else Cell(f"{count / 1e6:,.2f}", count / 1e6)
            for count in (file.macs, file.params)
        ]
        rows.append(
            [
                *text_cells(file.path, f"{network_of(file)}{width}{dataset}", file.precision or "–"),
                Cell(size_words(file.size_bytes), file.size_bytes),
                *counts,
                *text_cells(weights[file.weights_random], file.sha256),
            ]
        )
    return Table("files", "Files", columns, rows)


def _paper(result: Result, published: Traces) -> list[Section]:
    if result.paper is None:
        return []
    seen = Comparison(result, result.paper, published)
    claims = seen.claim_table()
    return [
        *([Section("claims", "Claims", "What the paper says, and what was found", tables=[claims])] if claims else []),
        Section("batches", "Batch size", "Time, power and energy against batch size", panels=seen.batch_panels()),
        Section("traces", "Over time", "Power over time", panels=seen.time_panels()),
        Section("accuracy", "Accuracy", "Accuracy against energy and time", panels=seen.accuracy_panels()),
        Section("images", "Per image", "For an image, a MAC, a byte", tables=[seen.joule_table(), seen.unit_table()]),
    ]  # fmt: skip


def _latency(result: Result) -> list[Section]:
    table = measured.latency_table(result)
    if table is None:
        return []
    tables = [table, measured.stage_table(result), measured.service_table(result)]
    shown = [each for each in tables if each]
    return [Section("times", "Latency", "Latency", tables=shown, panels=measured.latency_panels(result))]


def _energy(result: Result) -> list[Section]:
    power = result.power
    if power is None:
        return []
    table, found = measured.energy_table(result), power.result
    idle = [] if found is None else [(found.idle_before_mw, "before"), (found.idle_after_mw, "after")]
    notes = [f"idle power {when}: {mw / 1e3:.2f} W" for mw, when in idle if mw is not None]
    if power.unavailable:
        notes.append(f"there is no energy figure: {power.unavailable}")
        notes += [": ".join(str(value) for value in probe.values()) for probe in power.probes]
    doubts = found.doubts if found else ()
    panels = measured.energy_panels(result)
    return [
        Section("joule", "Energy", "Energy", doubts=doubts, tables=[table] if table else [], panels=panels, notes=notes)
    ]


def _memory(result: Result) -> list[Section]:
    table = measured.memory_table(result)
    return [] if table is None else [Section("ram", "Memory", "Memory", tables=[table])]


def _why(result: Result) -> list[Section]:
    """Where the time of the lines goes; with the paper's comparison also that it is not known."""
    if not result.breakdowns and result.paper is None:
        return []
    why = (
        "A MAC is not a unit of time. Time goes into moving maps, into many small operators, and into kernels that do "
        "little at once. These are the counts of each network, and what its runtime says of itself."
    )
    tables = [table for table in (explained.breakdown_table(result), explained.share_table(result)) if table]
    heading = "Why is a network with few MACs slow?" if result.paper else "Where the time goes"
    return [Section("why", "Why", heading, why, tables=tables, panels=[explained.share_panel(result)])]


def _skipped(result: Result) -> list[Section]:
    if not result.skipped:
        return []
    columns = [Column(label, numeric=False) for label in ("file", "runtime", "reason")]
    rows = [text_cells(one.file, one.runtime, one.reason) for one in result.skipped]
    return [
        Section(
            "left-out", "Skipped", "What could not be measured", tables=[Table("skipped", "Skipped", columns, rows)]
        )
    ]


def _conditions(snapshot: Snapshot) -> dict[str, str]:
    state = snapshot.conditions
    mode = state.power_mode
    facts = {
        "load average": None if snapshot.load_average is None else f"{snapshot.load_average:.2f}",
        "temperature": None if state.temperature_c is None else f"{state.temperature_c:.1f} °C",
        "power mode": None if mode is None else mode.name or f"not known: {mode.answer}",
        **{f"CPU clock {clock.name}": _clock(clock) for clock in state.cpu_clocks},
        **{f"GPU clock {clock.name}": _clock(clock) for clock in state.gpu_clocks},
        "memory clock": None if state.emc_mhz is None else f"{state.emc_mhz:g} MHz",
        "turbo": None if state.turbo is None else "on" if state.turbo else "off",
        "fan": _fan(state),
        "Jetson Linux": state.l4t,
        **{f"throttling, {name}": value for name, value in state.throttling.items()},
        **{f"events, {name}": value for name, value in state.throttle_events.items()},
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _clock(clock: ClockRange) -> str:
    low, high, now = ("?" if mhz is None else f"{mhz:g}" for mhz in (clock.min_mhz, clock.max_mhz, clock.current_mhz))
    return f"{now} MHz ({low} to {high}, {clock.governor or 'governor not known'})"


def _fan(state: MachineConditions) -> str | None:
    parts = [None if state.fan_pwm is None else f"{state.fan_pwm} of 255"]
    parts.append(None if state.fan_rpm is None else f"{state.fan_rpm} per minute")
    return ", ".join(part for part in parts if part) or None
