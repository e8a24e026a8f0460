"""Charts as SVG whose text is text and whose colours are the page's, and as PNG."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import one_line
from .charts import Chart, Point, Series
from .words import without_folders

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Names of the style sheet's variables. Colours that can be told apart with every kind of colour vision, after Okabe and
# Ito, darkened so that they have contrast 3 to white; the style sheet has lighter ones for the dark.
INKS: Mapping[str, str] = {
    "ink": "#1c1e21",
    "muted": "#5a5f66",
    "grid": "#dfe2e6",
    "surface": "#ffffff",
    "s0": "#0067a3",
    "s1": "#c24a00",
    "s2": "#00785a",
    "s3": "#9b3f7f",
    "s4": "#7a5c00",
    "s5": "#4a4f57",
}
# Drawn instead of them and replaced afterwards: no other part of a drawing has these.
_SENTINELS = {name: f"#0{i:x}fe0{i:x}" for i, name in enumerate(INKS)}
_COLOURS = sum(name.startswith("s") and name[1:].isdigit() for name in INKS)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.6)), (0, (1.5, 1.5)), (0, (6, 1.6, 1.5, 1.6)), (0, (9, 2)))
_BESIDE = (0, (3, 2))  # what is drawn dashed beside its own solid line

_POINTS_PER_INCH = 72
# Label of lines that stand for a series, not for the ends of intervals. The underscore keeps it out of legends.
_OF_SERIES = "_series"
_ROW = 30  # height of a category. Units: points.
# Characters of a name that are drawn; the readings and tables have all of it.
_MAX_CATEGORY = 44
_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oo")


@dataclass(frozen=True)
class Size:
    """Of a drawing. Units: points, and characters that fit into one line of the legend."""

    name: str
    width: float
    height: float


WIDE = Size("wide", 690, 330)
NARROW = Size("narrow", 310, 280)


@dataclass(frozen=True)
class Drawing:
    """An SVG, its size, and where each point of each series is in it. Units: points, from the upper left."""

    svg: str
    size: tuple[float, float]
    places: list[list[tuple[float, float]]]


def page_svg(chart: Chart, size: Size) -> Drawing:
    """For the inside of the page: colours are the variables of its style sheet, ids are its own."""
    with _figure_of(chart, size, _SENTINELS) as figure:
        text = _svg_text(figure, chart.id)
        places = _places(chart, figure)
        inches = figure.get_size_inches()
    for name, sentinel in _SENTINELS.items():
        text = text.replace(sentinel, f"var(--{name})")
    prefix = f"{chart.id}-{size.name}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", text)
    start = text.index("<svg")
    # The frame is sized by the style sheet.
    text = re.sub(r'^(<svg\b[^>]*?) width="[^"]*"', r"\1", text[start:], count=1)
    text = re.sub(r'^(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return Drawing(text, (inches[0] * _POINTS_PER_INCH, inches[1] * _POINTS_PER_INCH), places)


def file_svg(chart: Chart) -> str:
    """For a file of its own: in the light colours."""
    with _figure_of(chart, NARROW if chart.small else WIDE, INKS) as figure:
        return _svg_text(figure, chart.id)


def file_png(chart: Chart) -> bytes:
    """The same at twice the pixels of a screen."""
    data = io.BytesIO()
    with _figure_of(chart, NARROW if chart.small else WIDE, INKS) as figure:
        figure.savefig(data, format="png", dpi=2 * 96, metadata={"Software": None})
    return data.getvalue()


def _svg_text(figure: "Figure", salt: str) -> str:
    import matplotlib as mpl

    data = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return data.getvalue()


@contextmanager
def _figure_of(chart: Chart, size: Size, inks: Mapping[str, str]) -> Iterator["Figure"]:
    """The chart on a figure of its own: no window, no state of the library's that others see."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    height = 110 + (_ROW if size is WIDE else 1.4 * _ROW) * len(chart.categories) if chart.categories else size.height
    settings: Any = {
        "svg.fonttype": "none",
        # Names of files may contain dollar signs.
        "text.parse_math": False,
        "font.size": 10.5,
        "font.family": "DejaVu Sans",
        "axes.unicode_minus": True,
        "text.color": inks["ink"],
        "axes.labelcolor": inks["muted"],
        "axes.edgecolor": inks["muted"],
        "xtick.color": inks["muted"],
        "ytick.color": inks["muted"],
        "hatch.linewidth": 0.6,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A browser has other fonts; in the PNG such a character is a box.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        legend = _legend_rows(chart, size)
        figure = Figure(
            figsize=(size.width / _POINTS_PER_INCH, (height + 17 * legend) / _POINTS_PER_INCH),
            layout="constrained",
            facecolor=inks["surface"],
        )
        axes = figure.add_subplot()
        _draw(chart, axes, inks, size)
        if legend:
            _draw_legend(figure, chart, size)
        figure.draw_without_rendering()
        # Laid out once: what is saved is what was asked for its places.
        figure.set_layout_engine("none")
        yield figure


def _draw(chart: Chart, axes: "Axes", inks: Mapping[str, str], size: Size) -> None:
    _frame(axes, inks, right=False)
    _scale(chart, axes)
    right = axes.twinx() if any(series.right for series in chart.series) else None
    if right is not None:
        _frame(right, inks, right=True)
        right.set_ylabel(_clean(chart.right_label or ""))
    axes.set_xlabel(_clean(chart.x_label))
    axes.set_ylabel(_clean(chart.y_label))
    if chart.stacked:
        _bars(chart, axes, inks, size)
    else:
        for series in chart.series:
            _line(chart, series, right if series.right and right is not None else axes, inks)
    if chart.categories:
        _categories(chart, axes, size)
    if chart.at_least is not None:
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, chart.at_least[0]), max(high, chart.at_least[1]))
    if chart.from_zero:
        for each in filter(None, (axes, right)):
            if chart.categories:
                if chart.log_x is None:
                    each.set_xlim(left=0)
            else:
                each.set_ylim(bottom=0)


def _frame(axes: "Axes", inks: Mapping[str, str], *, right: bool) -> None:
    axes.set_facecolor("none")
    for side in ("top", "left") if right else ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(inks["muted"])
    if not right:
        axes.grid(color=inks["grid"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
    axes.tick_params(length=0 if right else 3, width=0.8)
    axes.tick_params(axis="y", length=0)


def _scale(chart: Chart, axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    def plain(value: float, _position: int) -> str:
        return f"{value:,.10g}"

    if chart.log_x:
        axes.set_xscale("log", base=chart.log_x)
        if chart.log_x == 2:
            axes.set_xticks(sorted({point.x for series in chart.series for point in series.points}))
        else:
            axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=_whole(chart)))
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.yaxis.set_major_formatter(FuncFormatter(plain))


def _whole(chart: Chart) -> bool:
    """Whether x counts something."""
    return all(point.x == round(point.x) for series in chart.series for point in series.points)


def _line(chart: Chart, series: Series, axes: "Axes", inks: Mapping[str, str]) -> None:
    x, y = [point.x for point in series.points], [point.y for point in series.points]
    colour = inks[f"s{series.style % _COLOURS}"]
    marker = _MARKERS[series.style % len(_MARKERS)]
    dashes = _BESIDE if series.dashed else _DASHES[(series.style + series.style // _COLOURS) % len(_DASHES)]
    marks: dict[str, Any] = {"markersize": 6.5, "markeredgecolor": inks["surface"], "markeredgewidth": 0.8}
    if series.form == "marked":
        axes.plot(x, y, color=colour, linewidth=1.8, linestyle=dashes, marker=marker, label=_OF_SERIES, **marks)
    elif series.form == "points":
        face = inks["surface"] if series.dashed else colour
        edges: dict[str, Any] = {
            "markersize": 8,
            "markerfacecolor": face,
            "markeredgecolor": colour,
            "markeredgewidth": 1.5,
        }
        axes.plot(x, y, color=colour, linestyle="none", marker=marker, label=_OF_SERIES, **edges)
    elif series.form == "faint":
        axes.plot(x, y, color=colour, linewidth=0.8, alpha=0.45, label=_OF_SERIES)
    else:
        # A sparse marker on a bare line, so that it can be told from the others without its colour.
        every = max(1, len(x) // 6)
        start = min(len(x) - 1, series.style * every // 5)
        axes.plot(
            x, y, color=colour, linewidth=1.8, linestyle=dashes if series.form == "line" or series.dashed else "solid",
            label=_OF_SERIES, marker=marker, markevery=(start, every),
            drawstyle="steps-post" if series.form == "steps" else "default", **marks,
        )  # fmt: skip
    _ends(chart, series, axes, colour)
    if series.labelled:
        axes.annotate(_clean(series.name), (x[0], y[0]), xytext=(9, 4), textcoords="offset points", fontsize="small")


def _ends(chart: Chart, series: Series, axes: "Axes", colour: str) -> None:
    """Intervals of the points."""
    for point in series.points:
        if point.low is None or point.high is None:
            continue
        if chart.categories:
            axes.plot([point.low, point.high], [point.y] * 2, color=colour, linewidth=1.4, marker="|", markersize=7)
        else:
            axes.plot([point.x] * 2, [point.low, point.high], color=colour, linewidth=1.2, marker="_", markersize=6)


def _bars(chart: Chart, axes: "Axes", inks: Mapping[str, str], size: Size) -> None:
    ends = [0.0] * len(chart.categories)
    for series in chart.series:
        # The point lies in the middle of its part.
        rows = [round(point.y) for point in series.points]
        axes.barh(
            rows, [_width(series, row) for row in rows], left=[ends[row] for row in rows],
            height=0.62 if size is WIDE else 0.44,
            color=inks[f"s{series.style % _COLOURS}"], edgecolor=inks["surface"], linewidth=0.8,
            hatch=_HATCHES[series.style % len(_HATCHES)],
        )  # fmt: skip
        for row in rows:
            ends[row] += _width(series, row)
    axes.grid(visible=False, axis="y")


def _width(series: Series, row: int) -> float:
    return sum(point.x for point in series.points if round(point.y) == row)


def _categories(chart: Chart, axes: "Axes", size: Size) -> None:
    """Names of the rows: beside them where there is room, else above each."""
    names = [_shortened(_clean(name), _MAX_CATEGORY) for name in without_folders(chart.categories)]
    axes.set_ylim(len(names) - 0.4, -0.6)
    if size is WIDE:
        axes.set_yticks(range(len(names)), names)
        return
    axes.set_yticks([])
    for row, name in enumerate(names):
        axes.text(
            0, row - 0.3, name, transform=axes.get_yaxis_transform(), va="bottom", fontsize="small", in_layout=False
        )


def _draw_legend(figure: "Figure", chart: Chart, size: Size) -> None:
    handles: list[Any]
    if chart.stacked:
        handles, series = [bars[0] for bars in figure.axes[0].containers], list(chart.series)
    else:
        # Those of the right axis come last, as their axes do.
        series = sorted(chart.series, key=lambda one: one.right)
        handles = [line for axes in figure.axes for line in axes.get_lines() if line.get_label() == _OF_SERIES]
    pairs = [(h, s) for h, s in zip(handles, series, strict=True) if not s.labelled]
    columns, names = _legend_columns(chart, size), _legend_names(chart, size)
    # The library fills a legend column by column; people read it row by row.
    pairs = [pair for column in range(columns) for pair in pairs[column::columns]]
    figure.legend(
        [handle for handle, _ in pairs], [names[one.name] for _, one in pairs],
        loc="outside upper left", ncols=columns, frameon=False, handlelength=2.6,
        borderpad=0, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip


def _legend_columns(chart: Chart, size: Size) -> int:
    longest = max(map(len, _legend_names(chart, size).values()))
    return max(1, min(len(chart.series), int(size.width // (46 + 6.6 * longest))))


def _legend_rows(chart: Chart, size: Size) -> int:
    """0 where a legend says nothing that the title does not."""
    named = [series for series in chart.series if not series.labelled]
    return -(-len(named) // _legend_columns(chart, size)) if len(named) > 1 else 0


def _places(chart: Chart, figure: "Figure") -> list[list[tuple[float, float]]]:
    height = figure.get_size_inches()[1] * _POINTS_PER_INCH
    factor = _POINTS_PER_INCH / figure.dpi
    ends = [0.0] * len(chart.categories)
    places = []
    for series in chart.series:
        axes = figure.axes[1 if series.right else 0]
        there = []
        for point in series.points:
            x, y = axes.transData.transform(_anchor(chart, point, ends))
            there.append((round(float(x) * factor, 1), round(height - float(y) * factor, 1)))
        places.append(there)
    return places


def _anchor(chart: Chart, point: Point, ends: list[float]) -> tuple[float, float]:
    """Where the pointer finds the point; of a part of a bar its middle."""
    if not chart.stacked:
        return point.x, point.y
    row = round(point.y)
    ends[row] += point.x
    return ends[row] - point.x / 2, point.y


def _clean(text: str) -> str:
    return one_line(text)


def _legend_names(chart: Chart, size: Size) -> dict[str, str]:
    """What is written for each name."""
    names = [series.name for series in chart.series]
    most = 60 if size is WIDE else 36
    return {name: _shortened(_clean(shown), most) for name, shown in zip(names, without_folders(names), strict=True)}


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most // 2 - 1] + "…" + text[-most // 2 :]
