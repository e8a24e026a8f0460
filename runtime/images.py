"""Photos in: read as RGB, resized by the manifest's rule, laid out as the network's input."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import CheckError, InputError
from .manifest import Manifest, Preprocessing

Pixels = NDArray[np.uint8]


def load_photo(path: Path) -> Pixels:
    """The photo as RGB, (H, W, 3), upright as its EXIF orientation says.

    Every kind of file becomes 8-bit RGB: alpha is dropped, 16-bit grey is scaled to 8 bits.

    Raises:
        InputError: there is no such file, it is no picture, it is cut off, or it has more pixels than Pillow's limit
            against decompression bombs (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the photos in it, such as {path / '*.png'}")
    try:
        with warnings.catch_warnings():
            # Odd metadata does not matter here; too many pixels do.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return np.array(_rgb(ImageOps.exif_transpose(image)))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; change its permissions or name another photo") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InputError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels, the limit for a photo; make it smaller first"
        ) from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # noqa: BLE001 - a broken file makes Pillow's decoders raise whatever they trip over
        raise InputError(
            f"{path}: not a picture that can be read ({_reason(error, path)}); save it again as PNG or JPEG"
        ) from None


def _reason(error: Exception, path: Path) -> str:
    """What Pillow says, without the path that it may repeat."""
    if isinstance(error, OSError) and "cannot identify image file" in str(error):
        return "unknown format"
    return " ".join(str(error).replace(repr(str(path)), "").split()) or type(error).__name__


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise InputError("floating-point pixels; save it as an 8-bit picture first")
    if not image.mode.startswith("I"):
        return image.convert("RGB")
    # Pillow would clip these wide grey values at 255, which makes nearly all of the picture white.
    grey = np.asarray(image)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise InputError("grey values wider than 16 bits; save it as an 8-bit picture first")
    return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")


def preprocess(photo: Pixels, rule: Preprocessing) -> Pixels:
    """The photo at the network's size, (rule.height, rule.width, 3), by Pillow's antialiased bilinear filter.

    "stretch" changes both sides to the size asked for. "shorter_side_crop" is torchvision's Resize and CenterCrop: the
    longer side is rounded down, the crop's corner is rounded half to even, and what the photo lacks is black.

    Args:
        photo: RGB, (H, W, 3) uint8.
        rule: the manifest's `preprocessing`.

    Raises:
        InputError: the photo is so narrow that its longer side would exceed Pillow's pixel limit after the resize.
        CheckError: the manifest asks for a crop without saying the shorter side.
    """
    image = Image.fromarray(photo)
    if rule.resize == "stretch":
        return np.array(image.resize((rule.width, rule.height), Image.Resampling.BILINEAR))
    if rule.shorter_side is None:
        raise CheckError("the manifest says shorter_side_crop, but not the shorter side; export the network again")
    image = image.resize(_resized(image.size, rule.shorter_side), Image.Resampling.BILINEAR)
    left, top = _corner(image.width, rule.width), _corner(image.height, rule.height)
    return np.array(image.crop((left, top, left + rule.width, top + rule.height)))


def _resized(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    width, height = size
    longer_side = int(shorter_side * max(size) / min(size))
    if longer_side * shorter_side > (Image.MAX_IMAGE_PIXELS or 1 << 26):
        raise InputError(f"a photo of {height}x{width} is too narrow to be resized by its shorter side; crop it first")
    return (longer_side, shorter_side) if width > height else (shorter_side, longer_side)


def _corner(size: int, crop: int) -> int:
    """Where the centre crop begins; negative where the crop is larger, as torchvision pads."""
    return round((size - crop) / 2) if size >= crop else -((crop - size) // 2)


def photo_input(photo: Pixels, manifest: Manifest) -> NDArray[Any]:
    """The network's input for one photo; a fixed batch is filled with copies of it.

    Args:
        photo: RGB, (H, W, 3) uint8, of any size.
        manifest: how it is prepared.

    Raises:
        InputError: the photo is too narrow to be resized.
        CheckError: the manifest does not say how.
    """
    prepared = preprocess(photo, manifest.image)
    return to_input(np.repeat(prepared[np.newaxis], manifest.smallest_batch, axis=0), manifest)


def check_answers_fit(manifest: Manifest, source: object) -> None:
    """Can label maps and boxes be put back on the whole photo? `source` is the artefact, for the message.

    Raises:
        CheckError: the network sees a crop.
    """
    if manifest.task in {"segmentation", "detection"} and manifest.image.resize != "stretch":
        answer = "a mask" if manifest.task == "segmentation" else "a box"
        raise CheckError(f"{source}: {answer} of a cropped photo cannot be put back on it; export it again")


def to_input(batch: Pixels, manifest: Manifest) -> NDArray[Any]:
    """The network's input from photos at its size.

    Args:
        batch: RGB, (N, H, W, 3) uint8.
        manifest: says whether the graph normalises.

    Returns:
        `batch` itself where the graph normalises, else (pixel * scale - mean) / std as (N, 3, H, W) float32.
    """
    rule = manifest.image
    if rule.normalise_in_graph:
        return np.ascontiguousarray(batch)
    # Divided, not multiplied: pixel / 255 in float32 is what the networks were trained with, to the last bit.
    pixels = batch.astype(np.float32) / np.float32(1 / rule.scale)
    normalised = (pixels - np.asarray(rule.mean, np.float32)) / np.asarray(rule.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))
