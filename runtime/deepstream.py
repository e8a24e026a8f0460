"""A folder for DeepStream's element nvinfer from an artefact and its manifest: model, labels and configuration.

What nvinfer does is read from its documentation ("Gst-nvinfer" in the DeepStream developer guide) and from its source
(github.com/NVIDIA/DeepStream, src/gst-plugins/gst-nvinfer and src/utils/nvdsinfer, 9.2):

- It feeds y = net-scale-factor * (x - offset of the colour) as float32, whatever type the file's input has. So uint8
  inputs cannot be fed, and no normalisation with another standard deviation for each colour.
- Its parser of segmentations takes float32, and of each pixel the class with the highest value above both -1 and
  segmentation-threshold: logits would leave pixels without a class, probabilities do not.
- Its parser of classifications takes the one class with the highest value above 0 and classifier-threshold.
- It makes the batch of an ONNX file free, from 1 to batch-size, whatever the file says.
- It writes the engine that it builds beside the ONNX file under a name made of the ONNX file's name, batch, GPU and
  precision, and later loads it by that name, also if the ONNX file has been replaced. So our name holds the checksum.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckError, InputError
from ..files import staged
from .manifest import Manifest, Preprocessing, TensorInfo
from .serving import (
    Package,
    as_comments,
    check_unedited,
    checked_name,
    copy_artefact,
    fixed_batch,
    max_batch_of,
    one_line,
    signed,
    warnings_of,
)

_MAX_BATCH = 1024  # NVDSINFER_MAX_BATCH_SIZE
_UNIQUE_ID = 1
_SEGMENTATION, _CLASSIFIER, _TENSORS = 2, 1, 100
_NETWORK_MODES = {"fp32": 0, "int8": 1, "fp16": 2}
_BILINEAR = 1
_NETWORK_TYPES = {
    "argmax": _SEGMENTATION,
    "rank_top5": _CLASSIFIER,
    "threshold": _TENSORS,
    "nms": _TENSORS,
}
_WAY_OUT = "export it with --io deepstream"


@dataclass(frozen=True)
class _Names:
    """The files of a package."""

    model: str
    labels: str
    config: str


def write_deepstream_package(
    artefact: Path,
    manifest: Manifest,
    out: Path,
    *,
    name: str,
    labels: Sequence[str] | None = None,
    max_batch: int | None = None,
    overwrite: bool = False,
) -> Package:
    """Write `out/name/name.nvinfer.txt`, and beside it a copy of the artefact, its manifest and the class names.

    All files appear together, or none.

    Args:
        artefact: an ONNX file, from which nvinfer builds an engine at its first start, or a TensorRT engine.
        manifest: of `artefact`, already compared with it.
        out: made if missing.
        name: of the folder.
        labels: a name for each class, where they are known.
        max_batch: pictures at once where the batch is free; with several cameras, their number.
        overwrite: replace a configuration that somebody changed.

    Raises:
        InputError: nvinfer cannot feed or read this file exactly, or an option does not fit it.
        CheckError: the file changed since `manifest` was compared with it.
        OSError: the folder cannot be written.
    """
    checked_name("--name", name)
    suffix = "onnx" if manifest.engine is None else "engine"
    names = _Names(f"{name}.{manifest.file.sha256[:12]}.{suffix}", f"{name}.labels.txt", f"{name}.nvinfer.txt")
    folder = out / name
    config = nvinfer_config(manifest, names.model, labels=names.labels if labels else None, max_batch=max_batch)
    if not overwrite:
        check_unedited(folder / names.config)
    with staged(folder) as staging:
        copy_artefact(artefact, manifest, staging / names.model)
        if labels is not None:
            (staging / names.labels).write_text(_labels_text(labels, manifest), encoding="utf-8")
        (staging / names.config).write_text(signed(config), encoding="utf-8")
        files = tuple(folder / path.name for path in sorted(staging.iterdir()))
    notes = (*warnings_of(manifest), *_left_to_the_application(manifest))
    return Package(folder, folder / names.config, folder / names.model, files, notes)


def nvinfer_config(manifest: Manifest, model: str, *, labels: str | None, max_batch: int | None = None) -> str:
    """The configuration, in the form of a key file. Paths in it are relative to the folder that it lies in.

    Raises:
        InputError: nvinfer cannot feed or read this file exactly.
    """
    rule = _fed_picture(manifest)
    network_type = _network_type(manifest)
    image = manifest.inputs[0]
    batch = _batch_size(manifest, max_batch)
    scale, offsets = _scale_and_offsets(rule)
    settings: dict[str, object] = {
        "gie-unique-id": _UNIQUE_ID,
        "process-mode": 1,
        **_model_settings(manifest, model, batch),
        "batch-size": batch,
        "infer-dims": ";".join(map(str, image.shape[1:])),
        "network-input-order": 0,
        "model-color-format": 0,
        "net-scale-factor": repr(scale),
        "offsets": ";".join(map(repr, offsets)),
        "maintain-aspect-ratio": 0,
        "scaling-filter": _BILINEAR,
        "network-type": network_type,
        "output-blob-names": ";".join(_key_file_name(output.name) for output in manifest.outputs),
        **_reading_settings(manifest, network_type),
        **({"labelfile-path": labels} if labels is not None and network_type != _TENSORS else {}),
    }
    comments = as_comments([*_head(manifest), *_left_to_the_application(manifest)])
    return f"{comments}[property]\n" + "".join(f"{key}={value}\n" for key, value in settings.items())


def _fed_picture(manifest: Manifest) -> Preprocessing:
    """The pre-processing of a network whose input nvinfer can feed."""
    if manifest.preprocessing is None:
        raise InputError(
            f"{manifest.name}: nvinfer feeds pictures, and this takes words and states; use --format triton"
        )
    image = manifest.inputs[0]
    if len(manifest.inputs) != 1 or (image.dtype, image.layout) != ("float32", "NCHW") or image.shape[1] != 3:
        raise InputError(
            f"{manifest.name}: nvinfer feeds float32 NCHW of three colours, input {image.name} is {image.dtype} "
            f"{image.layout}; {_WAY_OUT}"
        )
    if len(set(manifest.preprocessing.std)) > 1:
        raise InputError(
            f"{manifest.name}: nvinfer divides all colours by one number, and this needs {manifest.preprocessing.std}; "
            f"{_WAY_OUT}"
        )
    return manifest.preprocessing


def _network_type(manifest: Manifest) -> int:
    """How nvinfer reads the outputs: as a segmentation, as a classification, or not at all."""
    kind = manifest.postprocessing.kind
    outputs = manifest.outputs
    if kind in {"argmax", "rank_top5"} and [output.name for output in outputs] != ["probabilities"]:
        given = ", ".join(output.name for output in outputs)
        raise InputError(f"{manifest.name}: nvinfer takes probabilities, and this gives {given}; {_WAY_OUT}")
    if kind not in _NETWORK_TYPES or any(output.dtype != "float32" for output in outputs):
        given = ", ".join(f"{output.name} {output.dtype}" for output in outputs)
        raise InputError(f"{manifest.name}: nvinfer cannot read {given} ({kind}); {_WAY_OUT}")
    return _NETWORK_TYPES[kind]


def _key_file_name(name: str) -> str:
    """`name` where it can stand in a list of a key file: a line break in it would begin another setting."""
    if not re.fullmatch(r"[A-Za-z0-9_./:-]+", name):
        raise CheckError(f"output {name!r}: not a name that nvinfer can read; export it again")
    return name


def _batch_size(manifest: Manifest, asked: int | None) -> int:
    batch = max_batch_of(manifest, asked)
    if manifest.engine is None and fixed_batch(manifest) not in {None, 1}:
        raise InputError(
            f"{manifest.name}: nvinfer makes the batch of an ONNX file free, and in this one it is {batch}; export it "
            f"with --batch 1, or with a free one (--batch 1,{batch},{batch})"
        )
    if batch > _MAX_BATCH:
        raise InputError(f"--max-batch {batch}: nvinfer takes {_MAX_BATCH} at most")
    return batch


def _scale_and_offsets(rule: Preprocessing) -> tuple[float, list[float]]:
    """net-scale-factor and offsets: (x scale - mean) / std = scale / std (x - mean / scale)."""
    return rule.scale / rule.std[0], [mean / rule.scale for mean in rule.mean]


def _model_settings(manifest: Manifest, model: str, batch: int) -> dict[str, object]:
    """Which file, and in which precision nvinfer builds an engine from an ONNX file.

    The types of a file in FP16 or INT8 are in its graph. The FP16 flag is for versions that know no strong typing;
    newer ones drop it where TensorRT refuses it. INT8 without a calibration file would be turned into FP16.
    """
    if manifest.engine is not None:
        return {"model-engine-file": model, "network-mode": _NETWORK_MODES[manifest.precision]}
    built = "fp16" if manifest.precision == "fp16" else "fp32"
    return {
        "onnx-file": model,
        # What nvinfer calls the engine that it builds at the first start, so that it finds it at the next.
        "model-engine-file": f"{model}_b{batch}_gpu0_{built}.engine",
        "network-mode": _NETWORK_MODES[built],
        **({"strongly-typed": 1} if manifest.precision != "fp32" else {}),
    }


def _reading_settings(manifest: Manifest, network_type: int) -> dict[str, object]:
    if network_type == _SEGMENTATION:
        classes = {"num-detected-classes": manifest.num_classes}
        return {**classes, "segmentation-threshold": 0.0, "segmentation-output-order": 0}
    if network_type == _CLASSIFIER:
        return {"classifier-threshold": 0.0}
    return {"output-tensor-meta": 1}


def _labels_text(labels: Sequence[str], manifest: Manifest) -> str:
    """A line for each class; for a classifier one line for all, since a line is a whole attribute there.

    nvinfer separates names by ";", which a name therefore cannot hold.
    """
    names = [one_line(label).replace(";", ",") for label in labels]
    return (";" if _network_type(manifest) == _CLASSIFIER else "\n").join(names) + "\n"


def _head(manifest: Manifest) -> list[str]:
    what = f"{manifest.network} {manifest.width_mult:g}, {manifest.dataset}, {manifest.precision}"
    lines = [
        f"nvinfer configuration of {manifest.name}: {what}",
        f"File: sha256 {manifest.file.sha256}",
        *warnings_of(manifest),
    ]
    if manifest.engine is not None:
        return lines
    building = "nvinfer builds an engine from the ONNX file at its first start, which can take minutes."
    return [*lines, building, *_TYPED_FILES[manifest.precision]]


_TYPED_FILES: dict[str, list[str]] = {
    "fp32": [],
    "fp16": ["The graph is FP16. strongly-typed is a key of DeepStream 9; older versions go by network-mode alone."],
    "int8": ["The graph is INT8. strongly-typed is a key of DeepStream 9; older versions need an engine instead."],
}


def _left_to_the_application(manifest: Manifest) -> list[str]:
    """What nvinfer does otherwise than the manifest says, and what it leaves to others."""
    return [*_resized_otherwise(manifest.image), _read_by_nvinfer(manifest)]


def _resized_otherwise(rule: Preprocessing) -> list[str]:
    filtered = (
        "nvinfer resizes with a bilinear filter that is not antialiased, unlike the manifest's rule: answers differ a "
        "little from those of espnet-run."
    )
    if rule.resize == "stretch":
        return [filtered]
    cut = (
        f"nvinfer stretches the whole frame to {rule.height}x{rule.width}. The network was trained on the middle of a "
        f"picture whose shorter side is {rule.shorter_side}: cut frames to a square before it, or accuracy is lost."
    )
    return [cut, filtered]


def _read_by_nvinfer(manifest: Manifest) -> str:
    if manifest.postprocessing.kind == "argmax":
        return (
            "nvinfer takes the most probable class of each pixel, on the CPU and from float32 probabilities of all "
            "classes, and attaches NvDsInferSegmentationMeta, which nvsegvisual draws."
        )
    if manifest.postprocessing.kind == "rank_top5":
        return "nvinfer attaches the most probable class of a frame as NvDsClassifierMeta; the other ones are lost."
    outputs = "; ".join(map(_described, manifest.outputs))
    return (
        "nvinfer has no parser for this: it attaches the outputs as NvDsInferTensorMeta (network-type 100), and the "
        f"application reads them: {outputs}. {_left_to_do(manifest)}"
    )


def _described(output: TensorInfo) -> str:
    return f"{output.name} {output.dtype} ({', '.join(map(str, output.shape[1:]))}), {output.meaning}"


def _left_to_do(manifest: Manifest) -> str:
    rule = manifest.postprocessing
    if rule.kind == "threshold":
        return f"A picture has every class whose score is above {rule.score_threshold}."
    return (
        f"Left to do: for each class but 0 take the scores above {rule.score_threshold}, drop boxes that overlap a "
        f"better one by more than {rule.iou_threshold}, keep {rule.max_per_class} at most; boxes are in pixels of the "
        f"{manifest.image.height}x{manifest.image.width} input."
    )
