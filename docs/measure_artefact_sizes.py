"""Measures the files that `espnet-export` writes for each row of the table: `python docs/measure_artefact_sizes.py`."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from espnet_edge.export import ExportOptions, Progress, export
from espnet_edge.files import write_text
from espnet_edge.model.published_figures import PublishedFigure, published_figures
from espnet_edge.model.registry import list_models
from espnet_edge.model.table import row_key

SIZES = Path(__file__).resolve().parents[1] / "model/artefact_sizes.json"


def onnx_bytes(figure: PublishedFigure) -> int:
    """Size of the ONNX file of one row. Its weights are random: others are as large."""
    with TemporaryDirectory() as folder:
        options = ExportOptions(
            model=figure.network,
            out=Path(folder),
            width_mult=figure.width_mult,
            dataset=figure.dataset,
            size=figure.size,
            weights="random",
            engine="none",
        )
        return export(options, Progress()).manifest.file.bytes


if __name__ == "__main__":
    sizes = {}
    for row in published_figures(list_models()):
        sizes[row_key(row)] = onnx_bytes(row)
        print(f"{row_key(row)}: {sizes[row_key(row)] / 1e6:.2f} MB", flush=True)
    write_text(SIZES, json.dumps(sizes, indent=1) + "\n")
