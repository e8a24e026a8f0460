"""Real pictures for INT8, and the ranges of the values that a network computes from them.

Values are counted by their float16 bit pattern: 32,768 bins whose width grows with the value, so that one pass over the
pictures is enough, whatever the range turns out to be.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..runtime.images import Pixels, load_photo, preprocess
from ..runtime.manifest import Preprocessing

MAX_PICTURES = 32
MAX_HELD_OUT = 8
_FEW = 16  # fewer pictures than this are said to be few
_MAX_BYTES = 256 << 20  # of all pictures at the network's size
_MAX_UNUSABLE = 0.1
_HELD_OUT_EVERY = 5
# Grey levels, of 255: a picture that varies less has nothing in it.
_CONSTANT_DEVIATION = 1.0
# Of neighbouring pixels: 0 for noise, above 0.8 for photos, also grainy ones.
_NOISE_CORRELATION = 0.5
_BINS = 0x7C00 + 1  # the non-negative float16 numbers, infinity last
_INT8_STEPS = 127
_CANDIDATES = np.linspace(0.1, 1.0, 91)

Histogram = NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """Pictures at the network's size, by their path in the folder.

    `held_out` take no part in the choice of ranges and blocks. `skipped`: why each of the others was not used.
    `found`: pictures in the folder.
    """

    folder: Path
    pictures: tuple[tuple[str, Pixels], ...]
    held_out: tuple[tuple[str, Pixels], ...]
    skipped: tuple[str, ...]
    found: int

    @property
    def are_few(self) -> bool:
        """Whether more pictures would give better ranges."""
        return len(self.pictures) < _FEW


def read_calibration(folder: Path, rule: Preprocessing) -> Calibration:
    """Up to 32 pictures of `folder` and its subfolders to calibrate with, and up to 8 to check with.

    Where there are more, they are taken at even distances in the order of their paths; every fifth is held out.

    Args:
        folder: pictures in any format that Pillow reads; other files are left alone.
        rule: how they become the network's input.

    Raises:
        InputError: there is no such folder, no picture in it, or more than a tenth of those looked at cannot be read,
            show nothing, or are noise.
    """
    paths = _pictures_in(folder)
    chosen = _evenly(paths, _limit(rule))
    usable: list[tuple[str, Pixels]] = []
    skipped: list[str] = []
    for path in chosen:
        try:
            photo = load_photo(path)
            _check_content(photo)
            usable.append((path.relative_to(folder).as_posix(), preprocess(photo, rule)))
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ")
            skipped.append(f"{path.relative_to(folder).as_posix()}: {reason}")
    if len(skipped) > _MAX_UNUSABLE * len(chosen):
        raise InputError(
            f"--calibration {folder}: {len(skipped)} of {len(chosen)} pictures cannot be used, at most a tenth may; "
            f"the first: {skipped[0]}"
        )
    held_out = tuple(usable[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY])
    pictures = tuple(pair for i, pair in enumerate(usable, 1) if i % _HELD_OUT_EVERY)
    return Calibration(folder, pictures, held_out, tuple(skipped), len(paths))


def count_values(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Iterable[Mapping[str, NDArray[Any]]]
) -> dict[str, Histogram]:
    """How often each magnitude occurs in each of the float32 `tensors` of `model`, over all `feeds`.

    Returns:
        Counts by float16 bit pattern of the magnitude, (31745,); the last counts what is beyond float16.
    """
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    present = {value.name for value in tapped.graph.output}
    tapped.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in tensors
        if name not in present
    )
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), providers=["CPUExecutionProvider"])
    counts = {name: np.zeros(_BINS, np.int64) for name in tensors}
    for feed in feeds:
        for name, values in zip(tensors, session.run(list(tensors), dict(feed)), strict=True):
            with np.errstate(over="ignore"):
                patterns = np.abs(values).astype(np.float16).view(np.uint16)
            counts[name] += np.bincount(patterns.ravel(), minlength=_BINS)[:_BINS]
    return counts


def int8_scale(histogram: Histogram) -> float | None:
    """The step of the int8 numbers that lose least of the values counted in `histogram`: smallest mean square error.

    None where there is no such step: all values were 0, or some are beyond float16.
    """
    bins = np.flatnonzero(histogram)
    if bins.size == 0 or bins[-1] in {0, _BINS - 1}:
        return None
    values = bins.astype(np.uint16).view(np.float16).astype(np.float64)
    counts = histogram[bins]
    scales = values[-1] * _CANDIDATES / _INT8_STEPS
    rounded = (np.minimum(np.rint(values / scale), _INT8_STEPS) * scale for scale in scales)
    errors = [(counts * (values - approximate) ** 2).sum() for approximate in rounded]
    return float(scales[int(np.argmin(errors))])


def _limit(rule: Preprocessing) -> int:
    return max(1, min(MAX_PICTURES + MAX_HELD_OUT, _MAX_BYTES // (3 * rule.height * rule.width)))


def _pictures_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"--calibration {folder}: no such folder; name one with photos of what the network will see")
    suffixes = Image.registered_extensions()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not paths:
        raise InputError(f"--calibration {folder}: no picture in it; name one with photos of what the network will see")
    return paths


def _evenly(paths: Sequence[Path], limit: int) -> list[Path]:
    count = min(len(paths), limit)
    return [paths[i * len(paths) // count] for i in range(count)]


def _check_content(photo: Pixels) -> None:
    """Refuse what says nothing of the values that photos give.

    Raises:
        InputError: one colour, or noise.
    """
    grey = photo.astype(np.float32).mean(axis=2)
    if grey.std() < _CONSTANT_DEVIATION:
        raise InputError("shows nothing: all of its pixels have about one colour")
    correlation = max(_correlation(grey[:, 1:], grey[:, :-1]), _correlation(grey[1:], grey[:-1]))
    if correlation < _NOISE_CORRELATION:
        raise InputError(
            f"is noise: neighbouring pixels correlate by {correlation:.2f}, those of photos by more than 0.8"
        )


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if not (a.size and a.std() and b.std()):
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
