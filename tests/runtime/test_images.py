"""Photos of every kind become RGB, and the network's input is the reference recipe's to the last bit."""

import hashlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espnet_edge.errors import CheckError, InputError
from espnet_edge.runtime.images import load_photo, preprocess, to_input
from espnet_edge.runtime.manifest import Manifest, Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOURS = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3


def rule(**changes):
    fields = {"resize": "stretch", "height": 8, "width": 16, "scale": 1 / 255, "mean": MEAN, "std": STD}
    return Preprocessing(**{**fields, "normalise_in_graph": False, **changes})


def manifest(**changes):
    return Manifest.model_construct(preprocessing=rule(**changes))


def save(image, path, **options):
    image.save(path, **options)
    return path


def test_rgb_is_read_as_it_is(tmp_path):
    photo = load_photo(save(Image.fromarray(COLOURS), tmp_path / "a.png"))
    assert photo.dtype == np.uint8
    assert photo.flags.writeable
    np.testing.assert_array_equal(photo, COLOURS)


def test_rgba_png_under_a_jpg_name_drops_alpha(tmp_path):
    alpha = np.dstack([COLOURS, np.full((6, 4), 7, np.uint8)])
    photo = load_photo(save(Image.fromarray(alpha), tmp_path / "a.jpg", format="PNG"))
    np.testing.assert_array_equal(photo, COLOURS)


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(COLOURS).quantize(24)
    photo = load_photo(save(image, tmp_path / "a.png", transparency=bytes(range(24))))
    np.testing.assert_array_equal(photo, np.asarray(image.convert("RGB")))


def test_grey_and_cmyk(tmp_path):
    grey = load_photo(save(Image.fromarray(COLOURS[..., 0]), tmp_path / "grey.png"))
    np.testing.assert_array_equal(grey, np.repeat(COLOURS[..., :1], 3, axis=2))
    assert load_photo(save(Image.new("CMYK", (4, 6)), tmp_path / "cmyk.jpg")).shape == (6, 4, 3)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    wide = COLOURS[..., 0].astype(np.uint16) * 256 + 255
    photo = load_photo(save(Image.fromarray(wide), tmp_path / "a.png"))
    np.testing.assert_array_equal(photo[..., 1], COLOURS[..., 0])


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the picture needs a quarter turn clockwise
    photo = load_photo(save(Image.fromarray(COLOURS), tmp_path / "a.png", exif=exif))
    np.testing.assert_array_equal(photo, np.rot90(COLOURS, -1))


def cut_off(path):
    path.write_bytes(save(Image.fromarray(COLOURS.repeat(20, 0)), path, format="PNG").read_bytes()[:-60])


def huge(path):
    """A PNG header of 60000x60000 pixels with next to nothing behind it."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), r"is a folder; .*\*\.png"),
        (lambda path: path.write_text("not a picture"), r"\(unknown format\)"),
        (lambda path: path.write_bytes(b""), "unknown format"),
        (cut_off, "save it again"),
        (huge, "more than 89478485 pixels"),
        (lambda path: save(Image.new("F", (2, 2)), path, format="TIFF"), "floating-point"),
        (lambda path: save(Image.new("I", (2, 2), 1 << 20), path, format="TIFF"), "wider than 16 bits"),
    ],
)
def test_unusable_files_are_one_line_with_the_path(tmp_path, make, message):
    path = tmp_path / "photo.png"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        load_photo(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_photo_just_over_the_limit_is_refused_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(InputError, match="more than 20 pixels"):
        load_photo(save(Image.fromarray(COLOURS), tmp_path / "a.png"))


def test_stretch_is_pillows_antialiased_bilinear():
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(photo).resize((16, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(preprocess(photo, rule()), expected)


@pytest.mark.parametrize(
    ("size", "resized", "corner"),
    [
        # (height, width); torchvision.transforms.functional: int() of the longer side, round half to even of the corner
        ((50, 71), (20, 28), (4, 8)),
        ((71, 50), (28, 20), (8, 4)),
        ((20, 25), (20, 25), (4, 6)),  # (25 - 12) / 2 = 6.5 -> 6
        ((20, 27), (20, 27), (4, 8)),  # (27 - 12) / 2 = 7.5 -> 8
        ((9, 9), (20, 20), (4, 4)),
    ],
)
def test_shorter_side_and_centre_crop(size, resized, corner):
    photo = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(photo).resize(resized[::-1], Image.Resampling.BILINEAR)
    top, left = corner
    expected = np.asarray(image)[top : top + 12, left : left + 12]
    found = preprocess(photo, rule(resize="shorter_side_crop", height=12, width=12, shorter_side=20))
    np.testing.assert_array_equal(found, expected)


def test_a_crop_larger_than_the_photo_is_padded_with_black():
    photo = np.full((20, 17, 3), 9, np.uint8)
    found = preprocess(photo, rule(resize="shorter_side_crop", height=20, width=20, shorter_side=17))
    assert found.shape == (20, 20, 3)
    # 17 of 20 columns: torchvision pads 1 on the left and 2 on the right.
    np.testing.assert_array_equal(found[0, :, 0], [0] + [9] * 17 + [0] * 2)


def test_a_crop_needs_its_shorter_side_and_a_sane_photo():
    with pytest.raises(CheckError, match="shorter side"):
        preprocess(COLOURS, rule(resize="shorter_side_crop"))
    with pytest.raises(InputError, match="1x400000 is too narrow"):
        preprocess(np.zeros((1, 400000, 3), np.uint8), rule(resize="shorter_side_crop", shorter_side=256))


def test_uint8_input_goes_in_as_it_is():
    batch = COLOURS[np.newaxis]
    assert to_input(batch, manifest(normalise_in_graph=True)) is batch


def test_float_input_is_the_normalised_photo_channels_first():
    found = to_input(COLOURS[np.newaxis], manifest())
    expected = ((COLOURS / 255.0 - MEAN) / STD).transpose(2, 0, 1)[np.newaxis]
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-7)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("checkpoint", "case"),
    [("espnetv2_s_2.0_city_1024x512.pth", "sample2"), ("espnetv2_s_2.0_pascal_256x256.pth", "sample5")],
)
def test_the_input_equals_the_reference_recipe_to_the_last_bit(shared, checkpoint, case):
    folder = shared / "golden" / "seg"
    record = json.loads((folder / "manifest.json").read_text())["checkpoints"][checkpoint]["cases"][case]
    photo = load_photo(folder / record["input"]["png"])
    found = to_input(photo[np.newaxis], manifest(height=photo.shape[0], width=photo.shape[1]))
    assert hashlib.sha256(found.tobytes()).hexdigest() == record["input_check"]["sha256_of_float32_bytes_NCHW"]


def test_paths_may_hold_spaces_and_brackets(tmp_path: Path):
    assert load_photo(save(Image.fromarray(COLOURS), tmp_path / "a [b] c.png")).shape == (6, 4, 3)


@pytest.mark.shared
def test_an_enlarged_photo_is_that_of_the_detection_code(shared):
    """The authors stretch by OpenCV's bilinear filter; enlarging, Pillow's gives the same but for rounding."""
    native = load_photo(shared / "golden/det/preprocess_sample8_native.png")
    expected = load_photo(shared / "golden/det/preprocess_sample8_cv2_300.png")
    found = preprocess(native, rule(height=300, width=300))
    assert max(native.shape[:2]) <= 300
    assert np.abs(found.astype(int) - expected).max() <= 1
