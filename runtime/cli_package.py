"""espnet-package: an exported network as a model repository of Triton, or a configuration of DeepStream's nvinfer."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..commands import check_output_file, console, new_app, run
from ..errors import InputError
from ..files import write_text
from .deepstream import write_deepstream_package
from .labels import class_names
from .manifest import Manifest, manifest_path
from .serving import Package, checked_name, one_line, servable_manifest
from .triton_repository import Device, TritonOptions, write_triton_repository

SCHEMA_VERSION = 1
Format = Literal["triton", "deepstream"]

app = new_app()


@app.command(
    epilog="""Examples:

\b
  espnet-package --engine build/seg/seg.onnx --format triton --out models
  espnet-package --engine build/seg/seg.trt --format triton --out models --name street --instances 2
  espnet-package --engine build/cls/cls.onnx --format triton --out models --max-batch 8 --labels names.txt
  espnet-package --engine build/seg/seg.onnx --format deepstream --out deepstream

DeepStream takes files that were exported with --io deepstream.

Exit codes: 0 done; 2 an option is wrong, or the format cannot express this file; 4 the file and its manifest disagree.
"""
)
def espnet_package(
    engine: Annotated[Path, typer.Option(metavar="FILE", help="ONNX file or TensorRT engine, its manifest beside it")],
    format_name: Annotated[
        Format, typer.Option("--format", help="triton: a model repository. deepstream: a configuration of nvinfer")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="the model repository, or the folder for the package's folder")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="of the model and its folder  [default: that of the manifest]")
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="pictures at once, for a free batch  [default: what the engine was built for at most]"
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="class names where the manifest has none: one per line, or a JSON list"),
    ] = None,
    version: Annotated[
        int | None, typer.Option(metavar="N", help="triton: number of the version  [default: one more than there is]")
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="triton: where it runs  [default: auto, a GPU where there is one]")
    ] = None,
    instances: Annotated[
        int | None, typer.Option(metavar="N", help="triton: how many run at the same time  [default: 1]")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace the version, and a configuration that was changed by hand")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="what was written, as JSON")] = None,
    allow_random_weights: Annotated[
        bool, typer.Option("--allow-random-weights", help="package a network whose answers mean nothing")
    ] = False,
) -> None:
    """Package an exported network for a server: a Triton model repository, or a DeepStream nvinfer configuration.

    The file is copied byte for byte after its checksum was compared with its manifest's; the manifest goes with it. All
    files of a package appear together.
    """
    manifest = servable_manifest(engine, allow_random=allow_random_weights)
    if json_file is not None:
        check_output_file("--json", json_file, [engine, manifest_path(engine)])
    names = class_names(manifest, labels)
    title = checked_name("--name" if name else f"{engine}: its manifest calls it", name or manifest.name)
    if format_name == "triton":
        options = TritonOptions(title, max_batch, device or "auto", 1 if instances is None else instances)
        package = write_triton_repository(
            engine, manifest, out, options, labels=names, version=version, overwrite=overwrite
        )
    else:
        _refuse_options_of_triton(version=version, device=device, instances=instances)
        package = write_deepstream_package(
            engine, manifest, out, name=title, labels=names, max_batch=max_batch, overwrite=overwrite
        )
    if json_file is not None:
        write_text(json_file, json.dumps(_summary(package, manifest, format_name, title), indent=2) + "\n")
    _print_result(package, format_name, title, out, named=names is not None or manifest.vocabulary is not None)


def main() -> None:
    """Entry point of the command."""
    run(app, "espnet-package")


def _refuse_options_of_triton(**options: object) -> None:
    for option, value in options.items():
        if value is not None:
            raise InputError(f"--{option} {value}: is for --format triton; leave it out")


def _print_result(package: Package, format_name: Format, name: str, out: Path, *, named: bool) -> None:
    for path in package.files:
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
    notes = list(package.notes)
    if not named:
        notes.append("the names of the classes are not known, and no labels were written; give them with --labels FILE")
    for note in notes:
        console().print(f"note: {one_line(note)}", markup=False)
    if format_name == "triton":
        print(f"serve it: tritonserver --model-repository={out.absolute()}   (model {name})")
    else:
        print(f"use it: nvinfer config-file-path={package.config.absolute()}")


def _summary(package: Package, manifest: Manifest, format_name: Format, name: str) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "format": format_name,
        "name": name,
        "folder": str(package.folder),
        "config": str(package.config),
        "model": str(package.model),
        "files": [str(path) for path in package.files],
        "sha256": manifest.file.sha256,
        "notes": list(package.notes),
    }
