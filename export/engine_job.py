"""An engine alone, from an exported ONNX file and its manifest: on the device that runs it, without PyTorch or onnx."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CheckError, InputError, UnavailableError
from ..files import sha256_of, staged
from ..runtime.manifest import Manifest, Precision, file_info, load_manifest, manifest_path
from .batch import Batch
from .build_options import BuildOptions
from .builders import Builder, find_builder
from .engine_from_onnx import check_build, engine_from_onnx
from .progress import Progress


@dataclass(frozen=True)
class EngineOptions:
    """What is to be built. `batch` None: the one of the file. `precision` None: the file's, else it must be that."""

    onnx: Path
    out: Path
    batch: Batch | None = None
    precision: Precision | None = None
    engine: str = "auto"
    build: BuildOptions = field(default_factory=BuildOptions)


@dataclass(frozen=True)
class EngineResult:
    """The files that were written, and the engine's manifest."""

    files: tuple[Path, ...]
    manifest: Manifest


def build_engine(options: EngineOptions, progress: Progress) -> EngineResult:
    """Build `STEM.trt` and its manifest from the exported file `STEM.onnx`.

    The file is compared with its manifest first. The engine appears at the end: a build that fails or is interrupted
    leaves the folder as it was, but for `STEM.trtexec.log` where trtexec was at work.

    Raises:
        InputError: no such file, an option that does not fit it or the builder.
        UnavailableError: no builder, or hardware that was asked for is not there.
        CheckError: no manifest, a wrong checksum, or the builder refused the file.
        OSError: the folder cannot be written.
    """
    manifest = _checked_manifest(options)
    batch = _checked_batch(options, manifest)
    builder = _checked_builder(options)
    check_build(builder, options.build, batch=batch, precision=manifest.precision)
    with staged(options.out) as folder:
        progress.step(f"engine ({builder.name} {builder.version})")
        described = write_engine(
            folder / engine_path(options).name,
            manifest,
            options.onnx.read_bytes(),
            builder=builder,
            batch=batch,
            options=options.build,
            progress=progress,
            out=options.out,
        )
        _take_vocabulary(manifest, options, folder)
        progress.step("files")
        names = sorted(path.name for path in folder.iterdir())
    return EngineResult(tuple(options.out / name for name in names), described)


def write_engine(
    artefact: Path,
    manifest: Manifest,
    model: bytes,
    *,
    builder: Builder,
    batch: Batch,
    options: BuildOptions,
    progress: Progress,
    out: Path,
) -> Manifest:
    """Build `artefact` from the ONNX file `model` with this `manifest`, and write the engine's own beside it.

    `out` is where the files go in the end, and trtexec's output at once. Raises what `engine_from_onnx` does.
    """
    engine = engine_from_onnx(
        builder,
        model,
        batch=batch,
        precision=manifest.precision,
        options=options,
        inputs=manifest.inputs,
        progress=progress,
        log_file=trtexec_log(artefact, out),
    )
    artefact.write_bytes(engine.data)
    # The proof was made with the ONNX file, so the engine's manifest names it as that file's, not as its own.
    described = manifest.model_copy(update={"file": file_info(artefact), "engine": engine.info, "parity": None})
    described.write(artefact)
    return described


def artefact_paths(options: EngineOptions) -> list[Path]:
    """Every file that a build with these options may write, but for the vocabulary of a language model."""
    engine = engine_path(options)
    return [engine, manifest_path(engine), trtexec_log(engine, options.out)]


def engine_path(options: EngineOptions) -> Path:
    """Where the engine goes: FILE.onnx -> OUT/FILE.trt."""
    return options.out / f"{options.onnx.stem}.trt"


def trtexec_log(engine: Path, out: Path) -> Path:
    """Where trtexec's output is kept: beside the files, not among those that come and go together."""
    return out / f"{engine.stem}.trtexec.log"


def _checked_manifest(options: EngineOptions) -> Manifest:
    manifest = load_manifest(options.onnx)
    assert manifest is not None, "only --trust lets a missing manifest through"
    if manifest.engine is not None:
        raise InputError(
            f"{options.onnx} is an engine by {manifest.engine.builder}; name the ONNX file it was built from"
        )
    if options.precision not in {None, manifest.precision}:
        raise InputError(
            f"--precision {options.precision}: {options.onnx} was exported in {manifest.precision}, and an engine "
            "keeps the types of its file; export the network again"
        )
    return manifest


def _checked_batch(options: EngineOptions, manifest: Manifest) -> Batch:
    """The batch of the file where that is fixed, else the one that was asked for."""
    first = manifest.inputs[0]
    size = first.shape[first.batch_axis]
    if isinstance(size, str):
        if options.batch is None:
            raise InputError(f"{options.onnx} takes any batch: say which with --batch MIN,OPT,MAX, such as 1,1,8")
        return options.batch
    if options.batch not in {None, Batch(size, size, size)}:
        raise InputError(
            f"--batch: {options.onnx} was exported for a batch of {size}; leave --batch out, or export again"
        )
    return Batch(size, size, size)


def _checked_builder(options: EngineOptions) -> Builder:
    if options.engine == "none":
        raise InputError(f"--engine none: an engine is all that can be made of {options.onnx}; leave it out")
    builder = find_builder(options.engine)
    if isinstance(builder, str):
        raise UnavailableError(f"no engine can be built here: {builder}")
    return builder


def _take_vocabulary(manifest: Manifest, options: EngineOptions, folder: Path) -> None:
    """The words of a language model stand beside its file, and are needed beside the engine."""
    words = manifest.vocabulary
    if words is None or options.out.resolve() == options.onnx.parent.resolve():
        return
    source = options.onnx.with_name(words.name)
    if not source.is_file():
        raise InputError(f"{source}: the manifest of {options.onnx} names it, and it is not there; copy it, too")
    if (found := sha256_of(source)) != words.sha256:
        raise CheckError(
            f"{source}: sha256 {found[:16]}..., the manifest of {options.onnx} says {words.sha256[:16]}...; export "
            "again"
        )
    shutil.copyfile(source, folder / source.name)
