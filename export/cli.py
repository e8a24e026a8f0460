"""The command `espnet-export`."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from ..commands import check_output_file, console, libraries_of_extra, new_app, run, stop_if_interrupted
from ..errors import InputError
from ..files import write_text

if TYPE_CHECKING:
    from ..runtime.manifest import EngineInfo, Manifest, ParitySummary, TensorInfo
    from .build_options import BuildOptions
    from .engine_job import EngineResult
    from .job import ExportResult
    from .progress import Progress

app = new_app()

_BAR_WIDTH = 30  # characters
# Parameters of the command that mean something where only an engine is built; `model` is the file.
_OPTIONS_OF_ENGINES = frozenset(
    [
        "model",
        "out",
        "batch",
        "precision",
        "engine",
        "compute_capability",
        "workspace",
        "timing_cache",
        "dla",
        "compatible",
        "json_file",
    ]
)


@app.command(
    epilog="""Examples:

\b
  espnet-export seg --out build/seg
  espnet-export seg --width 0.5 --dataset voc --size 256x256 --out build/voc
  espnet-export seg --weights my_checkpoint.pth --photo street.jpg --out build/mine
  espnet-export seg --precision fp16 --out build/fp16
  espnet-export seg --precision int8 --calibration photos --min-agreement 0.98 --out build/int8
  espnet-export cls --batch 1,4,8 --io raw --engine none --out build/cls
  espnet-export cls --dataset coco --weights my_checkpoint.pth --out build/coco
  espnet-export det --dataset voc --size 512x512 --out build/det
  espnet-export lm --weights best.pth --vocabulary vocabulary.txt --out build/lm
  espnet-export build/seg/seg.onnx --engine trtexec --workspace 2048 --out on_device

Exit codes: 0 done; 2 an option or file is wrong; 3 what was asked for is not on this machine; 4 a check failed
(parity, agreement in int8, checksum, or the engine builder refused the file); 130 interrupted.
"""
)
def export_command(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="seg (ESPNetv2 segmentation), cls (ESPNetv2 classification), det (ESPNetv2 detection), lm "
            "(ERU language model), or one to compare with: mobilenetv1, mobilenetv2, shufflenetv1, shufflenetv2. "
            "espnet-models lists all. Or FILE.onnx, exported before: only its engine is built, which needs no PyTorch.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the files; made if missing.")],
    width: Annotated[
        float | None,
        typer.Option(
            help="Width of the network; a wrong one lists those there are. [default: 2.0 for seg, cls, det; 1.0 for lm]"
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="seg: cityscapes or voc; cls: imagenet, or coco for several labels of a picture; det: coco or voc; "
            "lm: ptb. [default: the first]"
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Input in pixels. [default: cityscapes 512x1024, voc 384x384; cls 224x224; det 300x300]",
        ),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N|MIN,OPT,MAX", help="One batch size, or a free one.")] = "1",
    weights: Annotated[
        str,
        typer.Option(
            metavar="auto|random|FILE",
            help="auto: the published file, from the cache or the internet; without either, random, with a warning.",
        ),
    ] = "auto",
    io: Annotated[
        str,
        typer.Option(
            "--io",
            metavar="deploy|raw|deepstream|lowres",
            help="deploy: pixels in, labels, classes, scores or boxes out. raw: normalised float32 in, logits out. "
            "deepstream: pixels as float32 in, probabilities or boxes out, as DeepStream's nvinfer feeds and reads. "
            "lowres (segmentation): pixels in, logits of half the height and width out; the host upsamples them.",
        ),
    ] = "deploy",
    precision: Annotated[
        str,
        typer.Option(
            metavar="fp32|fp16|int8",
            help="Types inside of the file; inputs and outputs stay. int8: convolutions that keep the labels, the rest "
            "in fp16; needs --calibration.",
        ),
    ] = "fp32",
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="int8: a folder with photos of what the network will see, 40 are used at most."
        ),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="int8: share of equal labels on the calibration photos that must hold. [default: 0.98 for seg, 0.95 "
            "for cls and det]",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|none|tensorrt|trtexec|tensorrt-rtx",
            help="auto: TensorRT where it and a GPU are there, by its Python module or its program trtexec; else "
            "TensorRT-RTX, which needs no GPU to build.",
        ),
    ] = "auto",
    compute_capability: Annotated[
        str | None,
        typer.Option(metavar="8.6,8.9", help="GPUs of a TensorRT-RTX engine. [default: portable, Ampere and newer]"),
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option(metavar="MIB", help="Engine: most scratch memory for a layer, in MiB. [default: the library's]"),
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Engine: kernel timings that make the next build faster; read, and written after."
        ),
    ] = None,
    dla: Annotated[
        int | None,
        typer.Option(
            metavar="CORE", help="Engine: run on this DLA core, the rest on the GPU; fp16 or int8, fixed batch."
        ),
    ] = None,
    compatible: Annotated[
        str | None,
        typer.Option(
            metavar="version,ampere+,same-compute-capability",
            help="Engine: also for newer TensorRT versions, in programs that load the older lean runtime; for Ampere "
            "and newer GPUs; or for GPUs of the same compute capability. Such engines are slower.",
        ),
    ] = None,
    photo: Annotated[
        list[Path] | None, typer.Option(help="A photo for the parity proof, beside the built-in inputs; repeatable.")
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="lm: the words, one per line in the order of training; kept with the export."
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write a summary as JSON, too.")] = None,
) -> None:
    """Export a network to ONNX, prove that it computes the same, and build an engine.

    Writes NAME.onnx, its manifest NAME.onnx.json, the proof NAME.parity.json and, where an engine can be built,
    NAME.trt and NAME.trt.json. With FILE.onnx in place of a network, FILE.trt and FILE.trt.json alone. The files appear
    together at the end; an export that fails leaves them as they were. What speaks of a failure is kept:
    NAME.parity.failed.json, NAME.trtexec.log.
    """
    from .batch import parse_batch
    from .build_options import BuildOptions, parse_compatible, parse_compute_capabilities
    from .layer_precisions import parse_precision

    started = time.monotonic()
    build = BuildOptions(
        compute_capabilities=parse_compute_capabilities(compute_capability) if compute_capability is not None else (),
        workspace_mib=workspace,
        timing_cache=timing_cache,
        dla_core=dla,
        compatible=parse_compatible(compatible) if compatible is not None else (),
    )
    if Path(model).suffix == ".onnx":
        _build_only(context, Path(model), out, batch, precision, engine, build, json_file, started)
        return
    with libraries_of_extra("export", "espnet-export"):
        from .job import artefact_paths, export
        from .target import ExportOptions, parse_size
    options = ExportOptions(
        model=model,
        out=out,
        width_mult=width,
        dataset=dataset,
        size=parse_size(size) if size else None,
        batch=parse_batch(batch),
        weights=weights,
        io=_checked_io(io),
        engine=engine,
        build=build,
        photos=tuple(photo or ()),
        vocabulary=vocabulary,
        precision=parse_precision(precision),
        calibration=calibration,
        min_agreement=min_agreement,
    )
    _check_outputs(json_file, build, artefact_paths(options))
    with _progress(started) as progress:
        result = export(options, progress)
    seconds = time.monotonic() - started
    if json_file is not None:
        write_text(json_file, json.dumps(_summary(result, seconds), indent=2) + "\n")
    _print_result(result, seconds)


def main() -> None:
    """Run the command and exit."""
    run(app, "espnet-export")


def _build_only(
    context: typer.Context,
    onnx: Path,
    out: Path,
    batch: str,
    precision: str,
    engine: str,
    build: "BuildOptions",
    json_file: Path | None,
    started: float,
) -> None:
    """Build the engine of an exported ONNX file."""
    from .batch import parse_batch
    from .engine_job import EngineOptions, artefact_paths, build_engine
    from .layer_precisions import parse_precision

    if foreign := sorted(_given(context) - _OPTIONS_OF_ENGINES):
        option = foreign[0].replace("_", "-")
        raise InputError(f"--{option} is for exporting a network, and {onnx} is exported already: leave it out")
    options = EngineOptions(
        onnx=onnx,
        out=out,
        batch=parse_batch(batch) if "batch" in _given(context) else None,
        precision=parse_precision(precision) if "precision" in _given(context) else None,
        engine=engine,
        build=build,
    )
    _check_outputs(json_file, build, [onnx, *artefact_paths(options)])
    with _progress(started) as progress:
        result = build_engine(options, progress)
    seconds = time.monotonic() - started
    if json_file is not None:
        write_text(json_file, json.dumps(_engine_summary(result, seconds), indent=2) + "\n")
    assert result.manifest.engine is not None
    for path in result.files:
        said = _engine_text(result.manifest.engine) if path.name == result.manifest.file.name else "beside it"
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB  {said}")
    print(f"done in {seconds:.1f} s")


def _check_outputs(json_file: Path | None, build: "BuildOptions", taken: list[Path]) -> None:
    """What is written beside the artefacts replaces none of them."""
    for option, path in (("--json", json_file), ("--timing-cache", build.timing_cache)):
        if path is not None:
            check_output_file(option, path, taken)


def _given(context: typer.Context) -> set[str]:
    """The parameters that stand on the command line."""
    return {name for name in context.params if str(context.get_parameter_source(name)).endswith("COMMANDLINE")}


@contextmanager
def _progress(started: float) -> Iterator["Progress"]:
    """What tells the user how far the work is: a line that changes on a terminal, else lines."""
    from .progress import Progress

    stderr = console()

    class ConsoleProgress(Progress):
        def __init__(self) -> None:
            self.step_text = "starting"

        def step(self, text: str) -> None:
            stop_if_interrupted()
            self.step_text = text
            status.update(f"{escape(text)} ...")
            if not stderr.is_terminal:
                stderr.print(f"[{time.monotonic() - started:5.1f} s] {text}", markup=False)

        def part(self, text: str, share: float) -> None:
            bar = "━" * round(share * _BAR_WIDTH)
            status.update(f"{escape(self.step_text)} {bar:╌<{_BAR_WIDTH}} {share:4.0%} {escape(text)}")

        def warn(self, text: str) -> None:
            stderr.print(f"WARNING: {text}", style="bold yellow", markup=False)

    with stderr.status("starting ...") as status:
        yield ConsoleProgress()


def _checked_io(io: str) -> Literal["raw", "deploy", "deepstream", "lowres"]:
    if io == "raw":
        return "raw"
    if io == "deploy":
        return "deploy"
    if io == "deepstream":
        return "deepstream"
    if io == "lowres":
        return "lowres"
    raise InputError(f"--io {io!r} is unknown; there are deploy, raw, deepstream, lowres")


def _print_result(result: "ExportResult", seconds: float) -> None:
    manifest, summary = result.manifest, result.manifest.parity
    assert summary is not None
    described = {
        manifest.file.name: f"ONNX opset {manifest.onnx.opset}, {manifest.precision}: {_tensors(manifest)}",
        summary.report: _proof(summary),
    }
    if result.engine is not None and result.engine.engine is not None:
        described[result.engine.file.name] = _engine_text(result.engine.engine)
    if manifest.vocabulary is not None:
        described[manifest.vocabulary.name] = f"the {manifest.num_classes} words"
    if (int8 := manifest.quantisation) is not None:
        described[manifest.file.name] += (
            f"; int8 are {int8.int8_convolutions} of {int8.convolutions} convolutions, "
            f"{int8.int8_macs_share:.0%} of the multiply-accumulates"
        )
    for path in result.files:
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB  {described.get(path.name, 'manifest')}")
    if result.no_engine is not None:
        print(f"no engine: {result.no_engine}")
    artefact = next(path for path in result.files if path.name == manifest.file.name)
    if manifest.weights.random:
        print(f"done in {seconds:.1f} s; the weights are RANDOM: good for measuring speed, not for answers")
    else:
        subject = '--text "..."' if manifest.task == "language_modelling" else "PHOTO --out results"
        print(f"done in {seconds:.1f} s; try: {_sibling_command('espnet-run')} --engine {artefact} {subject}")


def _engine_text(info: "EngineInfo") -> str:
    text = f"engine by {info.builder} {info.builder_version}, {info.precision}"
    found = info.verified_precision
    if found is None:
        return f"{text}, layers not inspected ({info.not_verified})"
    return f"{text}; of {found.layers} layers {found.fp32} compute in fp32, {found.fp16} in fp16, {found.int8} in int8"


def _proof(summary: "ParitySummary") -> str:
    text = f"{summary.cases} inputs, largest error {summary.max_abs_error:.1e}"
    if summary.max_abs_error_tolerance is not None:
        text += f" (allowed {summary.max_abs_error_tolerance:.1e})"
    text += f", labels equal {summary.label_agreement:.6f} (required {summary.label_agreement_tolerance:g})"
    if summary.held_out_agreement is not None:
        text += f", {summary.held_out_agreement:.6f} on photos held out"
    return text


def _sibling_command(name: str) -> str:
    """How the user can type the command `name`: with the folder of this one where that is how this one was called."""
    sibling = Path(sys.argv[0]).with_name(name)
    return str(sibling) if sibling.is_file() and not shutil.which(name) else name


def _tensors(manifest: "Manifest") -> str:
    def text(tensor: "TensorInfo") -> str:
        return f"{tensor.name} {tensor.dtype} ({', '.join(map(str, tensor.shape))})"

    return f"{', '.join(map(text, manifest.inputs))} -> {', '.join(map(text, manifest.outputs))}"


def _summary(result: "ExportResult", seconds: float) -> dict[str, object]:
    return {
        "schema_version": 1,
        "files": [str(path) for path in result.files],
        "manifest": result.manifest.model_dump(mode="json"),
        "parity": result.parity.model_dump(mode="json"),
        "engine": result.engine.model_dump(mode="json") if result.engine else None,
        "no_engine": result.no_engine,
        "seconds": seconds,
    }


def _engine_summary(result: "EngineResult", seconds: float) -> dict[str, object]:
    return {
        "schema_version": 1,
        "files": [str(path) for path in result.files],
        "engine": result.manifest.model_dump(mode="json"),
        "seconds": seconds,
    }
