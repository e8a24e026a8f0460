"""The command `espnet-bench`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..commands import check_output_file, console, new_app, run
from ..errors import InputError, UnavailableError
from ..files import sha256_of, write_text
from .manifest import load_manifest, manifest_path

if TYPE_CHECKING:
    from ..power.campaign import Settings
    from ..power.meter import Meter
    from .bench import BenchResult, Feeds
    from .power_report import MeasuredPower, MissingPower
    from .report import MeasuredFile, MeasuredRunner, Skipped
    from .runner import Runner

MAX_WINDOW_S = 3600

app = new_app()


@dataclass(frozen=True)
class _Options:
    """What holds for every engine. `named`: the user named the runtimes, and each must open."""

    runtimes: tuple[str, ...]
    named: bool
    device: str
    threads: int | None
    batch: int | None
    seed: int
    trust: bool


@dataclass
class _Opened:
    """The runners by name, the file behind each, and the runtimes that could not be opened."""

    runners: "dict[str, Runner]"
    files: "dict[str, MeasuredFile]"
    skipped: "list[Skipped]"


@app.command(
    epilog="""Examples:

\b
  espnet-bench --engine build/seg/seg.onnx
  espnet-bench --engine build/seg/seg.onnx --runtime onnxruntime,openvino --threads 1
  espnet-bench --engine build/seg/seg.onnx --engine build/cls/cls.onnx --runtime onnxruntime
  espnet-bench --engine build/seg/seg.trt --engine build/seg/seg.onnx --device cuda
  espnet-bench --engine build/seg/seg.onnx --rounds 20 --iterations 10 --json seg.json
  espnet-bench --engine build/seg/seg.trt --measure power
  espnet-bench --engine build/seg/seg.onnx --measure latency,power --power-source rapl --json seg.json
  espnet-bench --reanalyse seg.json

Exit codes: 0 done; 2 an option or file is wrong; 3 what was asked for is not on this machine (latency that was asked
for in the same run is printed all the same); 4 the file is not the one that its manifest describes; 130 interrupted.
"""
)
def bench_command(
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
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="Of ONNX files; engines (.trt) always run on the GPU.")
    ] = "cpu",
    measure: Annotated[
        str, typer.Option(metavar="NAMES", help="What to measure: latency, power, or both with a comma.")
    ] = "latency",
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Rounds; in each, every runtime runs one block.")] = 5,
    iterations: Annotated[int, typer.Option(metavar="N", min=1, help="Timed inferences in a block.")] = 10,
    warmup: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Inferences before the first round, and half a second of them at least."),
    ] = 3,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="CPU threads. [default: one per usable core]")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Batch size, where the file leaves it free. [default: 1]")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of the random input and of the order in the rounds.")
    ] = 0,
    power_source: Annotated[
        str,
        typer.Option(
            metavar="auto|nvml[:UUID]|ina3221|tegrastats|rapl|replay:FILE",
            help="What reads the power. auto: the first that gives a plausible reading of what computes.",
        ),
    ] = "auto",
    power_window: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Length of a window of power. [default: chosen for the sensor]"),
    ] = None,
    power_rounds: Annotated[
        int | None, typer.Option(metavar="N", min=3, max=1000, help="Rounds of power. [default: 9]")
    ] = None,
    reanalyse: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Compute the figures of power again from what FILE recorded; measure nothing."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything, every sample, as JSON.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run a file that its manifest does not vouch for.")] = False,
) -> None:
    """Measure how long one inference takes and what it costs, in several runtimes and files, interleaved.

    Runtimes take turns in a random order, round by round, so that a machine that slows down slows all of them. The
    ratio of two runtimes is formed within the rounds. Definitions and doubts are printed below the numbers.
    """
    if reanalyse is not None:
        _reanalyse(reanalyse, engine, json_file)
        return
    measures = _measures(measure)
    if not engine:
        raise InputError("nothing to measure: name an artefact, --engine FILE")
    _check_files(engine, json_file)
    if power_window is not None and not 0 < power_window <= MAX_WINDOW_S:
        raise InputError(f"--power-window {power_window:g}: give seconds, more than 0 and at most {MAX_WINDOW_S}")
    options = _Options(*_runtimes(runtime), device=device, threads=threads, batch=batch, seed=seed, trust=trust)
    from ..power.campaign import Settings
    from .environment import load_average, read_environment
    from .power_report import MissingPower, nothing_known
    from .report import Report, print_report, write_json

    started, environment, load_before = _now(), read_environment(), load_average()
    with ExitStack() as stack:
        opened = _open_all(engine, options, stack)
        for skipped in opened.skipped:
            _note(f"skipped {skipped.runtime}: {skipped.reason}")
        feeds = _feeds(opened, options)
        meter = _meter(power_source, opened, measures, stack) if "power" in measures else None
        latency = None
        if "latency" in measures:
            latency = _latency(opened, feeds, rounds=rounds, iterations=iterations, warmup=warmup, seed=seed)
        settings = Settings(rounds=power_rounds, window_s=power_window, seed=seed)
        power = _power(opened, feeds, meter, settings, measures) if meter else None
    runners = _measured_runners(opened, feeds)
    report = Report(runners, latency, power, tuple(opened.skipped), environment, load_before, load_average(), started)
    if json_file is not None:
        write_json(json_file, report)
    print_report(report)
    if isinstance(power, MissingPower):
        raise power.error
    if power is not None and (reason := nothing_known(power)) is not None:
        raise UnavailableError(f"no energy is known: {reason}")


def main() -> None:
    """Run the command and exit."""
    run(app, "espnet-bench")


def _measures(measure: str) -> tuple[str, ...]:
    """What to measure, in the order of `MEASURES`."""
    from .capabilities import MEASURES, NOT_YET_MEASURED

    names = [name.strip() for name in measure.split(",")]
    if unknown := [name for name in names if name not in {*MEASURES, *NOT_YET_MEASURED}]:
        raise InputError(f"--measure {unknown[0]!r} is unknown; there are {', '.join(MEASURES)}")
    if absent := [name for name in names if name in NOT_YET_MEASURED]:
        raise UnavailableError(
            f"--measure {absent[0]}: this version measures {' and '.join(MEASURES)} only; leave it out"
        )
    return tuple(name for name in MEASURES if name in names)


def _check_files(engines: Sequence[Path], json_file: Path | None) -> None:
    """Everything about the files that would otherwise be found out only after a minute of measuring."""
    for i, engine in enumerate(engines):
        if engine in engines[:i]:
            raise InputError(f"--engine {engine} is given twice; leave one out")
    if json_file is not None:
        check_output_file("--json", json_file, [file for e in engines for file in (e, manifest_path(e))])


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


def _open_all(engines: Sequence[Path], options: _Options, stack: ExitStack) -> _Opened:
    opened = _Opened({}, {}, [])
    for engine in engines:
        file = _measured_file(engine, trust=options.trust)
        for name, runner in _open(engine, options, opened.skipped, stack).items():
            label = name if len(engines) == 1 else f"{engine} {name}"
            opened.runners[label] = runner
            opened.files[label] = file
    return opened


def _open(engine: Path, options: _Options, skipped: "list[Skipped]", stack: ExitStack) -> "dict[str, Runner]":
    """The runners of one file. A runtime that the user did not name may fail, if another one runs the file."""
    from .report import Skipped
    from .runner import open_runner

    runners, errors = {}, []
    for runtime in _for_this_file(engine, options):
        try:
            runner = open_runner(engine, runtime, options.device, threads=options.threads, trust=options.trust)
        except (InputError, UnavailableError) as error:
            if options.named:
                raise
            errors.append(error)
            skipped.append(Skipped(str(engine), runtime, str(error)))
        else:
            runners[runner.info.runtime] = stack.enter_context(runner)
    if not runners:
        raise errors[0]
    return runners


def _for_this_file(engine: Path, options: _Options) -> tuple[str, ...]:
    """The runtimes of the file's kind; where none was named, an engine knows its own."""
    from .runner import ENGINE_RUNTIMES

    is_engine = engine.suffix == ".trt"
    if is_engine and not options.named:
        return ("auto",)
    # With none of its kind among them, the named ones say themselves what they run.
    return tuple(name for name in options.runtimes if (name in ENGINE_RUNTIMES) == is_engine) or options.runtimes


def _measured_file(engine: Path, *, trust: bool) -> "MeasuredFile":
    from .report import MeasuredFile

    manifest = load_manifest(engine, trust=trust)
    return MeasuredFile(
        path=str(engine),
        # Of the file as it is: with --trust the manifest may speak of another one.
        sha256=sha256_of(engine),
        name=manifest.name if manifest else None,
        network=manifest.network if manifest else None,
    )


def _feeds(opened: _Opened, options: _Options) -> "dict[str, Feeds]":
    from .bench import random_feeds

    return {
        name: random_feeds(runner.inputs, batch=options.batch, seed=options.seed, source=opened.files[name].path)
        for name, runner in opened.runners.items()
    }


def _measured_runners(opened: _Opened, feeds: "Mapping[str, Feeds]") -> "tuple[MeasuredRunner, ...]":
    from .bench import described
    from .report import MeasuredRunner

    return tuple(
        MeasuredRunner(name, runner.info, described(feeds[name]), opened.files[name])
        for name, runner in opened.runners.items()
    )


def _latency(
    opened: _Opened, feeds: "Mapping[str, Feeds]", *, rounds: int, iterations: int, warmup: int, seed: int
) -> "BenchResult":
    from .bench import bench

    with _progress() as progress:
        return bench(
            opened.runners,
            feeds,
            warmup_iterations=warmup,
            iterations=iterations,
            rounds=rounds,
            seed=seed,
            progress=progress,
        )


def _meter(source: str, opened: _Opened, measures: Sequence[str], stack: ExitStack) -> "Meter | MissingPower":
    """The meter; where none gives a reading, why. Where power is all that was asked for, that is the end."""
    from ..power.meters import NoPowerError, open_meter
    from .power_report import MissingPower

    devices = {"gpu" if runner.info.device == "cuda" else "cpu" for runner in opened.runners.values()}
    try:
        meter = open_meter(source, computes_on=devices)
    except NoPowerError as error:
        return _missing(MissingPower(error, error.probes), measures)
    stack.callback(meter.close)
    return meter


def _power(
    opened: _Opened,
    feeds: "Mapping[str, Feeds]",
    meter: "Meter | MissingPower",
    settings: "Settings",
    measures: Sequence[str],
) -> "MeasuredPower | MissingPower":
    from .power_bench import measure_power
    from .power_report import MissingPower

    if isinstance(meter, MissingPower):
        return meter
    loads = {name: partial(runner.infer, feeds[name]) for name, runner in opened.runners.items()}
    try:
        return measure_power(loads, meter, settings, console())
    except (InputError, UnavailableError) as error:
        return _missing(MissingPower(error, ()), measures)


def _missing(missing: "MissingPower", measures: Sequence[str]) -> "MissingPower":
    """Where power is all that was asked for, there is nothing left to do; else the rest is delivered first."""
    if tuple(measures) == ("power",):
        raise missing.error
    return missing


def _reanalyse(path: Path, engines: Sequence[Path] | None, json_file: Path | None) -> None:
    """Print the figures of power of an earlier run, computed again; with --json the whole result with them in it."""
    from .power_bench import reanalysed
    from .report import print_power

    if engines:
        raise InputError(f"--reanalyse {path} measures nothing: leave out --engine {engines[0]}")
    if json_file is not None:
        check_output_file("--json", json_file, [path])
    power, text = reanalysed(path)
    if json_file is not None:
        write_text(json_file, text)
    print_power(power)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on standard error where that is a terminal. It is redrawn between blocks only: a timer would disturb."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    stderr = console()
    if not stderr.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("")

        def show(text: str, done: int, total: int) -> None:
            bar.update(task, description=text, completed=done, total=total, refresh=True)

        yield show


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _note(message: str) -> None:
    console().print(f"espnet-bench: {message}", markup=False)
