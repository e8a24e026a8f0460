"""What is measured: artefacts, opened in runtimes, at batch sizes. Each becomes one line of a result."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, UnavailableError
from ..files import sha256_of
from .feeds import Feeds, described, random_feeds
from .manifest import Manifest, load_manifest
from .result import Line, MeasuredFile, SkippedLine
from .runner import ENGINE_RUNTIMES, Runner, open_runner
from .work import Work

if TYPE_CHECKING:
    from .presets import Preset


@dataclass(frozen=True)
class SubjectOptions:
    """What holds for every artefact.

    Attributes:
        runtimes: to be tried, by name; "auto" for the preferred one.
        named: the user named them, and each must open on the files of its kind.
        device: of ONNX files.
        threads: CPU threads of the library; None for one per usable core.
        batches: sizes to be measured where the file leaves the batch free; None for the file's own, or 1.
        streams: inferences that are under way at the same time, each in a thread and with buffers of its own.
        seed: of random inputs.
        photos: these instead of random inputs, from file to answer.
        preset: how another tool would run it; None for our own way.
        trust: run a file that its manifest does not vouch for.
    """

    runtimes: tuple[str, ...]
    named: bool = True
    device: str = "cpu"
    threads: int | None = None
    batches: tuple[int | None, ...] = (None,)
    streams: int = 1
    seed: int = 0
    photos: tuple[Path, ...] = ()
    preset: "Preset | None" = None
    trust: bool = False


@dataclass(frozen=True)
class Subject:
    """One artefact, open in one runtime at one batch size.

    Attributes:
        name: unique among those of a measurement.
        path: of the artefact.
        file: what its manifest says of it.
        runner: of the first stream.
        inputs: what is fed, in words.
        work: what is timed.
    """

    name: str
    path: Path
    file: MeasuredFile
    runner: Runner
    inputs: tuple[str, ...]
    work: Work

    @property
    def line(self) -> Line:
        """Its line in a result; whether a CUDA graph runs is known after the first inference only."""
        info = self.runner.info
        return Line(
            name=self.name,
            file=str(self.path),
            runtime=info.runtime,
            version=info.version,
            device="cuda" if info.device == "cuda" else "cpu",
            device_name=info.device_name,
            threads=info.threads,
            graph=info.graph,
            graph_fallback_reason=info.graph_fallback_reason,
            batch=self.work.images,
            streams=len(self.work.calls),
            inputs=self.inputs,
        )


@dataclass
class Opened:
    """What was opened, in order, and what could not be."""

    subjects: list[Subject] = field(default_factory=list)
    skipped: list[SkippedLine] = field(default_factory=list)

    @property
    def works(self) -> dict[str, Work]:
        """What is timed, by name."""
        return {subject.name: subject.work for subject in self.subjects}


def open_subjects(
    engines: Sequence[Path], options: SubjectOptions, stack: ExitStack, *, progress: Callable[[str], None] | None = None
) -> Opened:
    """Open every artefact in every runtime at every batch size, ready to infer; `stack` closes them.

    Args:
        engines: the artefacts.
        options: how each is opened.
        stack: holds the runners.
        progress: called with what is opened next.

    Raises:
        InputError: a file or an option is wrong.
        UnavailableError: nothing that was asked for runs here.
        CheckError: a file is not the one that its manifest describes.
    """
    opened = Opened()
    manifests = [load_manifest(engine, trust=options.trust) for engine in engines]
    labels = _labels(engines, manifests)
    for engine, manifest, label in zip(engines, manifests, labels, strict=True):
        file = measured_file(engine, manifest)
        for batch in options.batches:
            if progress is not None:
                progress(f"opening {engine}" + (f", batch {batch}" if batch else ""))
            runners = _open(engine, options, opened.skipped, stack)
            for runtime, runner in runners.items():
                name = _name(label, runtime, batch, sweep=len(options.batches) > 1)
                opened.subjects.append(_subject(name, engine, manifest, file, runner, batch, options, stack))
    opened.skipped = list(dict.fromkeys(opened.skipped))
    return opened


def measured_file(engine: Path, manifest: Manifest | None) -> MeasuredFile:
    """What is known of an artefact. Its checksum and size are of the file as it is: a trusted one may be another."""
    known: dict[str, Any] = {}
    if manifest is not None:
        known = {
            "name": manifest.name,
            "task": manifest.task,
            "network": manifest.network,
            "width_mult": manifest.width_mult,
            "dataset": manifest.dataset,
            "precision": manifest.precision,
            "conv_macs": manifest.macs.conv,
            "linear_macs": manifest.macs.linear,
            "params": manifest.params,
            "weights_random": manifest.weights.random,
        }
    return MeasuredFile(path=str(engine), sha256=sha256_of(engine), size_bytes=engine.stat().st_size, **known)


def _labels(engines: Sequence[Path], manifests: Sequence[Manifest | None]) -> list[str]:
    """What tells the artefacts apart: nothing for one alone, their names where they differ, else their paths."""
    if len(engines) == 1:
        return [""]
    names = [
        engine.name if manifest is None else manifest.name for engine, manifest in zip(engines, manifests, strict=True)
    ]
    return names if len(set(names)) == len(names) else [str(engine) for engine in engines]


def _name(label: str, runtime: str, batch: int | None, *, sweep: bool) -> str:
    name = f"{label} {runtime}" if label else runtime
    return f"{name}, batch {batch}" if sweep else name


def _open(engine: Path, options: SubjectOptions, skipped: list[SkippedLine], stack: ExitStack) -> dict[str, Runner]:
    """The runners of one file. A runtime that the user did not name may fail, if another one runs the file."""
    runners, errors = {}, []
    for runtime in _for_this_file(engine, options):
        try:
            runner = _opened(engine, runtime, options)
        except (InputError, UnavailableError) as error:
            if options.named:
                raise
            errors.append(error)
            skipped.append(SkippedLine(file=str(engine), runtime=runtime, reason=str(error)))
        else:
            runners[runner.info.runtime] = stack.enter_context(runner)
    if not runners:
        raise errors[0]
    return runners


def _opened(engine: Path, runtime: str, options: SubjectOptions) -> Runner:
    return open_runner(engine, runtime, options.device, threads=options.threads, trust=options.trust)


def _for_this_file(engine: Path, options: SubjectOptions) -> tuple[str, ...]:
    """The runtimes of the file's kind; where none was named, an engine knows its own."""
    is_engine = engine.suffix == ".trt"
    if is_engine and not options.named:
        return ("auto",)
    # With none of its kind among them, the named ones say themselves what they run.
    return tuple(name for name in options.runtimes if (name in ENGINE_RUNTIMES) == is_engine) or options.runtimes


def _subject(
    name: str,
    engine: Path,
    manifest: Manifest | None,
    file: MeasuredFile,
    runner: Runner,
    batch: int | None,
    options: SubjectOptions,
    stack: ExitStack,
) -> Subject:
    if options.photos:
        if manifest is None:
            raise InputError(f"{engine}: without a manifest nothing says how a photo is fed; leave out --photo")
        from .photo_work import photo_work

        work = photo_work(runner, manifest, options.photos)
        return Subject(name, engine, file, runner, _photos_in_words(options.photos), work)
    feeds = random_feeds(runner.inputs, batch=batch, seed=options.seed, source=str(engine))
    if options.preset is not None:
        from .presets import preset_work

        return Subject(name, engine, file, runner, described(feeds), preset_work(runner, feeds, options.preset))
    runners = [runner, *(_further_stream(runner, engine, options, stack) for _ in range(options.streams - 1))]
    return Subject(name, engine, file, runner, described(feeds), _work(runners, feeds))


def _further_stream(runner: Runner, engine: Path, options: SubjectOptions, stack: ExitStack) -> Runner:
    """Another runner of the same file; engines share their weights."""
    new_context = getattr(runner, "new_context", None)
    another: Runner = new_context() if new_context else _opened(engine, runner.info.runtime, options)
    return stack.enter_context(another)


def _work(runners: Sequence[Runner], feeds: Feeds) -> Work:
    first = runners[0]
    return Work(
        calls=tuple(partial(runner.infer, feeds) for runner in runners),
        images=_images(first, feeds),
        staged=partial(first.staged, feeds) if first.has_stages else None,
    )


def _images(runner: Runner, feeds: Feeds) -> int:
    """The batch: what the first input has along its axis N."""
    for tensor in runner.inputs:
        if tensor.shape:
            return int(feeds[tensor.name].shape[tensor.batch_axis])
    return 1


def _photos_in_words(photos: Sequence[Path]) -> tuple[str, ...]:
    return (f"{len(photos)} photo{'s' * (len(photos) != 1)}, {photos[0]}" + (" and others" * (len(photos) > 1)),)
