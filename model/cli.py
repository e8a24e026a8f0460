"""The command `espnet-models`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..commands import libraries_of_extra, new_app, run
from ..files import write_text

app = new_app()


@app.command(
    epilog="""Examples:

\b
  espnet-models
  espnet-models seg
  espnet-models --json models.json
  espnet-models --markdown > docs/models.md
"""
)
def models_command(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Only this network, such as seg.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown page.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the rows as JSON.")] = None,
) -> None:
    """List the networks: parameters and multiply-accumulates as counted here, beside the published figures."""
    with libraries_of_extra("export", "espnet-models"):
        from .table import markdown_table, plain_table, table_rows
    rows = table_rows(model)
    print((markdown_table if markdown else plain_table)(rows))
    if json_file is not None:
        content = {"schema_version": 1, "models": [row.as_json() for row in rows]}
        write_text(json_file, json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Run the command and exit."""
    run(app, "espnet-models")
