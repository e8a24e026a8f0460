"""The overlay: colours, lines, legend; and label maps that keep their numbers."""

import io

import numpy as np
import pytest
from PIL import Image

from espnet_edge.runtime.manifest import ClassInfo
from espnet_edge.runtime.pictures import class_name, label_image, overlay, percent, png_bytes

CLASSES = (ClassInfo(name="road", colour=(200, 100, 200)), ClassInfo(name="car", colour=(0, 0, 240)))
GREY = np.full((60, 80, 3), 100, np.uint8)
HALVES = np.repeat(np.array([[0, 1]], np.uint8), 60, axis=0).repeat(40, axis=1)


def pixels(image):
    return np.asarray(image).astype(int)


def test_the_photo_is_blended_with_the_colours_of_its_classes():
    found = pixels(overlay(GREY, HALVES, CLASSES))
    np.testing.assert_array_equal(found[30, 10], [150, 100, 150])
    np.testing.assert_array_equal(found[30, 70], [50, 50, 170])


def test_opacity_zero_is_the_photo_and_one_the_colours():
    np.testing.assert_array_equal(pixels(overlay(GREY, HALVES, CLASSES, 0.0))[:60, :80], GREY)
    np.testing.assert_array_equal(pixels(overlay(GREY, HALVES, CLASSES, 1.0))[30, 10], CLASSES[0].colour)


def test_a_darker_line_separates_regions():
    found = pixels(overlay(GREY, HALVES, CLASSES, 1.0))
    np.testing.assert_array_equal(found[30, 40], [0, 0, 80])
    np.testing.assert_array_equal(found[30, [39, 41]], [CLASSES[0].colour, CLASSES[1].colour])


def test_the_line_is_light_among_colours_that_are_nearly_black():
    dark = (ClassInfo(name="background", colour=(0, 0, 0)), ClassInfo(name="cat", colour=(64, 0, 0)))
    np.testing.assert_array_equal(pixels(overlay(GREY, HALVES, dark, 1.0))[30, 40], [255, 255, 255])


@pytest.mark.parametrize(("height", "width"), [(16, 16), (256, 256), (300, 1000), (1000, 300), (20, 2000)])
def test_the_legend_stands_beside_the_photo_and_never_on_it(height, width):
    photo = np.full((height, width, 3), 100, np.uint8)
    labels = (np.arange(height * width) % 20).astype(np.uint8).reshape(height, width)
    found = overlay(photo, labels, (), 0.0)
    np.testing.assert_array_equal(pixels(found)[:height, :width], photo)
    panel = pixels(found).copy()
    panel[:height, :width] = 255
    assert (panel < 128).any(), "the legend is empty"
    # Nothing is cut off at the outer edges.
    assert (panel[-1] == 255).all()
    assert (panel[:, -1] == 255).all()
    assert (found.height > height) if width >= 1.5 * height else (found.width > width)


def test_the_legend_shows_only_classes_that_occur():
    one, two = overlay(GREY, HALVES * 0, CLASSES), overlay(GREY, HALVES, CLASSES)
    car = np.array(CLASSES[1].colour)
    assert not (pixels(one)[:, 80:] == car).all(axis=2).any()
    assert (pixels(two)[:, 80:] == car).all(axis=2).any()


def test_text_grows_with_the_photo():
    def panel_width(size):
        return overlay(np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8), CLASSES).width - size

    assert panel_width(2000) > 2 * panel_width(500)


def test_unnamed_and_void_classes_have_a_name_and_colours_of_their_own():
    assert class_name(7, CLASSES) == "class 7"
    labels = np.repeat(np.arange(24, dtype=np.uint8), 100).reshape(48, 50)
    labels[0, 0] = 255
    painted = overlay(np.zeros((48, 50, 3), np.uint8), labels, (), 1.0)
    colours = {tuple(colour) for colour in pixels(painted)[1:48:2, 25]}
    assert len(colours) == 24


def test_an_endless_name_does_not_make_an_endless_picture():
    assert overlay(GREY, HALVES, (ClassInfo(name="x" * 5000, colour=(1, 2, 3)),)).width < 600


def test_label_maps_keep_their_numbers():
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = Image.open(io.BytesIO(png_bytes(label_image(labels))))
    assert (read.format, read.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(read), labels)


def test_percent():
    assert [percent(x) for x in (0, 0.0004, 0.0005, 0.1234, 1)] == ["0.0 %", "<0.1 %", "0.1 %", "12.3 %", "100.0 %"]
