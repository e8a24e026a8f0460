"""The command `espnet-models`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..commands import new_app, run
from ..errors import UnavailableError
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
    try:
        from .table import markdown_table, plain_table, table_rows
    except ImportError as error:
        if (error.name or "").startswith("espnet_edge"):
            raise  # a fault of ours, not a missing library
        raise UnavailableError(
            f"espnet-models needs {error.name}, which is not installed: pip install 'espnet-edge[export]'"
        ) from error
    rows = table_rows(model)
    print((markdown_table if markdown else plain_table)(rows))
    if json_file is not None:
        content = {"schema_version": 1, "models": [row.as_json() for row in rows]}
        write_text(json_file, json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Run the command and exit."""
    run(app, "espnet-models")
