"""Pictures for calibration that are no photos but look like some: smooth, coloured, all different."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def scene(number: int, size: tuple[int, int] = (64, 64)) -> Pixels:
    """(H, W, 3): a gradient with a disc on it; the number decides where and in which colours."""
    generator = np.random.default_rng(number)
    y, x = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j][..., np.newaxis]
    low, slope_y, slope_x, disc = generator.uniform(-60, 60, (4, 3))
    centre, radius = generator.uniform(0.2, 0.8, 2), generator.uniform(0.1, 0.4)
    inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    grain = generator.normal(0, 3, (*size, 3))
    pixels: Pixels = np.clip(128 + low + slope_y * y + slope_x * x + 2 * disc * inside + grain, 0, 255).astype(np.uint8)
    return pixels


def noise(number: int, size: tuple[int, int] = (64, 64)) -> Pixels:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def write_scenes(folder: Path, count: int) -> Path:
    """`folder` with pictures 0.png, 1.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(scene(number, (80, 96))).save(folder / f"{number:02}.png")
    return folder
