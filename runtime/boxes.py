"""Boxes from what a detection network gives: prior boxes, decoding, and non-maximum suppression.

Source: model/detection/ (priors, predictor) and utilities/ (boxes, suppression) of github.com/sacmehta/EdgeNets, in the
form of the published weights; Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016. NumPy only: a device needs
this without torch. Boxes are computed in float32, as there.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckError

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

BACKGROUND = 0
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2

# Image side: how many pixels one step is on each of the six maps. The steps do not always divide the side.
_STRIDES = {300: (8, 16, 32, 64, 100, 300), 512: (8, 16, 32, 64, 128, 512)}
_SMALLEST, _LARGEST = 0.1, 1.05  # sides of prior squares, as fractions of the image's side
_ASPECT_RATIOS = (2, 3)


@dataclass(frozen=True)
class Detections:
    """What was found in one image, by class, within a class the highest score first.

    `boxes` (K, 4): left, top, right, bottom, in the unit of the boxes that came in; `labels` (K,); `scores` (K,).
    """

    boxes: Floats
    labels: NDArray[np.int64]
    scores: Floats


@cache
def prior_boxes(size: tuple[int, int]) -> Floats:
    """The prior boxes of an image of `size` (height, width): (P, 4), centre x, centre y, width, height.

    Fractions of the image, cut to 0..1, which moves the last centres of maps whose steps do not divide the side and
    makes no prior larger than the image. In the network's order: maps from large to small, rows, columns, six boxes.
    The array is shared and cannot be written.

    Raises:
        CheckError: no priors are defined for this size.
    """
    height, width = size
    if height != width or height not in _STRIDES:
        known = ", ".join(f"{side}x{side}" for side in _STRIDES)
        raise CheckError(f"no prior boxes are defined for {height}x{width}; there are those of {known}; export again")
    side = height
    # The sizes are whole pixels, cut off after whole steps: 30, 77, 125, ... for 300.
    sizes = np.linspace(np.ceil(_SMALLEST * side), np.ceil(_LARGEST * side), len(_STRIDES[side]) + 1).astype(int)
    maps = [
        _priors_of_map(side, stride, int(smaller), int(larger))
        for stride, (smaller, larger) in zip(_STRIDES[side], pairwise(sizes), strict=True)
    ]
    priors = np.clip(np.concatenate(maps).astype(np.float32), 0, 1)
    priors.setflags(write=False)
    return priors


def prior_boxes_in_pixels(size: tuple[int, int]) -> Floats:
    """`prior_boxes` in pixels of the image instead of fractions."""
    height, width = size
    return prior_boxes(size) * np.array([width, height, width, height], np.float32)


def decoded(locations: Floats, priors: Floats) -> Floats:
    """Boxes (..., P, 4) as left, top, right, bottom in the unit of `priors`; they may reach beyond the image.

    Args:
        locations: (..., P, 4), what the network gives.
        priors: (P, 4), from `prior_boxes` or `prior_boxes_in_pixels`.
    """
    centres = locations[..., :2] * np.float32(CENTRE_VARIANCE) * priors[:, 2:] + priors[:, :2]
    with np.errstate(over="ignore"):  # an infinite box is for the caller to judge
        sizes = np.exp(locations[..., 2:] * np.float32(SIZE_VARIANCE)) * priors[:, 2:]
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)


def softmax(confidences: Floats) -> Floats:
    """Probabilities along the last axis, float32, rounded once: equal scores then stay equal, and keep their order."""
    # The highest becomes 0, so that no exponential overflows.
    exponentials = np.exp(confidences.astype(np.float64) - confidences.max(axis=-1, keepdims=True))
    scores: Floats = (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)
    return scores


def detections(
    boxes: Floats, scores: Floats, *, score_threshold: float, iou_threshold: float, max_per_class: int
) -> Detections:
    """The boxes of one image that are left when every class has lost its weak and its doubled ones.

    Args:
        boxes: (P, 4), left, top, right, bottom.
        scores: (P, classes), probabilities; class 0 is the background.
        score_threshold: a score must be larger.
        iou_threshold: a box that overlaps a better one of its class by more than this goes.
        max_per_class: how many boxes a class keeps at most.
    """
    kept = []
    for label in range(BACKGROUND + 1, scores.shape[1]):
        candidates = np.flatnonzero(scores[:, label] > score_threshold)
        best = suppressed(boxes[candidates], scores[candidates, label], iou_threshold, max_per_class)
        kept.append(candidates[best])
    labels = np.repeat(np.arange(BACKGROUND + 1, scores.shape[1]), [len(chosen) for chosen in kept])
    chosen = np.concatenate(kept) if kept else np.zeros(0, np.intp)
    return Detections(boxes[chosen], labels, scores[chosen, labels])


def suppressed(boxes: Floats, scores: Floats, iou_threshold: float, max_kept: int) -> Indices:
    """Greedy non-maximum suppression: indices of the boxes that stay, the highest score first.

    The best box stays and takes out all whose intersection over union with it is larger than `iou_threshold`; so on
    with the rest. Of equal scores the earlier box comes first.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < max_kept:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[~(_iou(boxes[best], boxes[order]) > np.float32(iou_threshold))]
    return np.array(kept, dtype=np.intp)


def _priors_of_map(side: int, stride: int, smaller: int, larger: int) -> NDArray[np.float64]:
    """Priors of one map, (rows * columns * 6, 4), not cut: two squares, and each aspect ratio lying and standing."""
    steps = -(-side // stride)
    centres = (np.arange(steps) + 0.5) * stride / side
    small, between = smaller / side, np.sqrt(smaller * larger) / side
    shapes = [(small, small), (between, between)]
    for ratio in _ASPECT_RATIOS:
        long, short = small * np.sqrt(ratio), small / np.sqrt(ratio)
        shapes += [(long, short), (short, long)]
    priors = np.empty((steps, steps, len(shapes), 4))
    priors[..., 0] = centres[None, :, None]
    priors[..., 1] = centres[:, None, None]
    priors[..., 2:] = shapes
    return priors.reshape(-1, 4)


def _iou(box: Floats, others: Floats) -> Floats:
    """Intersection over union of `box` (4,) with `others` (K, 4): (K,); nan where both are empty."""
    corners = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    sides = np.maximum(corners[1] - corners[0], 0)
    intersection = sides[:, 0] * sides[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    with np.errstate(invalid="ignore"):
        ratio: Floats = intersection / (area + areas - intersection)
    return ratio
