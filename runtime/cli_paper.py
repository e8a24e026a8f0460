"""The command `espnet-paper`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..commands import check_output_file, console, libraries_of_extra, new_app, run
from ..errors import InputError, PartialResultError, UnavailableError
from .options import Device, PowerRounds, PowerSource, PowerWindow, Seed, Threads, power_settings

if TYPE_CHECKING:
    from .paper.run import Request
    from .result import Result

RESULT_NAME, PAGE_NAME = "paper.json", "paper.html"
DEFAULT_BATCHES = "1,2,4,8"
_MAX_BATCH = 1024

app = new_app()


@app.command(
    epilog="""Examples:

\b
  make paper
  espnet-paper build/paper --out build/paper/report
  espnet-paper build/paper --batches 1,8 --runtime openvino --threads 1 --out report
  espnet-paper build/paper --device cuda --runtime torch,tensorrt --batches 1,8,64 --out report
  espnet-paper build/paper --measure latency,power --power-source rapl --out report
  espnet-paper --from report/paper.json
  espnet-paper --from report/paper.json --out again

Exit codes: 0 done; 2 an option or file is wrong; 3 what was asked for is not on this machine (the rest is delivered all
the same); 4 a file is not the one that its manifest describes; 130 interrupted (what was measured is kept, as partial).
"""
)
def paper_command(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Has the five networks: DIR/cls/cls.onnx and so on; make paper makes it."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For paper.json and the page; made if missing.")
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Claims and page again from a kept paper.json; measure nothing."),
    ] = None,
    batches: Annotated[str, typer.Option(metavar="N,N,...", help="Batch sizes of the panels.")] = DEFAULT_BATCHES,
    runtime: Annotated[
        str,
        typer.Option(
            metavar="auto|NAMES",
            help="auto: onnxruntime and openvino on the CPU, torch on the GPU, and all five engines where they are "
            "there and run. Or names with commas, and each must run.",
        ),
    ] = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Rounds; in each, every line runs one block.")] = 10,
    iterations: Annotated[int, typer.Option(metavar="N", min=1, help="Timed inferences in a block.")] = 10,
    measure: Annotated[
        str,
        typer.Option(
            metavar="auto|NAMES",
            help="latency, power, operators, with commas. auto: all, and power only where a meter gives a reading.",
        ),
    ] = "auto",
    power_source: PowerSource = "auto",
    power_window: PowerWindow = None,
    power_rounds: PowerRounds = None,
    images: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=10_000_000,
            help="Images of each network for power over time. [default: what the slowest infers in 5 s]",
        ),
    ] = None,
    seed: Seed = 0,
    trust: Annotated[bool, typer.Option("--trust", help="Run files that their manifests do not vouch for.")] = False,
) -> int:
    """Compare the paper's five networks: time, power, energy, and which of the paper's claims hold on this machine.

    ESPNetv2 2.0, MobileNet v1 0.75 and v2 1.0, ShuffleNet v1 and v2 1.5 take turns in a random order, round by round.
    Each claim of the paper is printed beside what was measured here, with its interval. See docs/paper.md.
    """
    if from_ is not None:
        return _again(from_, folder, out)
    if folder is None or out is None:
        raise InputError(
            "name the folder with the five networks and --out FOLDER, as in espnet-paper build/paper --out report; "
            "make paper does both"
        )
    from .bench import BenchSettings
    from .paper.comparison import paper_files
    from .paper.run import Request

    power = power_settings(power_rounds, power_window, seed)
    onnx_runtimes, engine_runtimes, named = _runtimes(runtime, device)
    request = Request(
        files=paper_files(folder, trust=trust),
        runtimes=onnx_runtimes,
        engine_runtimes=engine_runtimes,
        named=named,
        device=device,
        threads=threads,
        batches=_batches(batches),
        measures=_measures(measure),
        bench=BenchSettings(rounds=rounds, iterations=iterations, seed=seed),
        power=power,
        power_source=power_source,
        images=images,
        trust=trust,
    )
    request.bench.check()
    return _compare(request, out, power_asked_for=measure != "auto")


def main() -> None:
    """Run the command and exit."""
    run(app, "espnet-paper")


def _compare(request: "Request", out: Path, *, power_asked_for: bool) -> int:
    from .paper.run import compare

    _make_folder(out, [*request.files.onnx, *request.files.engines])
    found = compare(request, console(), sys.argv[1:])
    _deliver(found.result, out)
    if found.interrupted:
        raise PartialResultError(
            f"{found.result.partial}; what was measured until then is above and in {out / RESULT_NAME}"
        )
    if found.failure is not None and power_asked_for:
        raise found.failure
    return 0


def _again(kept: Path, folder: Path | None, out: Path | None) -> int:
    """Claims and page of an earlier run, computed again."""
    from .paper.comparison import recomputed
    from .result import read_result

    if folder is not None:
        raise InputError(f"--from {kept} measures nothing: leave out {folder}")
    result = recomputed(read_result(kept))
    if out is not None:
        _make_folder(out, [kept])
    _deliver(result, out)
    return 0


def _make_folder(out: Path, taken: list[Path]) -> None:
    """Everything about the outputs that would otherwise be found out only after minutes of measuring."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)
    for name in (RESULT_NAME, PAGE_NAME):
        check_output_file("--out", out / name, taken)


def _deliver(result: "Result", out: Path | None) -> None:
    """The numbers first, kept and printed; then the page, where its libraries are installed."""
    from .paper.published import published_traces
    from .paper.report import print_comparison
    from .result import write_result

    if out is not None:
        write_result(out / RESULT_NAME, result)
    print_comparison(result)
    if out is None:
        return
    try:
        with libraries_of_extra("report", "the page"):
            from .page import write_page

            write_page(out / PAGE_NAME, result, published_traces())
    except UnavailableError as error:
        _note(f"no page was written: {error}")


def _runtimes(runtime: str, device: str) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Runtimes of ONNX files, of engines, and whether the user named them."""
    from .paper.run import AUTO_RUNTIMES
    from .runner import ENGINE_RUNTIMES, RUNTIMES

    if runtime == "auto":
        return AUTO_RUNTIMES[device], ("auto",), False
    names = tuple(dict.fromkeys(name.strip() for name in runtime.split(",")))
    if unknown := [name for name in names if name not in RUNTIMES]:
        raise InputError(f"--runtime {unknown[0]!r} is unknown; there are auto, {', '.join(RUNTIMES)}")
    of_engines = tuple(name for name in names if name in ENGINE_RUNTIMES)
    return tuple(name for name in names if name not in of_engines), of_engines, True


def _batches(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= _MAX_BATCH for word in words):
        raise InputError(
            f"--batches {text[:60]!r}: give numbers from 1 to {_MAX_BATCH} with commas, as {DEFAULT_BATCHES}"
        )
    return tuple(sorted({int(word) for word in words}))


def _measures(measure: str) -> tuple[str, ...]:
    from .paper.run import MEASURES

    if measure == "auto":
        return MEASURES
    names = [name.strip() for name in measure.split(",")]
    if unknown := [name for name in names if name not in MEASURES]:
        raise InputError(f"--measure {unknown[0]!r} is unknown; there are auto, {', '.join(MEASURES)}")
    if {"latency", "power"}.isdisjoint(names):
        raise InputError(f"--measure {measure}: name latency or power, too; operators alone are espnet-bench's")
    return tuple(name for name in MEASURES if name in names)


def _note(text: str) -> None:
    console().print(text, markup=False)
