"""One run of the comparison: open the files, measure, record the third panel, compute the claims."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ...errors import EspnetEdgeError, InputError, UnavailableError
from ...power.campaign import Settings
from ...power.meter import Meter
from ..bench import BenchSettings
from ..result import Breakdown, Result, SkippedLine
from .comparison import PaperFiles, Traced, panel_lines, traced, with_paper

if TYPE_CHECKING:
    from ..measuring import Measurement
    from ..subjects import Opened, Subject

# What is measured for the comparison; memory and the rest are espnet-bench's.
MEASURES = ("latency", "power", "operators")
# What "auto" tries. PyTorch has its place on the GPU, where CUDA graphs take away what launching costs.
AUTO_RUNTIMES = {"cpu": ("onnxruntime", "openvino"), "cuda": ("torch",)}
_OPENING_ENGINES = "engines (.trt)"


@dataclass(frozen=True)
class Request:
    """What is to be compared, and how.

    Attributes:
        files: the five networks.
        runtimes: of ONNX files, by name; () for none.
        engine_runtimes: of engines; ("auto",) for the library that built each, () for none.
        named: the user named the runtimes, and each must open.
        device: of ONNX files.
        threads: CPU threads; None for one per usable core.
        batches: sizes of the panels.
        measures: of `MEASURES`.
        bench: of latency.
        power: of power.
        power_source: which meter.
        images: of the third panel for each network; None for about five seconds of the slowest.
        trust: run files that their manifests do not vouch for.
    """

    files: PaperFiles
    runtimes: tuple[str, ...]
    engine_runtimes: tuple[str, ...]
    named: bool
    device: str
    threads: int | None
    batches: tuple[int, ...]
    measures: tuple[str, ...]
    bench: BenchSettings
    power: Settings
    power_source: str = "auto"
    images: int | None = None
    trust: bool = False


@dataclass(frozen=True)
class Tools:
    """What opens and measures: the modules of the same names; a test hands in others for hardware.

    Attributes:
        open_subjects: see `subjects.open_subjects`.
        measured: see `measuring.measured`.
        breakdown: see `operator_profile.breakdown`.
        open_meter: see `power.meters.open_meter`.
    """

    open_subjects: "Callable[..., Opened]"
    measured: "Callable[..., Measurement]"
    breakdown: Callable[..., Breakdown]
    open_meter: Callable[..., Meter]


@dataclass(frozen=True)
class Compared:
    """The result; what was asked for and failed; whether Ctrl-C ended it."""

    result: Result
    failure: EspnetEdgeError | None
    interrupted: bool


def compare(request: Request, console: Console, command: Sequence[str], tools: Tools | None = None) -> Compared:
    """Measure the comparison. Ctrl-C ends it with what was measured until then, marked partial.

    Raises:
        InputError: a file, an option or a number is wrong.
        UnavailableError: nothing that was asked for runs here.
        CheckError: a file is not the one that its manifest describes.
    """
    tools = tools or _tools()
    with ExitStack() as stack:
        opened = _opened(request, tools, stack)
        first = _measured(request, opened, tools, console, command)
        result, interrupted = first.result, first.interrupted
        subjects = {subject.name: subject for subject in opened.subjects}
        panel = [subjects[name] for name in panel_lines(result)]
        if "operators" in request.measures and not interrupted:
            result, interrupted = _with_breakdowns(result, panel, request, tools, console)
        third = _third_panel(request, panel, tools, console, interrupted=interrupted)
    if third.interrupted:
        result = result.model_copy(update={"partial": third.reason})
    return Compared(with_paper(result, third), first.failure, interrupted or third.interrupted)


def _tools() -> Tools:
    from ...power.meters import open_meter
    from ..measuring import measured
    from ..operator_profile import breakdown
    from ..subjects import open_subjects

    return Tools(open_subjects, measured, breakdown, open_meter)


def _opened(request: Request, tools: Tools, stack: ExitStack) -> "Opened":
    """The ONNX files and the engines in one; engines that do not run here are skipped where nobody named them."""
    for runtimes, files, kind in (
        (request.runtimes, request.files.onnx, "ONNX files"),
        (request.engine_runtimes, request.files.engines, "engines (.trt)"),
    ):
        if request.named and runtimes and not files:
            raise InputError(
                f"{runtimes[0]} runs {kind}, and not all five networks have one: export them with make paper "
                "(ENGINE=auto for engines), or leave the runtime out"
            )
    opened: Opened | None = None
    if request.runtimes and request.files.onnx:
        opened = tools.open_subjects(request.files.onnx, _options(request, request.runtimes), stack)
    if request.files.engines and request.engine_runtimes:
        try:
            options = _options(request, request.engine_runtimes)
            engines = tools.open_subjects(request.files.engines, options, stack)
        except (InputError, UnavailableError) as error:
            if request.named or opened is None:
                raise
            reason = str(error)
            opened.skipped += [
                SkippedLine(file=str(path), runtime=_OPENING_ENGINES, reason=reason) for path in request.files.engines
            ]
        else:
            if opened is None:
                return engines
            opened.subjects, opened.skipped = [*opened.subjects, *engines.subjects], opened.skipped + engines.skipped
    assert opened is not None
    return opened


def _options(request: Request, runtimes: tuple[str, ...]) -> Any:
    from ..subjects import SubjectOptions

    return SubjectOptions(
        runtimes=runtimes,
        named=request.named,
        device=request.device,
        threads=request.threads,
        batches=request.batches,
        seed=request.bench.seed,
        trust=request.trust,
    )


def _measured(
    request: Request, opened: "Opened", tools: Tools, console: Console, command: Sequence[str]
) -> "Measurement":
    from ..measuring import Wanted

    # Profiles are taken apart, at one batch only: 5 networks in 4 batches take long enough without.
    measures = tuple(name for name in request.measures if name != "operators")
    wanted = Wanted(measures, request.bench, request.power, request.power_source, request.bench.seed)
    return tools.measured(opened, wanted, program="espnet-paper", command=command, console=console)


def _with_breakdowns(
    result: Result, panel: "Sequence[Subject]", request: Request, tools: Tools, console: Console
) -> tuple[Result, bool]:
    """Where the time of each network goes, and whether Ctrl-C ended that."""
    found: list[Breakdown] = []
    try:
        for subject in panel:
            _tell(console, f"operators: {subject.name}")
            found.append(tools.breakdown(subject.line, subject.path, trust=request.trust, seed=request.bench.seed))
    except KeyboardInterrupt:
        partial = f"interrupted after the operators of {len(found)} of {len(panel)} networks"
        return result.model_copy(update={"breakdowns": tuple(found), "partial": partial}), True
    return result.model_copy(update={"breakdowns": tuple(found)}), False


def _third_panel(
    request: Request, panel: "Sequence[Subject]", tools: Tools, console: Console, *, interrupted: bool
) -> Traced:
    if "power" not in request.measures:
        return Traced(reason="power was not measured: --measure latency,power")
    if interrupted:
        return Traced(reason="interrupted before")
    devices = {"gpu" if subject.line.device == "cuda" else "cpu" for subject in panel}
    return traced(
        {subject.name: subject.work for subject in panel},
        partial(tools.open_meter, request.power_source, computes_on=devices),
        images=request.images,
        seed=request.bench.seed,
        progress=partial(_tell, console),
    )


def _tell(console: Console, text: str) -> None:
    if console.is_terminal:
        console.print(text, markup=False)
