"""Tables on a console: drawn where a terminal is wide enough, else aligned columns that a program can read."""

from collections.abc import Collection, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

# Columns of words; all others are of numbers, and stand to the right.
TEXT_COLUMNS = frozenset({"engine", "measured", "runtime", "version", "device", "stage", "operator"})

Row = Mapping[str, str]


def output_console() -> Console:
    """A console on standard output."""
    console = Console(highlight=False)
    # Lines are wrapped for people; a program that reads them finds each in one piece.
    console.soft_wrap = not console.is_terminal
    return console


def print_table(console: Console, rows: Sequence[Row], text_columns: Collection[str] = TEXT_COLUMNS) -> None:
    """The rows, which have the same columns."""
    table = _drawn_table(rows, text_columns)
    # A table that is too wide would be drawn with its numbers cut. Rich cuts what it measures as well, if let.
    width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    if console.is_terminal and width <= console.width:
        console.print(table)
    else:
        console.print("\n".join(plain_table(rows, text_columns)), markup=False)


def plain_table(rows: Sequence[Row], text_columns: Collection[str] = TEXT_COLUMNS) -> list[str]:
    """Lines with aligned columns: the column names, then the rows; text to the left, numbers to the right."""
    lines = []
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in rows[0]}
    for row in ({column: column for column in widths}, *rows):
        cells = [
            row[column].ljust(width) if column in text_columns else row[column].rjust(width)
            for column, width in widths.items()
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _drawn_table(rows: Sequence[Row], text_columns: Collection[str]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column in rows[0]:
        table.add_column(column, justify="left" if column in text_columns else "right", no_wrap=True)
    for row in rows:
        # Square brackets are markup to rich.
        table.add_row(*(cell.replace("[", r"\[") for cell in row.values()))
    return table
