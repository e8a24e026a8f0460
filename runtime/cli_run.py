"""espnet-run: photos in, coloured masks, classes or boxes out; or a text in, and how it goes on."""

import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import Progress

from ..commands import check_output_file, console, new_app, run
from ..errors import InputError
from ..files import write_bytes, write_text
from .answers import Outputs, photo_boxes, photo_classes, photo_labels, present_classes
from .box_pictures import boxes_over
from .images import Pixels, check_answers_fit, load_photo, photo_input
from .labels import class_names
from .manifest import ClassInfo, Manifest, load_manifest, manifest_path
from .pictures import class_name, label_image, overlay, percent, png_bytes
from .run_text import TextOptions, continue_text, find_vocabulary

if TYPE_CHECKING:
    from .runner import Runner

SCHEMA_VERSION = 1
_LISTED_BOXES = 50  # of a photo, on standard output

app = new_app()


@dataclass(frozen=True)
class _Photo:
    """A photo and the files that its results go to; without --out there are none."""

    path: Path
    labels: Path | None = None
    overlay: Path | None = None
    classes: Path | None = None
    boxes: Path | None = None
    picture: Path | None = None

    @property
    def targets(self) -> list[Path]:
        """The files that will be written."""
        paths = (self.labels, self.overlay, self.classes, self.boxes, self.picture)
        return [path for path in paths if path is not None]


@dataclass(frozen=True)
class _Job:
    """What stays the same from photo to photo."""

    runner: "Runner"
    manifest: Manifest
    classes: tuple[ClassInfo, ...]
    opacity: float


@app.command()
def espnet_run(
    engine: Annotated[Path, typer.Option(metavar="FILE", help="artefact with its manifest beside it")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE", help="photos, in any format that Pillow reads")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder for the results; needed for segmentation")
    ] = None,
    runtime: Annotated[
        Literal["auto", "onnxruntime", "openvino", "torch", "tensorrt", "tensorrt_rtx"],
        typer.Option(help="library that runs it"),
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="CPU threads  [default: one per usable core]")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="class names where the manifest has none: one per line, or a JSON list"),
    ] = None,
    opacity: Annotated[float, typer.Option(metavar="0..1", help="of the colours over the photo")] = 0.5,
    text: Annotated[str | None, typer.Option(metavar="TEXT", help="for a language model: what it continues")] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="its words, one per line  [default: those exported with it]"),
    ] = None,
    words: Annotated[int, typer.Option(metavar="N", help="how many words it adds")] = 50,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="0: always the most probable word; 1: as the network says; more: wilder")
    ] = 0.8,
    top: Annotated[int, typer.Option(metavar="N", help="choose among this many most probable words")] = 40,
    seed: Annotated[int, typer.Option(metavar="N", help="another one gives another text")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="all results as JSON")] = None,
    allow_random_weights: Annotated[
        bool, typer.Option("--allow-random-weights", help="run a network whose answers mean nothing")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="run a file that its manifest does not vouch for")] = False,
) -> None:
    """Run an exported network on photos, or let a language model continue a text.

    Segmentation writes DIR/NAME.overlay.png (the photo under the colours of its classes, with a legend) and
    DIR/NAME.labels.png (grey, each pixel is its class number), both at the photo's own size, and prints the share of
    each class. Classification prints the five most probable classes, multi-label classification all classes above the
    threshold of the manifest; with --out both write DIR/NAME.classes.json.
    Detection prints what it finds and where, in pixels of the photo, and with --out writes DIR/NAME.boxes.png (the
    photo with the boxes, their classes and scores) and DIR/NAME.boxes.json.
    NAME is the photo's name without its ending, or with it where two photos share the rest.
    A language model prints --text and the words that it adds. Words are separated by spaces, punctuation too, as in
    the text that it was trained on.

    A photo that cannot be read does not stop the others: it is reported at the end, with exit code 2.

    Examples:

    \b
      espnet-run --engine build/seg/seg.onnx street.jpg --out build/pictures
      espnet-run --engine build/seg/seg.onnx photos/*.png --out build/pictures --opacity 0.3
      espnet-run --engine build/cls/cls.onnx cat.jpg dog.jpg --labels names.txt --json answers.json
      espnet-run --engine build/coco/cls.onnx street.jpg
      espnet-run --engine build/det/det.onnx street.jpg --out build/pictures
      espnet-run --engine build/lm/lm.onnx --vocabulary vocabulary.txt --text "the old lighthouse"

    Exit codes: 0 done, 2 an input is wrong, 3 the library asked for is not there, 4 the file and its manifest disagree.
    """
    _check_numbers(opacity, threads)
    manifest = _usable_manifest(engine, trust=trust, allow_random_weights=allow_random_weights)
    options = TextOptions(text, vocabulary, words, temperature, top, seed)
    _check_kind_of_input(manifest, images or [], out, options)
    if manifest.task == "language_modelling":
        _run_text(engine, manifest, options, runtime=runtime, threads=threads, trust=trust, json_file=json_file)
        return
    photos = _planned(images or [], out, manifest)
    _check_targets(photos, json_file, engine)
    classes = _classes(manifest, labels)
    results = []
    # Imported only now, after all that can be wrong with the input has been checked.
    from .runner import open_runner

    with open_runner(engine, runtime=runtime, threads=threads, trust=trust) as runner, _bar(photos) as bar:
        _make_folders(out, json_file)
        job = _Job(runner, manifest, classes, opacity)
        for photo in bar.track(photos, description="photos"):
            results.append(_result(photo, job))
            _print_result(results[-1])
    if json_file is not None:
        _write_json(json_file, {"engine": str(engine), "task": manifest.task, "images": results})
    _raise_failures(results)


def _check_kind_of_input(manifest: Manifest, images: Sequence[Path], out: Path | None, options: TextOptions) -> None:
    """Photos for networks that take pictures, a text for the others."""
    if manifest.task != "language_modelling":
        if not images:
            raise InputError(f"no photo is given; {manifest.name} is for {manifest.task}: name one IMAGE at least")
        for option, value in (("--text", options.text), ("--vocabulary", options.vocabulary)):
            if value is not None:
                raise InputError(f"{option} is for language models, {manifest.name} takes photos: leave it out")
        return
    if images:
        raise InputError(f"{images[0]}: {manifest.name} is a language model and takes no photos; give --text TEXT")
    if out is not None:
        raise InputError(f"--out {out}: a language model prints its text and writes no pictures; leave it out")
    if options.text is None:
        raise InputError(f"{manifest.name} is a language model; give what it continues: --text TEXT")
    options.check()


def _run_text(
    engine: Path,
    manifest: Manifest,
    options: TextOptions,
    *,
    runtime: str,
    threads: int | None,
    trust: bool,
    json_file: Path | None,
) -> None:
    words = find_vocabulary(engine, manifest, options.vocabulary)
    if json_file is not None:
        given = [engine, manifest_path(engine), *([options.vocabulary] if options.vocabulary else [])]
        check_output_file("--json", json_file, given)
    from .runner import open_runner

    with open_runner(engine, runtime=runtime, threads=threads, trust=trust) as runner:
        result = continue_text(runner, manifest, words, options)
    if json_file is not None:
        _write_json(json_file, {"engine": str(engine), "task": manifest.task, **result})


def _check_numbers(opacity: float, threads: int | None) -> None:
    if not 0 <= opacity <= 1:
        raise InputError(f"--opacity {opacity}: give a number from 0 (the photo alone) to 1 (the colours alone)")
    if threads is not None and threads < 1:
        raise InputError(f"--threads {threads}: give at least 1, or leave it out for one per usable core")


def _usable_manifest(engine: Path, *, trust: bool, allow_random_weights: bool) -> Manifest:
    manifest = load_manifest(engine, trust=trust)
    if manifest is None:
        raise InputError(
            f"{engine}: no manifest {manifest_path(engine).name} beside it, so how to prepare a photo is unknown; "
            "export it again with espnet-export"
        )
    if manifest.weights.random and not allow_random_weights:
        raise InputError(
            f"{engine}: its weights are random, the answers would mean nothing; export it with real weights "
            "(espnet-export --weights FILE), or pass --allow-random-weights"
        )
    if manifest.weights.random:
        _note(f"{engine}: the weights are random, the answers mean nothing")
    check_answers_fit(manifest, engine)
    return manifest


def _planned(images: Sequence[Path], out: Path | None, manifest: Manifest) -> list[_Photo]:
    """Each photo once, with the files that its results go to."""
    unique = list({image.absolute(): image for image in images}.values())
    _check_photos(unique)
    if out is None and manifest.task == "segmentation":
        raise InputError("segmentation writes pictures: name a folder for them with --out DIR")
    if out is None:
        return [_Photo(image) for image in unique]
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: --out is a file, not a folder; name another")
    names = _result_names(unique)
    if manifest.task in {"classification", "multi_label"}:
        return [_Photo(image, classes=out / f"{name}.classes.json") for image, name in zip(unique, names, strict=True)]
    if manifest.task == "detection":
        return [
            _Photo(image, boxes=out / f"{name}.boxes.json", picture=out / f"{name}.boxes.png")
            for image, name in zip(unique, names, strict=True)
        ]
    return [
        _Photo(image, labels=out / f"{name}.labels.png", overlay=out / f"{name}.overlay.png")
        for image, name in zip(unique, names, strict=True)
    ]


def _check_photos(images: Sequence[Path]) -> None:
    for image in images:
        if image.is_dir():
            raise InputError(f"{image}: is a folder; name the photos in it, such as {image / '*.png'}")
        if not image.exists():
            raise InputError(f"{image}: no such file; check the path (nothing was run)")


def _result_names(images: Sequence[Path]) -> list[str]:
    """The photos' names without their endings; with them where the rest is the same.

    Case does not count: not every file system tells `A.png` from `a.png`.
    """
    stems = Counter(image.stem.casefold() for image in images)
    names = [image.stem if stems[image.stem.casefold()] == 1 else image.name for image in images]
    owners: dict[str, Path] = {}
    for name, image in zip(names, images, strict=True):
        other = owners.setdefault(name.casefold(), image)
        if other is not image:
            raise InputError(
                f"{other} and {image}: their results would have one name; run them apart, each --out its own"
            )
    return names


def _check_targets(photos: Sequence[_Photo], json_file: Path | None, engine: Path) -> None:
    """No result may replace what was given, nor another result."""
    given = {path.resolve() for path in (engine, manifest_path(engine), *(photo.path for photo in photos))}
    targets = [target for photo in photos for target in photo.targets]
    for target in (*targets, *([json_file] if json_file else [])):
        if target.resolve() in given:
            raise InputError(
                f"{target}: would be overwritten, but it is one of the inputs; name another --out or --json"
            )
    if json_file is None:
        return
    if json_file.is_dir():
        raise InputError(f"{json_file}: --json is a folder; name a file")
    if json_file.resolve() in {target.resolve() for target in targets}:
        raise InputError(f"{json_file}: --json is also the name of a photo's result; name another file")


def _classes(manifest: Manifest, labels: Path | None) -> tuple[ClassInfo, ...]:
    names = class_names(manifest, labels)
    if manifest.classes:
        if labels is not None:
            _note(f"{labels}: not used, the manifest names the classes")
        return manifest.classes
    if names is None:
        _note(
            "the names of the classes are not known; give them with --labels FILE, or for ImageNet install torchvision"
        )
        return ()
    return tuple(ClassInfo(name=name) for name in names)


def _make_folders(out: Path | None, json_file: Path | None) -> None:
    for folder in (out, json_file.parent if json_file else None):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)


def _bar(photos: Sequence[_Photo]) -> Progress:
    """A progress bar, shown where somebody watches and there is more than one photo."""
    stderr = console()
    hidden = len(photos) == 1 or not stderr.is_terminal
    # Lines printed to the same terminal must go above the bar; those to a file or pipe must stay out of it.
    return Progress(console=stderr, disable=hidden, redirect_stdout=sys.stdout.isatty())


def _result(photo: _Photo, job: _Job) -> dict[str, Any]:
    """What --json says of one photo, after its own files were written."""
    try:
        pixels = load_photo(photo.path)
        prepared = photo_input(pixels, job.manifest)
    except InputError as error:
        return {"image": str(photo.path), "error": str(error)}
    outputs = job.runner.infer({job.manifest.inputs[0].name: prepared})
    if job.manifest.task == "segmentation":
        return _segmented(photo, pixels, outputs, job)
    if job.manifest.task == "detection":
        return _detected(photo, pixels, outputs, job)
    return _classified(photo, outputs, job)


def _segmented(photo: _Photo, pixels: Pixels, outputs: Outputs, job: _Job) -> dict[str, Any]:
    labels = photo_labels(outputs, job.manifest, pixels.shape[:2])
    assert photo.labels is not None
    assert photo.overlay is not None
    write_bytes(photo.labels, png_bytes(label_image(labels)))
    write_bytes(photo.overlay, png_bytes(overlay(pixels, labels, job.classes, job.opacity)))
    return {
        "image": str(photo.path),
        "labels": str(photo.labels),
        "overlay": str(photo.overlay),
        "classes": [
            {
                "class_index": share.class_index,
                "name": class_name(share.class_index, job.classes),
                "share": share.fraction,
            }
            for share in present_classes(labels)
        ],
    }


def _classified(photo: _Photo, outputs: Outputs, job: _Job) -> dict[str, Any]:
    result: dict[str, Any] = {"image": str(photo.path)}
    if job.manifest.task == "multi_label":
        result["score_threshold"] = job.manifest.postprocessing.score_threshold
    result["classes"] = [
        {
            "class_index": scored.class_index,
            "name": class_name(scored.class_index, job.classes),
            "score": scored.score,
        }
        for scored in photo_classes(outputs, job.manifest)
    ]
    if photo.classes is not None:
        _write_json(photo.classes, result)
    return result


def _detected(photo: _Photo, pixels: Pixels, outputs: Outputs, job: _Job) -> dict[str, Any]:
    height, width = pixels.shape[:2]
    boxes = photo_boxes(outputs, job.manifest, (height, width))
    result: dict[str, Any] = {
        "image": str(photo.path),
        "height": height,
        "width": width,
        "score_threshold": job.manifest.postprocessing.score_threshold,
        "boxes": [
            {
                "class_index": box.class_index,
                "name": class_name(box.class_index, job.classes),
                "score": box.score,
                "box": [box.left, box.top, box.right, box.bottom],
            }
            for box in boxes
        ],
    }
    if photo.boxes is not None:
        _write_json(photo.boxes, result)
    if photo.picture is not None:
        write_bytes(photo.picture, png_bytes(boxes_over(pixels, boxes, job.classes)))
        result |= {"picture": str(photo.picture), "file": str(photo.boxes)}
    return result


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2) + "\n")


def _print_result(result: dict[str, Any]) -> None:
    """A table of one photo on standard output; a photo that could not be read has none."""
    if "error" in result:
        return
    print(result["image"])
    if "boxes" in result:
        _print_boxes(result)
        return
    if "score_threshold" in result:
        _print_present(result)
        return
    width = max(len(entry["name"]) for entry in result["classes"])
    for rank, entry in enumerate(result["classes"], 1):
        if "share" in entry:
            print(f"  {entry['name']:{width}}  {percent(entry['share']):>7}")
        else:
            print(f"  {rank}  {entry['name']:{width}}  {entry['score']:.4f}")
    if "overlay" in result:
        print(f"  -> {result['overlay']}, {result['labels']}")


def _print_present(result: dict[str, Any]) -> None:
    classes = result["classes"]
    if not classes:
        _print_nothing(result)
    width = max((len(entry["name"]) for entry in classes), default=0)
    for entry in classes:
        print(f"  {entry['name']:{width}}  {entry['score']:.4f}")


def _print_nothing(result: dict[str, Any]) -> None:
    print(f"  nothing with a score above {result['score_threshold']:g}")


def _print_boxes(result: dict[str, Any]) -> None:
    boxes = result["boxes"]
    if not boxes:
        _print_nothing(result)
    listed = boxes[:_LISTED_BOXES]
    width = max((len(entry["name"]) for entry in listed), default=0)
    for entry in listed:
        left, top, right, bottom = (f"{edge:.0f}" for edge in entry["box"])
        print(f"  {entry['name']:{width}}  {entry['score']:.4f}  x {left} to {right}, y {top} to {bottom}")
    if len(boxes) > len(listed):
        print(f"  and {len(boxes) - len(listed)} more with lower scores")
    if "picture" in result:
        print(f"  -> {result['picture']}, {result['file']}")


def _raise_failures(results: Sequence[dict[str, Any]]) -> None:
    errors = [result["error"] for result in results if "error" in result]
    if len(results) == 1 and errors:
        raise InputError(errors[0])
    if errors:
        raise InputError(
            f"{len(errors)} of {len(results)} photos could not be used, the others are done: {'; '.join(errors)}"
        )


def _note(message: str) -> None:
    console().print(f"espnet-run: {message}", markup=False)


def main() -> None:
    """Entry point of the command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may hold bytes that are no text; printing it must not stop the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    run(app, "espnet-run")
