"""The manifest of an exported file: its tensors, what the host does before and after them, its weights and counts."""

from typing import Any, Literal

from ..model.counts import Counts
from ..model.deploy import PIXEL_IO, TOP
from ..model.eru_lm import NUM_LAYERS, UNITS
from ..model.weights import WeightsChoice
from ..runtime.boxes import prior_boxes
from ..runtime.manifest import (
    ClassInfo,
    FileInfo,
    Macs,
    Manifest,
    OnnxInfo,
    Postprocessing,
    Preprocessing,
    StateInfo,
    TensorInfo,
    WeightsInfo,
)
from .onnx_from_torch import IR_VERSION, OPSET
from .target import Target

IMAGE = "image"
# Classification pictures are cut from the middle of one that is this much larger, as in training.
_CLASSIFICATION_RESIZE = 256 / 224
# The authors' demo: boxes above this score, less overlap than this, and so many of a class.
_SCORE_THRESHOLD, _IOU_THRESHOLD, _MAX_PER_CLASS = 0.3, 0.45, 200
# The authors count a class as present in a picture where its logit is above 0.
_MULTI_LABEL_THRESHOLD = 0.5
_STATES = (StateInfo(input="hidden", output="hidden_out"), StateInfo(input="cell", output="cell_out"))


def described(target: Target, weights: WeightsChoice, counts: Counts) -> Manifest:
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
        preprocessing=image_preprocessing(target) if target.size else None,
        postprocessing=postprocessing,
        states=_STATES if target.spec.task == "language_modelling" else (),
        macs=Macs(conv=counts.conv_macs, linear=counts.linear_macs),
        params=counts.params,
        weights=WeightsInfo(source=weights.source, sha256=weights.sha256, random=weights.random),
        onnx=OnnxInfo(sha256="", opset=OPSET, ir_version=IR_VERSION),
        file=unknown,
    )


def image_preprocessing(target: Target) -> Preprocessing:
    """What the host does to a photo for a network that takes pictures."""
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
        normalise_in_graph=target.io in PIXEL_IO,
    )


def _tensors(target: Target) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...], Postprocessing]:
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
    if target.io == "lowres":
        return (image,), *_low_resolution_outputs(target)
    return (image,), *_deploy_outputs(target)


def _step_tensors(target: Target) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...], Postprocessing]:
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


def _raw_outputs(target: Target) -> tuple[tuple[TensorInfo, ...], Postprocessing]:
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


def _deploy_outputs(target: Target) -> tuple[tuple[TensorInfo, ...], Postprocessing]:
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


def _low_resolution_outputs(target: Target) -> tuple[tuple[TensorInfo, ...], Postprocessing]:
    height, width = target.image_size
    shape = (target.num_classes, (height + 1) // 2, (width + 1) // 2)
    meaning = "before softmax, at half the height and width"
    return (_tensor(target, "logits", "float32", shape, "NCHW", meaning),), Postprocessing(kind="upsample_argmax")


def _deepstream_outputs(target: Target) -> tuple[tuple[TensorInfo, ...], Postprocessing]:
    classes, meaning = target.num_classes, "softmax probability of each class"
    if target.spec.task == "segmentation":
        shape = (classes, *target.image_size)
        return (_tensor(target, "probabilities", "float32", shape, "NCHW", meaning),), Postprocessing(kind="argmax")
    if target.spec.task == "classification":
        probabilities = _tensor(target, "probabilities", "float32", (classes,), "NC", meaning)
        return (probabilities,), Postprocessing(kind="rank_top5")
    return _deploy_outputs(target)


def _tensor(target: Target, name: str, dtype: Any, shape: tuple[int, ...], layout: str, meaning: str) -> TensorInfo:
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
