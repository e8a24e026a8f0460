"""The command `espnet-export`."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..commands import check_output_file, console, libraries_of_extra, new_app, run, stop_if_interrupted
from ..errors import InputError
from ..files import write_text

if TYPE_CHECKING:
    from ..runtime.manifest import Manifest, ParitySummary, Precision, TensorInfo
    from .job import ExportResult

app = new_app()


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

Exit codes: 0 done; 2 an option or file is wrong; 3 what was asked for is not on this machine; 4 a check failed
(parity, agreement in int8, checksum, or the engine builder refused the file); 130 interrupted.
"""
)
def export_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="seg (ESPNetv2 segmentation), cls (ESPNetv2 classification), det (ESPNetv2 detection), lm "
            "(ERU language model), or one to compare with: mobilenetv1, mobilenetv2, shufflenetv1, shufflenetv2.",
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
            metavar="deploy|raw",
            help="deploy: pixels in, labels, classes, scores or boxes out. raw: normalised float32 in, logits out.",
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
            metavar="auto|none|tensorrt|tensorrt-rtx",
            help="auto: TensorRT where it and a GPU are there, else TensorRT-RTX, which needs no GPU to build.",
        ),
    ] = "auto",
    compute_capability: Annotated[
        str | None,
        typer.Option(metavar="8.6,8.9", help="GPUs of a TensorRT-RTX engine. [default: portable, Ampere and newer]"),
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
    NAME.trt and NAME.trt.json. The files appear together at the end; an export that fails changes nothing.
    """
    started = time.monotonic()
    with libraries_of_extra("export", "espnet-export"):
        from .engine_from_onnx import parse_compute_capabilities
        from .job import ExportOptions, Progress, artefact_paths, export, parse_batch, parse_size
    stderr = console()

    class ConsoleProgress(Progress):
        def step(self, text: str) -> None:
            stop_if_interrupted()
            status.update(f"{text} ...")
            if not stderr.is_terminal:
                stderr.print(f"[{time.monotonic() - started:5.1f} s] {text}", markup=False)

        def warn(self, text: str) -> None:
            stderr.print(f"WARNING: {text}", style="bold yellow", markup=False)

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
        compute_capabilities=parse_compute_capabilities(compute_capability) if compute_capability else (),
        photos=tuple(photo or ()),
        vocabulary=vocabulary,
        precision=_checked_precision(precision),
        calibration=calibration,
        min_agreement=min_agreement,
    )
    if json_file is not None:
        check_output_file("--json", json_file, artefact_paths(options))
    with stderr.status("starting ...") as status:
        result = export(options, ConsoleProgress())
    seconds = time.monotonic() - started
    if json_file is not None:
        write_text(json_file, json.dumps(_summary(result, seconds), indent=2) + "\n")
    _print_result(result, seconds)


def main() -> None:
    """Run the command and exit."""
    run(app, "espnet-export")


def _checked_precision(precision: str) -> "Precision":
    if precision == "fp32":
        return "fp32"
    if precision == "fp16":
        return "fp16"
    if precision == "int8":
        return "int8"
    raise InputError(f"--precision {precision!r} is unknown; there are fp32, fp16, int8")


def _checked_io(io: str) -> Literal["raw", "deploy"]:
    if io == "raw":
        return "raw"
    if io == "deploy":
        return "deploy"
    raise InputError(f"--io {io!r} is unknown; there are deploy, raw")


def _print_result(result: "ExportResult", seconds: float) -> None:
    manifest, summary = result.manifest, result.manifest.parity
    assert summary is not None
    described = {
        manifest.file.name: f"ONNX opset {manifest.onnx.opset}, {manifest.precision}: {_tensors(manifest)}",
        summary.report: _proof(summary),
    }
    if result.engine is not None and result.engine.engine is not None:
        info = result.engine.engine
        described[result.engine.file.name] = f"engine by {info.builder} {info.builder_version}, {info.precision}"
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
