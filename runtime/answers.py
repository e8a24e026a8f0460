"""Answers out: label maps, ranked or present classes and boxes from the network's outputs, as the manifest says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import CheckError
from .boxes import decoded, detections, prior_boxes_in_pixels, softmax
from .manifest import Manifest
from .upsampling import upsampled_labels

LabelMap = NDArray[np.uint8]
Size = tuple[int, int]
Outputs = Mapping[str, NDArray[Any]]

_RANKS = 5


@dataclass(frozen=True)
class ScoredClass:
    """A class of a picture; `score` is the probability that the network gives."""

    class_index: int
    score: float


@dataclass(frozen=True)
class ClassShare:
    """How much of a picture belongs to a class, 0 to 1."""

    class_index: int
    fraction: float


@dataclass(frozen=True)
class ScoredBox:
    """Something found: its class, the probability that the network gives, and its edges in pixels (x, y from the left
    upper corner of the picture). An edge may lie outside of the picture.
    """

    class_index: int
    score: float
    left: float
    top: float
    right: float
    bottom: float

    def resized(self, size: tuple[int, int], to: tuple[int, int]) -> "ScoredBox":
        """The box when the picture is stretched from `size` to another, both (height, width)."""
        down, along = to[0] / size[0], to[1] / size[1]
        return replace(
            self, left=self.left * along, top=self.top * down, right=self.right * along, bottom=self.bottom * down
        )


def photo_answer(outputs: Outputs, manifest: Manifest, size: Size) -> "LabelMap | list[ScoredClass] | list[ScoredBox]":
    """What the network says of the first photo of the batch, whose `size` is (height, width): see the next three."""
    if manifest.task == "segmentation":
        return photo_labels(outputs, manifest, size)
    if manifest.task == "detection":
        return photo_boxes(outputs, manifest, size)
    return photo_classes(outputs, manifest)


def photo_labels(outputs: Outputs, manifest: Manifest, size: Size) -> LabelMap:
    """The first photo's label map at its own size, (height, width) uint8."""
    return resize_labels(segmentation(outputs, manifest)[0], size)


def photo_boxes(outputs: Outputs, manifest: Manifest, size: Size) -> list[ScoredBox]:
    """The first photo's boxes in its own pixels, the best first."""
    rule = manifest.image
    return [box.resized((rule.height, rule.width), size) for box in detection(outputs, manifest)[0]]


def photo_classes(outputs: Outputs, manifest: Manifest) -> list[ScoredClass]:
    """The first photo's classes, the best first: those present of a multi-label network, else the five best."""
    found = multi_label if manifest.task == "multi_label" else classification
    return found(outputs, manifest)[0]


def segmentation(outputs: Outputs, manifest: Manifest) -> LabelMap:
    """The class of every pixel, (N, H, W) uint8; on a tie the lowest class.

    Raises:
        CheckError: an output is missing, is not a number, or names a class that the network does not have.
    """
    if manifest.postprocessing.kind == "labels":
        labels = _output(outputs, "labels", 3)
    elif manifest.postprocessing.kind == "argmax":
        labels = _output(outputs, _of_all_classes(outputs), 4).argmax(axis=1)
    elif manifest.postprocessing.kind == "upsample_argmax":
        labels = _upsampled(_output(outputs, "logits", 4), (manifest.image.height, manifest.image.width))
    else:
        raise CheckError(f"a segmentation network with postprocessing {manifest.postprocessing.kind}; export it again")
    return _checked_classes(labels, manifest).astype(np.uint8)


def _upsampled(logits: NDArray[Any], size: Size) -> NDArray[Any]:
    height, width = logits.shape[2:]
    if height > size[0] or width > size[1]:
        raise CheckError(
            f"logits of {height}x{width} are larger than the image of {size[0]}x{size[1]}; export it again"
        )
    return upsampled_labels(logits, size)


def resize_labels(labels: LabelMap, size: Size) -> LabelMap:
    """The label map at `size` (height, width), each pixel taken from its nearest neighbour."""
    height, width = size
    return np.array(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))


def class_shares(labels: LabelMap, num_classes: int) -> NDArray[np.float64]:
    """Fraction of the pixels that each class has, (num_classes,), summing to 1."""
    return np.bincount(labels.ravel(), minlength=num_classes) / labels.size


def present_classes(labels: LabelMap) -> list[ClassShare]:
    """The classes that occur, the largest share first, the lower class first on a tie."""
    shares = class_shares(labels, 0)
    order = np.argsort(-shares, kind="stable")
    return [ClassShare(int(index), float(shares[index])) for index in order if shares[index] > 0]


def classification(outputs: Outputs, manifest: Manifest) -> list[list[ScoredClass]]:
    """The five most probable classes of each image, the best first, the lower class first on a tie.

    Raises:
        CheckError: an output is missing, is not a number, or names a class that the network does not have.
    """
    if manifest.postprocessing.kind == "top5":
        classes = _checked_classes(_output(outputs, "classes", 2), manifest)
        scores = _output(outputs, "scores", 2)
    elif manifest.postprocessing.kind in {"softmax_top5", "rank_top5"}:
        name = _of_all_classes(outputs)
        values = _output(outputs, name, 2)
        # Ranked before the softmax, whose rounding could make ties of its own.
        classes = np.argsort(-values, axis=1, kind="stable")[:, :_RANKS]
        scores = np.take_along_axis(softmax(values) if name == "logits" else values, classes, axis=1)
    else:
        raise CheckError(f"a classifier with postprocessing {manifest.postprocessing.kind}; export it again")
    return [
        [ScoredClass(int(index), float(score)) for index, score in zip(*ranks, strict=True)]
        for ranks in zip(classes, scores, strict=True)
    ]


def multi_label(outputs: Outputs, manifest: Manifest) -> list[list[ScoredClass]]:
    """The classes of each image whose score is above the manifest's threshold, the best first, the lower on a tie.

    Raises:
        CheckError: an output is missing, has another shape, is not a number, or the manifest has no rule for it.
    """
    rule = manifest.postprocessing
    if rule.kind == "threshold":
        scores = _output(outputs, "scores", 2)
    elif rule.kind == "sigmoid_threshold":
        scores = sigmoid(_output(outputs, "logits", 2))
    else:
        raise CheckError(f"a multi-label network with postprocessing {rule.kind}; export it again")
    if rule.score_threshold is None:
        raise CheckError(f"the manifest says {rule.kind}, but no threshold; export the network again")
    if scores.shape[1] != manifest.num_classes:
        raise CheckError(
            f"the network scored {scores.shape[1]} classes, its manifest has {manifest.num_classes}; export it again"
        )
    return [
        [ScoredClass(int(i), float(of_image[i])) for i in _best_first(of_image) if of_image[i] > rule.score_threshold]
        for of_image in scores
    ]


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of each class by itself, float32, rounded once."""
    # The same as 1 / (1 + exp(-x)), whose exponential could overflow.
    scores: NDArray[np.float32] = (0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64))).astype(np.float32)
    return scores


def detection(outputs: Outputs, manifest: Manifest) -> list[list[ScoredBox]]:
    """The boxes of each image in pixels of the network's input, the best first, after the manifest's suppression.

    Raises:
        CheckError: an output is missing, has another shape, is not a number, or the manifest has no rule for it.
    """
    rule = manifest.postprocessing
    if rule.kind == "nms":
        boxes, scores = _output(outputs, "boxes", 3), _output(outputs, "scores", 3)
    elif rule.kind == "decode_nms":
        scores = softmax(_output(outputs, "confidences", 3))
        priors = prior_boxes_in_pixels((manifest.image.height, manifest.image.width))
        locations = _output(outputs, "locations", 3)
        if locations.shape[1:] != priors.shape:
            raise CheckError(f"output 'locations' has shape {locations.shape}, not {priors.shape} for each image")
        boxes = decoded(locations, priors)
        if not np.isfinite(boxes).all():
            raise CheckError("output 'locations' gives boxes without end; the weights cannot be right: export again")
    else:
        raise CheckError(f"a detection network with postprocessing {rule.kind}; export it again")
    if rule.score_threshold is None or rule.iou_threshold is None or rule.max_per_class is None:
        raise CheckError(f"the manifest says {rule.kind}, but not all of its thresholds; export the network again")
    if boxes.shape != (*scores.shape[:2], 4) or scores.shape[2] != manifest.num_classes:
        raise CheckError(
            f"boxes of shape {boxes.shape} with scores of {scores.shape}, its manifest has {manifest.num_classes} "
            "classes; export it again"
        )
    answers = []
    for of_image, scores_of_image in zip(boxes, scores, strict=True):
        found = detections(
            of_image,
            scores_of_image,
            score_threshold=rule.score_threshold,
            iou_threshold=rule.iou_threshold,
            max_per_class=rule.max_per_class,
        )
        answers.append(
            [
                ScoredBox(int(found.labels[i]), float(found.scores[i]), *map(float, found.boxes[i]))
                for i in _best_first(found.scores)
            ]
        )
    return answers


def _best_first(scores: NDArray[Any]) -> NDArray[np.intp]:
    """The order of `scores` from the highest down; equal ones stay in order."""
    return np.argsort(-scores, kind="stable")


def _of_all_classes(outputs: Outputs) -> str:
    """The name of the output with a value for each class."""
    return "probabilities" if "probabilities" in outputs else "logits"


def _output(outputs: Outputs, name: str, dimensions: int) -> NDArray[Any]:
    if name not in outputs:
        raise CheckError(f"the network has no output {name!r}, only {', '.join(sorted(outputs))}; export it again")
    output = np.asarray(outputs[name])
    if output.ndim != dimensions:
        raise CheckError(f"output {name!r} has shape {output.shape}, not {dimensions} dimensions; export it again")
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        raise CheckError(f"output {name!r} holds values that are not finite; export with --precision fp32")
    # What follows is defined in float32; NumPy would interpolate and compare half floats as half floats.
    return output.astype(np.float32) if output.dtype == np.float16 else output


def _checked_classes(classes: NDArray[Any], manifest: Manifest) -> NDArray[Any]:
    lowest, highest = int(classes.min()), int(classes.max())
    limit = min(manifest.num_classes, 256) if manifest.task == "segmentation" else manifest.num_classes
    if lowest < 0 or highest >= limit:
        raise CheckError(f"the network answered classes {lowest} to {highest}, its manifest has 0 to {limit - 1}")
    return classes
