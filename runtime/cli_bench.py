"""The command `espnet-bench`."""

import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..commands import check_output_file, console, new_app, run
from ..errors import InputError, PartialResultError
from .manifest import manifest_path
from .options import MAX_WINDOW_S, Device, PowerRounds, PowerSource, PowerWindow, Seed, Threads, power_settings

if TYPE_CHECKING:
    from .bench import BenchSettings
    from .presets import Preset

MAX_BATCHES, MAX_BATCH, MAX_STREAMS = 32, 65536, 256

app = new_app()


@app.command(
    epilog="""Examples:

\b
  espnet-bench --engine build/seg/seg.onnx
  espnet-bench --engine build/seg/seg.onnx --runtime onnxruntime,openvino --threads 1
  espnet-bench --engine build/seg/seg.onnx --engine build/cls/cls.onnx --runtime onnxruntime
  espnet-bench --engine build/seg/seg.trt --engine build/seg/seg.onnx --device cuda
  espnet-bench --engine build/seg/seg.onnx --rounds 20 --iterations 10 --json seg.json --page seg.html
  espnet-bench --engine build/cls/cls.onnx --batch 1,2,4,8
  espnet-bench --engine build/seg/seg.onnx --rate 30
  espnet-bench --engine build/seg/seg.onnx --photo street.jpg
  espnet-bench --engine build/seg/seg.onnx --measure latency,memory,operators
  espnet-bench --engine build/seg/seg.trt --as trtexec-10
  espnet-bench --engine build/seg/seg.trt --measure power
  espnet-bench --engine build/seg/seg.onnx --measure latency,power --power-source rapl --json seg.json
  espnet-bench --reanalyse seg.json

Exit codes: 0 done; 2 an option or file is wrong; 3 what was asked for is not on this machine (latency that was asked
for in the same run is printed all the same); 4 the file is not the one that its manifest describes; 130 interrupted
(what was measured is printed and kept, marked partial).
"""
)
def bench_command(
    context: typer.Context,
    engine: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Artefact with its manifest; repeatable.")
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            metavar="auto|all|NAMES",
            help="auto: the installed ones of onnxruntime, openvino, torch; for an engine the library that built it. "
            "all: says what is missing, too. Or names with commas, and each must run on the files of its kind.",
        ),
    ] = "auto",
    device: Device = "cpu",
    measure: Annotated[
        str,
        typer.Option(metavar="NAMES", help="What to measure, with commas: latency, power, memory, operators."),
    ] = "latency",
    rounds: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Rounds; in each, every line runs one block. [default: 10]"),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Timed inferences in a block, at least. [default: 10]")
    ] = None,
    block: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, max=MAX_WINDOW_S, help="Length of a block, at least. [default: 0]"),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Inferences before the first round, at least, and until steady. [default: 3]",
        ),
    ] = None,
    max_warmup: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0, max=MAX_WINDOW_S, help="After so long it counts as not steady. [default: 10]"
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="PER_SECOND", help="Inferences arrive by a timetable. [default: one after the other]"),
    ] = None,
    threads: Threads = None,
    streams: Annotated[
        int, typer.Option(metavar="N", min=1, max=MAX_STREAMS, help="Inferences under way at the same time.")
    ] = 1,
    batch: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Batch sizes, where the file leaves the batch free. [default: 1]"),
    ] = None,
    photo: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Time from this photo's file to the answer, stage by stage; repeatable."),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="trtexec-10|trtexec-11", help="Measure an engine as that tool does by default."),
    ] = None,
    seed: Seed = 0,
    power_source: PowerSource = "auto",
    power_window: PowerWindow = None,
    power_rounds: PowerRounds = None,
    reanalyse: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Compute the figures of power again from what FILE recorded; measure nothing."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything, every sample, as JSON.")
    ] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as one HTML page with charts.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run a file that its manifest does not vouch for.")] = False,
) -> None:
    """Measure how long one inference takes and what it costs, in several runtimes and files, interleaved.

    Runtimes take turns in a random order, round by round, so that a machine that slows down slows all of them. The
    ratio of two runtimes is formed within the rounds. Definitions and doubts are printed below the numbers.
    """
    if reanalyse is not None:
        _refuse_others(context, {"reanalyse", "json_file", "page"})
        _reanalyse(reanalyse, json_file, page)
        return
    measures = _measures(measure)
    if not engine:
        raise InputError("nothing to measure: name an artefact, --engine FILE")
    _check_files(engine, {"--json": json_file, "--page": page})
    power = power_settings(power_rounds, power_window, seed)
    from .measuring import Wanted, measured
    from .report import print_report
    from .result import write_result
    from .subjects import SubjectOptions, open_subjects

    preset = _preset(as_)
    numbers = {
        "rounds": rounds,
        "iterations": iterations,
        "block_s": block,
        "warmup_iterations": warmup,
        "max_warmup_s": max_warmup,
        "rate_hz": rate,
    }
    settings = _settings({name: value for name, value in numbers.items() if value is not None}, preset, seed)
    names, named = _runtimes(runtime)
    options = SubjectOptions(
        runtimes=names,
        named=named,
        device=device,
        threads=threads,
        batches=_batches(batch),
        streams=_streams(streams, photo, preset),
        seed=seed,
        photos=tuple(photo or ()),
        preset=preset,
        trust=trust,
    )
    wanted = Wanted(measures, settings, power, power_source, seed)
    if streams > 1 and (alone := [name for name in measures if name != "latency"]):
        raise InputError(f"--streams {streams}: {alone[0]} is measured of one stream; leave one out")
    if page is not None:
        _check_page()
    with ExitStack() as stack:
        opened = open_subjects(engine, options, stack)
        for skipped in opened.skipped:
            _note(f"skipped {skipped.runtime}: {skipped.reason}")
        found = measured(opened, wanted, program="espnet-bench", command=sys.argv[1:], console=console())
    if json_file is not None:
        write_result(json_file, found.result)
    print_report(found.result, found.power)
    if page is not None:
        from .page import write_page

        write_page(page, found.result)
    if found.interrupted:
        kept = " and in the file" * (json_file is not None)
        raise PartialResultError(f"{found.result.partial}; what was measured until then is above{kept}")
    if found.failure is not None:
        raise found.failure


def main() -> None:
    """Run the command and exit."""
    run(app, "espnet-bench")


def _measures(measure: str) -> tuple[str, ...]:
    """What to measure, in the order of `MEASURES`."""
    from .capabilities import MEASURES

    names = [name.strip() for name in measure.split(",")]
    if unknown := [name for name in names if name not in MEASURES]:
        raise InputError(f"--measure {unknown[0]!r} is unknown; there are {', '.join(MEASURES)}")
    return tuple(name for name in MEASURES if name in names)


def _check_files(engines: Sequence[Path], outputs: "dict[str, Path | None]") -> None:
    """Everything about the files that would otherwise be found out only after a minute of measuring."""
    for i, engine in enumerate(engines):
        if engine in engines[:i]:
            raise InputError(f"--engine {engine} is given twice; leave one out")
    taken = [file for engine in engines for file in (engine, manifest_path(engine))]
    for option, path in outputs.items():
        if path is not None:
            check_output_file(option, path, taken)
            taken.append(path)


def _check_page() -> None:
    """The page needs libraries that a device may not have: that is said before anything is measured."""
    from ..commands import libraries_of_extra

    with libraries_of_extra("report", "espnet-bench --page"):
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401


def _preset(name: str | None) -> "Preset | None":
    if name is None:
        return None
    from .presets import preset

    return preset(name)


def _settings(given: dict[str, Any], preset: "Preset | None", seed: int) -> "BenchSettings":
    from .bench import BenchSettings

    if preset is None:
        # A short limit of the warm-up is a short warm-up.
        shortest_s = min(BenchSettings.warmup_s, given.get("max_warmup_s", math.inf))
        settings = BenchSettings(seed=seed, warmup_s=shortest_s, **given)
    elif given:
        raise InputError(
            f"--as {preset.name} sets how often and how long: leave out {_option(next(iter(given)))}, or --as"
        )
    else:
        settings = BenchSettings(seed=seed, preset=preset.name, **preset.as_settings())
    try:
        settings.check()
    except InputError as error:
        # The bench names its own fields.
        field = str(error).partition(" ")[0]
        raise InputError(str(error).replace(field, _option(field), 1)) from None
    return settings


def _option(field: str) -> str:
    """The option that sets a field of the settings."""
    return {
        "block_s": "--block",
        "warmup_iterations": "--warmup",
        "max_warmup_s": "--max-warmup",
        "rate_hz": "--rate",
    }.get(field, f"--{field}")


def _streams(streams: int, photos: Sequence[Path] | None, preset: "Preset | None") -> int:
    if streams > 1 and photos:
        raise InputError(f"--streams {streams} with --photo: photos are timed one after the other; leave one out")
    if streams > 1 and preset is not None:
        raise InputError(f"--streams {streams} with --as {preset.name}: it runs one stream by default; leave one out")
    return streams


def _batches(text: str | None) -> tuple[int | None, ...]:
    """ "1,2,4" as numbers."""
    if text is None:
        return (None,)
    words = [word.strip() for word in text.split(",")]
    numbers = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 9]
    if len(numbers) < len(words) or not all(1 <= number <= MAX_BATCH for number in numbers):
        raise InputError(f"--batch {text!r}: give whole numbers from 1 to {MAX_BATCH}, with commas: 1,2,4")
    if len(set(numbers)) < len(numbers) or len(numbers) > MAX_BATCHES:
        raise InputError(f"--batch {text!r}: give each size once, and at most {MAX_BATCHES}")
    return tuple(numbers)


def _runtimes(runtime: str) -> tuple[tuple[str, ...], bool]:
    """The runtimes to try, and whether the user named them."""
    from .runner import ONNX_RUNTIMES, RUNTIMES, available_runtimes

    if runtime == "all":
        return tuple(ONNX_RUNTIMES), False
    if runtime == "auto":
        # With nothing installed, auto itself is asked, and says so.
        return available_runtimes() or ("auto",), False
    names = tuple(dict.fromkeys(name.strip() for name in runtime.split(",")))
    if unknown := [name for name in names if name not in RUNTIMES]:
        raise InputError(f"--runtime {unknown[0]!r} is unknown; there are auto, all, {', '.join(RUNTIMES)}")
    return names, True


def _refuse_others(context: typer.Context, allowed: set[str]) -> None:
    """Options that would do nothing are refused."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in allowed and source is not None and source.name == "COMMANDLINE":
            option = "--as" if name == "as_" else f"--{name.replace('_', '-')}"
            raise InputError(f"--reanalyse measures nothing: leave out {option}")


def _reanalyse(path: Path, json_file: Path | None, page: Path | None) -> None:
    """Print the figures of power of an earlier run, computed again; --json and --page write the result with them."""
    from .power_bench import reanalysed
    from .report import definitions, doubts, print_power
    from .result import write_result

    taken = [path]
    for option, output in (("--json", json_file), ("--page", page)):
        if output is not None:
            check_output_file(option, output, taken)
            taken.append(output)
    if page is not None:
        _check_page()
    power, result = reanalysed(path)
    told = {"definitions": tuple(definitions(result, power)), "doubts": tuple(doubts(result, power))}
    result = result.model_copy(update=told)
    if json_file is not None:
        write_result(json_file, result)
    if page is not None:
        from .page import write_page

        write_page(page, result)
    print_power(result, power)


def _note(message: str) -> None:
    console().print(f"espnet-bench: {message}", markup=False)
