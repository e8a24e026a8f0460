"""Boxes over a photo: colours, names, places."""

import numpy as np
import pytest

from espnet_edge.runtime.answers import ScoredBox
from espnet_edge.runtime.box_pictures import boxes_over
from espnet_edge.runtime.manifest import ClassInfo

RED, DARK = (220, 0, 0), (64, 0, 0)
CLASSES = (ClassInfo(name="background"), ClassInfo(name="red thing", colour=RED), ClassInfo(name="cat", colour=DARK))
GREY = np.full((600, 800, 3), 100, np.uint8)


def pixels(boxes, photo=GREY, classes=CLASSES):
    return np.asarray(boxes_over(photo, boxes, classes)).astype(int)


def painted(found):
    """Where the photo is no longer grey."""
    return (found != 100).any(axis=2)


def test_without_boxes_it_is_the_photo():
    np.testing.assert_array_equal(pixels([]), GREY)


def test_a_box_has_the_colour_of_its_class_and_leaves_its_inside():
    found = pixels([ScoredBox(1, 0.9, 100, 200, 300, 400)])
    for y, x in ((300, 101), (300, 299), (399, 200)):
        np.testing.assert_array_equal(found[y, x], RED)
    np.testing.assert_array_equal(found[210:390, 110:290], GREY[210:390, 110:290])
    assert not painted(found)[402:].any()
    assert not painted(found)[:, 302:].any()


def test_the_name_stands_above_the_box_on_its_colour():
    found = pixels([ScoredBox(1, 0.9, 100, 200, 300, 400)])
    plate = found[170:200, 100:300]
    assert ((plate == RED).all(axis=2)).any()
    assert ((plate == 255).all(axis=2)).any(), "no text"


def test_text_and_rim_differ_from_any_colour():
    for index, ink in ((2, 255), (3, 0)):
        classes = (*CLASSES, ClassInfo(name="light", colour=(240, 240, 120)))
        found = pixels([ScoredBox(index, 0.9, 100, 200, 300, 400)], classes=classes)
        assert (found[170:200, 100:300] == ink).all(axis=2).any()
        np.testing.assert_array_equal(found[300, 100], [ink] * 3)


def test_labels_give_way_to_each_other():
    """Two objects in one place: both names can be read."""
    one = pixels([ScoredBox(1, 0.9, 100, 200, 300, 400)])
    two = pixels([ScoredBox(1, 0.9, 100, 200, 300, 400), ScoredBox(2, 0.8, 102, 202, 300, 400)])
    np.testing.assert_array_equal(two[172:196, 102:190], one[172:196, 102:190])
    assert (two[203:240, 102:200] == DARK).all(axis=2).sum() > 200


@pytest.mark.parametrize("edges", [(-50, -50, 2000, 2000), (790, 590, 900, 700), (-20, -20, -5, -5), (5, 5, 5, 5)])
def test_boxes_beyond_the_edges_are_drawn_on_the_photo(edges):
    found = pixels([ScoredBox(1, 0.5, *edges)])
    assert found.shape == GREY.shape
    assert (found == RED).all(axis=2).sum() > 200


@pytest.mark.parametrize(("height", "width", "factor"), [(60, 120, 4), (16, 16, 30), (300, 480, 1), (20, 2000, 1)])
def test_small_photos_are_enlarged_so_that_names_can_be_read(height, width, factor):
    photo = np.full((height, width, 3), 100, np.uint8)
    found = pixels([ScoredBox(1, 0.5, 2, 2, 10, 10)], photo)
    assert found.shape == (factor * height, factor * width, 3)
    assert (found == RED).all(axis=2).any()


def test_unnamed_classes_have_colours_of_their_own():
    colours = {tuple(pixels([ScoredBox(index, 0.5, 100, 200, 300, 400)], classes=())[300, 101]) for index in range(80)}
    assert len(colours) == 80


def test_an_endless_name_stays_in_the_picture():
    pixels([ScoredBox(0, 0.5, 700, 200, 790, 400)], classes=(ClassInfo(name="x" * 5000, colour=RED),))
