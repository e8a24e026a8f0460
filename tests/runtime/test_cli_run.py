"""espnet-run from photos to files: small ONNX networks with a manifest beside them, run by ONNX Runtime."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import tiny_networks
from PIL import Image
from tiny_networks import BLUE, GREEN, RED, photo

from espnet_edge.runtime.manifest import manifest_path


@pytest.fixture
def segmentation(tmp_path):
    return partial(tiny_networks.segmentation, tmp_path)


@pytest.fixture
def classifier(tmp_path):
    return tiny_networks.classifier(tmp_path)


@pytest.fixture
def multi_label(tmp_path):
    return partial(tiny_networks.multi_label, tmp_path)


@pytest.fixture
def detector(tmp_path):
    return tiny_networks.detector(tmp_path)


def espnet_run(*arguments):
    command = [sys.executable, "-c", "from espnet_edge.runtime.cli_run import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")


def assert_refused(done, exit_code, *parts):
    assert (done.returncode, done.stdout) == (exit_code, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for part in ("espnet-run: ", *parts):
        assert part in done.stderr


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_segmentation_writes_masks_at_the_photos_own_size(tmp_path, segmentation):
    first = photo(tmp_path / "first.png")
    second = photo(tmp_path / "second.jpg", height=9, width=30, left=GREEN, right=GREEN)
    out, answers = tmp_path / "new" / "out", tmp_path / "new" / "answers.json"
    done = espnet_run("--engine", segmentation(), first, second, "--out", out, "--json", answers)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        str(first),
        "  blue thing   75.0 %",
        "  red thing    25.0 %",
        f"  -> {out}/first.overlay.png, {out}/first.labels.png",
        str(second),
        "  green thing  100.0 %",
        f"  -> {out}/second.overlay.png, {out}/second.labels.png",
    ]
    assert files_in(out) == ["first.labels.png", "first.overlay.png", "second.labels.png", "second.overlay.png"]
    labels = Image.open(out / "first.labels.png")
    assert (labels.mode, labels.size) == ("L", (64, 20))
    np.testing.assert_array_equal(np.asarray(labels), np.repeat([[0, 2]], 20, 0).repeat([16, 48], axis=1))
    overlay = np.asarray(Image.open(out / "first.overlay.png"))
    np.testing.assert_array_equal(overlay[10, [3, 60]], [RED, BLUE])  # the classes have the photo's own colours here
    content = json.loads(answers.read_text())
    assert (content["schema_version"], content["task"]) == (1, "segmentation")
    assert content["images"][0]["classes"] == [
        {"class_index": 2, "name": "blue thing", "share": 0.75},
        {"class_index": 0, "name": "red thing", "share": 0.25},
    ]


def test_a_fixed_batch_of_two_takes_a_single_photo(tmp_path, segmentation):
    done = espnet_run("--engine", segmentation(batch=2), photo(tmp_path / "a.png"), "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")


def test_classification_needs_no_folder_and_says_how_to_get_names(tmp_path, classifier):
    done = espnet_run("--engine", classifier, photo(tmp_path / "a.png", left=BLUE, right=BLUE))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["1", "class", "2"], ["2", "class", "1"], ["3", "class", "0"]]
    scores = np.exp(np.array([230, 20, 10]) / 255 * 4)
    assert [float(line.split()[3]) for line in lines[1:]] == pytest.approx(scores / scores.sum(), abs=1e-4)
    assert done.stderr == (
        "espnet-run: the names of the classes are not known; give them with --labels FILE, or for ImageNet install "
        "torchvision\n"
    )


def test_classification_with_names_and_a_folder(tmp_path, classifier):
    labels = tmp_path / "names.txt"
    labels.write_text("tomato\nlime\nÄther\n", encoding="utf-8")
    picture = photo(tmp_path / "a.png", left=BLUE, right=BLUE)
    done = espnet_run("--engine", classifier, picture, "--labels", labels, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split()[:2] == ["1", "Äther"]
    assert files_in(tmp_path / "out") == ["a.classes.json"]
    best = json.loads((tmp_path / "out" / "a.classes.json").read_text())["classes"][0]
    assert (best["class_index"], best["name"]) == (2, "Äther")


@pytest.mark.parametrize("output", ["logits", "scores"])
def test_multi_label_prints_the_classes_above_the_threshold(tmp_path, multi_label, output):
    bright = photo(tmp_path / "bright.png", left=(255, 230, 140), right=(255, 230, 140))
    blue = photo(tmp_path / "blue.png", left=BLUE, right=BLUE)
    out, answers = tmp_path / "out", tmp_path / "answers.json"
    done = espnet_run("--engine", multi_label(output), bright, blue, "--out", out, "--json", answers)
    assert (done.returncode, done.stderr) == (0, "")
    # Sigmoids of (level / 255 - 0.5) / 0.25.
    assert done.stdout.splitlines() == [
        str(bright),
        "  red thing    0.8808",
        "  green thing  0.8331",
        "  blue thing   0.5489",
        str(blue),
        "  blue thing  0.8331",
    ]
    assert files_in(out) == ["blue.classes.json", "bright.classes.json"]
    content = json.loads((out / "blue.classes.json").read_text())
    assert content["score_threshold"] == 0.5
    assert content["classes"] == [{"class_index": 2, "name": "blue thing", "score": pytest.approx(0.8331, abs=1e-3)}]
    summary = json.loads(answers.read_text())
    assert summary["task"] == "multi_label"
    assert [[entry["class_index"] for entry in image["classes"]] for image in summary["images"]] == [[0, 1, 2], [2]]


def test_multi_label_may_find_nothing(tmp_path, multi_label):
    black = photo(tmp_path / "black.png", left=(0, 0, 0), right=(0, 0, 0))
    done = espnet_run("--engine", multi_label(), black, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(black), "  nothing with a score above 0.5"]
    assert json.loads((tmp_path / "out" / "black.classes.json").read_text())["classes"] == []


def test_multi_label_without_a_rule_that_fits_is_refused(tmp_path, multi_label):
    engine, picture = multi_label(), photo(tmp_path / "a.png")
    manifest = json.loads(manifest_path(engine).read_text())
    for rule, problem in (
        ({"kind": "softmax_top5"}, "'softmax_top5' is not for multi_label"),
        ({"kind": "threshold"}, "needs a score_threshold"),
        ({"kind": "threshold", "score_threshold": 2}, "less than or equal to 1"),
    ):
        manifest_path(engine).write_text(json.dumps({**manifest, "postprocessing": rule}))
        assert_refused(espnet_run("--engine", engine, picture), 4, problem, "export again")
    rule = {"kind": "threshold", "score_threshold": 0.5}
    manifest_path(engine).write_text(json.dumps({**manifest, "postprocessing": rule}))
    done = espnet_run("--engine", engine, picture)
    assert (done.returncode, "no output 'scores'" in done.stderr) == (4, True)


def test_detection_finds_boxes_in_pixels_of_the_photo(tmp_path, detector):
    picture, out, answers = photo(tmp_path / "a.png"), tmp_path / "out", tmp_path / "answers.json"
    done = espnet_run("--engine", detector, picture, "--out", out, "--json", answers)
    assert (done.returncode, done.stderr) == (0, "")
    # The photo is four times as wide and two and a half times as high as the network's input.
    assert done.stdout.splitlines() == [
        str(picture),
        "  green thing  0.9500  x 0 to 32, y 0 to 10",
        "  blue thing   0.5000  x 16 to 48, y 5 to 15",
        f"  -> {out}/a.boxes.png, {out}/a.boxes.json",
    ]
    assert files_in(out) == ["a.boxes.json", "a.boxes.png"]
    with Image.open(out / "a.boxes.png") as drawn:
        assert drawn.size == (8 * 64, 8 * 20)
    result = json.loads((out / "a.boxes.json").read_text())
    assert (result["height"], result["width"], result["score_threshold"]) == (20, 64, 0.3)
    assert result["boxes"][0] == {
        "class_index": 1,
        "name": "green thing",
        "score": pytest.approx(0.95),
        "box": pytest.approx([0, 0, 32, 10]),
    }
    assert json.loads(answers.read_text())["images"][0]["boxes"] == result["boxes"]


def test_detection_needs_no_folder_and_may_find_nothing(tmp_path, detector):
    manifest = json.loads(manifest_path(detector).read_text())
    manifest["postprocessing"]["score_threshold"] = 0.99
    manifest_path(detector).write_text(json.dumps(manifest))
    done = espnet_run("--engine", detector, photo(tmp_path / "a.png"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == ["  nothing with a score above 0.99"]


def test_a_broken_photo_is_reported_after_the_good_ones(tmp_path, segmentation):
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    good, answers = photo(tmp_path / "good.png"), tmp_path / "answers.json"
    done = espnet_run("--engine", segmentation(), broken, good, "--out", tmp_path / "out", "--json", answers)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"1 of 2 photos could not be used, the others are done: {broken}: not a picture" in done.stderr
    assert files_in(tmp_path / "out") == ["good.labels.png", "good.overlay.png"]
    images = json.loads(answers.read_text())["images"]
    assert ["error" in image for image in images] == [True, False]


def test_photos_of_one_stem_keep_their_endings_and_a_photo_given_twice_runs_once(tmp_path, segmentation):
    photos = [photo(tmp_path / name) for name in ("a.png", "a.bmp", "b.png")]
    done = espnet_run("--engine", segmentation(), *photos, photos[2], "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    names = ["a.bmp", "a.png", "b"]
    assert files_in(tmp_path / "out") == [f"{name}.{kind}.png" for name in names for kind in ("labels", "overlay")]


def test_photos_of_one_name_in_two_folders_are_refused(tmp_path, segmentation):
    photos = [photo(tmp_path / folder / "a.png") for folder in ("x", "y")]
    done = espnet_run("--engine", segmentation(), *photos, "--out", tmp_path / "out")
    assert_refused(done, 2, str(photos[0]), str(photos[1]), "run them apart")


def test_a_photo_is_never_overwritten(tmp_path, segmentation):
    photos = [photo(tmp_path / "a.png"), photo(tmp_path / "a.labels.png")]
    before = [path.read_bytes() for path in photos]
    engine = segmentation()
    assert_refused(espnet_run("--engine", engine, *photos, "--out", tmp_path), 2, "one of the inputs")
    done = espnet_run("--engine", engine, photos[0], "--out", tmp_path / "out", "--json", photos[0])
    assert_refused(done, 2, "one of the inputs")
    assert [path.read_bytes() for path in photos] == before
    assert not (tmp_path / "out").exists()


def test_random_weights_are_refused_before_anything_is_loaded(tmp_path, segmentation):
    weights = {"source": "seed 0", "sha256": None, "random": True}
    engine, picture, out = segmentation(weights=weights), photo(tmp_path / "a.png"), tmp_path / "out"
    assert_refused(espnet_run("--engine", engine, picture, "--out", out), 2, "random", "--allow-random-weights")
    assert not out.exists()
    done = espnet_run("--engine", engine, picture, "--out", out, "--allow-random-weights")
    assert done.returncode == 0
    assert "the answers mean nothing" in done.stderr


def test_a_file_without_its_manifest(tmp_path, segmentation):
    engine, picture = segmentation(), photo(tmp_path / "a.png")
    manifest_path(engine).unlink()
    assert_refused(espnet_run("--engine", engine, picture, "--out", tmp_path / "out"), 4, "no manifest")
    assert_refused(espnet_run("--engine", engine, picture, "--out", tmp_path / "out", "--trust"), 2, "no manifest")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["a.png"], "--out DIR"),
        (["photos", "--out", "out"], "photos/*.png"),
        (["none.png", "a.png", "--out", "out"], "none.png: no such file"),
        (["a.png", "--out", "a.png"], "not a folder"),
        (["a.png", "--out", "out", "--json", "photos"], "--json is a folder"),
        (["a.png", "--out", "out", "--json", "out/a.labels.png"], "also the name of a photo's result"),
        (["a.png", "--out", "out", "--labels", "none.txt"], "none.txt: no such file"),
        (["a.png", "--out", "out", "--opacity", "1.5"], "--opacity 1.5"),
        (["a.png", "--out", "out", "--opacity", "nan"], "--opacity nan"),
        (["a.png", "--out", "out", "--threads", "0"], "--threads 0"),
        (["a.png", "--out", "out", "--runtime", "magic"], "magic"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(tmp_path, segmentation, monkeypatch, arguments, part):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "a.png")
    (tmp_path / "photos").mkdir()
    engine = segmentation()
    before = sorted(tmp_path.rglob("*"))
    assert_refused(espnet_run("--engine", engine, *arguments), 2, part)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_a_mask_or_box_of_a_cropped_photo_is_refused(tmp_path, segmentation, detector, task):
    engine = segmentation() if task == "segmentation" else detector
    manifest = json.loads(manifest_path(engine).read_text())
    manifest["preprocessing"].update(resize="shorter_side_crop", shorter_side=16)
    manifest_path(engine).write_text(json.dumps(manifest))
    done = espnet_run("--engine", engine, photo(tmp_path / "a.png"), "--out", tmp_path / "out")
    assert_refused(done, 4, "cropped photo")


def test_help_works_without_any_runtime():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['onnxruntime', 'openvino', 'torch', 'onnx', 'tensorrt']));"
        "from espnet_edge.runtime.cli_run import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("Examples:", "--engine", "--out", "--opacity", "exit code 2"):
        assert part in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
