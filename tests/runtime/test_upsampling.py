"""Labels from logits at a lower resolution, against the definition in docs/manifest.md, written out."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from espnet_edge.errors import CheckError
from espnet_edge.runtime.answers import segmentation
from espnet_edge.runtime.manifest import Manifest, Postprocessing, Preprocessing
from espnet_edge.runtime.upsampling import upsampled, upsampled_labels


def defined(logits, size):
    """One image, pixel by pixel: (classes, h, w) -> the logits at `size`."""
    height, width = size

    def neighbours(i, length, wanted):
        position = i * (length - 1) / (wanted - 1) if wanted > 1 else 0.0
        first = min(math.floor(position), length - 1)
        return first, min(first + 1, length - 1), np.float32(position - first)

    full = np.empty((len(logits), height, width), np.float32)
    for i in range(height):
        a, b, t = neighbours(i, logits.shape[1], height)
        for j in range(width):
            f, g, s = neighbours(j, logits.shape[2], width)
            for k, plane in enumerate(logits):
                left = plane[a, f] + t * (plane[b, f] - plane[a, f])
                right = plane[a, g] + t * (plane[b, g] - plane[a, g])
                full[k, i, j] = left + s * (right - left)
    return full


def random_logits(*shape):
    return np.random.default_rng(0).normal(0, 10, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("low", "high"),
    [((3, 4), (6, 8)), ((2, 3), (3, 5)), ((5, 9), (17, 33)), ((4, 4), (4, 4)), ((1, 1), (3, 2)), ((2, 2), (1, 1))],
)
def test_it_is_the_definition_to_the_last_bit(low, high):
    logits = random_logits(2, 3, *low)
    expected = np.stack([defined(image, high) for image in logits])
    np.testing.assert_array_equal(upsampled(logits, high), expected)
    np.testing.assert_array_equal(upsampled_labels(logits, high), expected.argmax(axis=1))


def test_it_is_what_pytorch_computes_up_to_rounding():
    logits = random_logits(1, 20, 32, 64)
    expected = F.interpolate(torch.from_numpy(logits), size=(64, 128), mode="bilinear", align_corners=True).numpy()
    # PyTorch's positions are float32: 4e-6 off at 64, times a slope of some tens from pixel to pixel.
    np.testing.assert_allclose(upsampled(logits, (64, 128)), expected, rtol=0, atol=1e-3)
    assert (upsampled_labels(logits, (64, 128)) == expected.argmax(axis=1)).mean() > 0.9999


def test_corners_are_kept_and_the_lowest_class_wins_a_tie():
    plane = np.array([[5, 0], [0, 5]], np.float32)
    logits = np.stack([plane, 5 - plane, plane, np.zeros_like(plane)])[np.newaxis]
    labels = upsampled_labels(logits, (3, 3))[0]
    np.testing.assert_array_equal(labels, [[0, 0, 1], [0, 0, 0], [1, 0, 0]])


def manifest(height, width):
    rule = Preprocessing(
        resize="stretch", height=height, width=width, scale=1.0, mean=(0, 0, 0), std=(1, 1, 1), normalise_in_graph=True
    )
    return Manifest.model_construct(
        task="segmentation", num_classes=3, preprocessing=rule, postprocessing=Postprocessing(kind="upsample_argmax")
    )


def test_a_manifest_says_to_which_size():
    logits = random_logits(2, 3, 4, 5)
    labels = segmentation({"logits": logits}, manifest(7, 10))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, upsampled_labels(logits, (7, 10)))


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.full((1, 3, 2, 2), np.inf, np.float32), "'logits' holds values that are not finite"),
        (np.zeros((3, 2, 2), np.float32), r"shape \(3, 2, 2\), not 4"),
        (np.zeros((1, 3, 8, 2), np.float32), r"logits of 8x2 are larger than the image of 4x4; export it again"),
    ],
)
def test_logits_that_cannot_be_right_are_refused(logits, message):
    with pytest.raises(CheckError, match=message):
        segmentation({"logits": logits}, manifest(4, 4))
