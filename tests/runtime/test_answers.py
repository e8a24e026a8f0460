"""Label maps, ranks and boxes from outputs, with their ties and their broken cases."""

import numpy as np
import pytest

from espnet_edge.errors import CheckError
from espnet_edge.runtime.answers import (
    ClassShare,
    ScoredBox,
    ScoredClass,
    class_shares,
    classification,
    detection,
    multi_label,
    present_classes,
    resize_labels,
    segmentation,
    sigmoid,
)
from espnet_edge.runtime.boxes import prior_boxes_in_pixels
from espnet_edge.runtime.manifest import Manifest, Postprocessing, Preprocessing


def manifest(kind, num_classes=3):
    task = "segmentation" if kind in {"labels", "argmax"} else "classification"
    postprocessing = Postprocessing(kind=kind)
    return Manifest.model_construct(task=task, num_classes=num_classes, postprocessing=postprocessing)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_are_taken_as_they_are(dtype):
    labels = np.array([[[0, 1], [2, 1]], [[2, 2], [0, 0]]], dtype)
    found = segmentation({"labels": labels}, manifest("labels"))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels)


def test_argmax_gives_the_lowest_class_on_a_tie():
    logits = np.array([[1, 5, 0], [1, 5, 7], [0, 5, 7]], np.float32).reshape(1, 3, 1, 3)
    np.testing.assert_array_equal(segmentation({"logits": logits}, manifest("argmax")), [[[0, 0, 1]]])


def test_labels_are_resized_by_nearest_neighbour():
    labels = np.array([[0, 7], [3, 20]], np.uint8)
    np.testing.assert_array_equal(resize_labels(labels, (4, 6)), labels.repeat(2, 0).repeat(3, 1))


def test_shares_sum_to_one_and_presence_is_sorted():
    labels = np.array([[4, 4, 4], [1, 1, 0]], np.uint8)
    np.testing.assert_allclose(class_shares(labels, 6), [1 / 6, 2 / 6, 0, 0, 3 / 6, 0])
    assert class_shares(labels, 6).sum() == pytest.approx(1)
    assert present_classes(labels) == [ClassShare(4, 3 / 6), ClassShare(1, 2 / 6), ClassShare(0, 1 / 6)]
    assert [share.class_index for share in present_classes(np.array([[9, 2]], np.uint8))] == [2, 9]


def test_top5_is_taken_as_it_comes():
    outputs = {"classes": np.array([[2, 0]], np.int32), "scores": np.array([[0.75, 0.25]], np.float32)}
    assert classification(outputs, manifest("top5")) == [[ScoredClass(2, 0.75), ScoredClass(0, 0.25)]]


def test_softmax_is_stable_and_ranks_the_lower_class_first_on_a_tie():
    logits = np.array([[1000, 999, 1000, -1000, 0, 0, 0]], np.float32)
    [ranks] = classification({"logits": logits}, manifest("softmax_top5", 7))
    assert [scored.class_index for scored in ranks] == [0, 2, 1, 4, 5]
    total = 2 + np.exp(-1)
    assert ranks[0].score == ranks[1].score == pytest.approx(1 / total)
    assert ranks[2].score == pytest.approx(np.exp(-1) / total)


def test_fewer_than_five_classes_give_fewer_ranks():
    found = classification({"logits": np.zeros((2, 3), np.float32)}, manifest("softmax_top5"))
    assert [[scored.class_index for scored in ranks] for ranks in found] == [[0, 1, 2]] * 2


def threshold_manifest(kind="threshold", num_classes=4, threshold=0.5):
    postprocessing = Postprocessing(kind=kind, score_threshold=threshold)
    return Manifest.model_construct(task="multi_label", num_classes=num_classes, postprocessing=postprocessing)


def test_classes_above_the_threshold_come_best_first():
    scores = np.array([[0.5, 0.75, 0.875, 0.75], [0.5, 0.25, 0.0, 0.4375]], np.float32)
    first, second = multi_label({"scores": scores}, threshold_manifest())
    assert first == [ScoredClass(2, 0.875), ScoredClass(1, 0.75), ScoredClass(3, 0.75)]
    assert second == []
    [first, _] = multi_label({"scores": scores}, threshold_manifest(threshold=0.8))
    assert first == [ScoredClass(2, 0.875)]


def test_raw_logits_become_probabilities_of_each_class_by_itself():
    logits = np.array([[0, 1, -1, 1e4]], np.float32)
    [found] = multi_label({"logits": logits}, threshold_manifest("sigmoid_threshold"))
    assert found == [ScoredClass(3, 1.0), ScoredClass(1, pytest.approx(1 / (1 + np.exp(-1))))]


def test_sigmoid_of_any_number_is_a_probability():
    logits = np.array([-3e38, -1000, -20, -1, 0, 1e-3, 30, 3e38], np.float32)
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
    found = sigmoid(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("outputs", "described", "problem"),
    [
        ({"logits": np.zeros((1, 4), np.float32)}, {}, "no output 'scores', only logits"),
        ({"scores": np.zeros((1, 3), np.float32)}, {}, "scored 3 classes, its manifest has 4"),
        ({"scores": np.zeros(4, np.float32)}, {}, "not 2 dimensions"),
        ({"scores": np.full((1, 4), np.nan, np.float32)}, {}, "not finite"),
        ({"scores": np.zeros((1, 4), np.float32)}, {"threshold": None}, "says threshold, but no threshold"),
        ({"scores": np.zeros((1, 4), np.float32)}, {"kind": "top5"}, "with postprocessing top5"),
    ],
)
def test_scores_that_cannot_be(outputs, described, problem):
    with pytest.raises(CheckError, match=problem):
        multi_label(outputs, threshold_manifest(**described))


RULE = {"score_threshold": 0.3, "iou_threshold": 0.45, "max_per_class": 2}
# Two of one class on each other, one alone, one of another class, one that is weak.
BOXES = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 0, 10, 10], [5, 5, 6, 6]]
SCORES = [[0.1, 0.5, 0.4], [0.1, 0.9, 0.0], [0.4, 0.6, 0.0], [0.2, 0.0, 0.8], [0.8, 0.2, 0.0]]


def boxes_manifest(kind="nms", **changes):
    preprocessing = Preprocessing.model_construct(height=300, width=300)
    return Manifest.model_construct(
        task="detection",
        num_classes=3,
        postprocessing=Postprocessing(kind=kind, **{**RULE, **changes}),
        preprocessing=preprocessing,
    )


def box_outputs(boxes=BOXES, scores=SCORES):
    return {"boxes": np.array([boxes], np.float32), "scores": np.array([scores], np.float32)}


def test_boxes_come_best_first_without_the_weak_and_the_doubled():
    [found] = detection(box_outputs(), boxes_manifest())
    assert [(box.class_index, box.score, box.right) for box in found] == [
        (1, pytest.approx(0.9), 10),
        (2, pytest.approx(0.8), 10),
        (1, pytest.approx(0.6), 30),
    ]
    assert found[0] == ScoredBox(1, found[0].score, 0, 0, 10, 9)


def test_a_class_keeps_so_many_boxes():
    [found] = detection(box_outputs(), boxes_manifest(max_per_class=1))
    assert [box.class_index for box in found] == [1, 2]


def test_nothing_found_is_an_empty_list():
    assert detection(box_outputs(), boxes_manifest(score_threshold=0.99)) == [[]]


def test_raw_outputs_are_decoded():
    priors = prior_boxes_in_pixels((300, 300))
    confidences = np.zeros((1, len(priors), 3), np.float32)
    confidences[..., 0] = 9
    confidences[0, 7000] = [0, 0, 9]
    outputs = {"confidences": confidences, "locations": np.zeros((1, len(priors), 4), np.float32)}
    [[box]] = detection(outputs, boxes_manifest("decode_nms"))
    x, y, width, height = priors[7000]
    assert (box.class_index, box.score) == (2, pytest.approx(np.exp(9) / (np.exp(9) + 2)))
    assert (box.left, box.right) == pytest.approx((x - width / 2, x + width / 2), abs=1e-3)
    assert (box.top, box.bottom) == pytest.approx((y - height / 2, y + height / 2), abs=1e-3)


def test_a_box_follows_a_stretched_picture():
    box = ScoredBox(1, 0.5, left=-30, top=60, right=150, bottom=300)
    assert box.resized((300, 300), (600, 100)) == ScoredBox(1, 0.5, left=-10, top=120, right=50, bottom=600)


@pytest.mark.parametrize(
    ("outputs", "described", "message"),
    [
        (box_outputs(), boxes_manifest("labels"), "postprocessing labels"),
        (box_outputs(), boxes_manifest(iou_threshold=None), "not all of its thresholds"),
        (box_outputs(boxes=BOXES[:3]), boxes_manifest(), r"shape \(1, 3, 4\) with scores of \(1, 5, 3\)"),
        (box_outputs(scores=[row[:2] for row in SCORES]), boxes_manifest(), "manifest has 3 classes"),
        (box_outputs(scores=[[np.nan] * 3] * 5), boxes_manifest(), "not finite"),
        ({"boxes": np.zeros((1, 5, 4))}, boxes_manifest(), "no output 'scores'"),
        (
            {"confidences": np.zeros((1, 5, 3)), "locations": np.zeros((1, 5, 4))},
            boxes_manifest("decode_nms"),
            r"\(1, 5, 4\), not \(11640, 4\)",
        ),
        (
            {"confidences": np.zeros((1, 11640, 3)), "locations": np.full((1, 11640, 4), 1e4, np.float32)},
            boxes_manifest("decode_nms"),
            "boxes without end",
        ),
    ],
)
def test_boxes_that_cannot_be_right_are_refused(outputs, described, message):
    with pytest.raises(CheckError, match=message):
        detection(outputs, described)


@pytest.mark.parametrize(
    ("function", "kind", "outputs", "message"),
    [
        (segmentation, "labels", {"other": np.zeros((1, 2, 2))}, "no output 'labels', only other"),
        (segmentation, "labels", {"labels": np.full((1, 2, 2), 3)}, "classes 3 to 3, its manifest has 0 to 2"),
        (segmentation, "labels", {"labels": np.full((1, 2, 2), -1)}, "classes -1 to -1"),
        (segmentation, "argmax", {"logits": np.full((1, 3, 2, 2), np.nan)}, "not finite"),
        (segmentation, "argmax", {"logits": np.zeros((3, 2, 2))}, r"shape \(3, 2, 2\), not 4"),
        (segmentation, "top5", {}, "postprocessing top5"),
        (classification, "labels", {}, "postprocessing labels"),
        (classification, "softmax_top5", {"logits": np.full((1, 3), np.inf)}, "not finite"),
        (classification, "top5", {"classes": np.array([[1000]]), "scores": np.array([[1.0]])}, "classes 1000 to 1000"),
    ],
)
def test_outputs_that_cannot_be_right_are_refused(function, kind, outputs, message):
    with pytest.raises(CheckError, match=message):
        function(outputs, manifest(kind))
