"""What a chart shows, as values: the same ones are drawn, read out under the pointer and written in its table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# More rows are no table that anybody reads; the JSON has all.
_MAX_TABLE_ROWS = 104


@dataclass(frozen=True)
class Point:
    """A point with what is read out for it; `low` and `high` are the ends of its interval in y (in x for `Dots`)."""

    x: float
    y: float
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points of one name. `style` chooses colour, marker and dashes together, so that no colour stands alone.

    Attributes:
        name: in the legend.
        points: in the order of x.
        style: number of the style; the same network has the same one in every chart.
        form: a line with markers, a bare line, a faint bare line (raw readings), steps, or markers alone.
        right: drawn against the right axis.
        labelled: its name stands at its first point.
    """

    name: str
    points: Sequence[Point]
    style: int
    form: Literal["marked", "line", "faint", "steps", "points"] = "marked"
    dashed: bool = False
    right: bool = False
    labelled: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart of series over x.

    Attributes:
        id: a word, unique in the page; the name of the files.
        title: what is shown.
        reading: one sentence on how to read it.
        x_label: with the unit.
        y_label: with the unit.
        series: what is drawn.
        log_x: x on a logarithmic scale of base 2 (for batch sizes, with ticks at the values) or 10; None: linear.
        right_label: of the right axis.
        small: one of several that stand side by side.
        categories: names of the rows where y is a row: 0 is the topmost.
        stacked: series are parts of horizontal bars, a point for each row.
        from_zero: the axes of values begin at 0.
        at_least: what the y axis shows, and more where points lie beyond.
    """

    id: str
    title: str
    reading: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: Literal[2, 10] | None = None
    right_label: str | None = None
    small: bool = False
    categories: Sequence[str] = ()
    stacked: bool = False
    from_zero: bool = True
    at_least: tuple[float, float] | None = None

    @property
    def table_head(self) -> tuple[str, ...]:
        """Columns of the table of its points."""
        ends = ("low", "high") if self._has_ends else ()
        if self.categories:
            return ("", "line", self.x_label, *ends)
        return ("", self.x_label, self.y_label, *ends)

    @property
    def table_rows(self) -> list[tuple[str, ...]]:
        """Its points as text; of a long series evenly chosen ones, the first and last among them."""
        from .words import number

        rows = []
        for series in self.series:
            for point in thinned(series.points, _MAX_TABLE_ROWS):
                where = (self.categories[round(point.y)],) if self.categories else (number(point.x),)
                value = point.x if self.categories else point.y
                ends = ["" if end is None else number(end) for end in (point.low, point.high)]
                rows.append((series.name, *where, number(value), *(ends if self._has_ends else ())))
        return rows

    @property
    def thinned(self) -> bool:
        """Whether the table leaves points out."""
        return any(len(series.points) > _MAX_TABLE_ROWS for series in self.series)

    @property
    def _has_ends(self) -> bool:
        return any(point.low is not None for series in self.series for point in series.points)


@dataclass(frozen=True)
class Missing:
    """A chart that cannot be drawn, and why."""

    id: str
    title: str
    reason: str


Panel = Chart | Missing


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many of the points, evenly chosen, with the first and the last."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
