"""The command `espnet-compare`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..commands import check_output_file, new_app, run
from ..errors import CheckError, EspnetEdgeError, InputError, one_line
from ..files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .compare import Comparison
    from .gate import Gate, GateOutcome

app = new_app()


@app.command(
    epilog="""Examples:

\b
  espnet-compare main.json branch.json
  espnet-compare main.json branch.json --fail-if "energy>+3%" --fail-if "p99>2ms"
  espnet-compare main.json branch.json --fail-if "openvino:p50>+5%" --fail-if "throughput<-5%" --json change.json
  espnet-compare main.json branch.json --fail-if "energy>+3%" --github
  espnet-compare main.json branch.json --fail-if "p50>+5%" --strict --anyway

Exit codes: 0 done, and no gate tripped; 2 a file, gate or option is wrong, or the conditions were not equal; 4 a gate
tripped; 130 interrupted.
"""
)
def compare_command(
    before: Annotated[Path, typer.Argument(metavar="A.json", help="The earlier result, of espnet-bench --json.")],
    after: Annotated[Path, typer.Argument(metavar="B.json", help="The new result.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE",
            help='[LINE:]METRIC>VALUE or <-VALUE, as "energy>+3%" or "p99>2ms"; repeatable. Trips where the change '
            "passes the limit and its 95 % interval excludes that nothing changed. Metrics: p50 p90 p95 p99 mean "
            "throughput energy net power memory gpu_memory.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A gate trips where the change passes the limit, whatever its interval.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare though the conditions were not equal; each is a doubt then.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")] = None,
    github: Annotated[
        bool,
        typer.Option(
            "--github",
            help="Print annotations for GitHub Actions, and append a table to the file that GITHUB_STEP_SUMMARY names.",
        ),
    ] = False,
) -> None:
    """What changed from one result to another: latency, throughput, energy and memory, with 95 % intervals.

    Lines of the same network, precision, runtime, device, batch and streams are compared. The conditions of both runs
    are compared, too.
    """
    try:
        _compare(before, after, fail_if or [], json_file, strict=strict, anyway=anyway, github=github)
    except EspnetEdgeError as error:
        # Tripped gates have annotations of their own.
        if github and not isinstance(error, CheckError):
            from .compare_report import annotation

            typer.echo(annotation("error", "espnet-compare", one_line(error)))
        raise


def main() -> None:
    """Run the command and exit."""
    run(app, "espnet-compare")


def _compare(
    before: Path,
    after: Path,
    gates: "Sequence[str]",
    json_file: Path | None,
    *,
    strict: bool,
    anyway: bool,
    github: bool,
) -> None:
    from .compare import compare
    from .compare_report import annotations, comparison_json, markdown, print_comparison
    from .gate import apply_gates, parse_gate
    from .result import read_result

    parsed: list[Gate] = [parse_gate(text) for text in gates]
    if json_file is not None:
        check_output_file("--json", json_file, [before, after])
    comparison = compare(read_result(before), read_result(after))
    if not anyway:
        _require_equal_conditions(comparison)
    outcomes = apply_gates(parsed, comparison, strict=strict)
    if json_file is not None:
        files = {"before": str(before), "after": str(after)}
        write_text(json_file, comparison_json(comparison, outcomes, files, strict=strict))
    print_comparison(comparison, outcomes, strict=strict)
    if github:
        typer.echo("\n".join(["", *annotations(comparison, outcomes)]))
        _append_summary(markdown(comparison, outcomes))
    _require_gates_held(outcomes)


def _require_equal_conditions(comparison: "Comparison") -> None:
    if comparison.deciding:
        found = "; ".join(one.text for one in comparison.deciding)
        raise InputError(f"not measured under equal conditions: {found}; measure again, or compare with --anyway")


def _require_gates_held(outcomes: "Sequence[GateOutcome]") -> None:
    from .compare_report import change_text

    tripped = [one for one in outcomes if one.tripped]
    if tripped:
        found = "; ".join(f"{one.gate.text} on {one.line} ({change_text(one.change)})" for one in tripped)
        raise CheckError(f"{len(tripped)} of {len(outcomes)} gates tripped: {found}")


def _append_summary(text: str) -> None:
    """GitHub gives each step a file of its own for its summary."""
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
