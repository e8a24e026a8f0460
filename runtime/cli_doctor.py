"""The command `espnet-doctor`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..commands import check_output_file, console, new_app, run
from ..errors import one_line
from ..files import write_text
from ..version import __version__

if TYPE_CHECKING:
    from .doctor import Diagnosis
    from .probes import Finding

app = new_app()
SCHEMA_VERSION = 1
_MAX_LINE = 4000  # characters; a manifest from elsewhere may hold millions


@app.command(
    epilog="""Examples:

\b
  espnet-doctor
  espnet-doctor --json machine.json
  espnet-doctor build/seg/seg.trt

Exit codes: 0 the file fits this machine, or the list of the machine is done; 2 an option or file is wrong, or the file
is neither an engine nor an ONNX file; 3 the file does not fit this machine; 4 it is cut off, was changed, or is not
what its manifest says; 130 interrupted.
"""
)
def doctor_command(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="An engine or ONNX file: what it is, and whether it fits this machine."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write it all as JSON, too.")] = None,
) -> int:
    """Say what this machine can build, run and measure, and why not; or what a file is, and whether it fits here.

    Every row has what the probe answered, and the way out where something is missing. Of a file only the first bytes
    and the manifest are read: an engine is native code, and nothing of it runs.
    """
    if json_file is not None:
        from .manifest import manifest_path

        check_output_file("--json", json_file, [file, manifest_path(file)] if file else [])
    if file is not None:
        return _file(file, json_file)
    return _machine(json_file)


def main() -> None:
    """Run the command and exit."""
    run(app, "espnet-doctor")


def _file(file: Path, json_file: Path | None) -> int:
    from .doctor import diagnose

    diagnosis = diagnose(file)
    _write(json_file, {"file": asdict(diagnosis)})
    print("\n".join(_file_lines(diagnosis)))
    return diagnosis.exit_code


def _machine(json_file: Path | None) -> int:
    from .capabilities import machine_findings

    with console().status("asking the libraries ...", refresh_per_second=2):
        findings = machine_findings()
    _write(json_file, {"findings": [asdict(finding) for finding in findings]})
    _print_findings(findings)
    return 0


def _write(json_file: Path | None, content: dict[str, Any]) -> None:
    if json_file is not None:
        whole = {"schema_version": SCHEMA_VERSION, "espnet_edge": __version__, **content}
        write_text(json_file, json.dumps(whole, indent=2) + "\n")


def _file_lines(diagnosis: "Diagnosis") -> list[str]:
    """Label and text of each fact, then the verdict. Everything in it may come from elsewhere."""
    lines = {"file": diagnosis.path, **diagnosis.facts, "fits": "yes" if diagnosis.fits else "no"}
    rows = [
        *lines.items(),
        *(("because", problem) for problem in diagnosis.problems),
        *(("note", note) for note in diagnosis.notes),
        *((("way out", diagnosis.way_out),) if diagnosis.way_out else ()),
    ]
    return [f"{label:<8}  {_bounded(one_line(text))}" for label, text in rows]


def _bounded(text: str) -> str:
    return text if len(text) <= _MAX_LINE else text[: _MAX_LINE - 3] + "..."


def _print_findings(findings: "Sequence[Finding]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [
        (f.group, f.what, "yes" if f.there else "no", one_line(f.answer), one_line(f.way_out or "")) for f in findings
    ]
    stdout = Console(highlight=False)
    if not stdout.is_terminal:
        print("\n".join(_plain_lines(rows)))
        return
    table = Table(box=SIMPLE_HEAD)
    for column, wraps in (("", False), ("what", False), ("here", False), ("answer, and the way out", True)):
        table.add_column(column, no_wrap=not wraps, overflow="fold")
    for group, what, there, answer, way_out in rows:
        state = Text(there, style="green" if there == "yes" else "yellow")
        advice = ("\n> " + way_out, "dim") if way_out else ""
        table.add_row(group, Text(what), state, Text.assemble(answer, advice))
    stdout.print(table)


def _plain_lines(rows: Sequence[tuple[str, str, str, str, str]]) -> list[str]:
    """A line for each row, its first columns aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        + (f"; way out: {row[4]}" if row[4] else "")
        for row in rows
    ]
