"""Prior boxes, decoding and suppression against the recorded ones of the official code, and by themselves."""

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import SHARED
from detection_cases import decode_case_names, decode_inputs, read_facts
from espnet_edge.errors import CheckError
from espnet_edge.runtime.boxes import (
    decoded,
    detections,
    prior_boxes,
    prior_boxes_in_pixels,
    softmax,
    suppressed,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "model/golden_subset.json").read_text())["detection"]
# Pixels: boxes are sums of a few hundred in float32.
MAX_PIXELS = 1e-3


def found_in(facts):
    """What is found in a recorded case: boxes before suppression in fractions, and the detections in its unit."""
    priors = prior_boxes((facts["size"], facts["size"]))
    confidences, locations = decode_inputs(facts, len(priors))
    width, height = facts["image_wh"] if facts["is_scaling"] else (1, 1)
    boxes = decoded(locations, priors)
    found = detections(
        boxes,
        softmax(confidences),
        score_threshold=facts["conf_threshold"],
        iou_threshold=facts["iou_threshold"],
        max_per_class=facts["top_k_per_class"],
    )
    return boxes, found, found.boxes * np.array([width, height, width, height], np.float32)


def reshaped(rows):
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize("side", [300, 512])
def test_priors(side):
    golden = GOLDEN["priors"][str(side)]
    priors = prior_boxes((side, side))
    assert priors.shape == (golden["count"], 4)
    assert priors.dtype == np.float32
    np.testing.assert_allclose(priors[::97], golden["priors_s97"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(prior_boxes_in_pixels((side, side)), priors * side, rtol=1e-6)


@pytest.mark.parametrize("name", GOLDEN["decoded"])
def test_decoding_and_suppression(name):
    golden = GOLDEN["decoded"][name]
    boxes, found, scaled = found_in(golden["facts"])
    np.testing.assert_allclose(boxes[:: 37 * 37], golden["decoded_s1369"], rtol=0, atol=1e-6)
    assert np.bincount(found.labels, minlength=golden["facts"]["classes"]).tolist() == golden["facts"]["per_class"]
    np.testing.assert_allclose(scaled[::37], reshaped(golden["boxes_s37"]), rtol=0, atol=MAX_PIXELS)
    np.testing.assert_array_equal(found.labels[::37], golden["labels_s37"])
    np.testing.assert_allclose(found.scores[::37], golden["scores_s37"], rtol=0, atol=1e-6)


@pytest.mark.shared
@pytest.mark.parametrize("side", [300, 512])
def test_all_priors(side):
    with np.load(SHARED / f"golden/det/priors_{side}.npz") as golden:
        np.testing.assert_allclose(prior_boxes((side, side)), golden["priors"], rtol=0, atol=1e-6)


FACTS = read_facts(SHARED / "golden")


@pytest.mark.shared
@pytest.mark.parametrize("name", decode_case_names(FACTS))
def test_all_detections(name):
    facts = FACTS["decode_nms"][name]
    with np.load(SHARED / f"golden/det/decode_{name}.npz") as golden:
        confidences, locations = decode_inputs(facts, FACTS["priors"][str(facts["size"])]["shape"][0])
        np.testing.assert_array_equal(confidences[:5], golden["conf_first5"])
        np.testing.assert_array_equal(locations[:5], golden["loc_first5"])
        boxes, found, scaled = found_in(facts)
        np.testing.assert_allclose(boxes[::37], golden["decoded_corner_boxes_every_37"], rtol=0, atol=1e-6)
        assert scaled.shape == golden["boxes"].shape
        np.testing.assert_array_equal(found.labels, golden["labels"])
        np.testing.assert_allclose(scaled, golden["boxes"], rtol=0, atol=MAX_PIXELS)
        np.testing.assert_allclose(found.scores, golden["scores"], rtol=0, atol=1e-6)


def test_priors_stay_inside_and_cannot_be_written():
    priors = prior_boxes((300, 300))
    assert priors.min() >= 0
    assert priors.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        priors[0] = 0


@pytest.mark.parametrize("size", [(320, 320), (300, 512)])
def test_other_sizes_have_no_priors(size):
    with pytest.raises(CheckError, match=rf"{size[0]}x{size[1]}; there are those of 300x300, 512x512"):
        prior_boxes(size)


def test_no_offset_is_the_prior_itself():
    priors = np.array([[0.5, 0.4, 0.2, 0.1]], np.float32)
    np.testing.assert_allclose(decoded(np.zeros((1, 4), np.float32), priors), [[0.4, 0.35, 0.6, 0.45]], atol=1e-7)
    # One unit of the first is a tenth of the width, of the third a factor of e ** 0.2.
    moved = decoded(np.array([[1, 0, 1, 0]], np.float32), priors)[0]
    half = 0.1 * np.exp(0.2)
    np.testing.assert_allclose(moved, [0.52 - half, 0.35, 0.52 + half, 0.45], atol=1e-6)


SQUARES = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 0, 10, 4.5]], np.float32)


def test_doubled_boxes_go_and_the_threshold_itself_stays():
    scores = np.array([0.5, 0.9, 0.6, 0.4], np.float32)
    assert suppressed(SQUARES, scores, 0.45, 200).tolist() == [1, 2]
    # Boxes 1 and 3 overlap by exactly a half.
    assert suppressed(SQUARES[[1, 3]], scores[[1, 3]], 0.5, 200).tolist() == [0, 1]
    assert suppressed(SQUARES, scores, 0.45, 1).tolist() == [1]


def test_the_earlier_of_equal_scores_comes_first():
    assert suppressed(SQUARES[[2, 0]], np.array([0.5, 0.5], np.float32), 0.45, 9).tolist() == [0, 1]


def test_empty_boxes_and_no_boxes_are_no_trouble():
    nothing = np.zeros((3, 4), np.float32)
    assert suppressed(nothing, np.ones(3, np.float32), 0.45, 9).tolist() == [0, 1, 2]
    found = detections(
        nothing, np.full((3, 4), 0.25, np.float32), score_threshold=0.3, iou_threshold=0.45, max_per_class=9
    )
    assert (found.boxes.shape, found.labels.shape, found.scores.shape) == ((0, 4), (0,), (0,))


def test_classes_do_not_suppress_each_other_and_the_background_is_not_found():
    scores = np.array([[0.9, 0.05, 0.05], [0.1, 0.5, 0.4]], np.float32)
    same = np.repeat(SQUARES[:1], 2, axis=0)
    found = detections(same, scores, score_threshold=0.3, iou_threshold=0.45, max_per_class=200)
    assert found.labels.tolist() == [1, 2]
    np.testing.assert_array_equal(found.scores, np.array([0.5, 0.4], np.float32))


def test_softmax_is_stable():
    np.testing.assert_allclose(softmax(np.array([[1000, 1000, -1000]], np.float32)), [[0.5, 0.5, 0]])
