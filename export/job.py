"""One export from start to end: weights, network, ONNX, parity proof, engine, files."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from ..errors import CheckError, InputError
from ..files import available_memory_bytes, staged, write_text
from ..model.counts import Counts, count
from ..model.datasets import Dataset, get_dataset
from ..model.deploy import TOP, Io, with_io
from ..model.eru_lm import NUM_LAYERS, UNITS, LanguageModel
from ..model.registry import check_width, create_model, get_spec, short_name
from ..model.seeded import load_seeded_weights
from ..model.spec import ModelSpec
from ..model.weights import WeightsChoice, resolve
from ..runtime.boxes import prior_boxes, prior_boxes_in_pixels
from ..runtime.images import load_photo, preprocess
from ..runtime.manifest import (
    ClassInfo,
    FileInfo,
    Macs,
    Manifest,
    OnnxInfo,
    Postprocessing,
    Precision,
    Preprocessing,
    QuantisationInfo,
    StateInfo,
    TensorInfo,
    WeightsInfo,
    file_info,
    manifest_path,
    read_manifest,
)
from ..runtime.vocabulary import Vocabulary, read_vocabulary
from ..version import __version__
from .batch import Batch
from .build_options import BuildOptions
from .calibration import Calibration, read_calibration
from .engine_from_onnx import Builder, check_build, find_builder
from .engine_job import write_engine
from .half_precision import half_precision
from .onnx_from_torch import IR_VERSION, OPSET, onnx_from_torch
from .parity import ParityCase, ParityReport, parity_inputs, picture_inputs, prove_parity, with_int8
from .precision_report import HalfPrecisionReport, Int8Report
from .progress import Progress
from .rewrite import rewritten
from .sensitivity import DEFAULT_MIN_AGREEMENT, quantise_what_survives
from .sequence_parity import STEPS, prove_sequence_parity

IMAGE = "image"
# Peak of an export: what the libraries take, and what one pixel of the batch adds, both rounded up from measurements at
# the default widths (1,500 bytes for segmentation; 400 to 950 for the others, the small ones with their weights).
_BASE_BYTES = 800_000_000
# What the proof of a language model holds of each word of the vocabulary at each step, in several copies.
_BYTES_PER_LOGIT = 60
_BYTES_PER_PIXEL = {"segmentation": 1_600, "classification": 1_000, "multi_label": 1_000, "detection": 1_000}
# Classification pictures are cut from the middle of one that is this much larger, as in training.
_CLASSIFICATION_RESIZE = 256 / 224
# The authors' demo: boxes above this score, less overlap than this, and so many of a class.
_SCORE_THRESHOLD, _IOU_THRESHOLD, _MAX_PER_CLASS = 0.3, 0.45, 200
# The authors count a class as present in a picture where its logit is above 0.
_MULTI_LABEL_THRESHOLD = 0.5
_STATES = (StateInfo(input="hidden", output="hidden_out"), StateInfo(input="cell", output="cell_out"))
# What the data set of a language model with the user's own words is called.
OWN_VOCABULARY = "own"


@dataclass(frozen=True)
class ExportOptions:
    """What is to be exported. Sizes are (height, width); None takes the network's default."""

    model: str
    out: Path
    width_mult: float | None = None
    dataset: str | None = None
    size: tuple[int, int] | None = None
    batch: Batch = field(default_factory=Batch)
    weights: str = "auto"
    io: Io = "deploy"
    engine: str = "auto"
    build: BuildOptions = field(default_factory=BuildOptions)
    photos: tuple[Path, ...] = ()
    vocabulary: Path | None = None
    precision: Precision = "fp32"
    calibration: Path | None = None
    min_agreement: float | None = None


@dataclass(frozen=True)
class ExportResult:
    """What was written, and what was found on the way. `no_engine`: the reason where there is none."""

    files: tuple[Path, ...]
    manifest: Manifest
    parity: ParityReport
    engine: Manifest | None
    no_engine: str | None


@dataclass(frozen=True)
class _Target:
    """The options with all defaults filled in and checked."""

    name: str
    spec: ModelSpec
    width_mult: float
    dataset: Dataset
    size: tuple[int, int] | None
    batch: Batch
    io: Io
    precision: Precision
    vocabulary: Vocabulary | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """The size of a network that takes pictures."""
        assert self.size is not None, f"{self.name} takes no pictures"
        return self.size

    @property
    def num_classes(self) -> int:
        return self.dataset.num_classes_for(self.spec.task)


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
    target = _checked_target(options)
    builder = _builder(options, target)
    _check_memory(target)
    photos = [(path.name, preprocess(load_photo(path), _image_preprocessing(target))) for path in options.photos]
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
        manifest = _manifest(target, weights, count(network, (3, *target.size) if target.size else None))
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


def parse_size(text: str) -> tuple[int, int]:
    """ "512x1024" -> (512, 1024): height, then width.

    Raises:
        InputError: the text has another form.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise InputError(f"--size {text!r} is no size; give HEIGHTxWIDTH in pixels, such as 512x1024")
    return int(match.group(1)), int(match.group(2))


def _checked_target(options: ExportOptions) -> _Target:
    spec = get_spec(options.model)
    width_mult = check_width(spec, options.width_mult)
    _check_kind_of_input(options, spec)
    _check_precision(options, spec)
    vocabulary = read_vocabulary(options.vocabulary) if options.vocabulary else None
    if vocabulary is not None and options.dataset is None:
        dataset = Dataset(OWN_VOCABULARY, len(vocabulary.words))
        return _Target(
            short_name(spec), spec, width_mult, dataset, None, options.batch, options.io, options.precision, vocabulary
        )
    dataset = get_dataset(options.dataset or spec.default_dataset)
    if dataset.name not in spec.default_sizes:
        raise InputError(
            f"{spec.name} has no form for data set {dataset.name}; there are {', '.join(spec.default_sizes)}"
        )
    if vocabulary is not None and len(vocabulary.words) != dataset.num_classes:
        raise InputError(
            f"--vocabulary {options.vocabulary}: {len(vocabulary.words)} words, {dataset.name} has "
            f"{dataset.num_classes}; leave --dataset out for a vocabulary of your own"
        )
    size = options.size or spec.default_sizes[dataset.name]
    if size is not None and not spec.accepts(size):
        raise InputError(_size_problem(spec, size))
    spec = spec.for_dataset(dataset.name)
    return _Target(
        short_name(spec), spec, width_mult, dataset, size, options.batch, options.io, options.precision, vocabulary
    )


def _check_kind_of_input(options: ExportOptions, spec: ModelSpec) -> None:
    """Options for pictures are for networks that take pictures, and those for words likewise."""
    if spec.task != "language_modelling":
        if options.vocabulary is not None:
            raise InputError(f"--vocabulary is for language models, {spec.name} takes pictures: leave it out")
        return
    deepstream = options.io == "deepstream"
    for option, value in (("--size", options.size), ("--photo", options.photos), ("--io deepstream", deepstream)):
        if value:
            raise InputError(f"{option} is for networks that take pictures, {spec.name} takes words: leave it out")


def _check_precision(options: ExportOptions, spec: ModelSpec) -> None:
    """The options of int8 come with int8, and int8 with a network that has something to quantise."""
    if options.precision != "int8":
        for option, value in (("--calibration", options.calibration), ("--min-agreement", options.min_agreement)):
            if value is not None:
                raise InputError(f"{option} is for --precision int8, not for {options.precision}: leave it out")
        return
    if spec.task == "language_modelling":
        raise InputError(
            f"--precision int8 is for convolutions, and {spec.name} has none: its states pass small errors on from "
            "word to word; --precision fp16 halves its file"
        )
    if options.calibration is None:
        raise InputError("--precision int8 needs --calibration DIR, a folder with photos of what the network will see")
    if options.min_agreement is not None and not 0 < options.min_agreement <= 1:
        raise InputError(f"--min-agreement {options.min_agreement:g}: give a share above 0, at most 1, such as 0.98")


def _calibration(options: ExportOptions, target: _Target, progress: Progress) -> Calibration | None:
    if options.calibration is None:
        return None
    progress.step("calibration pictures")
    calibration = read_calibration(options.calibration, _image_preprocessing(target))
    if calibration.skipped:
        progress.warn(f"{len(calibration.skipped)} calibration pictures skipped; the first: {calibration.skipped[0]}")
    if calibration.are_few:
        progress.warn(
            f"{len(calibration.pictures)} calibration pictures are few for a choice that holds for others; give 40"
        )
    return calibration


def _builder(options: ExportOptions, target: _Target) -> Builder | str:
    """The builder of engines, or why there is none; what it cannot do is found out before the work."""
    if options.engine == "none":
        if given := options.build.given:
            raise InputError(f"{given[0]} is for engines, and --engine none asks for none: leave one out")
        return "none was asked for"
    builder = find_builder(options.engine)
    if isinstance(builder, Builder):
        check_build(builder, options.build, batch=target.batch, precision=target.precision)
    return builder


def _check_memory(target: _Target) -> None:
    """Refuse what the system would otherwise end without a word."""
    available = available_memory_bytes()
    if target.size is None:
        of_one = STEPS * target.dataset.num_classes * _BYTES_PER_LOGIT
        what, way_out = f"{STEPS} steps with {target.dataset.num_classes} words", "lower --batch"
    else:
        of_one = target.size[0] * target.size[1] * _BYTES_PER_PIXEL[target.spec.task]
        what, way_out = f"{target.size[0]}x{target.size[1]}", "lower --batch or --size"
    needed = _BASE_BYTES + target.batch.maximum * of_one
    if available is not None and needed > available:
        raise InputError(
            f"a batch of {target.batch.maximum} at {what} needs about {needed / 1e9:.0f} GB "
            f"of memory to export and prove, {available / 1e9:.0f} GB are available; {way_out}"
        )


def _size_problem(spec: ModelSpec, size: tuple[int, int]) -> str:
    if spec.only_sizes:
        known = " and ".join(f"{height}x{width}" for height, width in spec.only_sizes)
        return f"--size {size[0]}x{size[1]} (HEIGHTxWIDTH) does not work: {spec.name} comes in {known} only"
    multiple = spec.size_multiple
    rule = f"sides of {spec.min_size} to {spec.max_size} pixels"
    if multiple > 1:
        rule += f" that are 0 or {multiple - 1} modulo {multiple}"
    nearest = " or ".join(dict.fromkeys(f"{h}x{w}" for h, w in spec.nearest_sizes(size)))
    return f"--size {size[0]}x{size[1]} (HEIGHTxWIDTH) does not work: {spec.name} takes {rule}; the nearest: {nearest}"


def _network(target: _Target, weights: WeightsChoice) -> nn.Module:
    network = create_model(
        target.spec.name,
        width_mult=target.width_mult,
        num_classes=target.num_classes,
        weights=weights.path,
    )
    if weights.path is None:
        load_seeded_weights(network)
    return network


def _onnx(target: _Target, network: nn.Module, manifest: Manifest) -> onnx.ModelProto:
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
    target: _Target,
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
    target: _Target,
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


def _write_failed(out: Path, target: _Target, report: ParityReport) -> Path:
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


def _manifest(target: _Target, weights: WeightsChoice, counts: Counts) -> Manifest:
    """The manifest of the ONNX file; checksums and the proof are filled in when they are known."""
    unknown = FileInfo(name=f"{target.name}.onnx", sha256="", bytes=0)
    classes = tuple(
        ClassInfo(name=name, colour=colour) for name, colour in target.dataset.classes_for(target.spec.task)
    )
    inputs, outputs, postprocessing = _tensors(target)
    return Manifest(
        name=target.name,
        task=target.spec.task,
        network=target.spec.name,
        width_mult=target.width_mult,
        dataset=target.dataset.name,
        num_classes=target.num_classes,
        classes=classes,
        io=target.io,
        precision=target.precision,
        inputs=inputs,
        outputs=outputs,
        preprocessing=_image_preprocessing(target) if target.size else None,
        postprocessing=postprocessing,
        states=_STATES if target.spec.task == "language_modelling" else (),
        macs=Macs(conv=counts.conv_macs, linear=counts.linear_macs),
        params=counts.params,
        weights=WeightsInfo(source=weights.source, sha256=weights.sha256, random=weights.random),
        onnx=OnnxInfo(sha256="", opset=OPSET, ir_version=IR_VERSION),
        file=unknown,
    )


def _write_vocabulary(folder: Path, target: _Target, vocabulary: Vocabulary) -> FileInfo:
    path = folder / f"{target.name}.vocabulary.txt"
    write_text(path, vocabulary.as_text())
    return file_info(path)


def _image_preprocessing(target: _Target) -> Preprocessing:
    height, width = target.image_size
    is_cls = target.spec.task == "classification"
    # DeepStream feeds pixels as they are, as float32: the graph normalises them, and there is nothing left to do.
    scale, mean, std = (1 / 255, target.spec.mean, target.spec.std)
    if target.io == "deepstream":
        scale, mean, std = 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return Preprocessing(
        resize="shorter_side_crop" if is_cls else "stretch",
        height=height,
        width=width,
        shorter_side=round(max(height, width) * _CLASSIFICATION_RESIZE) if is_cls else None,
        scale=scale,
        mean=mean,
        std=std,
        normalise_in_graph=target.io == "deploy",
    )


def _tensors(target: _Target) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...], Postprocessing]:
    """Inputs, outputs, and what the host does with the outputs."""
    if target.spec.task == "language_modelling":
        return _step_tensors(target)
    height, width = target.image_size
    if target.io == "raw":
        image = _tensor(target, IMAGE, "float32", (3, height, width), "NCHW", "RGB, (pixel / 255 - mean) / std")
        return (image,), *_raw_outputs(target)
    if target.io == "deepstream":
        image = _tensor(target, IMAGE, "float32", (3, height, width), "NCHW", "RGB pixels, 0 to 255")
        return (image,), *_deepstream_outputs(target)
    image = _tensor(target, IMAGE, "uint8", (height, width, 3), "NHWC", "RGB pixels")
    return (image,), *_deploy_outputs(target)


def _step_tensors(target: _Target) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...], Postprocessing]:
    """One step of a language model: the same tensors for both kinds of inputs and outputs."""
    units, batch = UNITS[target.width_mult], target.batch.dimension

    def state(name: str, meaning: str) -> TensorInfo:
        return TensorInfo(name=name, dtype="float32", shape=(NUM_LAYERS, batch, units), layout="LNU", meaning=meaning)

    token = _tensor(target, "token", "int64", (), "N", "number of the word in the vocabulary")
    logits = _tensor(
        target, "logits", "float32", (target.dataset.num_classes,), "NC", "of the next word, before softmax"
    )
    before = "zeros at first, then what the step before gave"
    return (
        (token, state("hidden", before), state("cell", before)),
        (logits, state("hidden_out", "hidden of the next step"), state("cell_out", "cell of the next step")),
        Postprocessing(kind="next_word"),
    )


def _raw_outputs(target: _Target) -> tuple[tuple[TensorInfo, ...], Postprocessing]:
    classes = target.num_classes
    if target.spec.task == "detection":
        priors = len(prior_boxes(target.image_size))
        confidences = _tensor(target, "confidences", "float32", (priors, classes), "NPC", "before softmax")
        locations = _tensor(target, "locations", "float32", (priors, 4), "NPL", "offsets of the prior boxes")
        return (confidences, locations), _suppression("decode_nms")
    if target.spec.task == "segmentation":
        logits = _tensor(target, "logits", "float32", (classes, *target.image_size), "NCHW", "before softmax")
        return (logits,), Postprocessing(kind="argmax")
    if target.spec.task == "multi_label":
        logits = _tensor(target, "logits", "float32", (classes,), "NC", "before sigmoid")
        return (logits,), _threshold("sigmoid_threshold")
    logits = _tensor(target, "logits", "float32", (classes,), "NC", "before softmax")
    return (logits,), Postprocessing(kind="softmax_top5")


def _deploy_outputs(target: _Target) -> tuple[tuple[TensorInfo, ...], Postprocessing]:
    if target.spec.task == "detection":
        priors, classes = len(prior_boxes(target.image_size)), target.num_classes
        meaning = "left, top, right, bottom in pixels of the input; may reach beyond it"
        boxes = _tensor(target, "boxes", "float32", (priors, 4), "NPL", meaning)
        scores = _tensor(target, "scores", "float32", (priors, classes), "NPC", "softmax probability of each class")
        return (boxes, scores), _suppression("nms")
    if target.spec.task == "segmentation":
        labels = _tensor(target, "labels", "uint8", target.image_size, "NHW", "class of each pixel")
        return (labels,), Postprocessing(kind="labels")
    if target.spec.task == "multi_label":
        scores = _tensor(target, "scores", "float32", (target.num_classes,), "NC", "sigmoid probability of each class")
        return (scores,), _threshold("threshold")
    best = _tensor(target, "classes", "int32", (TOP,), "NC", f"the {TOP} best classes, best first")
    scores = _tensor(target, "scores", "float32", (TOP,), "NC", "softmax probability of each of `classes`")
    return (best, scores), Postprocessing(kind="top5")


def _deepstream_outputs(target: _Target) -> tuple[tuple[TensorInfo, ...], Postprocessing]:
    classes, meaning = target.num_classes, "softmax probability of each class"
    if target.spec.task == "segmentation":
        shape = (classes, *target.image_size)
        return (_tensor(target, "probabilities", "float32", shape, "NCHW", meaning),), Postprocessing(kind="argmax")
    if target.spec.task == "classification":
        probabilities = _tensor(target, "probabilities", "float32", (classes,), "NC", meaning)
        return (probabilities,), Postprocessing(kind="rank_top5")
    return _deploy_outputs(target)


def _tensor(target: _Target, name: str, dtype: Any, shape: tuple[int, ...], layout: str, meaning: str) -> TensorInfo:
    return TensorInfo(name=name, dtype=dtype, shape=(target.batch.dimension, *shape), layout=layout, meaning=meaning)


def _threshold(kind: Literal["threshold", "sigmoid_threshold"]) -> Postprocessing:
    return Postprocessing(kind=kind, score_threshold=_MULTI_LABEL_THRESHOLD)


def _suppression(kind: Literal["nms", "decode_nms"]) -> Postprocessing:
    return Postprocessing(
        kind=kind,
        score_threshold=_SCORE_THRESHOLD,
        iou_threshold=_IOU_THRESHOLD,
        max_per_class=_MAX_PER_CLASS,
    )


def _report_name(target: _Target) -> str:
    return f"{target.name}.parity.json"


def _failed_report_name(target: _Target) -> str:
    return f"{target.name}.parity.failed.json"
