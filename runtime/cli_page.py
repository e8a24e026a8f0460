"""espnet-page: a result file as a page, with its charts and tables."""

from pathlib import Path
from typing import Annotated

import typer

from ..commands import libraries_of_extra, new_app, run
from .result import read_result

app = new_app()


@app.command(
    epilog="""Examples:

\b
  espnet-bench --engine build/seg/seg.onnx --json seg.json
  espnet-page seg.json --out page

Then open page/index.html in a browser. The file needs no other one and no network.

Exit codes: 0 done; 2 the file is no result, or the folder cannot be written; 3 a library is missing.
"""
)
def espnet_page(
    result: Annotated[Path, typer.Argument(metavar="RESULT.json", help="what espnet-bench or espnet-paper wrote")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="for index.html, *.svg, *.png and *.csv")],
) -> None:
    """Show a result: one self-contained HTML page, each chart as SVG and PNG, each table as CSV.

    All files appear together; files of the same names are replaced.
    """
    measured = read_result(result)
    with libraries_of_extra("report", "espnet-page"):
        import jinja2  # noqa: F401 to say what is missing before the work
        import matplotlib as mpl  # noqa: F401
    from .page import write_folder

    files = write_folder(out, measured)
    kinds = [f"{sum(file.suffix == suffix for file in files)} {suffix[1:].upper()}" for suffix in (".svg", ".csv")]
    print(f"{out / 'index.html'}  {(out / 'index.html').stat().st_size / 1e6:.2f} MB")
    print(f"{out}: {kinds[0]} charts (each as PNG, too), {kinds[1]} tables")


def main() -> None:
    """Entry point of the command."""
    run(app, "espnet-page")
