"""espnet-infer does what espnet-run does: the same pixels, files, tables, JSON, messages and exit codes."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_networks
from PIL import Image
from tiny_networks import BLUE, GREEN, photo

from conftest import Outcome
from espnet_edge.runtime.cli_run import main
from espnet_edge.runtime.images import load_photo
from espnet_edge.runtime.manifest import manifest_path
from espnet_edge.version import __version__

from .picture_files import write_all

Infer = Callable[..., Outcome]
NAMES = "tomato\nlime\nÄther\n"


@pytest.fixture
def infer(cpp_tool: Callable[[str], Path]) -> Infer:
    """Runs espnet-infer: infer("--engine", path, ...) -> Outcome."""
    program = cpp_tool("espnet-infer")

    def run(*arguments: object, **options: Any) -> Outcome:
        done = subprocess.run(
            [program, *map(str, arguments)], capture_output=True, encoding="utf-8", check=False, timeout=120, **options
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def run(command: Callable[..., Outcome]) -> Infer:
    """Runs espnet-run on OpenVINO, as espnet-infer does."""
    return lambda *arguments: command(main, *arguments, "--runtime", "openvino")


def pixels_of(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def assert_same_json(found: Path, expected: Path, *, folders: tuple[Path, Path]) -> None:
    """Equal but for the folders and the last bits of scores: the two compute exponentials by different libraries."""
    text = found.read_text().replace(str(folders[0]), str(folders[1]))
    rounded = [json.loads(t, parse_float=lambda number: round(float(number), 6)) for t in (text, expected.read_text())]
    assert rounded[0] == rounded[1]
    assert [list(entry) for entry in rounded[0].get("images", [])] == [list(e) for e in rounded[1].get("images", [])]


# Photos. ------------------------------------------------------------------------------------------------------------


def test_every_kind_of_file_is_read_as_pillow_reads_it(tmp_path: Path, infer: Infer) -> None:
    paths = write_all(tmp_path / "photos")
    engine, out, answers = tiny_networks.segmentation(tmp_path), tmp_path / "out", tmp_path / "answers.json"
    done = infer("--engine", engine, *paths, "--out", out, "--opacity", 0, "--json", answers)
    assert (done.code, done.err) == (0, "")
    results = json.loads(answers.read_text())["images"]
    assert len(results) == len(paths) > 100
    for result, path in zip(results, paths, strict=True):
        # Nothing is painted over the photo at opacity 0.
        np.testing.assert_array_equal(pixels_of(result["overlay"]), load_photo(path), err_msg=path.name)


# Masks, classes and boxes. ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opacity", [0.5, 0.3, 1])
def test_masks_and_overlays_are_those_of_python(tmp_path: Path, infer: Infer, run: Infer, opacity: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    photos = [photo(tmp_path / "a.png"), photo(tmp_path / "b.jpg", height=9, width=30, left=GREEN, right=GREEN)]
    photos.append(tmp_path / "noise.png")
    Image.fromarray(noise).save(photos[-1])
    engine, folders = tiny_networks.segmentation(tmp_path), (tmp_path / "cpp", tmp_path / "python")
    outcomes = []
    for program, folder in zip((infer, run), folders, strict=True):
        options = ("--out", folder, "--json", folder / "answers.json", "--opacity", opacity)
        outcomes.append(program("--engine", engine, *photos, *options))
    found, expected = outcomes
    assert (found.code, found.err) == (expected.code, expected.err) == (0, "")
    assert found.out.replace(str(folders[0]), str(folders[1])) == expected.out
    assert_same_json(folders[0] / "answers.json", folders[1] / "answers.json", folders=folders)
    assert sorted(p.name for p in folders[0].iterdir()) == sorted(p.name for p in folders[1].iterdir())
    for path in photos:
        height, width = load_photo(path).shape[:2]
        labels, overlay = f"{path.stem}.labels.png", f"{path.stem}.overlay.png"
        np.testing.assert_array_equal(pixels_of(folders[0] / labels), pixels_of(folders[1] / labels))
        # The Python package adds a legend below or to the right.
        with_legend = pixels_of(folders[1] / overlay)
        np.testing.assert_array_equal(pixels_of(folders[0] / overlay), with_legend[:height, :width])


def test_classes_without_names_or_colours_are_painted_as_in_python(tmp_path: Path, infer: Infer, run: Infer) -> None:
    classes = [{"name": "red thing"}, {"name": "Äpfel", "colour": (1, 2, 3)}]
    engine = tiny_networks.segmentation(tmp_path, classes=classes)
    picture = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)).save(picture)
    found, expected = (
        program("--engine", engine, picture, "--out", tmp_path / name)
        for program, name in ((infer, "cpp"), (run, "python"))
    )
    assert found.out.replace(str(tmp_path / "cpp"), str(tmp_path / "python")) == expected.out
    drawn = [pixels_of(tmp_path / name / "noise.overlay.png")[:40, :50] for name in ("cpp", "python")]
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize("task", ["classifier", "multi_label", "detector"])
def test_classes_and_boxes_are_those_of_python(tmp_path: Path, infer: Infer, run: Infer, task: str) -> None:
    engine = getattr(tiny_networks, task)(tmp_path)
    photos = [photo(tmp_path / "a.png"), photo(tmp_path / "dark.png", left=(0, 0, 0), right=(0, 0, 0))]
    folders = (tmp_path / "cpp", tmp_path / "python")
    names = tmp_path / "names.txt"
    names.write_text(NAMES, encoding="utf-8")
    found, expected = (
        program("--engine", engine, *photos, "--labels", names, "--out", folder, "--json", folder / "answers.json")
        for program, folder in zip((infer, run), folders, strict=True)
    )
    assert (found.code, found.err.replace("espnet-infer", "espnet-run")) == (expected.code, expected.err)
    assert found.out.replace(str(folders[0]), str(folders[1])) == expected.out
    files = sorted(p.name for p in folders[1].iterdir())
    assert sorted(p.name for p in folders[0].iterdir()) == files
    for name in files:
        if name.endswith(".json"):
            assert_same_json(folders[0] / name, folders[1] / name, folders=folders)


def test_boxes_are_drawn_around_what_was_found(tmp_path: Path, infer: Infer) -> None:
    picture, engine = photo(tmp_path / "a.png", left=BLUE), tiny_networks.detector(tmp_path)
    assert infer("--engine", engine, picture, "--out", tmp_path / "out").code == 0
    drawn = pixels_of(tmp_path / "out" / "a.boxes.png")
    assert drawn.shape == (20, 64, 3)
    changed = np.argwhere((drawn != BLUE).any(axis=2))
    # The boxes are x 0 to 32, y 0 to 10 and x 16 to 48, y 5 to 15.
    assert (changed.min(axis=0) >= 0).all()
    assert (changed.max(axis=0) <= (16, 49)).all()
    for y, x in ((0, 8), (10, 8), (5, 0), (10, 48), (15, 24)):
        assert tuple(drawn[y, x]) != BLUE, (y, x)
    assert tuple(drawn[18, 60]) == BLUE


def test_classes_without_names_are_numbers_and_a_note_says_so(tmp_path: Path, infer: Infer) -> None:
    done = infer("--engine", tiny_networks.classifier(tmp_path), photo(tmp_path / "a.png"))
    assert done.code == 0
    assert done.out.splitlines()[1].split()[:3] == ["1", "class", "2"]
    assert done.err == "espnet-infer: the names of the classes are not known; give them with --labels FILE\n"


def test_a_fixed_batch_of_two_takes_a_single_photo(tmp_path: Path, infer: Infer) -> None:
    engine = tiny_networks.segmentation(tmp_path, batch=2)
    assert infer("--engine", engine, photo(tmp_path / "a.png"), "--out", tmp_path / "out").code == 0


def test_photos_of_one_stem_keep_their_endings_and_a_photo_given_twice_runs_once(tmp_path: Path, infer: Infer) -> None:
    photos = [photo(tmp_path / name) for name in ("a.png", "A.jpg", "b.png")]
    done = infer("--engine", tiny_networks.segmentation(tmp_path), *photos, photos[2], "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    names = sorted(f"{name}.{kind}.png" for name in ("A.jpg", "a.png", "b") for kind in ("labels", "overlay"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names


def test_a_broken_photo_is_reported_after_the_good_ones(tmp_path: Path, infer: Infer, run: Infer) -> None:
    broken, good = tmp_path / "broken.png", photo(tmp_path / "good.png")
    broken.write_text("no picture")
    engine, folders = tiny_networks.segmentation(tmp_path), (tmp_path / "cpp", tmp_path / "python")
    found, expected = (
        program("--engine", engine, broken, good, "--out", folder, "--json", folder / "answers.json")
        for program, folder in zip((infer, run), folders, strict=True)
    )
    assert (found.code, found.err) == (2, expected.err.replace("espnet-run", "espnet-infer"))
    assert_same_json(folders[0] / "answers.json", folders[1] / "answers.json", folders=folders)
    assert (folders[0] / "good.overlay.png").exists()


def test_a_file_that_is_no_picture_is_refused_as_in_python(tmp_path: Path, infer: Infer, run: Infer) -> None:
    words = tmp_path / "words"
    words.write_text("one two")
    engine = tiny_networks.segmentation(tmp_path)
    assert_same_refusal(infer, run, 2, "--engine", engine, words, "--out", tmp_path / "out")


# Texts. -------------------------------------------------------------------------------------------------------------


def test_a_text_goes_on_with_the_most_probable_words(tmp_path: Path, infer: Infer, run: Infer) -> None:
    engine = tiny_networks.language_model(tmp_path)
    answers = [tmp_path / "cpp.json", tmp_path / "python.json"]
    text = ("--engine", engine, "--text", "the  lighthouse\nsinks sinks", "--words", 30)
    found = infer(*text, "--json", answers[0])
    expected = run(*text, "--json", answers[1], "--temperature", 0)
    assert (found.code, found.out) == (expected.code, expected.out) == (0, found.out)
    assert found.err == expected.err.replace("espnet-run", "espnet-infer")
    contents = [json.loads(path.read_text()) for path in answers]
    for content in contents:
        content["top"] = None
        for word in content["words"]:
            word["probability"] = pytest.approx(word["probability"], rel=1e-9)
    assert len({word["word"] for word in contents[0]["words"]}) > 1
    assert list(contents[0]) == list(contents[1])
    assert contents[0] == json.loads(answers[1].read_text()) | {"top": None}


def test_a_changed_vocabulary_is_refused(tmp_path: Path, infer: Infer, run: Infer) -> None:
    engine = tiny_networks.language_model(tmp_path)
    vocabulary = tmp_path / "lm.vocabulary.txt"
    vocabulary.write_text(vocabulary.read_text().replace("stands", "falls"))
    assert_same_refusal(infer, run, 4, "--engine", engine, "--text", "the")
    given = infer("--engine", engine, "--text", "the", "--vocabulary", vocabulary)
    assert (given.code, "its words may be the wrong ones" in given.err) == (0, True)
    vocabulary.unlink()
    assert_same_refusal(infer, run, 2, "--engine", engine, "--text", "the")


@pytest.mark.parametrize(
    "content",
    ["one\n", "one\ntwo\n\n", "a b\nc\n", "a\nb\na\n", "a\nb\n", "a\nb\nc\nd\ne\nf\n", "ä\n\u00a0\n", "a\n\xff"],
)
def test_wrong_vocabularies_are_refused_as_in_python(tmp_path: Path, infer: Infer, run: Infer, content: str) -> None:
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_bytes(content.encode("latin-1" if "\xff" in content else "utf-8"))
    engine = tiny_networks.language_model(tmp_path)
    assert_same_refusal(infer, run, 2, "--engine", engine, "--text", "the", "--vocabulary", vocabulary, notes=True)


# Mistakes. ----------------------------------------------------------------------------------------------------------


def assert_same_refusal(infer: Infer, run: Infer, code: int, *arguments: object, notes: bool = False) -> None:
    """Both refuse with this exit code and one and the same line; with `notes` there may be others before it."""
    found, expected = infer(*arguments), run(*arguments)
    assert (found.code, found.out) == (code, "")
    assert found.err.startswith("espnet-infer: ")
    assert found.err.replace("espnet-infer", "espnet-run") == expected.err
    assert expected.code == code
    assert notes or found.err.count("\n") == 1


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photos a.png, x/a.png and a.labels.png, a folder `photos` and a text `words`."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "x/a.png", "a.labels.png"):
        photo(tmp_path / name)
    (tmp_path / "photos").mkdir()
    (tmp_path / "words").write_text("one\ntwo\n")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.png"],
        ["photos/", "--out", "out"],
        ["none.png", "a.png", "--out", "out"],
        ["a.png", "./x//a.png", "--out", "out"],
        ["a.png", "a.labels.png", "--out", "."],
        ["a.png", "--out", "a.png"],
        ["a.png", "--out", "a.png/deeper"],
        ["a.png", "--out", "out", "--json", "photos"],
        ["a.png", "--out", "out", "--json", "out/./a.labels.png"],
        ["a.png", "--out", "out", "--json", "a.png"],
        ["a.png", "--out", "out", "--json", "seg.onnx.json"],
        ["a.png", "--out", "out", "--labels", "none.txt"],
        ["a.png", "--out", "out", "--labels", "words"],
        ["a.png", "--out", "out", "--opacity", "1.5"],
        ["a.png", "--out", "out", "--opacity", "-1"],
        ["a.png", "--out", "out", "--opacity", "nan"],
        ["a.png", "--out", "out", "--opacity", "half"],
        ["a.png", "--out", "out", "--threads", "0"],
        ["a.png", "--out", "out", "--threads", "two"],
        ["a.png", "--out", "out", "--trust=yes"],
        ["a.png", "--out"],
        ["a.png", "--text", "the"],
        ["a.png", "--vocabulary", "words"],
    ],
)
def test_mistakes_are_refused_as_in_python(folder: Path, infer: Infer, command: Any, arguments: list[str]) -> None:
    engine = tiny_networks.segmentation(folder)
    before = sorted(folder.rglob("*"))
    assert_same_refusal(infer, lambda *given: command(main, *given), 2, "--engine", engine, *arguments)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png"],
        ["--out", "out", "--text", "the"],
        [],
        ["--text", "the", "--words", "0"],
        ["--text", "  "],
        ["--text", "the", "--json", "photos"],
        ["--text", "the", "--json", "none/a.json"],
        ["--text", "the", "--json", "lm.onnx"],
        ["--text", "the", "--vocabulary", "none"],
        ["--text", "the", "--vocabulary", "words"],
    ],
)
def test_mistakes_with_texts_are_refused_as_in_python(
    folder: Path, infer: Infer, run: Infer, arguments: list[str]
) -> None:
    engine = tiny_networks.language_model(folder)
    assert_same_refusal(infer, run, 2, "--engine", engine, *arguments)


def without_manifest(engine: Path) -> None:
    manifest_path(engine).unlink()


def with_another_byte(engine: Path) -> None:
    engine.write_bytes(engine.read_bytes()[:-1] + b"x")


def with_a_crop(engine: Path) -> None:
    manifest = json.loads(manifest_path(engine).read_text())
    manifest["preprocessing"].update(resize="shorter_side_crop", shorter_side=16)
    manifest_path(engine).write_text(json.dumps(manifest))


def with_random_weights(engine: Path) -> None:
    manifest = json.loads(manifest_path(engine).read_text())
    manifest["weights"]["random"] = True
    manifest_path(engine).write_text(json.dumps(manifest))


def of_another_schema(engine: Path) -> None:
    manifest = json.loads(manifest_path(engine).read_text())
    manifest_path(engine).write_text(json.dumps({**manifest, "schema_version": 99}))


@pytest.mark.parametrize(
    ("spoil", "code", "options"),
    [
        (without_manifest, 4, []),
        (without_manifest, 2, ["--trust"]),
        (with_another_byte, 4, []),
        (with_a_crop, 4, []),
        (with_random_weights, 2, []),
        (of_another_schema, 4, []),
        (Path.unlink, 2, []),
    ],
)
def test_files_that_may_not_be_run_are_refused_as_in_python(
    folder: Path, infer: Infer, run: Infer, spoil: Callable[[Path], None], code: int, options: list[str]
) -> None:
    engine = tiny_networks.segmentation(folder)
    spoil(engine)
    assert_same_refusal(infer, run, code, "--engine", engine, "a.png", "--out", "out", *options)
    assert not (folder / "out").exists()


def test_random_weights_run_when_that_is_allowed(folder: Path, infer: Infer) -> None:
    engine = tiny_networks.segmentation(folder)
    with_random_weights(engine)
    done = infer("--engine", engine, "a.png", "--out", "out", "--allow-random-weights")
    assert done.code == 0
    assert done.err == f"espnet-infer: {engine}: the weights are random, the answers mean nothing\n"


def test_mistakes_in_options(infer: Infer, command: Any) -> None:
    assert infer("--engine", "x", "--backend", "magic").err == (
        "espnet-infer: Invalid value for '--backend': Value error, 'magic' is not one of 'auto', 'openvino', "
        "'tensorrt'. (see espnet-infer --help)\n"
    )
    assert infer("--nonsense").err == "espnet-infer: No such option: --nonsense (see espnet-infer --help)\n"
    assert_same_refusal(infer, lambda *given: command(main, *given), 2)


def test_another_backend_than_the_file_is_for_is_refused(folder: Path, infer: Infer) -> None:
    engine = tiny_networks.segmentation(folder)
    done = infer("--engine", engine, "a.png", "--out", "out", "--backend", "tensorrt")
    assert (done.code, "tensorrt runs engines (.trt)" in done.err) == (2, True)


# Files. -------------------------------------------------------------------------------------------------------------


def test_an_old_result_survives_when_a_new_one_cannot_be_written(tmp_path: Path, infer: Infer) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.labels.png").write_text("old")
    limit = 60  # bytes: less than a picture has

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    arguments = ("--engine", tiny_networks.segmentation(tmp_path), photo(tmp_path / "a.png"), "--out", out)
    done = infer(*arguments, preexec_fn=no_large_files)
    assert done.code == 2
    assert done.err == (
        f"espnet-infer: {out}/a.labels.png: File too large; a limit on file sizes is in the way: raise it (ulimit -f) "
        "or choose another disk\n"
    )
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("a.labels.png", "old")]


@pytest.fixture
def many_photos(tmp_path: Path) -> list[Path]:
    """Names of one photo that takes a while."""
    first = photo(tmp_path / "0.png", height=1500, width=1500)
    others = [tmp_path / f"{number}.png" for number in range(1, 200)]
    for other in others:
        os.link(first, other)
    return [first, *others]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_whole_files(tmp_path: Path, cpp_tool: Any, many_photos: list[Path], number: int) -> None:
    out = tmp_path / "out"
    command = [cpp_tool("espnet-infer"), "--engine", tiny_networks.segmentation(tmp_path), *many_photos, "--out", out]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.stderr.read() == "espnet-infer: interrupted; no file is half written\n"
    assert process.returncode == 130
    names = {path.name for path in out.iterdir()}
    assert 0 < len(names) < 2 * len(many_photos)
    assert all(re.fullmatch(r"\d+\.(labels|overlay)\.png", name) for name in names)


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, cpp_tool: Any) -> None:
    command = [cpp_tool("espnet-infer"), "--engine", tiny_networks.classifier(tmp_path), photo(tmp_path / "a.png")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait()
    assert process.returncode == 0


def test_standard_output_that_is_full_is_an_error(tmp_path: Path, cpp_tool: Any) -> None:
    command = [cpp_tool("espnet-infer"), "--engine", tiny_networks.multi_label(tmp_path), photo(tmp_path / "a.png")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == ("espnet-infer: output: No space left on device; free some space or choose another disk\n")


def test_names_that_are_no_text_are_escaped(tmp_path: Path, infer: Infer) -> None:
    engine = tiny_networks.multi_label(tmp_path)
    done = infer("--engine", engine, tmp_path / "no\x1b[31m\udcffne.png", errors="surrogateescape")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "no\\x1b[31m\\udcffne.png: no such file" in done.err
    named = tmp_path / os.fsdecode(b"a\xff.png")
    shutil.copy(photo(tmp_path / "a.png"), named)
    done = infer("--engine", engine, named, "--json", tmp_path / "answers.json", errors="surrogateescape")
    assert done.code == 0
    assert len(json.loads((tmp_path / "answers.json").read_text())["images"]) == 1


def test_help_and_version(infer: Infer) -> None:
    done = infer("--help")
    assert (done.code, done.err) == (0, "")
    for part in ("Examples:", "--engine", "--out", "--opacity", "exit code 2"):
        assert part in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    done = infer("--version", "--nonsense")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(rf"espnet-infer {re.escape(__version__)} \(.*\)\n", done.out)
