"""Tables and panels of the paper's comparison: over batch sizes, over time, against accuracy, for a MAC and a byte."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..paper.published import by_name
from ..result import Breakdown, Figure, Line, MeasuredFile, PaperComparison, Result, WorkTrace
from .charts import Chart, Missing, Panel, Point, Series, thinned
from .tables import Cell, Column, Table, text_cells
from .words import brief_reason, network_of, number, setting_words, with_uncertainty

# Time in s and power in W of each network, as published.
Traces = Mapping[str, tuple[Sequence[float], Sequence[float]]]

_VERDICTS = {
    "holds": ("✓ holds", "good"),
    "does not hold": ("✗ does not hold", "bad"),
    "not told apart": ("≈ not told apart", "open"),
    "not measured": ("– not measured", "open"),
}
# A curve of so many times the power is drawn against an axis of its own.
_OTHER_SCALE = 3
# More would not be told apart in a drawing.
_MAX_DRAWN = 1500


@dataclass(frozen=True)
class _Group:
    """Lines that differ in network and batch alone: a panel is of one group."""

    number: int
    setting: str
    lines: tuple[Line, ...]

    def id(self, word: str) -> str:
        return f"{word}-{self.number}"


@dataclass(frozen=True)
class _Quantity:
    """Something known of a line: its value and the ends of its interval, which may be the value itself."""

    value: float
    low: float | None = None
    high: float | None = None

    def times(self, factor: float) -> "_Quantity":
        ends = [None if end is None else end * factor for end in (self.low, self.high)]
        return _Quantity(self.value * factor, *ends)


_Measure = Callable[[Line], _Quantity | None]


class Comparison:
    """A result of `espnet-paper`, seen as the paper's panels."""

    def __init__(self, result: Result, paper: PaperComparison, published: Traces) -> None:
        self._result = result
        self._paper = paper
        self._published = {_plain(name): trace for name, trace in published.items()}
        settings: dict[str, list[Line]] = {}
        for line in result.lines:
            settings.setdefault(setting_words(line, result.file_of(line)), []).append(line)
        self._groups = [_Group(i, name, tuple(lines)) for i, (name, lines) in enumerate(settings.items(), 1)]

    def claim_table(self) -> Table | None:
        """Each statement of the paper, its figure, ours, and whether it holds."""
        if not self._paper.claims:
            return None
        columns = [Column(label, numeric=False) for label in ("the paper says", "its figure", "here", "verdict")]
        rows = []
        for claim in self._paper.claims:
            words, tone = _VERDICTS[claim.verdict]
            rows.append(
                [
                    Cell(claim.statement, note=claim.source),
                    *text_cells(claim.paper, claim.ours),
                    Cell(words, note=brief_reason(self._result, claim.reason or ""), tone=tone),
                ]
            )
        return Table("claims", "The paper's statements and what was found here", columns, rows)

    def batch_panels(self) -> list[Panel]:
        """The paper's first two panels, and energy, for each group."""
        panels: list[Panel] = []
        for group in self._groups:
            panels += [
                self._over_batches(group, "time", "Time per image", "ms", self._ms_of),
                self._over_batches(group, "power", "Power", "W", self._power_w),
                self._over_batches(group, "joules", "Energy per image", "mJ", self._mj_of),
            ]
        return panels

    def time_panels(self) -> list[Panel]:
        """Power over time: all networks of a group together, then each beside the paper's curve."""
        if not self._paper.traces:
            reason = self._paper.no_traces_reason or self._no_power or "no trace was recorded"
            reason = brief_reason(self._result, reason)
            return [Missing("traces", "Power over time, for the same work", reason), *self._published_panel()]
        panels: list[Panel] = []
        for group in self._groups:
            traces = [trace for trace in self._paper.traces if trace.line in {line.name for line in group.lines}]
            if traces:
                panels += [self._traces_together(group, traces), *(self._beside_paper(group, t) for t in traces)]
        return panels

    def accuracy_panels(self) -> list[Panel]:
        """Published top-1 against energy and against time of an image, at the smallest batch size."""
        panels: list[Panel] = []
        for group in self._groups:
            panels += [
                self._accuracy(group, "energy", "mJ", self._mj_of),
                self._accuracy(group, "time", "ms", self._ms_of),
            ]
        return panels

    def joule_table(self) -> Table:
        """Time, energy gross and net, images for a joule: for one image of each line."""
        columns = [
            *(Column(label, numeric=False) for label in ("network", "setting")),
            Column("batch"),
            Column("top-1 %"),
            Column("ms per image", intervals=True),
            *(Column(f"{name} mJ per image", intervals=True) for name in ("gross", "net")),
            Column("images/J"),
        ]
        rows = []
        for line in self._result.lines:
            name, gross = self._network(line), self._mj_of(line)
            top1 = self._paper.top1.get(name)
            rows.append(
                [
                    *text_cells(self._label(name), setting_words(line, self._result.file_of(line))),
                    Cell(str(line.batch), line.batch),
                    Cell("–") if top1 is None else Cell(f"{top1:.1f}", top1),
                    _cell(self._ms_of(line)),
                    _cell(gross),
                    _cell(self._mj_of(line, net=True)),
                    _cell(None if gross is None or gross.value <= 0 else _Quantity(1e3 / gross.value)),
                ]
            )
        return Table("joules", "Time and energy of one image", columns, rows)

    def unit_table(self) -> Table:
        """Speed and energy for a MAC and for a byte, at the smallest batch size of each network."""
        columns = [
            *(Column(label, numeric=False) for label in ("network", "setting")),
            *(Column(label) for label in ("batch", "M MACs", "MB moved", "GMAC/s", "GB/s", "pJ/MAC", "pJ/byte")),
        ]
        rows = [self._unit_row(group, line) for group in self._groups for line in self._smallest(group)]
        return Table("units", "Speed and energy for a MAC and for a byte, gross, of one image", columns, rows)

    @property
    def _no_power(self) -> str | None:
        power = self._result.power
        if power is None:
            return "power was not measured"
        return power.unavailable and brief_reason(self._result, power.unavailable)

    def _over_batches(self, group: _Group, word: str, what: str, unit: str, measure: _Measure) -> Panel:
        title = f"{what} against batch size: {group.setting}"
        series = []
        for style, name in enumerate(self._paper.networks):
            lines = sorted((line for line in group.lines if self._network(line) == name), key=lambda one: one.batch)
            known = [(line, quantity) for line in lines if (quantity := measure(line))]
            label = self._label(name)
            points = [
                Point(line.batch, q.value, f"{label}, batch {line.batch}: {_words(q, unit)}", q.low, q.high)
                for line, q in known
            ]
            if points:
                series.append(Series(label, points, style))
        if not series:
            reason = "no line has a latency" if word == "time" else self._no_power or "no figure is known"
            return Missing(group.id(word), title, reason)
        reading = f"Lower is better. Bars are 95 % intervals{' of the medians' if word == 'time' else ''}."
        y_label = f"{what.lower()}, {unit}"
        return Chart(
            group.id(word), title, reading, "batch size, images", y_label, series, log_x=2, small=word != "time"
        )

    def _accuracy(self, group: _Group, word: str, unit: str, measure: _Measure) -> Panel:
        title = f"Accuracy against {word} of an image: {group.setting}"
        series = []
        for line in self._smallest(group):
            name, quantity = self._network(line), measure(line)
            top1 = self._paper.top1.get(name)
            if top1 is not None and quantity is not None:
                label = self._label(name)
                text = f"{label}: top-1 {top1:.1f} %, {_words(quantity, unit)}, batch {line.batch}"
                point = Point(quantity.value, top1, text)
                series.append(Series(label, [point], self._style(name), form="points", labelled=True))
        if not series:
            reason = (
                "no published accuracy is known" if not self._paper.top1 else self._no_power or "nothing was measured"
            )
            return Missing(group.id(f"accuracy-{word}"), title, reason)
        reading = "Up and to the left is better. The accuracy is the published one; it was not measured here."
        x_label = f"{word} of an image, {unit}, at the smallest batch size"
        id_ = group.id(f"accuracy-{word}")
        return Chart(id_, title, reading, x_label, "published ImageNet top-1, %", series, small=True, from_zero=False)

    def _traces_together(self, group: _Group, traces: Sequence[WorkTrace]) -> Chart:
        series = []
        for trace in traces:
            name = self._network(self._line(trace.line))
            series.append(
                Series(self._label(name), self._filtered(trace, self._label(name)), self._style(name), "line")
            )
        images = " and ".join(str(n) for n in dict.fromkeys(trace.images for trace in traces))
        reading = f"The same work for each network: {images} images. Resampled every 100 ms and low-pass filtered."
        title = f"Power over time, for the same work: {group.setting}"
        return Chart(group.id("traces"), title, reading, "time since the work began, s", "power, W", series)

    def _beside_paper(self, group: _Group, trace: WorkTrace) -> Panel:
        name = self._network(self._line(trace.line))
        style = self._style(name)
        label = self._label(name)
        raw = [Point(s, w, f"{label}, raw: {number(w, 3)} W at {number(s, 3)} s") for s, w in _pairs(trace)]
        series = [
            Series("here, raw", thinned(raw, _MAX_DRAWN), style, "faint"),
            Series("here, filtered", self._filtered(trace, label), style, "line"),
        ]
        right_label, reading = None, "Faint: the readings. Solid: resampled every 100 ms and low-pass filtered."
        if published := self._published.get(_plain(name)):
            times, watts = published
            apart = max(trace.filtered_w, default=0) > _OTHER_SCALE * max(watts) or not trace.filtered_w
            right_label = "the paper's, W" if apart else None
            series.append(replace(_published_series(_published_label(name), times, watts, 5), right=apart))
            reading += " Dashed: the paper's TX2, read off its figure" + (", against the right axis." if apart else ".")
        id_ = f"{group.id('trace')}-{style + 1}-{trace.images}"
        return Chart(
            id_, label, reading, "time, s", "power, W", series, right_label=right_label, small=True
        )  # fmt: skip

    def _published_panel(self) -> list[Panel]:
        """The paper's own curves, where ours are missing."""
        series = []
        for style, name in enumerate(self._paper.networks):
            if published := self._published.get(_plain(name)):
                label = _published_label(name)
                series.append(replace(_published_series(label, *published, style), name=label, dashed=False))
        if not series:
            return []
        reading = "Read off the paper's figure: Jetson TX2, by its idle power the GPU's rail. Not measured here."
        title = "Power over time in the paper"
        return [Chart("traces-published", title, reading, "time, s", "power, W", series)]

    def _filtered(self, trace: WorkTrace, name: str) -> list[Point]:
        return [
            Point(s, w, f"{name}, filtered: {number(w, 3)} W at {number(s, 3)} s")
            for s, w in zip(trace.filtered_time_s, trace.filtered_w, strict=True)
        ]

    def _unit_row(self, group: _Group, line: Line) -> list[Cell]:
        file, part = self._file(line), self._breakdown(line)
        ms, mj = self._ms_of(line), self._mj_of(line)
        moved = (part.weights_bytes or 0) + (part.activations_bytes or 0) if part else 0
        quantities: list[_Quantity | None] = []
        counts = (file.macs, moved or None)
        quantities += [None if count is None else _Quantity(count / 1e6) for count in counts]
        # MACs/ms are 1e-6 GMAC/s, and mJ are 1e9 pJ.
        quantities += [
            None if not count or not ms or not ms.value else _Quantity(count / ms.value / 1e6) for count in counts
        ]
        quantities += [None if not count or not mj else mj.times(1e9 / count) for count in counts]
        batch = Cell(str(line.batch), line.batch)
        return [*text_cells(self._label(self._network(line)), group.setting), batch, *map(_cell, quantities)]

    def _breakdown(self, line: Line) -> Breakdown | None:
        """Of the line, or of another one of its file: the bytes are the file's."""
        same = [part for part in self._result.breakdowns if self._line(part.line).file == line.file]
        own = [part for part in same if part.line == line.name]
        return next(iter([*own, *same]), None)

    def _smallest(self, group: _Group) -> list[Line]:
        """Of each network the line of the smallest batch size, in the paper's order."""
        lines = [[line for line in group.lines if self._network(line) == name] for name in self._paper.networks]
        return [min(same, key=lambda line: line.batch) for same in lines if same]

    def _ms_of(self, line: Line) -> _Quantity | None:
        latency = self._result.latency_of(line.name)
        if latency is None:
            return None
        return _Quantity(latency.summary.p50_ms, *latency.summary.bounds_ms.get("p50", ())).times(1 / line.batch)

    def _mj_of(self, line: Line, *, net: bool = False) -> _Quantity | None:
        load = self._result.energy_of(line.name)
        figure = None if load is None else load.total.net_mj if net else load.total.gross_mj
        return _quantity(figure, 1 / line.batch)

    def _power_w(self, line: Line) -> _Quantity | None:
        load = self._result.energy_of(line.name)
        return None if load is None else _quantity(load.total.power_mw, 1e-3)

    def _line(self, name: str) -> Line:
        return next(line for line in self._result.lines if line.name == name)

    def _file(self, line: Line) -> MeasuredFile:
        return self._result.file_of(line)

    def _network(self, line: Line) -> str:
        """The name by which the comparison knows the line's network."""
        file = self._file(line)
        own = file.network or file.name or file.path
        return next((name for name in self._paper.networks if _plain(name) == _plain(own)), own)

    def _label(self, name: str) -> str:
        """What people call a network of the comparison."""
        files = (self._file(line) for line in self._result.lines if self._network(line) == name)
        return next((network_of(file) for file in files), name)

    def _style(self, name: str) -> int:
        networks = list(self._paper.networks)
        return networks.index(name) if name in networks else len(networks)


def _published_label(name: str) -> str:
    """Without a width: the figure does not say which was measured."""
    known = by_name().get(name)
    return name if known is None else known.short


def _published_series(name: str, times: Sequence[float], watts: Sequence[float], style: int) -> Series:
    points = [
        Point(s, w, f"{name} in the paper: {number(w, 3)} W at {number(s, 3)} s")
        for s, w in zip(times, watts, strict=True)
    ]
    return Series("in the paper (TX2)", points, style, "line", dashed=True)


def _pairs(trace: WorkTrace) -> list[tuple[float, float]]:
    return list(zip(trace.time_s, trace.power_w, strict=True))


def _quantity(figure: object, factor: float) -> _Quantity | None:
    if not isinstance(figure, Figure):
        return None
    low, high = figure.value - figure.half_width, figure.value + figure.half_width
    return _Quantity(figure.value, low, high).times(factor)


def _words(quantity: _Quantity, unit: str) -> str:
    if quantity.low is None or quantity.high is None:
        return f"{number(quantity.value)} {unit}"
    return f"{number(quantity.value)} {unit}, 95 % interval {number(quantity.low)} to {number(quantity.high)}"


def _cell(quantity: _Quantity | None) -> Cell:
    if quantity is None:
        return Cell("–")
    if quantity.low is None or quantity.high is None:
        return Cell(number(quantity.value), quantity.value)
    half = (quantity.high - quantity.low) / 2
    if abs(quantity.high - half - quantity.value) > 1e-6 * half:  # of a median: its ends are samples
        ends = f"{number(quantity.low)} to {number(quantity.high)}"
        return Cell(number(quantity.value), quantity.value, quantity.low, quantity.high, ends)
    return Cell(with_uncertainty(quantity.value, half), quantity.value, quantity.low, quantity.high)


def _plain(name: str) -> str:
    """ESPNetv2 and espnetv2_cls are one network."""
    return name.lower().removesuffix("_cls").replace("-", "").replace("_", "")
