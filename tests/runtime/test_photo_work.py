"""End to end from photos: the answers are those of espnet-run, and the stages are timed one after the other."""

import json
from dataclasses import astuple

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from espnet_edge.errors import CheckError, InputError
from espnet_edge.runtime import cli_run, load_manifest, open_runner
from espnet_edge.runtime.photo_work import photo_work
from espnet_edge.runtime.work import PHOTO_STAGES
from pictures import scene


def tensor(name, dtype, shape, layout):
    return {"name": name, "dtype": dtype, "shape": shape, "layout": layout, "meaning": "for tests"}


IMAGE = tensor("image", "uint8", (1, 8, 16, 3), "NHWC")
WEIGHTS = {"source": "none", "sha256": None, "random": False}


@pytest.fixture
def photos(tmp_path):
    paths = [tmp_path / "first.png", tmp_path / "second.jpg", tmp_path / "third.png"]
    for number, (path, size) in enumerate(zip(paths, [(24, 40), (50, 30), (8, 16)], strict=True)):
        Image.fromarray(scene(number, size)).save(path)
    return paths


@pytest.fixture
def classifier(write_artefact, tmp_path):
    """Two classes more than colours: the means of the colours as logits, then two constants."""
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["colours"], axes=[1, 2], keepdims=0),
        helper.make_node("Concat", ["colours", "constants"], ["logits"], axis=1),
    ]
    outputs = [tensor("logits", "float32", (1, 5), "NC")]
    weights = {"constants": np.array([[100, 130]], np.float32)}
    changes = {
        "task": "classification",
        "num_classes": 5,
        "postprocessing": {"kind": "softmax_top5"},
        "weights": WEIGHTS,
    }
    return write_artefact(tmp_path / "cls.onnx", nodes, [IMAGE], outputs, weights, **changes)


@pytest.fixture
def detector(write_artefact, tmp_path):
    """Three boxes, two of which are one thing; their scores are a constant and the brightness of the photo."""
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["mean", "most"], ["brightness"]),
        helper.make_node("Reshape", ["brightness", "scalar"], ["scale"]),
        helper.make_node("Mul", ["constants", "scale"], ["scores"]),
        helper.make_node("Identity", ["places"], ["boxes"]),
    ]
    outputs = [tensor("boxes", "float32", (1, 3, 4), "NPC"), tensor("scores", "float32", (1, 3, 4), "NPC")]
    weights = {
        "most": np.array(255, np.float32),
        "scalar": np.array([1, 1, 1], np.int64),
        "constants": np.array([[[0, 1.5, 0, 0], [0, 1.4, 0, 0], [0, 0, 0, 1.2]]], np.float32),
        "places": np.array([[[0, 0, 8, 4], [0, 0, 8, 4.5], [2, 2, 14, 8]]], np.float32),
    }
    rule = {"kind": "nms", "score_threshold": 0.3, "iou_threshold": 0.5, "max_per_class": 10}
    changes = {"task": "detection", "postprocessing": rule, "weights": WEIGHTS}
    return write_artefact(tmp_path / "det.onnx", nodes, [IMAGE], outputs, weights, **changes)


@pytest.fixture
def answers_of(photos):
    """answers_of(path): what the work answers for each photo."""

    def answers(path):
        with open_runner(path, "onnxruntime", threads=1) as runner:
            work = photo_work(runner, load_manifest(path), photos)
            assert work.images == 1
            return [work.call() for _ in photos]

    return answers


@pytest.fixture
def told(command, tmp_path, photos):
    """told(path): what espnet-run says of each photo."""

    def run(path):
        options = ["--engine", path, "--out", tmp_path / "out", "--json", tmp_path / "answers.json", "--threads", "1"]
        assert command(cli_run.main, *options, *photos).code == 0
        return json.loads((tmp_path / "answers.json").read_text())["images"]

    return run


def test_label_maps_are_those_of_espnet_run(conv_artefact, answers_of, told):
    path = conv_artefact(1, weights=WEIGHTS)
    for answer, said in zip(answers_of(path), told(path), strict=True):
        np.testing.assert_array_equal(answer, np.array(Image.open(said["labels"])))


def test_classes_are_those_of_espnet_run(classifier, answers_of, told):
    for answer, said in zip(answers_of(classifier), told(classifier), strict=True):
        assert [astuple(found) for found in answer] == [(c["class_index"], c["score"]) for c in said["classes"]]
        assert len(answer) == 5


def test_boxes_are_those_of_espnet_run(detector, answers_of, told):
    for answer, said in zip(answers_of(detector), told(detector), strict=True):
        boxes = [(b["class_index"], b["score"], *b["box"]) for b in said["boxes"]]
        assert [astuple(found) for found in answer] == boxes
        assert len(answer) == 2


def test_photos_take_turns_for_calls_and_stages_alike(classifier, photos):
    with open_runner(classifier, "onnxruntime", threads=1) as runner:
        work = photo_work(runner, load_manifest(classifier), photos[:2])
        first, second = work.call(), work.call()
        assert first != second
        work.staged()
        assert work.call() == second
        assert work.call() == first


def test_stages_are_the_times_between_their_ends(classifier, photos):
    ticks = iter([0, 5, 12, 112, 115, 1000, 1001, 1003, 1006, 1010])
    with open_runner(classifier, "onnxruntime", threads=1) as runner:
        work = photo_work(runner, load_manifest(classifier), photos, clock=lambda: next(ticks))
        stages = work.staged()
        assert tuple(stages) == PHOTO_STAGES
        assert stages == {"decode": 5, "preprocess": 7, "infer": 100, "postprocess": 3}
        assert work.staged() == {"decode": 1, "preprocess": 2, "infer": 3, "postprocess": 4}


def test_each_call_reads_the_file_again(classifier, photos):
    with open_runner(classifier, "onnxruntime", threads=1) as runner:
        work = photo_work(runner, load_manifest(classifier), photos[:1])
        before = work.call()
        Image.fromarray(scene(9, (24, 40))).save(photos[0])
        assert work.call() != before
        photos[0].write_bytes(b"no picture any more")
        with pytest.raises(InputError, match=r"first\.png: not a picture that can be read"):
            work.call()


def test_a_free_batch_is_one_photo(conv_artefact, answers_of):
    assert [answer.shape for answer in answers_of(conv_artefact("batch"))] == [(24, 40), (50, 30), (8, 16)]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch": 2}, InputError, "takes 2 images at a time, photos are measured one by one; export with --batch 1"),
        ({"task": "language_modelling"}, InputError, "is a language model and takes no photos; measure it without"),
        ({"resize": "shorter_side_crop"}, CheckError, "a mask of a cropped photo cannot be put back on it"),
    ],
)
def test_networks_that_are_refused(conv_artefact, photos, changes, error, message):
    path = conv_artefact(changes.get("batch", 1))
    manifest = load_manifest(path)
    if "task" in changes:
        manifest = manifest.model_copy(update={"task": changes["task"]})
    if "resize" in changes:
        rule = manifest.image.model_copy(update={"resize": changes["resize"], "shorter_side": 8})
        manifest = manifest.model_copy(update={"preprocessing": rule})
    with open_runner(path, "onnxruntime", threads=1) as runner, pytest.raises(error, match=message):
        photo_work(runner, manifest, photos)


def test_photos_that_cannot_be_read_are_told_at_once(classifier, photos, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    with open_runner(classifier, "onnxruntime", threads=1) as runner:
        manifest = load_manifest(classifier)
        for bad, message in (("text.jpg", "not a picture"), ("none.png", "no such file"), (".", "is a folder")):
            with pytest.raises(InputError, match=message):
                photo_work(runner, manifest, [*photos, tmp_path / bad])
        with pytest.raises(InputError, match="no photo is given; name one at least for cls, end to end"):
            photo_work(runner, manifest, [])
