"""The table of all networks: our counts and file sizes beside the published figures."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import torch

from .counts import count
from .datasets import get_dataset
from .published_figures import AUTHORS_FORM, NOTES, PublishedFigure, published_figures
from .registry import create_model, get_spec, list_models, short_name

_COLUMNS = (
    "network",
    "width",
    "data set",
    "size",
    "params",
    "published params (M)",
    "conv MACs (M)",
    "linear MACs (M)",
    "published MACs (M)",
    "published accuracy",
    "ONNX (MB)",
)
_TEXT_COLUMNS = 4
_AUTHORS_FORM_TITLE = "As the authors' own code builds them [3]; the files here are the reference forms above:"
_AUTHORS_FORM_COLUMNS = ("network", "width", "params", "conv MACs (M)", "linear MACs (M)")
_AUTHORS_FORM_TEXT_COLUMNS = 2
Cells = tuple[str, ...]


@dataclass(frozen=True)
class TableRow:
    """One network at one width, data set and size. MACs of one image or word.

    `onnx_bytes`: measured size of the float32 file that `espnet-export` writes by default; None: not measured yet.
    """

    network: str
    width_mult: float
    dataset: str
    size: tuple[int, int] | None
    params: int
    conv_macs: int
    linear_macs: int
    onnx_bytes: int | None
    published: PublishedFigure

    def as_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        return asdict(self)


def table_rows(model: str | None = None) -> list[TableRow]:
    """A row for each published figure of `model`, or of all networks for None; counted now, not stored.

    Raises:
        InputError: `model` is unknown.
    """
    names = list_models() if model is None else (get_spec(model).name,)
    return [_row(figure) for figure in published_figures(names)]


def row_key(figure: PublishedFigure) -> str:
    """What a row is called in `artefact_sizes.json`: "espnetv2_seg 2 cityscapes 512x1024"."""
    return f"{figure.network} {figure.width_mult:g} {figure.dataset} {_size(figure.size)}"


def onnx_sizes() -> dict[str, int]:
    """Bytes of the ONNX file of each row, as `docs/measure_artefact_sizes.py` measured them."""
    sizes: dict[str, int] = json.loads((files(__package__) / "artefact_sizes.json").read_text())
    return sizes


def plain_table(rows: Sequence[TableRow]) -> str:
    """Aligned columns for a terminal or a pipe, with the notes below."""
    parts = [_plain(_COLUMNS, map(_cells, rows), _TEXT_COLUMNS)]
    if authors_form := _authors_form_cells(rows):
        parts += [_AUTHORS_FORM_TITLE, _plain(_AUTHORS_FORM_COLUMNS, authors_form, _AUTHORS_FORM_TEXT_COLUMNS)]
    return "\n\n".join([*parts, *_notes()])


def markdown_table(rows: Sequence[TableRow]) -> str:
    """The same as a Markdown page, the one that is kept in docs/models.md."""
    parts = [
        "# Networks",
        "Written by `espnet-models --markdown`. Sizes are HEIGHTxWIDTH.",
        _markdown(_COLUMNS, map(_cells, rows), _TEXT_COLUMNS),
    ]
    if authors_form := _authors_form_cells(rows):
        parts += [_AUTHORS_FORM_TITLE, _markdown(_AUTHORS_FORM_COLUMNS, authors_form, _AUTHORS_FORM_TEXT_COLUMNS)]
    return "\n\n".join([*parts, *_notes()]) + "\n"


def _plain(columns: Cells, body: Iterable[Cells], text_columns: int) -> str:
    cells = [columns, *body]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def _markdown(columns: Cells, body: Iterable[Cells], text_columns: int) -> str:
    rule = "|" + "---|" * text_columns + "---:|" * (len(columns) - text_columns)
    lines = ["| " + " | ".join(row) + " |" for row in (columns, *body)]
    return "\n".join([lines[0], rule, *lines[1:]])


def _row(figure: PublishedFigure) -> TableRow:
    task = get_spec(figure.network).for_dataset(figure.dataset).task
    classes = get_dataset(figure.dataset).num_classes_for(task)
    with torch.device("meta"):  # only shapes are needed: no memory, no random numbers
        model = create_model(figure.network, width_mult=figure.width_mult, num_classes=classes)
    counts = count(model, (3, *figure.size) if figure.size else None)
    return TableRow(
        network=short_name(get_spec(figure.network)),
        width_mult=figure.width_mult,
        dataset=figure.dataset,
        size=figure.size,
        params=counts.params,
        conv_macs=counts.conv_macs,
        linear_macs=counts.linear_macs,
        onnx_bytes=onnx_sizes().get(row_key(figure)),
        published=figure,
    )


def _cells(row: TableRow) -> Cells:
    published = row.published
    return (
        row.network,
        f"{row.width_mult:g}",
        row.dataset,
        _size(row.size),
        f"{row.params:,}",
        "" if published.params_m is None else f"{published.params_m:g}",
        f"{row.conv_macs / 1e6:.2f}",
        f"{row.linear_macs / 1e6:.2f}",
        "" if published.macs_m is None else f"{published.macs_m:g}",
        _accuracy(published),
        "" if row.onnx_bytes is None else f"{row.onnx_bytes / 1e6:.2f}",
    )


def _size(size: tuple[int, int] | None) -> str:
    return f"{size[0]}x{size[1]}" if size else "one word"


def _accuracy(published: PublishedFigure) -> str:
    if published.source is None:
        return "not published"
    return f"{published.accuracy:g} {published.metric} [{_source_number(published.source)}]"


def _source_number(source: str) -> int:
    return list(NOTES).index(source) + 1


def _authors_form_cells(rows: Iterable[TableRow]) -> list[Cells]:
    """Those of `rows` that the authors' own code builds otherwise, as it builds them."""
    forms = [(row, AUTHORS_FORM.get((row.network, row.width_mult))) for row in rows]
    return [
        (row.network, f"{row.width_mult:g}", f"{form[0]:,}", f"{form[1] / 1e6:.2f}", f"{form[2] / 1e6:.2f}")
        for row, form in forms
        if form is not None
    ]


def _notes() -> list[str]:
    counted = (
        "Counted here: one MAC per weight and output element of a convolution or linear layer; bias adds, batch norm, "
        "activations, pooling and resizing are not counted."
    )
    measured = "Measured: the float32 ONNX file that espnet-export writes by default, at the size of the row."
    sources = (f"- [{number}] {source}: {note}." for number, (source, note) in enumerate(NOTES.items(), 1))
    return [counted, measured, "\n".join(sources)]
