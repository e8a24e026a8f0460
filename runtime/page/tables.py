"""Tables as values: the same cells are written into the page and into CSV files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """What is shown, and the number behind it, by which a column is sorted; `low` and `high` are its interval.

    `note` stands below, small. `tone` marks a verdict: "good", "bad" or "open"; its word and symbol are in the text.
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """`intervals`: its cells have two ends, which are columns of their own in the CSV file."""

    label: str
    numeric: bool = True
    intervals: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is its heading. `id` is a word, unique in the page; `folded`: it is long."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False

    @property
    def csv(self) -> str:
        """With a row of headings; numbers are in full and without thousands separators."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([label for column in self.columns for label in _labels(column)])
        for row in self.rows:
            cells = zip(self.columns, row, strict=True)
            writer.writerow([value for column, cell in cells for value in _values(column, cell)])
        return text.getvalue()


def text_cells(*texts: object) -> list[Cell]:
    """Cells without a number behind them."""
    return [Cell("" if text is None else str(text)) for text in texts]


def _labels(column: Column) -> list[str]:
    ends = [f"{column.label} low", f"{column.label} high"] if column.intervals else []
    return [column.label, *ends]


def _values(column: Column, cell: Cell) -> list[str]:
    own = _inert(cell.text) if cell.value is None else repr(cell.value)
    ends = ["" if end is None else repr(end) for end in (cell.low, cell.high)]
    return [own, *(ends if column.intervals else [])]


def _inert(text: str) -> str:
    """Names come from files of others: a spreadsheet would take one that begins so for a formula."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
