"""Which pictures are taken for calibration, and the step of int8 numbers that their values give."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from espnet_edge.errors import InputError
from espnet_edge.export.calibration import MAX_HELD_OUT, MAX_PICTURES, count_values, int8_scale, read_calibration
from espnet_edge.runtime.manifest import Preprocessing
from networks import exported
from pictures import noise, scene, write_scenes

RULE = Preprocessing(
    resize="stretch", height=32, width=48, scale=1 / 255, mean=(0, 0, 0), std=(1, 1, 1), normalise_in_graph=True
)


def test_every_fifth_picture_is_held_out(tmp_path: Path) -> None:
    write_scenes(tmp_path / "b", 7)
    write_scenes(tmp_path, 4)
    (tmp_path / "notes.txt").write_text("not a picture, and not meant to be one")
    calibration = read_calibration(tmp_path, RULE)
    names = [name for name, _ in calibration.pictures]
    assert [name for name, _ in calibration.held_out] == ["b/00.png", "b/05.png"]
    assert names == ["00.png", "01.png", "02.png", "03.png", "b/01.png", "b/02.png", "b/03.png", "b/04.png", "b/06.png"]
    assert all(pixels.shape == (32, 48, 3) for _, pixels in (*calibration.pictures, *calibration.held_out))
    assert (calibration.found, calibration.skipped, calibration.are_few) == (11, (), True)


def test_many_pictures_are_thinned_out_evenly(tmp_path: Path) -> None:
    for number in range(100):
        Image.fromarray(scene(number, (24, 24))).save(tmp_path / f"{number:02}.png")
    calibration = read_calibration(tmp_path, RULE)
    names = sorted(name for name, _ in (*calibration.pictures, *calibration.held_out))
    assert (len(calibration.pictures), len(calibration.held_out)) == (MAX_PICTURES, MAX_HELD_OUT)
    assert (names[:3], names[-1], calibration.found) == (["00.png", "02.png", "05.png"], "97.png", 100)
    assert read_calibration(tmp_path, RULE).pictures[7][0] == calibration.pictures[7][0]


def test_bad_pictures_among_good_ones_are_skipped_and_counted(tmp_path: Path) -> None:
    write_scenes(tmp_path, 19)
    (tmp_path / "99.jpg").write_bytes(b"not a picture")
    Image.fromarray(np.full((40, 40, 3), 7, np.uint8)).save(tmp_path / "98.png")
    calibration = read_calibration(tmp_path, RULE)
    assert len(calibration.pictures) + len(calibration.held_out) == 19
    assert [reason.partition(":")[0] for reason in calibration.skipped] == ["98.png", "99.jpg"]
    assert "shows nothing" in calibration.skipped[0]
    assert "not a picture that can be read" in calibration.skipped[1]


def save(pixels: NDArray[np.uint8], folder: Path, number: int) -> None:
    Image.fromarray(pixels).save(folder / f"x{number:02}.png")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such folder; name one with photos"),
        ("empty", "no picture in it; name one with photos"),
        ("noise", "10 of 10 pictures cannot be used, at most a tenth may; the first: x00.png: is noise"),
        ("jpeg of noise", "x00.jpg: is noise: neighbouring pixels correlate by"),
        ("constant", "x00.png: shows nothing"),
        ("unreadable", "x00.png: not a picture that can be read"),
        ("a fifth unreadable", "2 of 10 pictures cannot be used, at most a tenth may"),
    ],
)
def test_what_is_no_calibration_is_refused(kind: str, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    if kind != "missing":
        folder.mkdir()
    for number in range(10):
        if kind == "noise":
            save(noise(number), folder, number)
        elif kind == "jpeg of noise":
            Image.fromarray(noise(number)).save(folder / f"x{number:02}.jpg", quality=90)
        elif kind == "constant":
            save(np.full((64, 64, 3), 25 * number, np.uint8), folder, number)
        elif kind == "unreadable" or (kind == "a fifth unreadable" and number < 2):
            (folder / f"x{number:02}.png").write_bytes(b"\x89PNG but no more")
        elif kind == "a fifth unreadable":
            save(scene(number), folder, number)
    with pytest.raises(InputError) as caught:
        read_calibration(folder, RULE)
    assert str(caught.value).startswith(f"--calibration {folder}: ")
    assert words in str(caught.value)


def test_values_are_counted_by_magnitude() -> None:
    _, model = exported("cls", "deploy", (64, 64))
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    pixels = scene(1)[np.newaxis]
    counts = count_values(model, [conv.input[0]], [{"image": pixels}, {"image": pixels}])[conv.input[0]]
    assert counts.sum() == 2 * 3 * 64 * 64
    largest = np.flatnonzero(counts)[-1:].astype(np.uint16).view(np.float16)[0]
    normalised = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert largest == pytest.approx(np.abs(normalised).max(), rel=1e-3)


def histogram(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(np.abs(values).astype(np.float16).view(np.uint16), minlength=0x7C01)


def test_the_scale_gives_up_outliers_that_cost_more_than_they_are_worth() -> None:
    usual = np.random.default_rng(0).normal(0, 1, 100_000)
    plain, with_outlier = int8_scale(histogram(usual)), int8_scale(histogram(np.append(usual, 40.0)))
    assert plain is not None
    assert with_outlier is not None
    assert 3 < 127 * plain < 5
    assert 127 * with_outlier < 0.8 * 40
    # An even spread loses nothing by keeping its largest value.
    even = int8_scale(histogram(np.linspace(0, 10, 10_000)))
    assert even == pytest.approx(10 / 127, rel=0.02)


def test_a_dead_or_overflowing_range_has_no_scale() -> None:
    assert int8_scale(histogram(np.zeros(10))) is None
    with np.errstate(over="ignore"):
        assert int8_scale(histogram(np.array([1.0, 1e6]))) is None
    assert int8_scale(np.zeros(0x7C01, np.int64)) is None
