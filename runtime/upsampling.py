"""Label maps from logits at a lower resolution. The C++ runtime computes the same, to the last bit."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Rows of labels at a time: the logits of 8 rows of 1024 pixels of 20 classes are 650 kB, which fit into a cache.
_BLOCK_ROWS = 8


def upsampled_labels(logits: Floats, size: tuple[int, int]) -> NDArray[np.int64]:
    """The class of every pixel: bilinear interpolation with aligned corners to `size`, then the highest logit.

    Each operation is rounded to float32, columns follow rows, and the lowest class wins a tie. Never are more than a
    few rows of the interpolated logits in memory.

    Args:
        logits: (N, classes, h, w) float32.
        size: (height, width) of the labels.

    Returns:
        (N, height, width).
    """
    labels = np.empty((len(logits), *size), np.int64)
    for image, of_image in zip(logits, labels, strict=True):
        for first, rows in upsampled_rows(image, size):
            of_image[first : first + rows.shape[1]] = rows.argmax(axis=0)
    return labels


def upsampled(logits: Floats, size: tuple[int, int]) -> Floats:
    """The logits that `upsampled_labels` chooses from, (N, classes, height, width) of `size`: all at once."""
    full = np.empty((*logits.shape[:2], *size), np.float32)
    for image, of_image in zip(logits, full, strict=True):
        for first, rows in upsampled_rows(image, size):
            of_image[:, first : first + rows.shape[1]] = rows
    return full


def upsampled_rows(logits: Floats, size: tuple[int, int]) -> Iterator[tuple[int, Floats]]:
    """The logits of one image, (classes, h, w), at `size`, some rows at a time: the first row's number, and
    (classes, rows, width).
    """
    upper, lower, down = _neighbours(logits.shape[1], size[0])
    left, right, along = _neighbours(logits.shape[2], size[1])
    for first in range(0, size[0], _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        rows = _between(logits[:, upper[block]], logits[:, lower[block]], down[block, np.newaxis])
        yield first, _between(rows[:, :, left], rows[:, :, right], along)


def _neighbours(length: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """For each of `wanted` positions between the first and the last of `length`: its two neighbours, and how far it is
    from the first of them, 0 to 1.
    """
    positions = np.arange(wanted) * (length - 1) / max(wanted - 1, 1)
    before = np.minimum(positions.astype(np.intp), length - 1)
    return before, np.minimum(before + 1, length - 1), (positions - before).astype(np.float32)


def _between(before: Floats, after: Floats, share: Floats) -> Floats:
    """before + share (after - before), in one new array."""
    mixed: NDArray[Any] = after - before
    mixed *= share
    mixed += before
    return mixed
