"""One export from start to end: weights, network, ONNX, parity proof, engine, files."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from ..errors import CheckError, InputError
from ..files import staged, write_text
from ..model.counts import count
from ..model.deploy import with_io
from ..model.eru_lm import LanguageModel
from ..model.registry import create_model, get_spec, short_name
from ..model.seeded import load_seeded_weights
from ..model.weights import WeightsChoice, resolve
from ..runtime.boxes import prior_boxes_in_pixels
from ..runtime.images import load_photo, preprocess
from ..runtime.manifest import (
    FileInfo,
    Manifest,
    OnnxInfo,
    QuantisationInfo,
    file_info,
    manifest_path,
    read_manifest,
)
from ..runtime.vocabulary import Vocabulary
from ..version import __version__
from .batch import Batch
from .calibration import Calibration, read_calibration
from .described import described, image_preprocessing
from .engine_from_onnx import Builder, check_build, find_builder
from .engine_job import write_engine
from .half_precision import half_precision
from .onnx_from_torch import IR_VERSION, OPSET, onnx_from_torch
from .parity import ParityCase, ParityReport, parity_inputs, picture_inputs, prove_parity, with_int8
from .precision_report import HalfPrecisionReport, Int8Report
from .progress import Progress
from .rewrite import rewritten
from .sensitivity import DEFAULT_MIN_AGREEMENT, quantise_what_survives
from .sequence_parity import prove_sequence_parity
from .target import ExportOptions, Target, check_memory, checked_target


@dataclass(frozen=True)
class ExportResult:
    """What was written, and what was found on the way. `no_engine`: the reason where there is none."""

    files: tuple[Path, ...]
    manifest: Manifest
    parity: ParityReport
    engine: Manifest | None
    no_engine: str | None


@dataclass(frozen=True)
class _Typed:
    """A file in the precision that was asked for, and what that took; nothing for fp32."""

    model: onnx.ModelProto
    half_precision: HalfPrecisionReport | None = None
    int8: Int8Report | None = None


def export(options: ExportOptions, progress: Progress) -> ExportResult:
    """Export a network: `NAME.onnx`, its manifest, its parity proof, and an engine where one can be built.

    Everything is checked before work begins, and the files appear together at the end: an export that fails or is
    interrupted leaves the folder as it was, except for `NAME.parity.failed.json` where the parity proof failed or no
    int8 file keeps enough labels.

    Raises:
        InputError: an option that does not fit the network, weights or a photo that cannot be used.
        UnavailableError: the engine builder that was asked for is not there.
        CheckError: weights with a wrong checksum, parity or agreement missed, or the builder refused the file.
        OSError: the folder cannot be written.
    """
    target = checked_target(options)
    builder = _builder(options, target)
    check_memory(target)
    photos = [(path.name, preprocess(load_photo(path), image_preprocessing(target))) for path in options.photos]
    calibration = _calibration(options, target, progress)
    with staged(options.out) as folder:
        progress.step("weights")
        weights = resolve(
            options.weights,
            network=target.spec.name,
            width_mult=target.width_mult,
            dataset=target.dataset.name,
            size=target.size,
            warn=progress.warn,
        )
        network = _network(target, weights)
        progress.step("ONNX")
        manifest = described(target, weights, count(network, (3, *target.size) if target.size else None))
        if target.vocabulary is not None:
            manifest = manifest.model_copy(update={"vocabulary": _write_vocabulary(folder, target, target.vocabulary)})
        typed = _typed(options, target, _onnx(target, network, manifest), calibration, progress)
        artefact = folder / f"{target.name}.onnx"
        artefact.write_bytes(typed.model.SerializeToString(deterministic=True))
        report = _proven(options.out, target, network, typed, artefact, photos, calibration, progress)
        write_text(folder / _report_name(target), report.model_dump_json(indent=2) + "\n")
        info = file_info(artefact)
        manifest = manifest.model_copy(
            update={
                "onnx": OnnxInfo(sha256=info.sha256, opset=OPSET, ir_version=IR_VERSION),
                "file": info,
                "parity": report.summary(_report_name(target)),
                "quantisation": _quantisation(report.int8) if report.int8 else None,
            }
        )
        manifest.write(artefact)
        engine = None
        if isinstance(builder, Builder):
            progress.step(f"engine ({builder.name} {builder.version})")
            engine = write_engine(
                folder / f"{target.name}.trt",
                manifest,
                artefact.read_bytes(),
                builder=builder,
                batch=target.batch,
                options=options.build,
                progress=progress,
                out=options.out,
            )
        progress.step("files")
        names = sorted(path.name for path in folder.iterdir())
    (options.out / _failed_report_name(target)).unlink(missing_ok=True)
    if engine is None:
        _warn_of_old_engine(options.out / f"{target.name}.trt", manifest, progress)
    no_engine = None if isinstance(builder, Builder) else builder
    return ExportResult(tuple(options.out / name for name in names), manifest, report, engine, no_engine)


def artefact_paths(options: ExportOptions) -> list[Path]:
    """Every file that an export with these options may write.

    Raises:
        InputError: the model is unknown.
    """
    name = short_name(get_spec(options.model))
    suffixes = (
        "onnx",
        "onnx.json",
        "parity.json",
        "parity.failed.json",
        "trt",
        "trt.json",
        "trtexec.log",
        "vocabulary.txt",
    )
    return [options.out / f"{name}.{suffix}" for suffix in suffixes]


def _calibration(options: ExportOptions, target: Target, progress: Progress) -> Calibration | None:
    if options.calibration is None:
        return None
    progress.step("calibration pictures")
    calibration = read_calibration(options.calibration, image_preprocessing(target))
    if calibration.skipped:
        progress.warn(f"{len(calibration.skipped)} calibration pictures skipped; the first: {calibration.skipped[0]}")
    if calibration.are_few:
        progress.warn(
            f"{len(calibration.pictures)} calibration pictures are few for a choice that holds for others; give 40"
        )
    return calibration


def _builder(options: ExportOptions, target: Target) -> Builder | str:
    """The builder of engines, or why there is none; what it cannot do is found out before the work."""
    if options.engine == "none":
        if given := options.build.given:
            raise InputError(f"{given[0]} is for engines, and --engine none asks for none: leave one out")
        return "none was asked for"
    builder = find_builder(options.engine)
    if isinstance(builder, Builder):
        check_build(builder, options.build, batch=target.batch, precision=target.precision)
    return builder


def _network(target: Target, weights: WeightsChoice) -> nn.Module:
    network = create_model(
        target.spec.name,
        width_mult=target.width_mult,
        num_classes=target.num_classes,
        weights=weights.path,
    )
    if weights.path is None:
        load_seeded_weights(network)
    return network


def _onnx(target: Target, network: nn.Module, manifest: Manifest) -> onnx.ModelProto:
    priors = prior_boxes_in_pixels(target.image_size) if target.spec.task == "detection" else None
    module = with_io(
        rewritten(network, target.size), target.io, name=target.spec.name, dataset=target.dataset.name, priors=priors
    )
    return onnx_from_torch(
        module,
        manifest.inputs,
        output_names=[tensor.name for tensor in manifest.outputs],
        batch=target.batch,
        metadata=_metadata(manifest),
    )


def _metadata(manifest: Manifest) -> dict[str, str]:
    """The manifest's essentials, for tools that show what an ONNX file says of itself."""
    essentials = manifest.model_dump(
        mode="json",
        include={"name", "task", "network", "width_mult", "dataset", "num_classes", "io", "precision"}
        | {"preprocessing", "weights"},
    )
    essentials["classes"] = [c.name for c in manifest.classes]
    # Not the folder: equal networks give equal bytes, and the file tells nothing of the machine.
    essentials["weights"]["source"] = Path(manifest.weights.source).name
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in essentials.items()}
    return {"espnet_edge_version": __version__, **texts}


def _typed(
    options: ExportOptions,
    target: Target,
    model: onnx.ModelProto,
    calibration: Calibration | None,
    progress: Progress,
) -> _Typed:
    """The float32 file `model` in the precision that was asked for."""
    if target.precision == "fp32":
        return _Typed(model)
    if target.precision == "fp16":
        return _Typed(*half_precision(model))
    assert calibration is not None, "int8 was checked to have it"
    wanted = options.min_agreement
    found = quantise_what_survives(
        model,
        calibration,
        spec=target.spec,
        io=target.io,
        batch=target.batch,
        min_agreement=DEFAULT_MIN_AGREEMENT[target.spec.task] if wanted is None else wanted,
        on_step=progress.step,
    )
    if not found.report.passed:
        report = ParityReport.of([], onnx_sha256="", precision="int8").model_copy(
            update={"passed": False, "half_precision": found.half_precision, "int8": found.report}
        )
        failed = _write_failed(options.out, target, report)
        raise CheckError(
            f"labels equal {found.report.float16_agreement:.4f} in float16 and {found.report.naive_agreement:.4f} in "
            f"int8, and no choice of int8 blocks keeps {found.report.min_agreement:g} of them: lower --min-agreement, "
            f"or take --precision fp16; nothing was exported, all figures are in {failed}"
        )
    return _Typed(found.model, found.half_precision, found.report)


def _proven(
    out: Path,
    target: Target,
    network: nn.Module,
    typed: _Typed,
    artefact: Path,
    photos: Sequence[tuple[str, NDArray[np.uint8]]],
    calibration: Calibration | None,
    progress: Progress,
) -> ParityReport:
    sha256 = file_info(artefact).sha256

    def on_case(case: ParityCase) -> None:
        progress.step(f"parity: {case.name}, largest error {case.max_abs_error:.1e}")

    def proof(inputs: Iterable[tuple[str, NDArray[Any]]]) -> ParityReport:
        return prove_parity(
            network,
            typed.model,
            inputs,
            spec=target.spec,
            io=target.io,
            onnx_sha256=sha256,
            on_case=on_case,
            precision=target.precision,
        )

    if isinstance(network, LanguageModel):
        report = prove_sequence_parity(
            network,
            typed.model,
            batch=target.batch,
            onnx_sha256=sha256,
            on_case=on_case,
            precision=target.precision,
        )
    elif typed.int8 is not None and calibration is not None:
        report = proof(picture_inputs(target.spec, target.io, target.batch, calibration.pictures))
        unseen = (*calibration.held_out, *photos)
        one = Batch(*[target.batch.minimum] * 3)
        held_out = proof(picture_inputs(target.spec, target.io, one, unseen)) if unseen else None
        report = with_int8(report, held_out, typed.int8)
        _warn_of_unseen_photos(report, progress)
    else:
        report = proof(parity_inputs(target.spec, target.io, target.image_size, target.batch, photos))
    report = report.model_copy(update={"half_precision": typed.half_precision})
    if report.passed:
        return report
    failed = _write_failed(out, target, report)
    raise CheckError(f"{_what_missed(report)}; nothing was exported, all figures are in {failed}")


def _warn_of_unseen_photos(report: ParityReport, progress: Progress) -> None:
    """Say so where photos that took no part in the choice keep fewer labels than it was made for."""
    assert report.int8 is not None
    found, wanted = report.int8.held_out_agreement, report.int8.min_agreement
    if found is not None and found < wanted:
        progress.warn(
            f"labels equal {found:.4f} on photos that took no part in the choice, {wanted:g} was asked for on those "
            "that did: give more photos, or a higher --min-agreement"
        )


def _write_failed(out: Path, target: Target, report: ParityReport) -> Path:
    path = out / _failed_report_name(target)
    write_text(path, report.model_dump_json(indent=2) + "\n")
    return path


def _what_missed(report: ParityReport) -> str:
    worst = next((case for case in report.cases if not case.passed), None)
    if worst is None:
        assert report.int8 is not None, "only int8 is judged by all cases together"
        return (
            f"parity missed: labels equal {report.int8.agreement:.4f} on the calibration pictures "
            f"(required {report.int8.min_agreement:g})"
        )
    allowed = worst.tolerance
    if allowed.max_abs_error is None or allowed.mean_abs_error is None:
        return f"parity missed on input {worst.name!r}: answers that do not follow from its logits, or are no numbers"
    return (
        f"parity missed on input {worst.name!r}: largest error {worst.max_abs_error:.2e} (allowed "
        f"{allowed.max_abs_error:.2e}), mean {worst.mean_abs_error:.2e} (allowed "
        f"{allowed.mean_abs_error:.2e}), labels equal {worst.label_agreement_where_decided:.6f} (required "
        f"{allowed.label_agreement})"
    )


def _quantisation(report: Int8Report) -> QuantisationInfo:
    return QuantisationInfo(
        int8_convolutions=report.int8_convolutions,
        convolutions=report.convolutions,
        int8_macs_share=report.int8_macs_share,
        kept_blocks=tuple(block.name for block in report.blocks if block.kept),
        calibration_pictures=len(report.calibration_pictures),
    )


def _warn_of_old_engine(engine: Path, manifest: Manifest, progress: Progress) -> None:
    """An engine of an earlier export stays where it is; say so where it no longer belongs to the ONNX file."""
    if not (engine.exists() and manifest_path(engine).exists()):
        return
    try:
        built_from = read_manifest(engine).onnx.sha256
    except CheckError:
        built_from = "unknown"
    if built_from != manifest.onnx.sha256:
        progress.warn(f"{engine} is from an earlier export and was not built from the new {manifest.file.name}")


def _write_vocabulary(folder: Path, target: Target, vocabulary: Vocabulary) -> FileInfo:
    path = folder / f"{target.name}.vocabulary.txt"
    write_text(path, vocabulary.as_text())
    return file_info(path)


def _report_name(target: Target) -> str:
    return f"{target.name}.parity.json"


def _failed_report_name(target: Target) -> str:
    return f"{target.name}.parity.failed.json"
